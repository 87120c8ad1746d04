"""What waits for a person: how it comes into the inbox, what can be done about it, and who has done what. Faked: the ports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from local.eventgrid.dead_letters import annotated
from local.eventgrid.schema import CLOUD_EVENTS, EVENT_GRID
from local.eventgrid.store import Delivery
from ml_core import audit, dead_letters, inbox, operations
from ml_core.errors import ConfigError, Conflict, PermanentError, TemporaryError
from ml_core.inbox import Item
from ml_core.ingestion import record
from ml_core.ports import Entry
from ml_core.training.request import unanswered
from tests.fakes import FakeLedger, Flaky
from tests.faults import Died, Fault, Faults
from tests.story import (
    CONFIG,
    ENDPOINT,
    STORAGE_ACCOUNT_ID,
    Story,
    blob_created,
    blob_deleted,
    first_model_serves,
    model_registered,
)


@pytest.fixture
def story() -> Story:
    return Story()


def put(story: Story, identity: str = "one", **changes: Any) -> str:
    item: dict[str, Any] = {"kind": "event", "source": "a test", "payload": "{}", "error": "it is broken", "permanent": True}
    return inbox.put(story.services, identity=identity, **{**item, **changes})


def only_item(story: Story) -> Item:
    (item,) = inbox.items(story.ledger)
    return item


def notes(story: Story) -> list[tuple[str, str, str, str]]:
    return [
        (note["by"], note["what"], note["subject"], note["reason"])
        for note in (entry.value for entry in audit.entries(story.ledger))
    ]


def refusing(error: str = "The cluster is missing (status 400).") -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermanentError(error)

    return refuse


# ---- items ------------------------------------------------------------------------------------------------------------


def test_the_same_failure_is_one_item_that_counts_its_attempts(story: Story) -> None:
    first = put(story)
    story.clock.advance(timedelta(hours=1))
    assert put(story, attempts=2, error="it is still broken") == first
    item = only_item(story)
    assert (item.id, item.status, item.attempts, item.error) == (first, "open", 3, "it is still broken")
    assert (item.first_at, item.last_at) == ("2026-03-01T12:00:00+00:00", "2026-03-01T13:00:00+00:00")
    assert [(line.what, line.reason) for line in item.history] == [
        ("arrived", "it is broken"),
        ("failed again", "it is still broken"),
    ]
    assert put(story, "another") != first


def test_the_same_text_of_another_kind_is_another_item(story: Story) -> None:
    assert put(story, kind="event") != put(story, kind="work")


@pytest.mark.parametrize("close", ["discard", "replay", "success"])
def test_what_was_closed_and_fails_again_is_open_again(story: Story, close: str) -> None:
    number = put(story)
    if close == "discard":
        inbox.discard(story.services, number, "anna", "a test")
    elif close == "replay":
        inbox.replayed(story.services, only_item(story), "anna", "corrected")
    else:
        inbox.succeeded(story.services, "event", "one", "it worked")
    assert only_item(story).status in ("discarded", "replayed", "succeeded")
    put(story)
    assert (only_item(story).status, only_item(story).attempts) == ("open", 2)
    assert len(only_item(story).history) == 3


def test_an_item_is_found_by_the_beginning_of_its_id(story: Story) -> None:
    numbers = {put(story, str(identity)) for identity in range(40)}
    for number in numbers:
        assert inbox.find(story.ledger, number).id == number
        assert inbox.find(story.ledger, number[:11]).id == number
    with pytest.raises(PermanentError, match="more than one"):
        # Forty ids over sixteen first digits.
        inbox.find(story.ledger, next(digit for digit in "0123456789abcdef" if sum(n.startswith(digit) for n in numbers) > 1))


@pytest.mark.parametrize("wanted", ["", "zzz", "../models", "inbox/", "ABCDEF", "0123456789abc", "*", "0\n"])
def test_what_is_no_id_is_told_as_that(story: Story, wanted: str) -> None:
    put(story)
    with pytest.raises(PermanentError, match="`inbox list` shows"):
        inbox.find(story.ledger, wanted)


def test_an_item_is_discarded_with_a_name_and_a_reason_and_stays_to_be_seen(story: Story) -> None:
    number = put(story)
    for by, reason in (("anna", ""), ("anna", "  "), ("", "a test"), (" ", "a test")):
        with pytest.raises(PermanentError, match=r"reason|name"):
            inbox.discard(story.services, number, by, reason)
    assert only_item(story).status == "open"
    assert not notes(story)
    done = inbox.discard(story.services, number[:6], "anna", "an event of a test")
    assert done == only_item(story)
    assert (done.status, done.history[-1].by, done.history[-1].reason) == ("discarded", "anna", "an event of a test")
    assert notes(story) == [("anna", "discard", f"inbox/{number}", "an event of a test")]
    with pytest.raises(PermanentError, match="discarded already"):
        inbox.discard(story.services, number, "anna", "once more")
    assert [item.id for item in inbox.items(story.ledger, "discarded")] == [number]
    assert not list(inbox.items(story.ledger, "open"))


class Crowded(FakeLedger):
    """Somebody else writes the same document first, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def put(self, key: str, value: Mapping[str, Any], *, etag: str | None) -> str:
        if self.times:
            self.times -= 1
            found = self.entries.get(key)
            attempts = found.value["attempts"] + 1 if found else 1
            self.overwrite(key, {**value, "attempts": attempts})
        return super().put(key, value, etag=etag)


