"""What Event Grid could not deliver arrives in the inbox, and feeds nothing by that. Faked: the ports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from local.eventgrid.dead_letters import annotated
from local.eventgrid.schema import CLOUD_EVENTS, EVENT_GRID
from local.eventgrid.store import Delivery
from ml_core import dead_letters, inbox, operations
from ml_core.errors import ConfigError, PermanentError, TemporaryError
from tests.fakes import FakeLedger, Flaky
from tests.faults import Died, Fault, Faults
from tests.inboxes import only_item
from tests.story import (
    CONFIG,
    STORAGE_ACCOUNT_ID,
    Story,
    blob_created,
    blob_deleted,
)


@pytest.fixture
def story() -> Story:
    return Story()


def letter(event: str, **told: Any) -> dict[str, Any]:
    """An event as Event Grid dead-letters it."""
    notes = {"deadLetterReason": "MaxDeliveryAttemptsExceeded", "deliveryAttempts": 30, "lastDeliveryOutcome": "NotFound"}
    return {**json.loads(event), **notes, **told}


def test_each_event_of_a_letter_becomes_an_item_and_the_letter_goes(story: Story) -> None:
    blobs = [story.containers.upload("flights", f"incoming/{month}.csv") for month in ("january", "february")]
    story.dead_letters.content["UPLOADS/1.json"] = json.dumps([letter(blob_created(blob)) for blob in blobs])
    cloud = json.loads(blob_deleted(blobs[0])) | {"deadletterreason": "TimeToLiveExceeded", "deliveryattempts": 1}
    story.dead_letters.content["UPLOADS/2.json"] = json.dumps(cloud | {"lastdeliveryoutcome": "Busy"})
    dead_letters.collect(story.services)
    assert not story.dead_letters.content
    items = list(inbox.items(story.ledger))
    assert {(item.kind, item.source, item.status, item.attempts, item.permanent, item.error) for item in items} == {
        ("dead letter", "UPLOADS/1.json", "open", 30, False, told_of(30, "MaxDeliveryAttemptsExceeded", "NotFound")),
        ("dead letter", "UPLOADS/2.json", "open", 1, False, told_of(1, "TimeToLiveExceeded", "Busy")),
    }
    assert len(items) == 3
    for item in items:
        operations.replay(story.services, item.id, "anna")
    story.until(story.settled(1))


@pytest.mark.parametrize("schema", [EVENT_GRID, CLOUD_EVENTS])
def test_the_letters_of_the_emulator_are_understood_in_both_schemas(story: Story, schema: str) -> None:
    event = json.loads(blob_created(story.containers.upload("flights", "incoming/january.csv"))) | {"topic": STORAGE_ACCOUNT_ID}
    given_up = Delivery(
        id=1,
        topic="storage",
        subscription="uploads",
        schema=EVENT_GRID,
        payload=json.dumps(event | {"dataVersion": "", "metadataVersion": "1"}).encode(),
        published_at=0.0,
        attempts=3,
        outcome="Unauthorized",
        attempted_at=1.0,
        reason="TimeToLiveExceeded",
        given_up_at=2.0,
    )
    story.dead_letters.content["UPLOADS/1.json"] = json.dumps([annotated(given_up, schema)])
    dead_letters.collect(story.services)
    item = only_item(story)
    assert (item.error, item.attempts, item.permanent) == (told_of(3, "TimeToLiveExceeded", "Unauthorized"), 3, False)
    operations.replay(story.services, item.id, "anna")
    story.until(story.settled(1))


def told_of(attempts: int, reason: str, outcome: str) -> str:
    times = "once" if attempts == 1 else f"{attempts} times"
    return f"Event Grid tried to deliver it {times} and gave up: {reason}, at last {outcome}."


@pytest.mark.parametrize(
    "text", ["", "not JSON", "[]", "[1]", '"text"', '{"id": 1}', "\ufffd", '[{"deliveryAttempts": "many"}]', "[" * 100_000]
)
def test_a_letter_that_nobody_can_read_is_kept_as_it_is(story: Story, text: str) -> None:
    story.dead_letters.content["odd"] = text
    dead_letters.collect(story.services)
    item = only_item(story)
    assert (item.source, item.permanent, item.attempts) == ("odd", True, 1)
    assert item.payload in (text, text[1:-1])
    assert "It cannot be read: " in item.error
    assert not story.dead_letters.content


@pytest.mark.parametrize("container", ["tidegate-ledger", "tidegate-dead-letters"])
@pytest.mark.parametrize("change", [{}, {"api": "CreateFile"}, {"contentLength": "odd"}])
def test_letters_about_our_own_notes_leave_nothing_so_that_they_cannot_feed_themselves(
    story: Story, container: str, change: dict[str, Any]
) -> None:
    event = json.loads(blob_created(story.containers.upload(container, "UPLOADS/1.json")))
    event["data"] |= change
    upper = {key.upper(): value for key, value in event.items()}
    upper["DATA"] = {key.upper(): value for key, value in event["data"].items()}
    story.dead_letters.content["own"] = json.dumps([letter(json.dumps(event)), letter(json.dumps(upper))])
    dead_letters.collect(story.services)
    assert not story.ledger.entries
    assert not story.dead_letters.content


@pytest.mark.parametrize("writes_until", range(6))
def test_letters_whose_collection_died_are_collected_once(story: Story, writes_until: int) -> None:
    blobs = [story.containers.upload("flights", f"incoming/{month}.csv") for month in ("january", "february")]
    text = json.dumps([letter(blob_created(blob)) for blob in blobs])
    story.dead_letters.content |= {"one": text, "two": text}
    faults = Faults(lambda _: None)
    faults.arm(Fault.DIES_BEFORE, "", writes_until)
    with pytest.raises(Died):
        dead_letters.collect(faults.beneath(story.services))
    dead_letters.collect(story.services)
    assert not story.dead_letters.content
    assert [item.attempts for item in inbox.items(story.ledger)] == [30] * 4


def test_a_letter_that_could_not_be_taken_away_does_not_open_what_was_done_about_it(story: Story) -> None:
    text = json.dumps(letter(blob_created(story.containers.upload("flights", "incoming/january.csv"))))
    story.dead_letters.content["one"] = text
    stuck = replace(story.services, dead_letters=Flaky(story.dead_letters, {"remove": 1}))
    with pytest.raises(TemporaryError):
        dead_letters.collect(stuck)
    operations.replay(story.services, only_item(story).id, "anna")
    dead_letters.collect(story.services)
    assert (only_item(story).status, only_item(story).attempts) == ("replayed", 30)
    assert not story.dead_letters.content


@pytest.mark.parametrize("error", [PermanentError("it is too large"), TypeError("it is too large")])
def test_a_letter_that_cannot_be_kept_holds_up_no_other(story: Story, error: Exception) -> None:
    for name in ("1", "2", "3"):
        story.dead_letters.content[name] = "not JSON"
    with pytest.raises(PermanentError, match="could not be kept in the inbox, and stay: 1: it is too large"):
        dead_letters.collect(replace(story.services, ledger=_RefusesTheFirst(story.ledger, error)))
    assert list(story.dead_letters.content) == ["1"]
    assert sorted(item.source for item in inbox.items(story.ledger)) == ["2", "3"]


class _RefusesTheFirst:
    """A ledger that takes nothing of the first letter."""

    def __init__(self, ledger: FakeLedger, error: Exception) -> None:
        self._ledger, self._error = ledger, error

    def put(self, key: str, value: Mapping[str, Any], *, etag: str | None) -> str:
        if value.get("source") == "1":
            raise self._error
        return self._ledger.put(key, value, etag=etag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


@pytest.mark.parametrize("container", ["tidegate-ledger", "tidegate-dead-letters"])
def test_a_container_of_our_own_cannot_be_watched(container: str) -> None:
    with pytest.raises(ConfigError, match=rf"data_assets.flights.container: '{container}' holds Tidegate's own notes"):
        Story(CONFIG.replace("container: flights", f"container: {container}"))
