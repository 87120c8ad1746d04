"""The trail of files, of the events about them, and of the windows that took them in. Faked: the ports."""

from __future__ import annotations

import json

import pytest

from ml_core import inbox
from ml_core.documents import to_document
from ml_core.ingestion.arrivals import pending, put_bundle
from ml_core.ingestion.record import receive as receive_blob_event
from ml_core.trail.ask import trail_of_item, why
from tests.story import (
    ACCOUNT_URL,
    CONFIG,
    ENDPOINT,
    Story,
    blob_created,
    first_model_serves,
)
from tests.trails import ends, newest_job, newest_version, told, words

FIRST = "flight-delay:1"


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_file_is_told_from_its_event_to_the_traffic_of_its_model(story: Story) -> None:
    first_model_serves(story)
    trail = why(story.services, "flights/incoming/january.csv")
    assert words(trail)[:5] == ["received", "matched", "window", "version", "job"]
    assert (
        "it belongs to the data asset flights: files of the container flights that start with 'incoming/' and end with .csv"
        in (told(trail))
    )
    assert (
        "incoming/january.csv was created, the event creation-of-0x8D0000000000001 said (eTag 0x8D0000000000001): a new file"
        in told(trail)
    )
    assert "closed by its quiet period; it had taken in 1 new" in told(trail)
    assert "1 file (1 added)" in told(trail)
    assert ends(trail) == f"{FIRST} serves: it has 100 % of the traffic of {ENDPOINT}, in blue"


def test_the_window_is_the_correlation_id_of_all_that_follows(story: Story) -> None:
    first_model_serves(story)
    (window,) = why(story.services, "flights/incoming/january.csv").correlation_ids
    assert window.startswith("flights-20260301T120000Z-")
    assert why(story.services, FIRST).correlation_ids == (window,)
    assert why(story.services, newest_job(story)).correlation_ids == (window,)
    assert why(story.services, f"flights:{newest_version(story)}").correlation_ids == (window,)
    by_id = why(story.services, window)
    assert (by_id.kind, by_id.correlation_ids) == ("window", (window,))
    assert FIRST in ends(by_id)


def test_an_event_that_came_twice_is_told_twice_and_changed_nothing(story: Story) -> None:
    blob = story.upload("incoming/january.csv")
    story.look()
    receive_blob_event(story.services, blob_created(blob, event_id="e9"))
    story.rest()
    trail = why(story.services, "flights/incoming/january.csv")
    assert "the event e9 said (eTag 0x8D0000000000001): known already" in told(trail)
    assert len(story.workspace.submitted) == 1
    assert "known already" in told(why(story.services, "e9"))


def test_an_event_that_was_delivered_twice_is_told_once(story: Story) -> None:
    story.upload("incoming/january.csv")
    (first,) = pending(story.services, "flights")
    story.look()
    story.upload("incoming/february.csv")
    (second,) = pending(story.services, "flights")
    put_bundle(story.services, "flights", [*first.receipts, *second.receipts])
    story.until(lambda: bool(story.workspace.submitted))
    trail = why(story.services, "flights/incoming/january.csv")
    assert words(trail).count("received") == 1
    assert "it had taken in 2 new" in told(trail)


def test_an_event_about_a_file_is_found_by_its_id_while_it_waits_and_after(story: Story) -> None:
    story.upload("incoming/january.csv")
    waiting = why(story.services, "creation-of-0x8D0000000000001")
    assert words(waiting) == ["received", "matched"]
    assert "it waits for the next look" in told(waiting)
    assert waiting.kind == "event"
    story.rest()
    assert f"{FIRST} serves" in ends(why(story.services, "creation-of-0x8D0000000000001"))


