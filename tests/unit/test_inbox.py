"""What waits for a person: its items, who has closed them, and what of that is kept. Faked: the ports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ml_core import audit, inbox, operations
from ml_core.errors import Conflict, PermanentError
from ml_core.ingestion import record
from ml_core.ports import Entry
from tests.fakes import FakeLedger
from tests.faults import Died, Fault, Faults
from tests.inboxes import notes, only_item, put
from tests.story import ACCOUNT_URL, Story, blob_created


@pytest.fixture
def story() -> Story:
    return Story()


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


def test_what_is_longer_than_any_event_is_cut_and_cannot_be_replayed(story: Story) -> None:
    record.receive(story.services, "[" + "1, " * 1_000_000 + "1]")
    item = only_item(story)
    assert item.payload.endswith("more characters, which are not kept")
    assert len(item.payload) < 1_300_000
    with pytest.raises(PermanentError, match="not JSON"):
        operations.replay(story.services, item.id, "anna")


@pytest.mark.parametrize(
    "address",
    [
        "https://other.blob.core.windows.net/c/a.csv?sv=2024&sig=SECRET%2Bof%3D&se=2030",
        "https://other.blob.core.windows.net/c/a.csv?SIG=SECRET",
        "https://proxy/?to=https%3A%2F%2Fother%2Fa.csv%3Fsv%3D2024%26sig%3DSECRET",
        "https://other.blob.core.windows.net/c/a.csv?sv=2024\\u0026sig=SECRET",
    ],
)
def test_no_shared_access_signature_is_kept(story: Story, address: str) -> None:
    raw = blob_created(story.containers.upload("flights", "incoming/a.csv")).replace(
        f"{ACCOUNT_URL}/flights/incoming/a.csv", address
    )
    assert "SECRET" in raw
    record.receive(story.services, raw)
    assert "SECRET" not in "".join(str(entry.value) for entry in story.ledger.entries.values())
    assert "/a.csv" in only_item(story).payload.replace("%2F", "/")
    with pytest.raises(PermanentError, match="cannot be taken in"):
        operations.replay(story.services, only_item(story).id, "anna")


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
