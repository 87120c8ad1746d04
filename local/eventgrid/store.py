"""What Event Grid must not forget, in one sqlite file: topics, subscriptions, deliveries that are not done, counts.

Used from the event loop's thread only. Every method is one transaction, so a kill leaves either all of it or nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from local.eventgrid.schema import Event
from local.eventgrid.subscription import Subscription, Topic, parse_subscription

DELIVER, DEAD_LETTER = "deliver", "dead-letter"

_TABLES = """
CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions (
  topic TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL, state TEXT NOT NULL, code TEXT NOT NULL,
  PRIMARY KEY (topic, name));
CREATE TABLE IF NOT EXISTS deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, subscription TEXT NOT NULL, schema TEXT NOT NULL,
  event BLOB NOT NULL,
  published_at REAL NOT NULL, due_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, phase TEXT NOT NULL DEFAULT 'deliver',
  leased INTEGER NOT NULL DEFAULT 0, outcome TEXT NOT NULL DEFAULT '', attempted_at REAL NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT '', given_up_at REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (leased, topic, subscription, phase, due_at);
CREATE TABLE IF NOT EXISTS counts (
  topic TEXT NOT NULL, subscription TEXT NOT NULL, metric TEXT NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (topic, subscription, metric));
"""
_COLUMNS = "id, topic, subscription, schema, event, published_at, attempts, outcome, attempted_at, reason, given_up_at"


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one subscription; times are epoch seconds of the emulator's clock."""

    id: int
    topic: str
    subscription: str
    schema: str
    payload: bytes
    published_at: float
    attempts: int
    outcome: str
    attempted_at: float
    reason: str
    given_up_at: float

    @property
    def event(self) -> Event:
        return Event(self.schema, orjson.loads(self.payload))


@dataclass(frozen=True)
class Waiting:
    """The earliest time at which something is due for a subscription in a phase."""

    topic: str
    subscription: str
    phase: str
    due_at: float


