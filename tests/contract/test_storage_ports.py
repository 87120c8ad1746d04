"""What the ledger, the work queue and the watched containers promise, on the fake and on the real thing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from ml_core.addresses import blob_address
from ml_core.errors import Conflict
from ml_core.ports import Ledger
from tests.contract.conftest import Letters, Queue, Storage

Name = Callable[[str], str]


def test_a_document_that_was_never_written_is_none(ledger: Ledger) -> None:
    assert ledger.get("models/none.json") is None
    assert list(ledger.list("models/")) == []
    assert list(ledger.keys("models/")) == []


def test_what_was_written_is_read_back_with_the_etag_of_the_write(ledger: Ledger) -> None:
    etag = ledger.put("models/a.json", {"n": 1, "text": "ä", "nested": {"list": [1, None]}}, etag=None)
    entry = ledger.get("models/a.json")
    assert entry is not None
    assert (entry.value, entry.etag) == ({"n": 1, "text": "ä", "nested": {"list": [1, None]}}, etag)


def test_a_document_is_created_once(ledger: Ledger) -> None:
    ledger.put("a.json", {"n": 1}, etag=None)
    with pytest.raises(Conflict):
        ledger.put("a.json", {"n": 2}, etag=None)


def test_a_document_is_replaced_only_by_who_has_read_it_last(ledger: Ledger) -> None:
    first = ledger.put("a.json", {"n": 1}, etag=None)
    second = ledger.put("a.json", {"n": 2}, etag=first)
    with pytest.raises(Conflict):
        ledger.put("a.json", {"n": 3}, etag=first)
    assert ledger.put("a.json", {"n": 3}, etag=second) != second


def test_a_document_that_does_not_exist_cannot_be_replaced(ledger: Ledger) -> None:
    ledger.put("b.json", {}, etag=None)
    with pytest.raises(Conflict):
        ledger.put("a.json", {"n": 1}, etag="0x1")


def test_a_claim_succeeds_once(ledger: Ledger) -> None:
    assert [ledger.claim("claims/a.json", {"by": number}) for number in range(3)] == [True, False, False]
    entry = ledger.get("claims/a.json")
    assert entry is not None
    assert entry.value == {"by": 0}


def test_overwriting_asks_no_questions(ledger: Ledger) -> None:
    for number in range(2):
        ledger.overwrite("a.json", {"n": number})
    entry = ledger.get("a.json")
    assert entry is not None
    assert entry.value == {"n": 1}


def test_a_listing_holds_what_begins_so_in_the_order_of_keys(ledger: Ledger) -> None:
    for key in ("x/b.json", "x/a.json", "y/a.json"):
        ledger.claim(key, {"key": key})
    assert list(ledger.keys("x/")) == ["x/a.json", "x/b.json"]
    assert [(entry.key, entry.value["key"]) for entry in ledger.list("x/")] == [("x/a.json",) * 2, ("x/b.json",) * 2]


def test_a_deleted_document_is_gone_and_deleting_it_again_is_harmless(ledger: Ledger) -> None:
    ledger.claim("x/a.json", {})
    for _ in range(2):
        ledger.delete("x/a.json")
    assert list(ledger.keys("x/")) == []
    assert ledger.claim("x/a.json", {})


def test_a_dead_letter_lies_there_until_it_is_removed(dead_letters: Letters) -> None:
    assert list(dead_letters.port.letters()) == []
    dead_letters.put("UPLOADS/2026/3/1/12/a.json", b'[{"id": "1"}]')
    dead_letters.put("UPLOADS/2026/3/1/12/b.json", b"\xff not text")
    assert [letter.name[-6:] for letter in dead_letters.port.letters()] == ["a.json", "b.json"]
    assert next(letter.text for letter in dead_letters.port.letters()) == '[{"id": "1"}]'
    for _ in range(2):
        dead_letters.port.remove("UPLOADS/2026/3/1/12/a.json")
    assert [letter.name[-6:] for letter in dead_letters.port.letters()] == ["b.json"]


def test_a_message_arrives_as_it_was_sent(work_queue: Queue, name: Name) -> None:
    kind = name("kind")
    work_queue.port.enqueue(kind, '{"key": "flights ä"}')
    assert work_queue.receive(kind) == '{"key": "flights ä"}'


def test_a_delayed_message_is_not_there_yet(work_queue: Queue, name: Name) -> None:
    kind = name("kind")
    work_queue.port.enqueue(kind, "later", delay=timedelta(hours=1))
    assert work_queue.receive(kind) is None
    work_queue.port.enqueue(kind, "now")
    assert work_queue.receive(kind) == "now"


def test_a_container_that_does_not_exist_holds_no_blobs(storage: Storage) -> None:
    assert list(storage.port.blobs("no-such-container", "")) == []


def test_blobs_below_a_prefix_are_listed(storage: Storage) -> None:
    for path in ("incoming/b.csv", "incoming/a b#%.csv", "other/c.csv"):
        storage.upload(path, 5)
    storage.upload("incoming/empty.csv", 0)
    found = list(storage.port.blobs(storage.container, "incoming/"))
    assert sorted((blob.path, blob.size) for blob in found) == [
        ("incoming/a b#%.csv", 5),
        ("incoming/b.csv", 5),
        ("incoming/empty.csv", 0),
    ]
    assert all(blob.modified_at.tzinfo for blob in found)
    assert not any(blob.etag.startswith('"') for blob in found)


@pytest.mark.parametrize("path", ["a b#%.csv", "ä/ö~!.csv", "a+b&c=d'(1);@,$.csv", "in/../x.csv"])
def test_a_listing_spells_addresses_as_events_are_read(storage: Storage, path: str) -> None:
    # Data versions are named by addresses: it must not matter whether a blob was announced or found.
    storage.upload(path, 1)
    (blob,) = storage.port.blobs(storage.container, "")
    assert blob.url == blob_address(blob.url).url
    assert (blob_address(blob.url).container, blob_address(blob.url).path) == (storage.container, blob.path)


def test_a_replaced_blob_has_another_etag_and_a_deleted_one_is_gone(storage: Storage) -> None:
    storage.upload("a.csv", 5)
    (before,) = storage.port.blobs(storage.container, "")
    storage.upload("a.csv", 5)
    (after,) = storage.port.blobs(storage.container, "")
    assert (after.url, after.etag == before.etag) == (before.url, False)
    storage.delete("a.csv")
    assert list(storage.port.blobs(storage.container, "")) == []
