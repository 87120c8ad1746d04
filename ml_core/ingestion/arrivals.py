"""What storage has told about a data asset's blobs and the catalogue does not know yet, in bundles.

One write of the ledger costs more than a whole invocation of an event function. So events that arrive together are recorded
together: a bundle is one document with many receipts. It is immutable, and named by what is in it, so the same events recorded
again are the same bundle. The catalogue folds bundles in and deletes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from ml_core.naming import fingerprint
from ml_core.services import Services

Source = Literal["event", "replay"]
LARGEST_BUNDLE = 500
"""Receipts; a bundle stays a document that is read in one piece."""


@dataclass(frozen=True)
class Receipt:
    """One event about one blob, as it was received. `path` is decoded and inside the container; `size` in bytes.

    A deletion has no eTag ('') and no size (0). `sequencer` is comparable as text, or '' when the event carried none.
    """

    event_id: str
    what: Literal["created", "deleted"]
    path: str
    url: str
    etag: str
    size: int
    sequencer: str
    occurred_at: datetime
    received_at: datetime

    @property
    def identity(self) -> str:
        """What it is an arrival of: one write of a blob, or one deletion. An event that comes twice has one identity."""
        if self.what == "created":
            return fingerprint(self.url, self.etag)
        return fingerprint(self.url, "deleted", self.sequencer or self.event_id)


@dataclass(frozen=True)
class Bundle:
    """Receipts that were recorded together. `key` is its name in the ledger."""

    key: str
    source: Source
    receipts: tuple[Receipt, ...]

    @property
    def name(self) -> str:
        """The fingerprint of what is in it: windows note their receipts under this name."""
        return self.key.rsplit("/", 1)[1].removesuffix(".json")


def put_bundle(services: Services, asset: str, receipts: Sequence[Receipt], *, source: Source = "event") -> None:
    """Record receipts of one data asset in one write; nothing is written for none. The same receipts twice are one bundle."""
    distinct = {receipt.identity: receipt for receipt in reversed(receipts)}  # of the same thing told twice, the first telling
    if not distinct:
        return
    name = fingerprint(*sorted(distinct))
    document = {"source": source, "receipts": [_written(receipt) for _, receipt in sorted(distinct.items())]}
    services.ledger.claim(f"{_folder(asset)}{name}.json", document)


def pending(services: Services, asset: str, most: int | None = None) -> list[Bundle]:
    """The bundles that wait to be folded into the catalogue, by name (which says nothing about their order in time).

    No more of them than are needed for `most` receipts.
    """
    bundles, receipts = list[Bundle](), 0
    for entry in services.ledger.list(_folder(asset)):
        if most is not None and receipts >= most:
            break
        bundles.append(_bundle(entry.key, entry.value))
        receipts += len(bundles[-1].receipts)
    return bundles


def _folder(asset: str) -> str:
    return f"arrivals/{asset}/"


def _written(receipt: Receipt) -> dict[str, Any]:
    # By hand: pydantic would cost an import on the path that must answer fastest.
    times = {"occurred_at": receipt.occurred_at.isoformat(), "received_at": receipt.received_at.isoformat()}
    return {**vars(receipt), **times}


def _bundle(key: str, document: dict[str, Any]) -> Bundle:
    if "receipts" not in document:
        return Bundle(key, "event", (_single(document),))
    return Bundle(key, cast(Source, document["source"]), tuple(_receipt(written) for written in document["receipts"]))


def _single(document: dict[str, Any]) -> Receipt:
    """The receipt of a note that holds one event, as the app wrote them before there were bundles: ledgers outlive versions."""
    event = document["event"]
    what = "created" if document["what"] == "BlobCreated" else "deleted"
    told = {name: event[name] for name in ("event_id", "path", "url", "sequencer", "occurred_at")}
    content = {"etag": event.get("etag", ""), "size": event.get("size", 0)}
    return _receipt({**told, **content, "what": what, "received_at": document["received_at"]})


def _receipt(written: dict[str, Any]) -> Receipt:
    times = {name: datetime.fromisoformat(written[name]) for name in ("occurred_at", "received_at")}
    return Receipt(**{**written, **times})
