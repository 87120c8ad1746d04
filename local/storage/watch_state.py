"""What the watcher remembers, in one sqlite file: the blobs it has seen, the events it still has to publish, the sequencer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TABLES = """
CREATE TABLE IF NOT EXISTS blobs (
  container TEXT NOT NULL, name TEXT NOT NULL, etag TEXT NOT NULL, created TEXT NOT NULL, md5 TEXT NOT NULL,
  size INTEGER NOT NULL, described TEXT NOT NULL,
  content_type TEXT NOT NULL, blob_type TEXT NOT NULL, PRIMARY KEY (container, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class SeenBlob:
    """A blob as it was when it was last seen."""

    etag: str
    created: str
    md5: str
    size: int
    described: str
    content_type: str
    blob_type: str


class WatchState:
    """Changes and their events are written in one transaction: an event is neither forgotten nor made twice."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)
        self.seen: dict[str, dict[str, SeenBlob]] = {}
        for container, name, *rest in self._db.execute(
            "SELECT container, name, etag, created, md5, size, described, content_type, blob_type FROM blobs"
        ):
            self.seen.setdefault(container, {})[name] = SeenBlob(*rest)

    def close(self) -> None:
        self._db.close()

    @property
    def is_first_start(self) -> bool:
        """True until a first poll has been recorded."""
        return self._fact("started") == 0

    def record(
        self,
        container: str,
        present: dict[str, SeenBlob],
        gone: Iterable[str],
        make_events: Iterable[Callable[[int], dict[str, Any]]],
    ) -> None:
        """Remember `present` and forget `gone` blobs of a container; queue one event for each maker, given its number."""
        gone = list(gone)
        with self._db:
            self._db.executemany("DELETE FROM blobs WHERE container = ? AND name = ?", [(container, name) for name in gone])
            rows = [
                (container, name, blob.etag, blob.created, blob.md5, blob.size, blob.described, blob.content_type, blob.blob_type)
                for name, blob in present.items()
            ]
            self._db.executemany("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            number = self._fact("sequencer")
            for make in make_events:
                number += 1
                self._db.execute("INSERT INTO outbox VALUES (?, ?)", (number, json.dumps(make(number))))
            self._set_fact("sequencer", number)
        seen = self.seen.setdefault(container, {})
        seen.update(present)
        for name in gone:
            del seen[name]

    def forget_container(self, container: str) -> None:
        with self._db:
            self._db.execute("DELETE FROM blobs WHERE container = ?", (container,))
        self.seen.pop(container, None)

    def started(self) -> None:
        """From now on, what is new is news."""
        with self._db:
            self._set_fact("started", 1)

    def outbox(self, most: int) -> list[tuple[int, dict[str, Any]]]:
        """The oldest events that are not published yet, with their numbers."""
        rows = self._db.execute("SELECT number, event FROM outbox ORDER BY number LIMIT ?", (most,))
        return [(number, json.loads(event)) for number, event in rows]

    def published(self, up_to: int) -> None:
        with self._db:
            self._db.execute("DELETE FROM outbox WHERE number <= ?", (up_to,))

    def _fact(self, name: str) -> int:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def _set_fact(self, name: str, value: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
