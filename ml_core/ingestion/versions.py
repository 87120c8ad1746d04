"""Closes windows: what is there becomes a data version, is announced to those who train on it, and is told in the documents.

The catalogue's index is the one commit. What comes before it (the version in the workspace, its document) is idempotent by name;
what comes after it (the pointer to the newest version, the windows' documents, the waking) is done again until it is done.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_core.errors import PermanentError
from ml_core.ingestion.catalogue import ClosedWindow, Edit, Index, LastClosing, all_rows
from ml_core.ingestion.decide import Close, Draft, Register
from ml_core.ingestion.manifest import version_folder
from ml_core.ingestion.rows import Row, outcome_of
from ml_core.ingestion.window_notes import note_closing, note_findings
from ml_core.ingestion.windows import Closing, OpenWindow
from ml_core.naming import data_version
from ml_core.ports import Blob, Ledger
from ml_core.reconciling import MODELS, wake
from ml_core.services import Services

if TYPE_CHECKING:
    from ml_core.config import DataAsset


@dataclass(frozen=True)
class Content:
    """What a version would hold if `closing` windows were closed, and what these have brought. Blobs by url."""

    closing: tuple[str, ...]
    blobs: tuple[Blob, ...]
    added: int
    replaced: int
    deleted: tuple[str, ...]
    left_out: tuple[str, ...]
    findings: tuple[Row, ...]

    @property
    def version(self) -> str:
        """Its name by its content; '' without a file."""
        return data_version((blob.url, blob.etag, blob.size) for blob in self.blobs) if self.blobs else ""


def content(services: Services, name: str, index: Index, closing: Iterable[str]) -> Content:
    """Read the whole catalogue once. Conflict: another look has changed it meanwhile."""
    closes = tuple(closing)
    closed_now, open_still = set(closes), index.windows.keys() - set(closes)
    held, deleted, left_out, findings = list[Row](), list[str](), list[str](), list[Row]()
    counts = {"new": 0, "replaced": 0}
    for row in all_rows(services.ledger, index):
        if row.counts and row.window not in open_still:
            held.append(row)
        elif row.there and row.size == 0 and not row.marker:
            left_out.append(row.path)
        if row.window in closed_now:
            outcome = outcome_of(row)
            if outcome in counts:
                counts[outcome] += 1
            if outcome == "deleted" and row.etag:
                deleted.append(row.path)
            if row.source == "inventory":
                findings.append(row)
    blobs = _chosen(services.config.data_assets[name], held, closed_now)
    return Content(
        closes, blobs, counts["new"], counts["replaced"], tuple(sorted(deleted)), tuple(sorted(left_out)), tuple(findings)
    )


def draft_of(services: Services, name: str, made: Content) -> Draft:
    """The content as the decision sees it."""
    known = bool(made.blobs) and services.ledger.get(_version_key(name, made.version)) is not None
    return Draft(made.closing, made.version, len(made.blobs), known)


def register(services: Services, name: str, action: Register, index: Index, made: Content) -> None:
    """Register the version and close its windows. Conflict: the catalogue has changed, and nothing is closed."""
    document = _document(services, name, action, made)
    tags = {
        "tidegate.data_asset": name,
        "tidegate.files": str(len(made.blobs)),
        "tidegate.deleted": str(len(made.deleted)),
        "tidegate.closed_by": ", ".join(document["closed_by"]),
        "tidegate.correlation_id": document["correlation_id"],
    }
    services.workspace.register_data_version(name, made.version, version_folder(name, made.version, made.blobs), tags)
    _keep(services.ledger, _version_key(name, made.version), document)
    close(services, name, action, index, made)


def close(services: Services, name: str, action: Register | Close, index: Index, made: Content) -> None:
    """Close the windows. Conflict: the catalogue has changed, and nothing is closed."""
    for window in made.closing:
        mine = [row for row in made.findings if row.window == window]
        note_findings(services.ledger, name, index.windows[window], mine, all_of_them=True)
    now = services.now()
    edit = Edit(services.ledger, index, services.config.data_assets[name], now)
    closed = tuple(_closed(edit.windows.pop(one.window), one) for one in action.closings)
    registered = isinstance(action, Register)
    # The pointer never goes back. Should somebody have deleted the catalogue, so that it was made anew, the count goes on there.
    pointer = services.ledger.get(_pointer_key(name))
    number = max(index.last.number, pointer.value.get("closing", 0) if pointer else 0) + 1
    last = LastClosing(number, closed, action.version, registered, action.reason, now)
    edit.commit(last=last, version=action.version if registered else index.version)


def announce(services: Services, name: str, index: Index) -> None:
    """Let everybody know what the last closing has come to. Done again it changes nothing."""
    for closed in index.last.closed:
        note_closing(services.ledger, name, index.last, closed)
    if index.last.registered:
        # Training reads the pointer. It comes before the waking, or a quick reconciler would find the version before.
        _point(services.ledger, name, index.last)
        for model in services.config.models_of(name):
            wake(services, MODELS, model)


def _point(ledger: Ledger, name: str, last: LastClosing) -> None:
    """Have the pointer show the newest version. A look that was overtaken by a later closing sets nothing back."""
    pointer = ledger.get(_pointer_key(name))
    if pointer is not None and pointer.value.get("closing", 0) >= last.number:
        return
    document = ledger.get(_version_key(name, last.version))
    if document is None:
        raise PermanentError(f"{_version_key(name, last.version)} of the ledger is missing: somebody has deleted it.")
    told = {**document.value, "closing": last.number}
    ledger.put(_pointer_key(name), told, etag=pointer.etag if pointer else None)


def _keep(ledger: Ledger, key: str, document: dict[str, Any]) -> None:
    """Keep a version's document. One whose files were a version before, and are again, tells of its earlier makings as well."""
    before = ledger.get(key)
    if before is None:
        ledger.put(key, document, etag=None)
    elif before.value.get("windows") != document["windows"]:
        told = {part: before.value.get(part) for part in ("windows", "correlation_id", "registered_at")}
        ledger.put(key, {**document, "earlier": [*before.value.get("earlier", []), told]}, etag=before.etag)


def _closed(window: OpenWindow, one: Closing) -> ClosedWindow:
    return ClosedWindow(window.id, window.folder, window.opened_at, one.by, one.at)


def _document(services: Services, name: str, action: Register, made: Content) -> dict[str, Any]:
    first = min(action.closings, key=lambda one: (one.at, one.window))
    return {
        "version": made.version,
        "data_asset": name,
        "correlation_id": first.window,
        "windows": [one.window for one in action.closings],
        "closed_by": list(dict.fromkeys(one.by for one in action.closings)),
        "manifest": services.config.data_assets[name].manifest,
        "files": len(made.blobs),
        "added": made.added,
        "replaced": made.replaced,
        "deleted": list(made.deleted),
        "left_out": list(made.left_out),
        "registered_at": services.now().isoformat(),
    }


def _chosen(asset: DataAsset, rows: list[Row], closing: set[str]) -> tuple[Blob, ...]:
    """The files of the version by the asset's `manifest`, by url."""
    if asset.manifest == "window":
        rows = [row for row in rows if row.window in closing]
    elif asset.newest_files is not None:
        rows = heapq.nlargest(asset.newest_files, rows, key=lambda row: (row.modified_at, row.path))
    return tuple(Blob(row.url, row.path, row.etag, row.size, row.modified_at) for row in sorted(rows, key=lambda row: row.url))


def _pointer_key(name: str) -> str:
    return f"data-versions/{name}.json"


def _version_key(name: str, version: str) -> str:
    return f"data-versions/{name}/{version}.json"
