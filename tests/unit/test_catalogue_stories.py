"""Events that come twice, late, out of order or never, and what the catalogue, the windows and the versions make of them.

Faked: the ports. Real: the way in for events, the fold, the inventory, the decisions.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from ml_core.errors import PermanentError
from ml_core.ingestion import record
from ml_core.ingestion.catalogue import index_of, open_windows, row_of
from ml_core.ingestion.reconcile import reconcile
from ml_core.ingestion.replay import replay_window
from ml_core.ports import Blob
from ml_core.reconciling import DATA_ASSETS, decisions_taken
from tests.faults import Died, Fault, Faults
from tests.story import CONFIG, Story, blob_created, blob_deleted

WINDOW = "window: {quiet_period: 30s}"


def story_of(window: str = WINDOW, more: str = "") -> Story:
    """A story whose window is another; `more` are further keys of the data asset."""
    asset = CONFIG.replace(WINDOW + "}", window + (f", {more}" if more else "") + "}")
    # What is trained on the versions is another story.
    return Story(asset.split("models:")[0])


@pytest.fixture
def story() -> Story:
    return story_of()


def versions(story: Story) -> list[dict[str, Any]]:
    """The manifests of all versions, oldest first."""
    return [json.loads(files["manifest.json"]) for files in story.workspace.data.values()]


def files(manifest: dict[str, Any]) -> set[str]:
    return {blob["url"].rsplit("incoming/", 1)[1] for blob in manifest["blobs"]}


def newest(story: Story) -> dict[str, Any]:
    """The document of the newest version."""
    return dict(story.ledger.entries["data-versions/flights.json"].value)


def windows(story: Story) -> list[dict[str, Any]]:
    return [entry.value for entry in story.ledger.list("windows/flights/")]


def outcomes(window: dict[str, Any]) -> list[tuple[str, str]]:
    """What the window has noted, as (file, outcome)."""
    notes = [note for bundle in window["receipts"].values() for note in bundle]
    return sorted((note["path"].removeprefix("incoming/"), note["outcome"]) for note in notes)


def settled(story: Story) -> bool:
    """Whether nothing is left over: no bundle, no open window, no shard that the index does not name."""
    index = index_of(story.ledger, "flights")
    shards = {shard.document for shard in index.shards.values()}
    return (
        not list(story.ledger.keys("arrivals/")) and not index.windows and shards == set(story.ledger.keys("catalogue/flights/"))
    )


# ---- what a version says ----------------------------------------------------------------------------------------------


def test_a_version_says_what_closed_its_window_and_what_that_has_brought(story: Story) -> None:
    story.upload("incoming/a.csv")
    story.upload("incoming/b.csv")
    story.rest()
    first = newest(story)
    story.upload("incoming/a.csv")
    story.delete("incoming/b.csv")
    story.upload("incoming/c.csv")
    story.upload("incoming/empty.csv", size=0)
    story.rest()
    second = newest(story)
    assert (first["files"], first["added"], first["replaced"], first["deleted"]) == (2, 2, 0, [])
    assert (second["files"], second["added"], second["replaced"], second["deleted"]) == (2, 1, 1, ["incoming/b.csv"])
    assert second["left_out"] == ["incoming/empty.csv"]
    assert second["closed_by"] == ["quiet period"]
    assert story.workspace.data_tags["flights", second["version"]] == {
        "tidegate.data_asset": "flights",
        "tidegate.files": "2",
        "tidegate.deleted": "1",
        "tidegate.closed_by": "quiet period",
        "tidegate.correlation_id": second["correlation_id"],
    }
    assert [window["id"] for window in windows(story)] == [first["correlation_id"], second["correlation_id"]]
    assert outcomes(windows(story)[1]) == [("a.csv", "replaced"), ("b.csv", "deleted"), ("c.csv", "new"), ("empty.csv", "empty")]
    assert windows(story)[1]["closed"]["version"] == second["version"]
    assert settled(story)


def test_the_same_content_is_the_same_version_with_the_same_bytes_whatever_the_order_of_the_events() -> None:
    manifests = []
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        story = story_of()
        blobs = [story.containers.upload("flights", f"incoming/{name}.csv") for name in "aabc"]
        events = [blob_created(blob, event_id=f"e{number}") for number, blob in enumerate(blobs)]
        for number in order:
            record.receive(story.services, events[number])
            story.clock.advance(timedelta(seconds=1))
        story.rest()
        manifests.append(list(story.workspace.data.values()))
        assert outcomes(windows(story)[0])[:2] == [("a.csv", "new"), ("a.csv", "replaced" if order[0] in (0, 2) else "overtaken")]
    assert manifests[0] == manifests[1] == manifests[2]


def test_files_that_go_back_to_an_earlier_content_make_the_earlier_version_the_newest_again(story: Story) -> None:
    story.upload("incoming/a.csv")
    story.rest()
    first = newest(story)
    story.upload("incoming/b.csv")
    story.rest()
    story.delete("incoming/b.csv")
    story.rest()
    again = newest(story)
    assert again["version"] == first["version"]
    assert (again["deleted"], again["files"]) == (["incoming/b.csv"], 1)
    assert [making["correlation_id"] for making in again["earlier"]] == [first["correlation_id"]]


# ---- what closes a window ---------------------------------------------------------------------------------------------


def test_files_that_never_stop_coming_are_a_version_after_max_wait() -> None:
    story = story_of("window: {quiet_period: 30s, max_wait: 5m}")
    for number in range(20):
        story.upload(f"incoming/{number:02}.csv")
        story.clock.advance(timedelta(seconds=20))
        story.until(lambda: not [message for message in story.queue.messages if message[0] <= story.clock()])
    assert newest(story)["closed_by"] == ["max wait"]
    story.rest()
    assert newest(story)["closed_by"] == ["quiet period"]
    assert len(files(versions(story)[-1])) == 20


def test_a_window_with_max_files_closes_at_once() -> None:
    story = story_of("window: {quiet_period: 30s, max_files: 3}")
    for name in "abc":
        story.upload(f"incoming/{name}.csv")
    began_at = story.clock()
    story.until(lambda: bool(story.workspace.data))
    assert story.clock() == began_at
    story.rest()
    assert newest(story)["closed_by"] == ["max files"]


def test_a_marker_closes_the_window_of_its_folder_and_of_no_other() -> None:
    story = story_of("window: {quiet_period: null, marker: _SUCCESS}")
    story.upload("incoming/monday/a.csv")
    story.upload("incoming/tuesday/a.csv")
    story.upload("incoming/monday/b.csv")
    story.until(lambda: len(open_windows(story.ledger, "flights")) == 2)
    story.upload("incoming/monday/_SUCCESS", size=0)
    story.until(lambda: bool(story.workspace.data))
    story.until(lambda: len(open_windows(story.ledger, "flights")) == 1)
    assert files(versions(story)[0]) == {"monday/a.csv", "monday/b.csv"}
    story.until(lambda: "data-versions/flights.json" in story.ledger.entries)
    assert newest(story)["closed_by"] == ["marker"]
    story.rest()
    # Nobody marks Tuesday as complete: it is as complete as it gets after an hour.
    assert files(versions(story)[1]) == {"monday/a.csv", "monday/b.csv", "tuesday/a.csv"}
    assert newest(story)["closed_by"] == ["max wait"]


def test_a_marker_that_is_announced_before_its_files_waits_for_none_of_their_events() -> None:
    story = story_of("window: {quiet_period: null, marker: _SUCCESS}")
    late = story.containers.upload("flights", "incoming/monday/a.csv")
    story.upload("incoming/monday/_SUCCESS", size=0)
    story.until(lambda: bool(story.workspace.data))
    assert files(versions(story)[0]) == {"monday/a.csv"}
    record.receive(story.services, blob_created(late, event_id="late"))
    story.rest()
    assert len(versions(story)) == 1
    assert outcomes(windows(story)[0]) == [("monday/_SUCCESS", "marker"), ("monday/a.csv", "new"), ("monday/a.csv", "repeated")]


def test_a_file_that_is_replaced_in_a_folder_that_is_not_complete_again_is_in_no_version_until_it_is() -> None:
    story = story_of("window: {quiet_period: null, marker: _SUCCESS}")
    for folder in ("monday", "tuesday"):
        story.upload(f"incoming/{folder}/a.csv")
        story.upload(f"incoming/{folder}/_SUCCESS", size=0)
    story.rest()
    assert newest(story)["closed_by"] == ["marker"]
    assert len(newest(story)["windows"]) == 2
    story.upload("incoming/monday/a.csv")
    story.upload("incoming/tuesday/b.csv")
    story.upload("incoming/tuesday/_SUCCESS", size=0)
    story.until(lambda: len(story.workspace.data) == 2)
    assert files(versions(story)[1]) == {"tuesday/a.csv", "tuesday/b.csv"}
    story.upload("incoming/monday/_SUCCESS", size=0)
    story.until(lambda: len(story.workspace.data) == 3)
    assert files(versions(story)[2]) == {"monday/a.csv", "tuesday/a.csv", "tuesday/b.csv"}


def test_a_window_in_which_everything_is_deleted_closes_without_a_version(story: Story) -> None:
    story.upload("incoming/a.csv")
    story.delete("incoming/a.csv")
    story.rest()
    assert not story.workspace.data
    assert windows(story)[0]["closed"]["version"] == ""
    assert windows(story)[0]["closed"]["reason"].endswith("there is no file that is not empty")
    assert settled(story)


# ---- what a version holds ---------------------------------------------------------------------------------------------


def test_a_manifest_of_the_window_holds_only_what_the_window_has_brought() -> None:
    story = story_of(more="manifest: window")
    for names in ("ab", "bc"):
        for name in names:
            story.upload(f"incoming/{name}.csv")
        story.rest()
    assert [files(manifest) for manifest in versions(story)] == [{"a.csv", "b.csv"}, {"b.csv", "c.csv"}]


def test_a_manifest_of_the_latest_holds_those_that_were_written_last_whatever_their_events_say() -> None:
    story = story_of(more="manifest: latest 2")
    written = {}
    for name in "abc":
        written[name] = story.containers.upload("flights", f"incoming/{name}.csv")
        story.clock.advance(timedelta(seconds=5))
    for number, name in enumerate("cba"):
        # Its event is about the same blob and says another time.
        blob = written[name]
        wrong = Blob(blob.url, blob.path, blob.etag, blob.size, story.clock() + timedelta(hours=number))
        record.receive(story.services, blob_created(wrong, event_id=name))
    story.rest()
    assert files(versions(story)[-1]) == {"b.csv", "c.csv"}


# ---- lost, late and forged --------------------------------------------------------------------------------------------


def test_lost_events_of_every_kind_are_made_up_for_by_the_timed_inventory(story: Story) -> None:
    for name in "abc":
        story.upload(f"incoming/{name}.csv")
    story.rest()
    story.upload("incoming/a.csv", announce=False)
    story.delete("incoming/b.csv", announce=False)
    story.upload("incoming/d.csv", announce=False)
    story.until(lambda: len(story.workspace.data) == 2)
    assert files(versions(story)[1]) == {"a.csv", "c.csv", "d.csv"}
    story.rest()
    assert outcomes(windows(story)[1]) == [("a.csv", "replaced"), ("b.csv", "deleted"), ("d.csv", "new")]
    row = row_of(story.ledger, "flights", "incoming/d.csv")
    assert row is not None
    assert (row.source, row.window) == ("inventory", windows(story)[1]["id"])
    assert newest(story)["deleted"] == ["incoming/b.csv"]
    assert settled(story)


def test_a_lost_event_of_a_delivery_is_found_when_its_window_closes(story: Story) -> None:
    story.upload("incoming/a.csv")
    story.upload("incoming/b.csv", announce=False)
    story.rest()
    assert [files(manifest) for manifest in versions(story)] == [{"a.csv", "b.csv"}]


def test_forged_events_neither_add_a_file_nor_lose_one(story: Story) -> None:
    real = story.upload("incoming/a.csv")
    story.rest()
    (before,) = versions(story)
    forged = Blob(real.url.replace("a.csv", "forged.csv"), "incoming/forged.csv", "0xF", 5, story.clock())
    record.receive(story.services, blob_created(forged, event_id="forged 1", sequencer="f" * 40))
    record.receive(story.services, blob_deleted(real, event_id="forged 2", sequencer="f" * 40))
    story.rest()
    assert versions(story) == [before]
    assert windows(story)[1]["closed"]["reason"].endswith(f"the files are those of version {before['version']}")
    story.upload("incoming/a.csv")
    story.rest()
    assert len(versions(story)) == 2


def test_an_event_that_is_late_by_days_changes_nothing_and_is_noted_where_it_belongs(story: Story) -> None:
    old = story.containers.upload("flights", "incoming/a.csv")
    story.upload("incoming/a.csv")
    story.rest()
    story.clock.advance(timedelta(days=3))
    record.receive(story.services, blob_created(old, event_id="late"))
    story.rest()
    assert len(versions(story)) == 1
    assert outcomes(windows(story)[0]) == [("a.csv", "new"), ("a.csv", "overtaken")]


def test_an_open_window_is_looked_at_without_listing_the_container(story: Story) -> None:
    story.upload("incoming/first.csv")
    story.rest()
    listings = _counted(story)
    for number in range(10):
        story.upload(f"incoming/{number}.csv")
        reconcile(story.services, "flights")
    assert listings == []
    story.rest()
    assert len(listings) == 1  # before it closes; what was told is what is there, so nothing is looked at twice


def test_while_a_window_is_open_what_is_told_waits_to_be_folded_in_together(story: Story) -> None:
    story.upload("incoming/first.csv")
    story.until(lambda: bool(open_windows(story.ledger, "flights")))
    before = story.ledger.entries["catalogue/flights.json"].etag
    for number in range(10):
        story.upload(f"incoming/{number}.csv")
        story.clock.advance(timedelta(seconds=1))
        again = reconcile(story.services, "flights")
        assert again is not None
        assert again <= timedelta(seconds=20)
    assert story.ledger.entries["catalogue/flights.json"].etag == before
    assert len(list(story.ledger.keys("arrivals/flights/"))) == 10
    story.rest()
    assert [len(manifest["blobs"]) for manifest in versions(story)] == [11]
    # Quiet counts from the last file, though it was folded in later than it was told.
    (window,) = windows(story)
    assert window["closed"]["due_at"] == "2026-03-01T12:00:39+00:00"


def _counted(story: Story) -> list[str]:
    listings: list[str] = []
    blobs = story.containers.blobs

    def counted(container: str, prefix: str) -> Any:
        listings.append(prefix)
        return blobs(container, prefix)

    object.__setattr__(story.containers, "blobs", counted)
    return listings


# ---- many, again, and interrupted -------------------------------------------------------------------------------------


def test_two_and_a_half_thousand_files_in_a_burst_are_one_version_with_as_many_entries_and_one_job() -> None:
    story = Story()
    for start in range(0, 2500, 250):
        blobs = [story.containers.upload("flights", f"incoming/{number:04}.csv") for number in range(start, start + 250)]
        record.take_in(story.services, [blob_created(blob, event_id=f"e{blob.etag}") for blob in blobs])
        story.clock.advance(timedelta(seconds=2))
        story.look()
    story.until(lambda: len(story.workspace.submitted) == 1)
    story.rest()
    assert [len(manifest["blobs"]) for manifest in versions(story)] == [2500]
    assert len(story.workspace.submitted) == 1
    assert newest(story)["added"] == 2500


def test_a_replay_feeds_the_events_of_the_windows_again_and_changes_nothing(story: Story) -> None:
    story.upload("incoming/a.csv")
    story.rest()
    story.clock.advance(timedelta(minutes=1))
    between = story.clock()
    story.upload("incoming/b.csv")
    story.upload("incoming/a.csv")
    story.rest()
    before = {key: entry.value for key, entry in story.ledger.entries.items() if key.startswith(("windows/", "data-versions/"))}
    assert replay_window(story.services, "flights", between, story.clock()) == 2
    assert replay_window(story.services, "flights", story.clock() - timedelta(days=1), story.clock()) == 3
    story.rest()
    assert {key: entry.value for key, entry in story.ledger.entries.items() if key in before} == before
    assert settled(story)


def test_a_replay_finds_what_the_catalogue_has_lost(story: Story) -> None:
    story.upload("incoming/a.csv")
    story.rest()
    story.containers.upload("flights", "incoming/b.csv")
    for key in [key for key in story.ledger.entries if key.startswith("catalogue/")]:
        story.ledger.delete(key)
    replay_window(story.services, "flights", story.clock() - timedelta(days=1), story.clock())
    story.rest()
    assert files(versions(story)[-1]) == {"a.csv", "b.csv"}
    assert newest(story)["version"] == versions(story)[-1]["version"]


def test_what_an_older_version_of_the_app_has_left_in_the_ledger_is_taken_over(story: Story) -> None:
    blob = story.containers.upload("flights", "incoming/a.csv")
    told = {"event_id": "e1", "url": blob.url, "container": "flights", "path": blob.path, "sequencer": "01"}
    event = {**told, "etag": blob.etag, "size": blob.size, "occurred_at": "2026-02-01T12:00:00Z"}
    note = {"what": "BlobCreated", "event": event, "received_at": "2026-02-01T12:00:00+00:00", "refused": None}
    story.ledger.claim("arrivals/flights/0badcafe.json", note)
    gone = {**told, "event_id": "e2", "path": "incoming/b.csv", "occurred_at": "2026-02-01T12:00:00Z"}
    story.ledger.claim("arrivals/flights/1badcafe.json", {**note, "what": "BlobDeleted", "event": gone})
    old_state = {"registered": "v1", "pending": "", "changed_at": None, "refused": None}
    story.ledger.claim(
        "data-assets/flights.json", {"state": old_state, "answer": {"kind": "rest", "reason": ""}, "at": "", "decision": None}
    )
    story.ledger.claim("data-versions/flights.json", {"version": "v1", "left_out": [], "registered_at": ""})
    story.sweep()
    story.rest()
    assert newest(story)["version"] == versions(story)[0]["version"]
    assert settled(story)


def test_a_part_of_the_catalogue_that_somebody_has_deleted_is_made_anew(story: Story) -> None:
    for number in range(5):
        story.upload(f"incoming/{number}.csv")
    story.rest()
    for key in list(story.ledger.keys("catalogue/flights/"))[:2]:
        story.ledger.delete(key)
    story.upload("incoming/5.csv")
    story.rest()
    assert files(versions(story)[-1]) == {f"{number}.csv" for number in range(6)}
    assert len(versions(story)) == 2
    assert settled(story)


def test_an_empty_file_opens_no_window_and_its_row_says_what_it_is(story: Story) -> None:
    story.upload("incoming/empty.csv", size=0)
    story.rest()
    row = row_of(story.ledger, "flights", "incoming/empty.csv")
    assert row is not None
    assert (row.there, row.counts, row.window, row.event_id[:11]) == (True, False, "", "creation-of")
    assert windows(story) == []


def test_a_replay_of_an_unknown_asset_or_of_no_span_is_refused(story: Story) -> None:
    with pytest.raises(PermanentError, match="no data asset 'trips'"):
        replay_window(story.services, "trips", story.clock(), story.clock())
    with pytest.raises(PermanentError, match="an end after the beginning"):
        replay_window(story.services, "flights", story.clock(), story.clock() - timedelta(seconds=1))


@pytest.mark.parametrize("fault", [Fault.DIES_BEFORE, Fault.DIES_AFTER])
def test_wherever_a_look_is_killed_the_next_ones_come_to_the_same_end(fault: Fault) -> None:
    def told(story: Story) -> None:
        story.upload("incoming/a.csv")
        story.upload("incoming/b.csv")
        story.upload("incoming/lost.csv", announce=False)
        story.upload("incoming/a.csv")

    undisturbed = story_of()
    told(undisturbed)
    undisturbed.rest()
    for kills in count():
        story = story_of()
        told(story)
        faults = Faults(lambda _: None)
        faults.arm(fault, "", kills)
        story.services = faults.beneath(story.services)
        with suppress(Died):
            story.rest()
        if not faults.struck:
            break
        # The message that was being worked off comes again.
        story.queue.enqueue(DATA_ASSETS, '{"key": "flights"}')
        story.rest()
        assert [files(manifest) for manifest in versions(story)] == [{"a.csv", "b.csv", "lost.csv"}], faults.struck
        assert versions(story) == versions(undisturbed)
        (window,) = windows(story)
        assert outcomes(window) == outcomes(windows(undisturbed)[0]), faults.struck
        assert window["closed"]["version"] == newest(story)["version"]
        assert not list(story.ledger.keys("arrivals/"))
    assert kills > 15


def test_every_decision_of_a_data_asset_is_kept_and_waiting_is_kept_once(story: Story) -> None:
    for number in range(20):
        story.upload(f"incoming/{number}.csv")
        reconcile(story.services, "flights")
    story.rest()
    kinds = [entry.value["action"]["kind"] for entry in decisions_taken(story.ledger, DATA_ASSETS, "flights")]
    assert kinds[::-1] == ["take inventory", "keep open", "take inventory", "register", "announce", "rest"]
