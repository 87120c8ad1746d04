"""The emulator's memory: JSON documents in sqlite. Every write is one transaction; a restart forgets nothing."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from local.azureml.queries import COLUMNS, INDEXES, MARKS, Query

Body = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    kind TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
    body BLOB NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL, etag TEXT NOT NULL,
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    UNIQUE (kind, name, version)
)
"""


class MissingDocumentError(LookupError):
    """`update` of a document that is not there."""


@dataclass(frozen=True)
class Record:
    """A document with what the store knows about it; times are ISO 8601 in UTC."""

    kind: str
    name: str
    version: str
    body: Body
    created: str
    updated: str
    etag: str


@dataclass(frozen=True)
class Page:
    """A part of what a query finds; `next` begins the part after it, None: there is none."""

    records: tuple[Record, ...]
    next: str | None


# Named here because inside the class `list` is the method.
Bodies = list[Body]
Records = list[Record]


class Store:
    """Thread-safe. Bodies are copies: changing one changes nothing until it is put back."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        path.chmod(0o600)  # the keys of endpoints are in it; sqlite gives the files beside it the same mode
        # WAL with NORMAL: a killed process loses nothing, a power cut perhaps the last moments. Enough for a laptop.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._migrate()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def get(self, kind: str, name: str, version: str = "") -> Body | None:
        """The document's body, or None."""
        record = self.record(kind, name, version)
        return record.body if record else None

    def record(self, kind: str, name: str, version: str = "") -> Record | None:
        """The document with its times and etag, or None."""
        with self._lock:
            row = self._db.execute(
                f"SELECT {COLUMNS} FROM documents WHERE kind = ? AND name = ? AND version = ?",  # noqa: S608 - constant columns
                (kind, name, version),
            ).fetchone()
        return _record(kind, row) if row else None

    def put(self, kind: str, name: str, version: str, body: Body) -> Body:
        """Insert or replace; the creation time of an existing document stays."""
        self.upsert(kind, name, version, lambda _: body)
        return body

    def upsert(self, kind: str, name: str, version: str, change: Callable[[Body | None], Body]) -> Record:
        """Atomically write `change(body or None)`; an exception in `change` leaves everything as it was."""
        with self.transaction():
            old = self.record(kind, name, version)
            body = change(old.body if old else None)
            now = timestamp()
            self._db.execute(
                "INSERT INTO documents (kind, name, version, body, created, updated, etag) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (kind, name, version) "
                "DO UPDATE SET body = excluded.body, updated = excluded.updated, etag = excluded.etag",
                (kind, name, version, orjson.dumps(body), now, now, secrets.token_hex(8)),
            )
            written = self.record(kind, name, version)
        if written is None:
            raise MissingDocumentError(f"{kind} {name} {version} vanished inside its own transaction")
        return written

    def update(self, kind: str, name: str, version: str, change: Callable[[Body], Body]) -> Body:
        """Atomic read-modify-write; raises MissingDocumentError when there is nothing to change."""

        def changed(old: Body | None) -> Body:
            if old is None:
                raise MissingDocumentError(f"{kind} {name} {version} does not exist")
            return change(old)

        return self.upsert(kind, name, version, changed).body

    def delete(self, kind: str, name: str, version: str = "") -> bool:
        """True when there was something to delete."""
        with self._lock:
            sql = "DELETE FROM documents WHERE kind = ? AND name = ? AND version = ?"
            return self._db.execute(sql, (kind, name, version)).rowcount > 0

    def delete_all(self, kind: str, name: str) -> int:
        """Delete every version of a name; how many there were."""
        with self._lock:
            return self._db.execute("DELETE FROM documents WHERE kind = ? AND name = ?", (kind, name)).rowcount

    def delete_kinds(self, beginning: str) -> None:
        """Delete the documents of every kind that begins so."""
        with self._lock:
            self._db.execute("DELETE FROM documents WHERE substr(kind, 1, ?) = ?", (len(beginning), beginning))

    def list(self, kind: str, name: str | None = None) -> Bodies:
        """Bodies in order of creation: all of a kind, or all versions of a name."""
        return [record.body for record in self.records(kind, name)]

    def records(self, kind: str, name: str | None = None) -> Records:
        """As `list`, with times and etags."""
        sql = f"SELECT {COLUMNS} FROM documents WHERE kind = ?"  # noqa: S608 - constant columns
        arguments = [kind]
        if name is not None:
            sql, arguments = sql + " AND name = ?", [kind, name]
        with self._lock:
            rows = self._db.execute(sql + " ORDER BY sequence", arguments).fetchall()
        return [_record(kind, row) for row in rows]

    def page(self, query: Query, size: int, after: str | None = None) -> Page:
        """At most `size` documents from behind the page that gave the token `after`; ValueError for a token that is none."""
        found, values = query.sql(after)
        with self._lock:
            sql = f"SELECT sequence, {COLUMNS} FROM documents {found} LIMIT ?"  # noqa: S608 - Query puts values apart
            rows = self._db.execute(sql, [*values, size + 1]).fetchall()
        records = tuple(_record(query.kind, row[1:]) for row in rows[:size])
        last = query.token(rows[size - 1][0], records[-1].updated) if len(rows) > size else None
        return Page(records, last)

    def newest(self, query: Query) -> Record | None:
        """The first document of a query, or None: the newest one, unless the query says otherwise."""
        return next(iter(self.page(query, 1).records), None)

    def highest(self, kind: str, name: str) -> int:
        """The highest of the versions that are plain numbers, archived ones too; 0 when there is none."""
        with self._lock:
            sql = "SELECT COALESCE(MAX(number), 0) FROM documents WHERE kind = ? AND name = ?"
            return int(self._db.execute(sql, (kind, name)).fetchone()[0])

    def count(self, kind: str, name: str | None = None) -> int:
        """How many documents of a kind, or versions of a name, there are."""
        condition, values = ("", (kind,)) if name is None else (" AND name = ?", (kind, name))
        with self._lock:
            sql = f"SELECT COUNT(*) FROM documents WHERE kind = ?{condition}"  # noqa: S608 - constant conditions
            return int(self._db.execute(sql, values).fetchone()[0])

    def _migrate(self) -> None:
        """Make the table, or give what an earlier release left the columns and indexes that it lacks; bodies stay as they are."""
        self._db.execute(_SCHEMA)
        there = {row[1] for row in self._db.execute("PRAGMA table_xinfo(documents)")}
        for column, expression in MARKS.items():
            if column not in there:
                self._db.execute(f"ALTER TABLE documents ADD COLUMN {column} INTEGER AS ({expression}) VIRTUAL")
        for index, columns in INDEXES.items():
            self._db.execute(f"CREATE INDEX IF NOT EXISTS {index} ON documents ({columns})")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything that is written inside is written whole or, after an exception, not at all; inner ones join the outer."""
        with self._lock:
            if self._db.in_transaction:  # an update inside an update joins it
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def timestamp() -> str:
    """The present moment as documents and Azure's answers have it: ISO 8601 in UTC, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _record(kind: str, row: tuple[Any, ...]) -> Record:
    name, version, body, created, updated, etag = row
    return Record(kind, name, version, orjson.loads(body), created, updated, etag)