def test_asking_for_what_is_open_reads_nothing_of_what_is_closed(story: Story) -> None:
    for number in range(30):
        inbox.discard(story.services, put(story, identity=f"closed {number}"), "anna", "not needed")
    waiting = put(story)
    read: list[str] = []

    class Counting(FakeLedger):
        def get(self, key: str) -> Entry | None:
            read.append(key)
            return super().get(key)

        def list(self, prefix: str) -> Iterator[Entry]:
            raise AssertionError(f"all of {prefix} was read")

    ledger = Counting()
    ledger.entries = story.ledger.entries
    assert [item.id for item in inbox.items(ledger, "open")] == [waiting]
    assert read == [f"inbox/{waiting}.json"]
    assert len(list(inbox.items(story.ledger))) == 31


def test_who_closes_an_item_late_does_not_hide_that_it_has_failed_again(story: Story) -> None:
    """The closing stands still before its last write, while what failed fails once more."""
    number = put(story)

    class Stalled(FakeLedger):
        def delete(self, key: str) -> None:
            put(story, error="it is broken again")
            super().delete(key)

    stalled = Stalled()
    stalled.entries = story.ledger.entries
    inbox.discard(replace(story.services, ledger=stalled), number, "anna", "not needed")
    (item,) = inbox.items(story.ledger, "open")
    assert (item.id, item.error, item.opened) == (number, "it is broken again", 2)


@pytest.mark.parametrize("write", range(5))
@pytest.mark.parametrize("fault", [Fault.DIES_BEFORE, Fault.DIES_AFTER])
def test_wherever_opening_and_closing_die_what_is_open_is_found(story: Story, write: int, fault: Fault) -> None:
    faults = Faults(lambda _: None)
    services = faults.beneath(story.services)
    faults.arm(fault, "ledger", write)
    with suppress(Died):
        for error in ("it is broken", "and again", "and again and again"):
            inbox.put(services, kind="work", identity="one", source="a test", payload="{}", error=error, permanent=True)
            inbox.succeeded(services, "work", "one", "it was done after all")
    number = inbox.item_id("work", "one")
    kept = story.ledger.get(f"inbox/{number}.json")
    still_open = kept is not None and kept.value["status"] == "open"
    assert [item.id for item in inbox.items(story.ledger, "open")] == [number] * still_open
    put(story, kind="work", error="once more")
    assert [item.id for item in inbox.items(story.ledger, "open")] == [number]
    inbox.succeeded(story.services, "work", "one", "at last")
    assert not list(inbox.items(story.ledger, "open"))
    assert not list(story.ledger.keys("inbox-open/")), "and nothing is left behind"


def test_two_who_write_an_item_at_the_same_time_both_count(story: Story) -> None:
    services = replace(story.services, ledger=Crowded(2))
    inbox.put(services, kind="event", identity="one", source="", payload="", error="broken", permanent=True)
    (item,) = inbox.items(services.ledger)
    assert item.attempts == 3


def test_an_item_that_others_write_all_the_time_is_left_to_the_next_try(story: Story) -> None:
    services = replace(story.services, ledger=Crowded(99))
    with pytest.raises(Conflict, match="changed by others"):
        inbox.put(services, kind="event", identity="one", source="", payload="", error="broken", permanent=True)