def test_a_file_whose_window_is_open_says_so(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.look()
    told_end = ends(why(story.services, "flights/incoming/january.csv"))
    assert "with 1 file: it is closed by its quiet period at 2026-03-01 12:00:30 UTC if nothing more changes" in told_end
    assert "and at 2026-03-01 13:00:00 UTC at the latest" in told_end


def test_a_file_whose_event_was_lost_is_told_to_have_been_found_by_the_inventory(story: Story) -> None:
    story.upload("incoming/january.csv", announce=False)
    before = why(story.services, "flights/incoming/january.csv")
    assert "is in the container and no event has told of it: the next inventory" in ends(before)
    story.sweep()
    story.rest()
    trail = why(story.services, "flights/incoming/january.csv")
    assert "the inventory found" in told(trail)
    assert f"{FIRST} serves" in ends(trail)


def test_an_empty_file_whose_event_was_lost_is_told_to_have_been_found(story: Story) -> None:
    story.upload("incoming/empty.csv", size=0, announce=False)
    story.sweep()
    story.rest()
    trail = why(story.services, "flights/incoming/empty.csv")
    assert "the inventory found incoming/empty.csv as the container had it" in told(trail)
    assert "is empty (0 bytes)" in ends(trail)


def test_a_deleted_file_says_that_later_versions_do_not_hold_it(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.rest()
    story.delete("incoming/february.csv")
    story.rest()
    trail = why(story.services, "flights/incoming/february.csv")
    assert "incoming/february.csv was deleted" in ends(trail)
    assert "2 files (1 added)" in told(trail)
    assert "1 deleted: incoming/february.csv" in told(why(story.services, f"flights:{newest_version(story)}"))


def test_an_empty_file_says_that_it_is_never_part_of_a_version(story: Story) -> None:
    story.upload("incoming/empty.csv", size=0)
    story.rest()
    for question in ("flights/incoming/empty.csv", "creation-of-0x8D0000000000001"):
        trail = why(story.services, question)
        assert "the event creation-of-0x8D0000000000001 said (eTag 0x8D0000000000001): no window took it in" in told(trail)
        assert "incoming/empty.csv is empty (0 bytes)" in ends(trail)


def test_a_file_that_is_not_there_is_not_made_up(story: Story) -> None:
    trail = why(story.services, "flights/incoming/january.csv")
    assert trail.steps == ()
    assert ends(trail) == "the container flights holds no incoming/january.csv, and no event has ever told of it"


@pytest.mark.parametrize(
    ("what", "rule"),
    [
        ("flights/outgoing/january.csv", "does not start with a prefix that is watched in flights: 'incoming/' (flights)"),
        ("flights/incoming/january.txt", "does not end with one of the suffixes that flights takes: .csv"),
        (f"{ACCOUNT_URL}/elsewhere/january.csv", "no data asset of the configuration watches the container elsewhere"),
        ("https://stranger.blob.core.windows.net/flights/incoming/a.csv", "it lies in another storage account"),
        (f"{ACCOUNT_URL}/tidegate-ledger/models/x.json", "one of Tidegate's own containers"),
    ],
)
def test_a_file_that_is_not_watched_says_by_which_rule(story: Story, what: str, rule: str) -> None:
    trail = why(story.services, what)
    assert trail.kind == "blob"
    assert rule in ends(trail)


@pytest.mark.parametrize(
    "url",
    [
        "https://account.blob.core.windows.net/flights/incoming/j%C3%A4nner%201.csv",
        "https://account.dfs.core.windows.net/flights/incoming/jänner 1.csv?sv=2024&sig=secret",
        "flights/incoming/jänner 1.csv",
    ],
)
def test_a_file_is_known_by_every_spelling_of_its_address_and_no_signature_is_shown(story: Story, url: str) -> None:
    story.upload("incoming/jänner 1.csv")
    story.rest()
    trail = why(story.services, url)
    assert f"{FIRST} serves" in ends(trail)
    assert "secret" not in json.dumps(to_document(trail))


def test_a_dead_letter_tells_that_its_file_was_taken_in_meanwhile(story: Story) -> None:
    blob = story.upload("incoming/january.csv", announce=False)
    story.sweep()
    story.rest()
    number = inbox.put(
        story.services,
        kind="dead letter",
        identity="letter",
        source="letter",
        payload=blob_created(blob),
        error="MaxDeliveryAttemptsExceeded",
        permanent=False,
    )
    trail = trail_of_item(story.services, inbox.find(story.ledger, number))
    assert f"{FIRST} serves" in ends(trail)
    by_blob = why(story.services, blob.url)
    assert f"it lies in the inbox as {number}, since MaxDeliveryAttemptsExceeded: replay or discard it" in ends(by_blob)


def test_a_data_asset_tells_of_its_open_window_and_of_what_waits(story: Story) -> None:
    first_model_serves(story)
    story.upload("incoming/february.csv")
    assert "flights: 1 event not looked at yet" in ends(why(story.services, "flights"))
    story.look()
    trail = why(story.services, "flights")
    assert "is open since 2026-03-01 12:25:30 UTC, with 1 file: it is closed by its quiet period" in ends(trail)


def test_a_marker_says_which_window_it_closed_and_other_folders_wait(story: Story) -> None:
    story = Story(CONFIG.replace("{quiet_period: 30s}", "{quiet_period: null, max_wait: 2h, marker: _SUCCESS}"))
    for path in ("incoming/a/1.csv", "incoming/a/2.csv", "incoming/b/1.csv", "incoming/a/_SUCCESS"):
        story.upload(path, size=0 if path.endswith("_SUCCESS") else 100)
    story.until(lambda: bool(story.workspace.submitted))
    assert "closed by its marker; it had taken in 2 new, 1 marker" in told(why(story.services, "flights/incoming/a/1.csv"))
    assert "is a marker file: it closes its folder's window" in ends(why(story.services, "flights/incoming/a/_SUCCESS"))
    waiting = ends(why(story.services, "flights/incoming/b/1.csv"))
    assert "it is closed by its max wait at 2026-03-01 14:00:00 UTC; sooner, the marker incoming/b/_SUCCESS does" in waiting


def test_a_window_that_left_no_file_says_so(story: Story) -> None:
    first_model_serves(story)
    story.delete("incoming/january.csv")
    story.rest()
    assert "made no version: there is no file that is not empty" in ends(why(story.services, "flights/incoming/january.csv"))


def test_an_event_that_came_when_all_was_over_is_found_by_its_id(story: Story) -> None:
    story.upload("incoming/empty.csv", size=0)
    story.rest()
    receive_blob_event(story.services, blob_created(story.containers.content["flights", "incoming/empty.csv"], event_id="late"))
    story.rest()
    assert "late" in told(why(story.services, "late"))
