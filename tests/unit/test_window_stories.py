"""What closes a window, what the version that it closes into holds, and what that says.

Faked: the ports. Real: the way in for events, the fold, the inventory, the decisions.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from ml_core.ingestion import record
from ml_core.ingestion.catalogue import open_windows
from ml_core.ports import Blob
from tests.data_stories import files, newest, outcomes, settled, story_of, versions, windows
from tests.story import Story, blob_created


@pytest.fixture
def story() -> Story:
    return story_of()


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
