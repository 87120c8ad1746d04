"""The documents of windows: what each has collected, by bundle, and what closed it. For people, for lineage and for a replay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from ml_core.documents import time_name
from ml_core.ingestion.arrivals import Receipt
from ml_core.ingestion.catalogue import ClosedWindow, LastClosing
from ml_core.ingestion.rows import Outcome, Row, outcome_of
from ml_core.ingestion.windows import OpenWindow
from ml_core.ports import Entry, Ledger

INVENTORY = "inventory"
"""The name under which a window notes what no event has told."""

# The first inventory of a large container finds it whole. Each file's row names its window, so nothing is lost by not listing it.
_MOST_OF_AN_INVENTORY = 1000


class WindowNotes:
    """What a look has to note in windows, gathered so that each document is written once."""

    def __init__(self) -> None:
        self._notes: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))

    def add(self, window: str, bundle: str, receipt: Receipt, outcome: Outcome) -> None:
        """Note a receipt under its bundle's name. '' is no window: what changes nothing and belongs nowhere is not noted."""
        if window:
            self._notes[window][bundle].append(
                {
                    "event_id": receipt.event_id,
                    "what": receipt.what,
                    "path": receipt.path,
                    "etag": receipt.etag,
                    "size": receipt.size,
                    "sequencer": receipt.sequencer,
                    "outcome": outcome,
                    "occurred_at": receipt.occurred_at.isoformat(),
                    "received_at": receipt.received_at.isoformat(),
                }
            )

    def write(self, ledger: Ledger, asset: str, windows: Iterable[OpenWindow]) -> None:
        """Write them, what is noted already left as it is. Conflict: another look writes there too."""
        known = {window.id: window for window in windows}
        for id_, bundles in self._notes.items():
            entry = _document(ledger, asset, id_)
            if entry is None and id_ not in known:
                continue  # somebody has deleted the document of a window that is closed
            document = entry.value if entry else _opened(asset, known[id_].folder, known[id_].opened_at, id_)
            noted = {name: _with(document["receipts"].get(name, []), notes) for name, notes in bundles.items()}
            if any(noted[name] != document["receipts"].get(name) for name in noted):
                document["receipts"] |= noted
                ledger.put(_key(asset, id_), document, etag=entry.etag if entry else None)


def note_findings(ledger: Ledger, asset: str, window: OpenWindow, rows: Sequence[Row], *, all_of_them: bool) -> None:
    """Note what inventories have found for a window; `all_of_them`: not only the last one. Written again it says the same."""
    entry = _document(ledger, asset, window.id)
    document = entry.value if entry else _opened(asset, window.folder, window.opened_at, window.id)
    before = [] if all_of_them else document["receipts"].get(INVENTORY, [])
    by_path = {note["path"]: note for note in (*before, *map(_finding, rows))}
    listed = [by_path[path] for path in sorted(by_path)][:_MOST_OF_AN_INVENTORY]
    note = {"receipts": {**document["receipts"], INVENTORY: listed}, "not_listed": len(by_path) - len(listed)}
    if listed and {**document, **note} != document:
        ledger.put(_key(asset, window.id), {**document, **note}, etag=entry.etag if entry else None)


def note_closing(ledger: Ledger, asset: str, last: LastClosing, closed: ClosedWindow) -> None:
    """Note in a window's document what closed it. Written again it says the same."""
    entry = _document(ledger, asset, closed.id)
    document = entry.value if entry else _opened(asset, closed.folder, closed.opened_at, closed.id)
    at = last.at.isoformat() if last.at else ""
    note = {"by": closed.by, "due_at": closed.due_at.isoformat(), "at": at, "version": last.version, "reason": last.reason}
    if document["closed"] != note:
        ledger.put(_key(asset, closed.id), {**document, "closed": note}, etag=entry.etag if entry else None)


def noted_between(ledger: Ledger, asset: str, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
    """The documents of the windows that were open at some time of the span, oldest first."""
    # Names begin with the asset and the time of opening, and are listed in order.
    last = f"{_key(asset, asset)[: -len('.json')]}-{time_name(until)[:15]}Z-g"
    for key in ledger.keys(f"windows/{asset}/"):
        if key > last:
            return
        entry = ledger.get(key)
        closed = entry.value["closed"] if entry else None
        if entry and (closed is None or datetime.fromisoformat(closed["at"]) >= since):
            yield entry.value


def _with(noted: list[dict[str, Any]], notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is noted of a bundle, and what is not yet. Other events that tell the same again make a bundle of the same name."""
    known = {(note["event_id"], note["path"]) for note in noted}
    return [*noted, *(note for note in notes if (note["event_id"], note["path"]) not in known)]


def _finding(row: Row) -> dict[str, Any]:
    return {
        "event_id": "",
        "what": "created" if row.there else "deleted",
        "path": row.path,
        "etag": row.etag if row.there else "",
        "size": row.size,
        "sequencer": "",
        "outcome": outcome_of(row),
        "occurred_at": (row.deleted_at or row.modified_at).isoformat(),
        "received_at": row.received_at.isoformat(),
    }


def _opened(asset: str, folder: str, opened_at: datetime, id_: str) -> dict[str, Any]:
    return {
        "id": id_,
        "data_asset": asset,
        "folder": folder,
        "opened_at": opened_at.isoformat(),
        "receipts": {},
        "closed": None,
    }


def _document(ledger: Ledger, asset: str, id_: str) -> Entry | None:
    return ledger.get(_key(asset, id_))


def _key(asset: str, id_: str) -> str:
    return f"windows/{asset}/{id_}.json"