def test_an_item_that_comes_and_goes_for_ever_does_not_grow_for_ever(story: Story) -> None:
    for number in range(60):
        put(story, error=f"{number} " + "x" * 10_000)
        inbox.succeeded(story.services, "event", "one", "it worked")
    assert len(json.dumps(story.ledger.entries[f"inbox/{only_item(story).id}.json"].value)) < 200_000
    assert (only_item(story).attempts, len(only_item(story).history)) == (60, 50)


def test_what_succeeds_without_having_failed_leaves_nothing(story: Story) -> None:
    inbox.succeeded(story.services, "work", "models/flight-delay", "it worked")
    assert not story.ledger.entries


def test_notes_of_the_same_moment_are_all_kept_in_their_order(story: Story) -> None:
    for number in range(12):
        audit.record(story.services, by="anna", what="replay", subject=f"inbox/{number}", detail={"number": number})
    assert {entry.value["detail"]["number"] for entry in audit.entries(story.ledger)} == set(range(12))
    assert all(entry.key.startswith("audit/20260301T120000.000000Z-") for entry in audit.entries(story.ledger))


# ---- work that Azure refuses ------------------------------------------------------------------------------------------


def break_and_mend(story: Story, call: str) -> Any:
    """Have the workspace refuse a call; the result mends it."""
    setattr(story.workspace, call, refusing())
    return lambda: delattr(story.workspace, call)


REFUSALS = [
    ("register_data_version", "data-assets/flights"),
    ("submit_training", "models/flight-delay"),
    ("create_deployment", f"rollouts/{ENDPOINT}"),
]