class Store:
    """See the module. Open it once per state folder."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False)
        path.chmod(0o600)  # topic keys and webhook URLs with function keys are in it
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # survives kill -9; only a power cut can lose the last moment
        self._db.executescript(_TABLES)
        with self._db:  # what was being sent when the last process died is sent again: at least once
            self._db.execute("UPDATE deliveries SET leased = 0 WHERE leased = 1")

    def close(self) -> None:
        self._db.close()

    # topics and subscriptions

    def put_topic(self, topic: Topic) -> None:
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO topics VALUES (?, ?)", (topic.name, orjson.dumps(asdict(topic))))

    def topic(self, name: str) -> Topic | None:
        row = self._db.execute("SELECT body FROM topics WHERE name = ?", (name,)).fetchone()
        return None if row is None else Topic(**orjson.loads(row[0]))

    def topics(self) -> list[Topic]:
        return [Topic(**orjson.loads(body)) for (body,) in self._db.execute("SELECT body FROM topics ORDER BY name")]

    def delete_topic(self, name: str) -> None:
        with self._db:
            self._db.execute("DELETE FROM topics WHERE name = ?", (name,))
            for table in ("subscriptions", "deliveries", "counts"):
                self._db.execute(f"DELETE FROM {table} WHERE topic = ?", (name,))  # noqa: S608 - a constant

    def put_subscription(self, subscription: Subscription) -> None:
        row = (
            subscription.topic,
            subscription.name,
            orjson.dumps(subscription.document),
            subscription.state,
            subscription.validation_code,
        )
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?, ?)", row)

    def subscriptions(self, topic: Topic) -> list[Subscription]:
        rows = self._db.execute(
            "SELECT name, document, state, code FROM subscriptions WHERE topic = ? ORDER BY name", (topic.name,)
        )
        return [
            parse_subscription(topic, name, orjson.loads(document)).with_state(state, code)
            for name, document, state, code in rows
        ]

    def delete_subscription(self, topic: str, name: str) -> None:
        with self._db:
            self._db.execute("DELETE FROM subscriptions WHERE topic = ? AND name = ?", (topic, name))
            for table in ("deliveries", "counts"):
                self._db.execute(f"DELETE FROM {table} WHERE topic = ? AND subscription = ?", (topic, name))  # noqa: S608 - a constant

    # deliveries

    def publish(self, topic: str, published: int, matched: Sequence[tuple[str, Event, Sequence[float]]], now: float) -> None:
        """Accept events: `matched` holds (subscription, event, due times of its copies). Once this returns, nothing is lost

        but an event without copies, which is counted as that.
        """
        with self._db:
            self._count(topic, "", "published", published)
            for subscription, event, due_times in matched:
                self._count(topic, subscription, "matched", 1)
                if not due_times:
                    self._count(topic, subscription, "lost", 1)
                payload = orjson.dumps(event.body)
                self._db.executemany(
                    "INSERT INTO deliveries (topic, subscription, schema, event, published_at, due_at) VALUES (?, ?, ?, ?, ?, ?)",
                    [(topic, subscription, event.schema, payload, now, due_at) for due_at in due_times],
                )

    def waiting(self) -> list[Waiting]:
        query = (
            "SELECT topic, subscription, phase, MIN(due_at) FROM deliveries WHERE leased = 0 GROUP BY topic, subscription, phase"
        )
        return [Waiting(*row) for row in self._db.execute(query)]

    def claim(self, waiting: Waiting, now: float, most: int, most_bytes: int) -> list[Delivery]:
        """Lease due deliveries for one request: at most `most`, together at most `most_bytes` (but always one)."""
        query = (
            f"SELECT {_COLUMNS} FROM deliveries WHERE leased = 0 AND topic = ? AND subscription = ? AND phase = ? "  # noqa: S608
            "AND due_at <= ? ORDER BY due_at, id LIMIT ?"
        )
        rows = self._db.execute(query, (waiting.topic, waiting.subscription, waiting.phase, now, most)).fetchall()
        taken: list[Delivery] = []
        size = 0
        for delivery in (Delivery(*row) for row in rows):
            size += len(delivery.payload)
            # One request tells one delivery count, so only events of the same count share it.
            if taken and (size > most_bytes or delivery.attempts != taken[0].attempts):
                break
            taken.append(delivery)
        with self._db:
            self._db.executemany("UPDATE deliveries SET leased = 1 WHERE id = ?", [(delivery.id,) for delivery in taken])
        return taken

    def done(self, deliveries: Sequence[Delivery], metric: str) -> None:
        """Forget deliveries that came to their end, counted as `metric`."""
        with self._db:
            for delivery in deliveries:
                # A subscription that was deleted meanwhile took its deliveries along: nothing is counted for it.
                if self._db.execute("DELETE FROM deliveries WHERE id = ?", (delivery.id,)).rowcount:
                    self._count(delivery.topic, delivery.subscription, metric, 1)

    def failed(self, delivery: Delivery, outcome: str, attempted_at: float, due_at: float) -> None:
        """An attempt failed and another one follows at `due_at`."""
        with self._db:
            self._db.execute(
                "UPDATE deliveries SET leased = 0, attempts = ?, outcome = ?, attempted_at = ?, due_at = ? WHERE id = ?",
                (delivery.attempts + 1, outcome, attempted_at, due_at, delivery.id),
            )
            self._count(delivery.topic, delivery.subscription, "failed", 1)

    def given_up(self, delivery: Delivery, reason: str, now: float, due_at: float) -> None:
        """No more attempts: the dead-letter blob is due at `due_at`."""
        with self._db:
            self._db.execute(
                "UPDATE deliveries SET leased = 0, phase = ?, reason = ?, given_up_at = ?, due_at = ? WHERE id = ?",
                (DEAD_LETTER, reason, now, due_at, delivery.id),
            )

    def postpone(self, deliveries: Iterable[Delivery], due_at: float) -> None:
        """Give back leased deliveries without counting an attempt."""
        with self._db:
            self._db.executemany(
                "UPDATE deliveries SET leased = 0, due_at = ? WHERE id = ?", [(due_at, delivery.id) for delivery in deliveries]
            )

    # counts

    def counts(self, topic: str, subscription: str) -> dict[str, int]:
        """Totals since the subscription was made; `published` is the topic's."""
        query = "SELECT metric, n FROM counts WHERE topic = ? AND (subscription = ? OR subscription = '')"
        found: dict[str, int] = dict(self._db.execute(query, (topic, subscription)).fetchall())
        return found

    def pending(self, topic: str | None = None, subscription: str | None = None) -> int:
        query = "SELECT COUNT(*) FROM deliveries WHERE (?1 IS NULL OR topic = ?1) AND (?2 IS NULL OR subscription = ?2)"
        return int(self._db.execute(query, (topic, subscription)).fetchone()[0])

    def _count(self, topic: str, subscription: str, metric: str, n: int) -> None:
        self._db.execute(
            "INSERT INTO counts VALUES (?, ?, ?, ?) ON CONFLICT (topic, subscription, metric) DO UPDATE SET n = n + excluded.n",
            (topic, subscription, metric, n),
        )
