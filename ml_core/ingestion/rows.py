"""What the catalogue knows of one blob, and what a receipt or a listing makes of it. Pure: no clock, no network.

Order: of two receipts with sequencers the greater is the later. Without them a receipt counts only when it is clearly newer,
for a listing tells whole seconds. What is in doubt is left as it is, and an inventory is asked for: it sees what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from ml_core.events import NOT_TOLD
from ml_core.ingestion.arrivals import Receipt
from ml_core.ports import Blob

Outcome = Literal["new", "replaced", "deleted", "repeated", "overtaken", "empty", "marker"]

_CLEARLY_NEWER = timedelta(seconds=1)
# Older than that by its own time, a receipt is late beyond doubt, also where clocks differ by some minutes.
_CLEARLY_OLDER = timedelta(minutes=5)
_LONGEST_HISTORY = 10


@dataclass(frozen=True, slots=True)
class Earlier:
    """An arrival that a later one has followed. A deletion has no eTag ('')."""

    etag: str
    event_id: str
    received_at: datetime
    window: str


@dataclass(frozen=True, slots=True)
class Row:
    """A blob as it was told last. `size` in bytes; `url` in its one spelling.

    `modified_at` is the event's time, until an inventory sees the blob itself. A row of an inventory has no sequencer and no
    event id (''). `window` is the one that took the change in, '' for what changes no version. `before` are the earlier
    arrivals, oldest first, at most 10.
    """

    path: str
    url: str
    etag: str
    size: int
    modified_at: datetime
    sequencer: str
    event_id: str
    received_at: datetime
    source: Literal["event", "inventory"]
    window: str = ""
    deleted_at: datetime | None = None
    marker: bool = False
    before: tuple[Earlier, ...] = ()

    @property
    def there(self) -> bool:
        """Whether the blob exists, as far as it was told."""
        return self.deleted_at is None

    @property
    def counts(self) -> bool:
        """Whether a version may hold it."""
        return self.there and self.size > 0 and not self.marker

    def tells_of(self, event_id: str) -> bool:
        """Whether the event is among the arrivals that have made the row."""
        return event_id == self.event_id or any(one.event_id == event_id for one in self.before)


@dataclass(frozen=True)
class Folded:
    """A row after a receipt.

    `changes`: what a version holds may be different now, so a window takes the change in. `noted_in`: the window in which the
    receipt is noted when it changes nothing. `doubtful`: only an inventory can tell.
    """

    row: Row | None
    outcome: Outcome
    changes: bool = False
    noted_in: str = ""
    doubtful: bool = False


def fold(row: Row | None, receipt: Receipt, url: str, *, marker: bool) -> Folded:
    """What the receipt makes of the row of its path."""
    if row is not None and (first := _worked_off(row, receipt, marker)):
        return first
    return _deleted(row, receipt, url, marker) if receipt.what == "deleted" else _created(row, receipt, url, marker)


def found(row: Row | None, blob: Blob, url: str, now: datetime, *, marker: bool) -> Row:
    """The row of a blob that a listing shows. The same row, but for its time, when it was known."""
    if row is not None and row.there and (row.etag, row.size, row.marker) == (blob.etag, blob.size, marker):
        return row if row.modified_at == blob.modified_at else replace(row, modified_at=blob.modified_at)
    return Row(
        blob.path, url, blob.etag, blob.size, blob.modified_at, "", "", now, "inventory", marker=marker, before=_history(row)
    )


def gone(row: Row, now: datetime) -> Row:
    """The row of a blob that a listing does not show."""
    before = _history(row)
    return replace(row, sequencer="", event_id="", received_at=now, source="inventory", window="", deleted_at=now, before=before)


def outcome_of(row: Row) -> Outcome:
    """What the arrival that made the row what it is was."""
    return _outcome(row.before, there=row.there, marker=row.marker, size=row.size)


def to_json(row: Row) -> dict[str, Any]:
    # By hand: pydantic would take a multiple of the time, and a container may have a million rows.
    return {
        "path": row.path,
        "url": row.url,
        "etag": row.etag,
        "size": row.size,
        "modified_at": row.modified_at.isoformat(),
        "sequencer": row.sequencer,
        "event_id": row.event_id,
        "received_at": row.received_at.isoformat(),
        "source": row.source,
        "window": row.window,
        "deleted_at": row.deleted_at.isoformat() if row.deleted_at else None,
        "marker": row.marker,
        "before": [
            {"etag": one.etag, "event_id": one.event_id, "received_at": one.received_at.isoformat(), "window": one.window}
            for one in row.before
        ],
    }


def from_json(document: Mapping[str, Any]) -> Row:
    deleted_at = document["deleted_at"]
    before = (Earlier(**{**one, "received_at": datetime.fromisoformat(one["received_at"])}) for one in document["before"])
    return Row(
        **{
            **document,
            "modified_at": datetime.fromisoformat(document["modified_at"]),
            "received_at": datetime.fromisoformat(document["received_at"]),
            "deleted_at": datetime.fromisoformat(deleted_at) if deleted_at else None,
            "before": tuple(before),
        }
    )


def _created(row: Row | None, receipt: Receipt, url: str, marker: bool) -> Folded:
    if row is not None:
        if row.there and row.etag == receipt.etag:
            # Found by an inventory before its event came: from now on it can be compared.
            known = replace(row, sequencer=row.sequencer or receipt.sequencer, event_id=row.event_id or receipt.event_id)
            return Folded(known, "repeated", noted_in=row.window)
        earlier = next((one for one in row.before if one.etag == receipt.etag), None)
        newer = _newer(row, receipt)
        if not newer:
            told: Outcome = "repeated" if earlier else "overtaken"
            return Folded(row, told, noted_in=earlier.window if earlier else row.window, doubtful=newer is None)
    after = Row(
        receipt.path,
        url,
        receipt.etag,
        receipt.size,
        receipt.occurred_at,
        receipt.sequencer,
        receipt.event_id,
        receipt.received_at,
        "event",
        marker=marker,
        before=_history(row),
    )
    counted = row is not None and row.counts
    return Folded(after, outcome_of(after), changes=counted or after.counts or marker)


def _deleted(row: Row | None, receipt: Receipt, url: str, marker: bool) -> Folded:
    if row is None:
        # It came before its creation, which will be older than this.
        after = Row(
            receipt.path, url, "", 0, receipt.occurred_at, receipt.sequencer, receipt.event_id, receipt.received_at, "event",
            deleted_at=receipt.occurred_at, marker=marker,
        )  # fmt: skip
        return Folded(after, "deleted")
    newer = _newer(row, receipt)
    if not row.there and (newer is None or row.sequencer == receipt.sequencer):
        return Folded(row, "repeated", noted_in=row.window)
    if not newer:
        return Folded(row, "overtaken", noted_in=row.window, doubtful=newer is None)
    after = replace(
        row,
        sequencer=receipt.sequencer,
        event_id=receipt.event_id,
        received_at=receipt.received_at,
        source="event",
        deleted_at=receipt.occurred_at,
        before=_history(row),
    )
    return Folded(after, "deleted", changes=row.counts)


def _worked_off(row: Row, receipt: Receipt, marker: bool) -> Folded | None:
    """What was made of this very receipt, should it have been folded already: its bundle outlives a crash."""
    chain = [*row.before, _as_earlier(row)]
    for number, one in enumerate(chain):
        if (one.event_id, one.received_at, one.etag) == (receipt.event_id, receipt.received_at, receipt.etag):
            outcome = _outcome(chain[:number], there=receipt.what == "created", marker=marker, size=receipt.size)
            return Folded(row, outcome, noted_in=one.window)
    return None


def _outcome(before: Sequence[Earlier], *, there: bool, marker: bool, size: int) -> Outcome:
    """What an arrival was taken for that made a blob what it is; `before` are the ones that it followed."""
    if not there:
        return "deleted"
    if marker or size == 0:
        return "marker" if marker else "empty"
    return "replaced" if before and before[-1].etag else "new"


def _newer(row: Row, receipt: Receipt) -> bool | None:
    """Whether the receipt is later than what the row knows; None: it cannot be told."""
    if row.sequencer and receipt.sequencer and row.sequencer != receipt.sequencer:
        return receipt.sequencer > row.sequencer
    known_at = row.deleted_at or row.modified_at
    if receipt.occurred_at >= known_at + _CLEARLY_NEWER:
        return True
    late = NOT_TOLD < receipt.occurred_at <= known_at - _CLEARLY_OLDER
    return False if late else None


def _history(row: Row | None) -> tuple[Earlier, ...]:
    return () if row is None else (*row.before, _as_earlier(row))[-_LONGEST_HISTORY:]


def _as_earlier(row: Row) -> Earlier:
    return Earlier(row.etag if row.there else "", row.event_id, row.received_at, row.window)