@pytest.mark.parametrize(("call", "key"), REFUSALS)
def test_a_refused_step_waits_in_the_inbox_and_a_replay_has_it_tried_at_once(story: Story, call: str, key: str) -> None:
    mend = break_and_mend(story, call)
    story.upload("incoming/january.csv")
    story.rest()
    item = only_item(story)
    assert (item.kind, item.key, item.permanent, item.status) == ("work", key, True, "open")
    assert item.error == "The cluster is missing (status 400)."
    mend()
    done = operations.replay(story.services, item.id[:5], "anna", "the cluster is there now")
    assert (done.status, done.history[-1].by, done.history[-1].reason) == ("replayed", "anna", "the cluster is there now")
    before = story.clock()
    story.until(lambda: story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"})
    assert story.clock() - before < timedelta(hours=1)
    assert only_item(story) == done
    assert notes(story) == [("anna", "replay", f"inbox/{item.id}", "the cluster is there now")]


@pytest.mark.parametrize(("call", "key"), REFUSALS)
def test_a_replay_before_anything_is_corrected_opens_the_item_again(story: Story, call: str, key: str) -> None:
    break_and_mend(story, call)
    story.upload("incoming/january.csv")
    story.rest()
    operations.replay(story.services, only_item(story).id, "anna")
    assert only_item(story).status == "replayed"
    story.rest()
    assert (only_item(story).status, only_item(story).attempts, only_item(story).key) == ("open", 2, key)


@pytest.mark.parametrize(("call", "key"), REFUSALS[:2])
def test_a_refused_step_that_is_corrected_closes_its_item_without_anybody(story: Story, call: str, key: str) -> None:
    mend = break_and_mend(story, call)
    story.upload("incoming/january.csv")
    story.rest()
    mend()
    story.clock.advance(timedelta(hours=2))
    story.sweep()
    story.until(story.settled(1))
    assert (only_item(story).key, only_item(story).status) == (key, "succeeded")
    assert not notes(story)


@pytest.mark.parametrize(("call", "key"), REFUSALS[:2])
def test_an_item_whose_end_died_before_it_was_written_is_closed_by_the_sweep(story: Story, call: str, key: str) -> None:
    mend = break_and_mend(story, call)
    story.upload("incoming/january.csv")
    story.rest()
    number = only_item(story).id
    mend()
    story.clock.advance(timedelta(hours=2))
    story.sweep()
    assert only_item(story).status == "open"
    open_item = story.ledger.get(f"inbox/{number}.json")
    story.until(story.settled(1))
    assert open_item is not None
    # As if the process had died just before the item was closed.
    story.ledger.overwrite(f"inbox/{number}.json", open_item.value)
    story.clock.advance(timedelta(minutes=10))
    story.sweep()
    assert only_item(story).status == "succeeded"
    assert only_item(story).history[-1].reason == f"a later look at {key} succeeded"


def test_a_rollout_that_was_refused_is_over_once_a_newer_version_serves(story: Story) -> None:
    mend = break_and_mend(story, "create_deployment")
    story.upload("incoming/january.csv")
    story.rest()
    assert only_item(story).status == "open"
    mend()
    story.upload("incoming/february.csv")
    story.until(story.settled(2))
    assert only_item(story).status == "succeeded"


def test_what_cannot_be_looked_at_waits_in_the_inbox_until_it_can(story: Story) -> None:
    first_model_serves(story)
    blobs = story.containers.blobs
    object.__setattr__(story.containers, "blobs", refusing("The container's name is not one (status 400)."))
    for attempt in range(1, 4):
        story.clock.advance(timedelta(hours=2))
        story.sweep()
        story.rest()
        assert (only_item(story).attempts >= attempt, only_item(story).status) == (True, "open")
    assert (only_item(story).key, only_item(story).permanent) == ("data-assets/flights", True)
    object.__setattr__(story.containers, "blobs", blobs)
    story.clock.advance(timedelta(hours=2))
    story.sweep()
    story.rest()
    assert only_item(story).status == "succeeded"


def test_work_that_left_the_configuration_cannot_be_done_again(story: Story) -> None:
    put(story, kind="work", key="models/long-gone")
    with pytest.raises(PermanentError, match=r"models/long-gone is not in the configuration. Discard it"):
        operations.replay(story.services, only_item(story).id, "anna")
    assert only_item(story).status == "open"
    assert not story.queue.messages


def test_a_message_that_nobody_of_us_wrote_cannot_be_done_again(story: Story) -> None:
    operations.keep_poison_message(story.services, "models", "hello")
    with pytest.raises(PermanentError, match=r"names nothing that Tidegate works on. Discard it"):
        operations.replay(story.services, only_item(story).id, "anna")


def test_a_replay_needs_a_name(story: Story) -> None:
    put(story, kind="work", key="models/flight-delay")
    with pytest.raises(PermanentError, match="say who it is"):
        operations.replay(story.services, only_item(story).id, " ")
    assert not story.queue.messages


# ---- events -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", ["{", '{"eventType": "Microsoft.Storage.BlobCreated", "id": "1"}'])
def test_an_event_that_cannot_be_read_can_only_be_discarded(story: Story, raw: str) -> None:
    record.receive(story.services, raw)
    with pytest.raises(PermanentError, match=r"cannot be taken in: .* Discard it with a reason"):
        operations.replay(story.services, only_item(story).id, "anna")
    assert (only_item(story).status, only_item(story).attempts) == ("open", 1)
    assert notes(story) == [("anna", "replay", f"inbox/{only_item(story).id}", "")]


def test_an_event_of_an_account_that_is_configured_only_later_is_replayed_then(story: Story) -> None:
    blob = story.containers.upload("flights", "incoming/january.csv")
    elsewhere = replace(story.services, data_account_url="https://elsewhere.blob.core.windows.net")
    record.receive(elsewhere, blob_created(blob))
    assert "another storage account" in only_item(story).error
    with pytest.raises(PermanentError, match="another storage account"):
        operations.replay(elsewhere, only_item(story).id, "anna")
    operations.replay(story.services, only_item(story).id, "anna", "the account's name was mistyped")
    assert only_item(story).status == "replayed"
    story.until(story.settled(1))


@pytest.mark.parametrize(
    ("raw", "trace"),
    [
        ("blob", "arrivals/flights/"),
        ("deletion", "arrivals/flights/"),
        ("model", f"rollout-requests/{ENDPOINT}/7.json"),
        ("foreign", "events/"),
    ],
)
def test_an_event_is_replayed_the_way_that_it_would_have_come(story: Story, raw: str, trace: str) -> None:
    blob = story.containers.upload("flights", "incoming/january.csv")
    texts = {
        "blob": blob_created(blob),
        "deletion": blob_deleted(blob),
        "model": model_registered("flight-delay", "7"),
        "foreign": '{"id": "x", "eventType": "Somebody.Else", "data": {}}',
    }
    put(story, kind="dead letter", payload=texts[raw])
    for _ in range(2):
        assert operations.replay(story.services, only_item(story).id, "anna").status == "replayed"
    assert len(list(story.ledger.keys(trace))) == 1


def test_an_event_that_was_delivered_and_dead_lettered_is_replayed_without_harm(story: Story) -> None:
    first_model_serves(story)
    (blob,) = story.containers.content.values()
    put(story, kind="dead letter", payload=blob_created(blob))
    operations.replay(story.services, only_item(story).id, "anna")
    story.rest()
    assert len(story.workspace.data) == len(story.workspace.submitted) == 1
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"}


def test_an_event_whose_replay_finds_the_ledger_away_stays_open(story: Story) -> None:
    blob = story.containers.upload("flights", "incoming/january.csv")
    put(story, kind="dead letter", payload=blob_created(blob))
    queue_away = replace(story.services, queue=Flaky(story.queue, {"enqueue": 1}))
    with pytest.raises(TemporaryError):
        operations.replay(queue_away, only_item(story).id, "anna")
    assert only_item(story).status == "open"


def test_a_training_is_asked_for_again_by_name_and_with_a_reason(story: Story) -> None:
    first_model_serves(story)
    assert operations.retrain(story.services, "flight-delay", "the base image was patched", "anna") == 1
    (cause,) = unanswered(story.services, "flight-delay")
    assert (cause.cause, cause.reason, cause.by) == ("rerun-1", "the base image was patched", "anna")
    assert notes(story) == [("anna", "retrain", "models/flight-delay", "the base image was patched")]
    story.until(lambda: len(story.workspace.submitted) == 2)


def test_a_window_is_replayed_by_name_and_nothing_is_done_twice(story: Story) -> None:
    first_model_serves(story)
    since, until = story.clock() - timedelta(days=1), story.clock()
    assert operations.replay_window(story.services, "flights", since, until, "anna", "the network was down") == 1
    story.until(lambda: not list(story.ledger.keys("arrivals/flights/")))
    story.rest()
    assert len(story.workspace.data) == len(story.workspace.submitted) == 1
    assert notes(story) == [("anna", "replay window", "data-assets/flights", "the network was down")]
    for asset, name in (("unknown", "anna"), ("flights", "")):
        with pytest.raises(PermanentError, match=r"no data asset 'unknown'|say who it is"):
            operations.replay_window(story.services, asset, since, until, name)


# ---- dead letters -----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("calls", range(4))
def test_letters_whose_collection_died_are_collected_once(story: Story, calls: int) -> None:
    blobs = [story.containers.upload("flights", f"incoming/{month}.csv") for month in ("january", "february")]
    text = json.dumps([letter(blob_created(blob)) for blob in blobs])
    story.dead_letters.content |= {"one": text, "two": text}
    with pytest.raises(TemporaryError):
        dead_letters.collect(replace(story.services, ledger=_FailsAfter(story.ledger, calls)))
    dead_letters.collect(story.services)
    assert not story.dead_letters.content
    assert [item.attempts for item in inbox.items(story.ledger)] == [30] * 4


class _FailsAfter:
    """A ledger whose first writes succeed."""

    def __init__(self, ledger: FakeLedger, writes: int) -> None:
        self._ledger, self._writes = ledger, writes

    def put(self, key: str, value: Mapping[str, Any], *, etag: str | None) -> str:
        if not self._writes:
            raise TemporaryError("the ledger is away")
        self._writes -= 1
        return self._ledger.put(key, value, etag=etag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


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


def test_a_letter_that_cannot_be_kept_holds_up_no_other(story: Story) -> None:
    for name in ("1", "2", "3"):
        story.dead_letters.content[name] = "not JSON"
    with pytest.raises(PermanentError, match="could not be kept in the inbox, and stay: 1: it is too large"):
        dead_letters.collect(replace(story.services, ledger=_RefusesTheFirst(story.ledger)))
    assert list(story.dead_letters.content) == ["1"]
    assert sorted(item.source for item in inbox.items(story.ledger)) == ["2", "3"]


class _RefusesTheFirst(_FailsAfter):
    def __init__(self, ledger: FakeLedger) -> None:
        super().__init__(ledger, 0)

    def put(self, key: str, value: Mapping[str, Any], *, etag: str | None) -> str:
        if value["source"] == "1":
            raise PermanentError("it is too large")
        return self._ledger.put(key, value, etag=etag)


@pytest.mark.parametrize("container", ["tidegate-ledger", "tidegate-dead-letters"])
def test_a_container_of_our_own_cannot_be_watched(container: str) -> None:
    with pytest.raises(ConfigError, match=rf"data_assets.flights.container: '{container}' holds Tidegate's own notes"):
        Story(CONFIG.replace("container: flights", f"container: {container}"))
