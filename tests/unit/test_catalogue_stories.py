"""Events that come twice, late, out of order or never, and what the catalogue makes of them.

Faked: the ports. Real: the way in for events, the fold, the inventory, the decisions.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta, timezone
from itertools import count
from typing import Any

import pytest

from ml_core.errors import PermanentError
from ml_core.ingestion import folding, record
from ml_core.ingestion.catalogue import open_windows, row_of
from ml_core.ingestion.reconcile import reconcile
from ml_core.ingestion.replay import replay_window
from ml_core.ports import Blob
from ml_core.reconciling import DATA_ASSETS
from tests.data_stories import files, newest, outcomes, settled, story_of, versions, windows
from tests.faults import Died, Fault, Faults
from tests.story import Story, blob_created, blob_deleted, decisions_taken


@pytest.fixture
def story() -> Story:
    return story_of()


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


def test_what_has_piled_up_is_folded_in_parts_and_is_one_version(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MOST_AT_ONCE", 4)
    for number in range(11):
        story.upload(f"incoming/{number}.csv")
    assert [folding.fold_pending(story.services, "flights") for _ in range(3)] == [True, True, False]
    assert [window.files for window in open_windows(story.ledger, "flights")] == [11]
    for number in range(11, 50):
        story.upload(f"incoming/{number}.csv")
    story.rest()
    assert [len(manifest["blobs"]) for manifest in versions(story)] == [50]
    assert settled(story)


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
    with pytest.raises(PermanentError, match="with a time zone"):
        replay_window(story.services, "flights", story.clock().replace(tzinfo=None), story.clock())


def test_a_span_to_replay_may_be_told_in_any_time_zone(story: Story) -> None:
    story.upload("incoming/a.csv")
    story.rest()
    for hours in (-11, 2, 14):
        until = story.clock().astimezone(timezone(timedelta(hours=hours)))
        assert replay_window(story.services, "flights", until - timedelta(hours=1), until) == 1
        assert replay_window(story.services, "flights", until - timedelta(hours=3), until - timedelta(hours=1)) == 0


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
    kinds = [entry.value["action"]["kind"] for entry in decisions_taken(story, DATA_ASSETS, "flights")]
    assert kinds[::-1] == ["take inventory", "keep open", "take inventory", "register", "announce", "rest"]
