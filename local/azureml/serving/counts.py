"""Counts of scored requests: written by the router, read by the metrics API. One small SQLite file, so that they survive both."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FINE_SECONDS = 3600
"""How long counts keep one-second buckets; older ones are folded into minutes, the grain that Azure Monitor has."""
KEPT_SECONDS = 24 * 3600
"""How long counts are kept at all."""
_PER_OCTAVE = 16
"""Latency buckets per doubling: each is 4.4 % wide, so a percentile read from them is off by at most 2.2 %."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counts (
  at INTEGER, endpoint TEXT, deployment TEXT, status INTEGER, model_status INTEGER, latency INTEGER, requests INTEGER,
  PRIMARY KEY (endpoint, at, deployment, status, model_status, latency)) WITHOUT ROWID
"""
_ADD = """
INSERT INTO counts (at, endpoint, deployment, status, model_status, latency, requests) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests
"""
_FOLD = """
INSERT INTO counts (at, endpoint, deployment, status, model_status, latency, requests)
SELECT at - at % 60, endpoint, deployment, status, model_status, latency, SUM(requests) FROM counts
WHERE at < :limit AND at % 60 != 0 GROUP BY 1, 2, 3, 4, 5, 6
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests
"""


@dataclass(frozen=True)
class Count:
    """`requests` that a deployment answered within the second (or folded minute) `at`, alike in status and latency bucket."""

    at: int
    deployment: str
    status: int
    model_status: int
    latency: int
    requests: int


def latency_bucket(seconds: float) -> int:
    """The logarithmic bucket of a duration (seconds); everything below 0.1 ms shares the lowest."""
    return round(math.log2(max(seconds, 1e-4) * 1000) * _PER_OCTAVE)


def bucket_milliseconds(bucket: int) -> float:
    """The duration (ms) in the middle of a bucket."""
    return float(2 ** (bucket / _PER_OCTAVE))


class CountLog:
    """Adds in memory; `flush()` writes. Used by one thread. A router that is killed loses what it has not flushed yet."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(_SCHEMA)
        self._pending: dict[tuple[int, str, str, int, int, int], int] = {}
        self._folded_at = 0.0

    def add(
        self, endpoint: str, deployment: str, status: int, model_status: int, seconds: float, *, at: float | None = None
    ) -> None:
        """One answered request; `model_status` is what the scoring process said, 0 when it said nothing. `at`: None is now."""
        key = (int(time.time() if at is None else at), endpoint, deployment, status, model_status, latency_bucket(seconds))
        self._pending[key] = self._pending.get(key, 0) + 1

    def flush(self) -> None:
        """Write what was added; now and then fold old seconds into minutes and forget the oldest."""
        pending, self._pending = self._pending, {}
        now = time.time()
        fold = now - self._folded_at > 60
        if not pending and not fold:
            return
        with self._database:
            self._database.executemany(_ADD, [(*key, requests) for key, requests in pending.items()])
            if fold:
                self._fold(int(now))

    def _fold(self, now: int) -> None:
        self._folded_at = float(now)
        limit = {"limit": (now - FINE_SECONDS) // 60 * 60}
        self._database.execute(_FOLD, limit)
        self._database.execute("DELETE FROM counts WHERE at < :limit AND at % 60 != 0", limit)
        self._database.execute("DELETE FROM counts WHERE at < ?", (now - KEPT_SECONDS,))

    def close(self) -> None:
        self.flush()
        self._database.close()


def read_counts(path: Path, endpoint: str, start: float, end: float) -> Iterator[Count]:
    """Counts of an endpoint within [start, end) epoch seconds, oldest first. Nothing when nothing was ever counted."""
    if not path.exists():
        return
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        rows = database.execute(
            "SELECT at, deployment, status, model_status, latency, requests FROM counts"
            " WHERE endpoint = ? AND at >= ? AND at < ? ORDER BY at",
            (endpoint, math.floor(start), math.ceil(end)),
        ).fetchall()
    finally:
        database.close()
    yield from (Count(*row) for row in rows)


def requests_since(path: Path, endpoint: str, start: float) -> dict[str, dict[str, int]]:
    """Requests answered since `start` (epoch seconds): by deployment, then by the first digit of the status."""
    if not path.exists():
        return {}
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        rows = database.execute(
            "SELECT deployment, status / 100, SUM(requests) FROM counts WHERE endpoint = ? AND at >= ? GROUP BY 1, 2",
            (endpoint, math.floor(start)),
        ).fetchall()
    finally:
        database.close()
    found: dict[str, dict[str, int]] = {}
    for deployment, hundreds, requests in rows:
        found.setdefault(deployment, {})[str(hundreds)] = requests
    return found
