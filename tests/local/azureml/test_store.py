"""The store alone: no server, no storage."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local.azureml.store import Body, MissingDocumentError, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def test_what_was_put_is_got_and_nothing_else(store: Store) -> None:
    store.put("jobs", "a", "", {"x": [1, {"y": None}]})
    assert store.get("jobs", "a") == {"x": [1, {"y": None}]}
    assert store.get("jobs", "a", "1") is None
    assert store.get("runs", "a") is None


def test_names_differ_by_case(store: Store) -> None:
    store.put("data", "Raw", "1", {})
    assert store.get("data", "raw", "1") is None


def test_a_body_that_is_changed_afterwards_changes_nothing(store: Store) -> None:
    body: Body = {"tags": {}}
    store.put("jobs", "a", "", body)
    body["tags"]["x"] = "1"
    got = store.get("jobs", "a")
    assert got == {"tags": {}}


def test_a_replaced_document_keeps_its_creation_time_and_gets_a_new_etag(store: Store) -> None:
    store.put("jobs", "a", "", {"n": 1})
    before = store.record("jobs", "a")
    store.put("jobs", "a", "", {"n": 2})
    after = store.record("jobs", "a")
    assert before is not None
    assert after is not None
    assert after.created == before.created
    assert after.updated >= before.updated
    assert after.etag != before.etag


def test_lists_keep_the_order_of_creation(store: Store) -> None:
    for version in ("10", "9", "v1"):
        store.put("data", "raw", version, {"v": version})
    store.put("data", "other", "1", {"v": "other"})
    store.put("data", "raw", "9", {"v": "again"})
    assert [body["v"] for body in store.list("data", "raw")] == ["10", "again", "v1"]
    assert len(store.list("data")) == 4


def test_updates_of_many_threads_are_all_counted(store: Store) -> None:
    store.put("counters", "a", "", {"n": 0})

    def increment(_: int) -> None:
        store.update("counters", "a", "", lambda body: {"n": body["n"] + 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, range(200)))
    assert store.get("counters", "a") == {"n": 200}


def test_an_update_of_what_is_not_there_says_so(store: Store) -> None:
    with pytest.raises(MissingDocumentError, match="jobs a"):
        store.update("jobs", "a", "", lambda body: body)
    assert store.get("jobs", "a") is None


def test_a_change_that_fails_leaves_everything_as_it_was(store: Store) -> None:
    store.put("jobs", "a", "", {"n": 1})

    def fail(old: Body | None) -> Body:
        store.put("jobs", "b", "", {"n": 2})
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.upsert("jobs", "a", "", fail)
    assert store.get("jobs", "a") == {"n": 1}
    assert store.get("jobs", "b") is None
    store.put("jobs", "a", "", {"n": 3})
    assert store.get("jobs", "a") == {"n": 3}


def test_what_was_deleted_is_gone_once(store: Store) -> None:
    store.put("jobs", "a", "", {})
    assert store.delete("jobs", "a") is True
    assert store.delete("jobs", "a") is False
    assert store.get("jobs", "a") is None


def test_another_process_that_opens_the_file_finds_everything(store: Store, tmp_path: Path) -> None:
    store.put("jobs", "a", "", {"n": 1})
    second = Store(tmp_path / "store.sqlite")
    assert second.get("jobs", "a") == {"n": 1}
    second.close()
