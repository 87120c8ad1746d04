"""Pages of the store: complete and stable whatever is written meanwhile, filtered as one would filter by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.azureml.queries import Query
from local.azureml.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def put(store: Store, version: str, **properties: Any) -> None:
    store.put("data", "raw", version, {"properties": properties})


def pages(store: Store, query: Query, size: int) -> list[list[str]]:
    """The versions on every page, to the end."""
    found, after = list[list[str]](), None
    while True:
        page = store.page(query, size, after)
        found.append([record.version for record in page.records])
        if (after := page.next) is None:
            return found


@settings(max_examples=60, deadline=None)
@given(
    archived=st.lists(st.booleans(), max_size=12),
    changed=st.lists(st.integers(0, 11), max_size=6),
    size=st.integers(1, 5),
    view=st.sampled_from([None, False, True]),
    order=st.sampled_from(["created", "updated"]),
    newest_first=st.booleans(),
)
def test_pages_together_are_what_there_is_in_order_and_each_but_the_last_is_full(
    archived: list[bool], changed: list[int], size: int, view: bool | None, order: Any, newest_first: bool
) -> None:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store.sqlite")
        for number, is_archived in enumerate(archived):
            put(store, str(number), isArchived=is_archived)
        for number in changed:
            if number < len(archived):
                put(store, str(number), isArchived=archived[number], changed=True)
        wanted = [record for record in store.records("data") if view in (None, archived[int(record.version)])]
        if order == "updated":
            wanted.sort(key=lambda record: record.updated)
        if newest_first:
            wanted.reverse()
        found = pages(store, Query("data", "raw", archived=view, order=order, newest_first=newest_first), size)
        store.close()
    assert [version for page in found for version in page] == [record.version for record in wanted]
    assert all(len(page) == size for page in found[:-1])
    assert found[-1] or len(found) == 1


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["add", "delete"]), st.integers(0, 9)), max_size=12),
    size=st.integers(1, 4),
    newest_first=st.booleans(),
)
def test_what_stays_is_seen_once_by_a_walk_during_which_others_come_and_go(
    steps: list[tuple[str, int]], size: int, newest_first: bool
) -> None:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store.sqlite")
        for number in range(10):
            put(store, str(number))
        deleted, seen, after = set[str](), list[str](), None
        query, waiting = Query("data", "raw", newest_first=newest_first), iter(steps)
        while True:
            page = store.page(query, size, after)
            seen += [record.version for record in page.records]
            if (after := page.next) is None:
                break
            what, number = next(waiting, ("nothing", 0))
            if what == "add":
                put(store, f"new-{number}")
            if what == "delete":
                store.delete("data", "raw", str(number))
                deleted.add(str(number))
        store.close()
    assert len(seen) == len(set(seen))
    assert {str(number) for number in range(10)} - deleted <= set(seen)


def test_tags_are_asked_for_by_name_and_by_value(store: Store) -> None:
    put(store, "1", tags={"stage": "live", "a'b": '"c"'})
    put(store, "2", tags={"stage": "old"})
    put(store, "3", tags=None)
    assert pages(store, Query("data", "raw", tags=(("stage", None),)), 9) == [["2", "1"]]
    assert pages(store, Query("data", "raw", tags=(("stage", "live"), ("a'b", '"c"'))), 9) == [["1"]]
    assert pages(store, Query("data", "raw", tags=(("live", None),)), 9) == [[]]


def test_a_jobs_marks_are_those_of_its_run_and_its_fields_are_its_own(store: Store) -> None:
    for name, hidden, kind in (("a", False, "Pipeline"), ("b", True, "Pipeline"), ("c", False, "Command")):
        store.put("jobs", name, "", {"properties": {"jobType": kind, "isArchived": not hidden}})
        store.put("runs", name, "", {"hidden": hidden, "tags": {"team": name}})
    store.put("jobs", "without-a-run", "", {"properties": {"jobType": "Pipeline"}})

    def names(**conditions: Any) -> list[str]:
        return [record.name for record in store.page(Query("jobs", marked_in="runs", **conditions), 9).records]

    assert names() == ["c", "b", "a"]
    assert names(archived=False) == ["c", "a"]
    assert names(archived=True) == ["b"]
    assert names(archived=False, fields=(("properties.jobType", "Pipeline"),)) == ["a"]
    assert names(tags=(("team", "c"),)) == ["c"]


def test_the_newest_active_version_and_the_highest_number_are_told_without_reading_all(store: Store) -> None:
    for version in ("9", "10", "v11", "007", "1234567890123456789012"):
        put(store, version)
    put(store, "8", isArchived=True)
    newest = store.newest(Query("data", "raw", archived=False))
    assert newest is not None
    assert newest.version == "1234567890123456789012"
    assert store.highest("data", "raw") == 10
    assert (store.count("data", "raw"), store.count("data"), store.count("data", "other")) == (6, 6, 0)
    assert store.newest(Query("data", "other")) is None
    assert store.highest("data", "other") == 0


@pytest.mark.parametrize("token", ["x", "%%%", "bm90aGluZw==", "_w==", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"])
def test_a_token_that_nobody_issued_is_refused(store: Store, token: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what base64, utf-8 and int raise alike
        store.page(Query("data", "raw"), 1, token)


def test_a_file_of_an_earlier_release_is_opened_with_everything_in_it(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    with sqlite3.connect(file) as old:
        old.execute(
            "CREATE TABLE documents (kind TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, body BLOB NOT NULL, "
            "created TEXT NOT NULL, updated TEXT NOT NULL, etag TEXT NOT NULL, "
            "sequence INTEGER PRIMARY KEY AUTOINCREMENT, UNIQUE (kind, name, version))"
        )
        for version, archived in (("1", b"true"), ("2", b"false")):
            body = b'{"properties":{"isArchived":' + archived + b"}}"
            old.execute(
                "INSERT INTO documents (kind, name, version, body, created, updated, etag) VALUES (?, ?, ?, ?, ?, ?, ?)",
                ("data", "raw", version, body, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "e"),
            )
    old.close()
    for _ in range(2):  # the second time it is a file of this release
        store = Store(file)
        assert pages(store, Query("data", "raw", archived=True), 9) == [["1"]]
        assert store.highest("data", "raw") == 2
        assert store.get("data", "raw", "2") == {"properties": {"isArchived": False}}
        put(store, "2", isArchived=False)
        store.close()
