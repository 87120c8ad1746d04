"""Folds what was told into the catalogue: rows change, windows open, receipts are noted, bundles are deleted. In this order.

Killed between any two of these, the next look finds the bundles again. Rows know which receipts made them, so a second folding
changes nothing and comes to the same outcomes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING

from ml_core.addresses import BlobAddress, account_url
from ml_core.ingestion.arrivals import Bundle, Receipt, pending
from ml_core.ingestion.catalogue import Edit, index_of
from ml_core.ingestion.rows import Row, fold
from ml_core.ingestion.window_notes import WindowNotes
from ml_core.ingestion.windows import Change, Limits, open_in, taken_in
from ml_core.intake import ignored, note_event
from ml_core.services import Services

if TYPE_CHECKING:
    from ml_core.config import DataAsset

# Receipts that one look folds, some 40 MB: after a long outage there may be any number.
MOST_AT_ONCE = 20_000
# In a burst every look would rewrite most shards, and take the processor from the events. While a window is open anyway, folding
# takes a tenth of the time at most: a marker, and the last of max files, are seen so much later. Where nothing but time closes a
# window, it is folded before that in any case, and sooner only to keep what is pending small.
_REST, _LONGEST_REST = 10, timedelta(minutes=1)
_REST_WITH_EVENTS_THAT_CLOSE, _REST_WITHOUT = timedelta(seconds=5), timedelta(seconds=20)


class Fold:
    """One look's changes of a data asset's catalogue, by events or by an inventory."""

    def __init__(self, services: Services, name: str, edit: Edit) -> None:
        self.name, self.edit, self.notes = name, edit, WindowNotes()
        self.asset: DataAsset = services.config.data_assets[name]
        self.astray = list[Receipt]()
        """What changes nothing and belongs to no window: the row itself was made by none."""
        self._limits = limits_of(self.asset)
        self._account = account_url(services.data_account_url)

    def url(self, path: str) -> str:
        """A blob's address in its one spelling: versions are named by it, however the blob was found."""
        return BlobAddress(self._account, self.asset.container, path).url

    def receipt(self, bundle: Bundle, receipt: Receipt) -> None:
        """Fold one receipt."""
        row = self.edit.row(receipt.path)
        folded = fold(row, receipt, self.url(receipt.path), marker=self.asset.window.is_marker(receipt.path))
        after, window = folded.row, folded.noted_in
        if folded.changes and after is not None:
            after = self.taken_in(after, row, after.received_at)
            window = after.window
        elif after is not row and after is not None and folded.outcome in ("empty", "deleted"):
            # It opens no window, but is noted in the one that is open.
            opened = open_in(self.edit.windows, self.asset.window.folder_of(receipt.path))
            window = opened.id if opened else ""
            after = replace(after, window=window)
        if after is not None and after != row:
            self.edit.put(after)
        self.edit.inventory_wanted |= folded.doubtful
        # A replay that repeats what is known would only repeat it in the documents, and be replayed itself the next time.
        if bundle.source != "replay" or folded.outcome != "repeated":
            self.notes.add(window, bundle.name, receipt, folded.outcome)
        if not window and after is not None and not after.tells_of(receipt.event_id):
            self.astray.append(receipt)

    def taken_in(self, after: Row, before: Row | None, changed_at: datetime) -> Row:
        """The changed row, with the window that takes it in."""
        windows, folder = self.edit.windows, self.asset.window.folder_of(after.path)
        window = open_in(windows, folder)
        again = before is not None and window is not None and before.window == window.id and before.size > 0
        marker = after.marker and after.there
        change = Change(after.path, folder, after.received_at, changed_at, again, marker)
        window = taken_in(windows, self.name, change, self._limits)
        windows[window.id] = window
        return replace(after, window=window.id)


def fold_pending(services: Services, name: str) -> bool:
    """Bring the catalogue up to what was told; True when there may be more. Conflict: another look is doing it."""
    bundles = pending(services, name, MOST_AT_ONCE)
    if not bundles:
        return False
    began_at = services.now()
    edit = Edit(services.ledger, index_of(services.ledger, name), services.config.data_assets[name], began_at)
    work = Fold(services, name, edit)
    told = chain.from_iterable(((bundle, receipt) for receipt in bundle.receipts) for bundle in bundles)
    for bundle, receipt in sorted(told, key=lambda one: (one[1].received_at, one[1].sequencer, one[1].identity)):
        work.receipt(bundle, receipt)
    more = sum(len(bundle.receipts) for bundle in bundles) >= MOST_AT_ONCE
    edit.commit(fold_again_at=None if more else _rested(work.asset, began_at, services.now()))
    work.notes.write(services.ledger, name, edit.windows.values())
    for receipt in work.astray:
        _note_astray(services, receipt)
    for bundle in bundles:
        services.ledger.delete(bundle.key)
    return more


def _rested(asset: DataAsset, began_at: datetime, ended_at: datetime) -> datetime:
    urgent = asset.window.marker is not None or asset.window.max_files is not None
    shortest = _REST_WITH_EVENTS_THAT_CLOSE if urgent else _REST_WITHOUT
    return ended_at + max(shortest, min(_LONGEST_REST, _REST * (ended_at - began_at)))


def _note_astray(services: Services, receipt: Receipt) -> None:
    """Every event can be asked for by its id, also one that came when all was over."""
    reason = f"what was told of {receipt.path} before is later than this, and no window has taken it in"
    note_event(services, receipt.event_id, f"Blob{receipt.what.capitalize()}", receipt.received_at, ignored(reason))


def limits_of(asset: DataAsset) -> Limits:
    """When the asset's windows close."""
    return Limits(asset.window.quiet_period, asset.window.max_wait, asset.window.max_files)
