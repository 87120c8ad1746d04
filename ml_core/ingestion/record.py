"""Records what storage tells about a data asset's blobs, and wakes the asset.

An arrival is a note for people and for lineage. What a version holds is read from the container itself when the window
closes, so a late, doubled, reordered or forged event changes nothing: in particular, an old event never undoes a newer one.
"""

from __future__ import annotations

from ml_core import intake
from ml_core.documents import to_document
from ml_core.events import BlobCreated, BlobDeleted, Event, Ignored
from ml_core.naming import fingerprint
from ml_core.reconciling import DATA_ASSETS, wake
from ml_core.services import Services

EMPTY_FILE = "the file is empty (0 bytes), so it cannot be part of a data version"


def receive(services: Services, raw: str) -> None:
    """Take in one storage event."""
    intake.receive(services, raw, record)


def record(services: Services, event: Event) -> Ignored | None:
    """Note the arrival once (by url and eTag; a deletion by its sequencer) and wake the data asset."""
    if not isinstance(event, BlobCreated | BlobDeleted):
        return Ignored(event.event_id, type(event).__name__, "it says nothing about a blob")
    asset = services.config.asset_of(event.container, event.path)
    if asset is None:
        reason = f"no data asset of the configuration holds {event.path!r} of the container {event.container!r}"
        return Ignored(event.event_id, type(event).__name__, reason)
    identity = event.etag if isinstance(event, BlobCreated) else f"deleted {event.sequencer or event.event_id}"
    note = {
        "what": type(event).__name__,
        "event": to_document(event),
        "received_at": services.now().isoformat(),
        "refused": EMPTY_FILE if isinstance(event, BlobCreated) and event.size == 0 else None,
    }
    services.ledger.claim(f"arrivals/{asset}/{fingerprint(event.url, identity)}.json", note)
    # Also when the note was there: the first delivery may have died between the note and this line.
    wake(services, DATA_ASSETS, asset)
    return None
