"""A key's decisions as they were taken, one after the other (`reconciling` says how they are kept)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain

from ml_core.documents import time_name
from ml_core.ports import Entry, Ledger


def decisions(ledger: Ledger, kind: str, key: str, since: datetime, until: datetime) -> Iterator[Entry]:
    """The decisions about a key that were taken, from `since` on, oldest first; `until` is now, or whatever nobody asks beyond.

    Names sort by time, so the ones before are never read, and those of the months before are not even listed. One whose tick
    lost the race is kept too, but nobody follows it: a decision is told once the next one names it, or the key's own document.
    """
    folder = f"decisions/{kind}/{key}/"
    document = ledger.get(f"{kind}/{key}.json")
    head = document.value.get("decision") if document else None
    earliest = f"{folder}{time_name(since)}"
    waiting: list[Entry] = []
    # By months, each asked for once it is needed: whoever asks about yesterday lists nothing of the years before.
    names = chain.from_iterable(ledger.keys(f"{folder}{month}") for month in months(since, until))
    for name in names:
        if name < earliest or (entry := ledger.get(name)) is None:
            continue
        for earlier in waiting:
            if earlier.key == entry.value["follows"]:
                yield earlier
                waiting = []
                break
        waiting.append(entry)
    yield from (entry for entry in waiting if entry.key == head)


def back_from(ledger: Ledger, name: str | None) -> Iterator[Entry]:
    """The decision of this name, the one that it follows, and so on: newest first."""
    while name and (entry := ledger.get(name)):
        yield entry
        name = entry.value.get("follows")


def months(since: datetime, until: datetime) -> Iterator[str]:
    """The months of a span as names of documents begin with them (202601), oldest first."""
    first, last = (moment.year * 12 + moment.month - 1 for moment in (since, until))
    for month in range(first, last + 1):
        yield f"{month // 12:04d}{month % 12 + 1:02d}"
