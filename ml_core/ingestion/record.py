"""Records what storage tells about a data asset's blobs, and wakes the asset.

An arrival says "look here", and is kept for lineage. What a version holds is checked against the container itself, so a late,
doubled, reordered or forged event can neither add a file nor lose one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ml_core import intake
from ml_core.errors import PermanentError
from ml_core.events import BlobCreated, BlobDeleted, Event
from ml_core.ingestion.arrivals import Receipt, put_bundle
from ml_core.intake import Outcome, ignored, refused
from ml_core.reconciling import DATA_ASSETS, wake
from ml_core.services import Services


@dataclass(frozen=True)
class Arrival:
    """An event about a blob of a data asset."""

    asset: str
    receipt: Receipt


def receive(services: Services, raw: str) -> None:
    """Take in one storage event."""
    take_in(services, [raw])


def take_in(services: Services, raws: Iterable[str]) -> None:
    """Take in storage events: the arrivals of each data asset in one bundle, and each asset woken once."""
    arrivals: dict[str, list[tuple[str, Event | None, Receipt]]] = {}
    for raw in raws:
        event, found = sort(services, raw)
        if isinstance(found, Arrival):
            arrivals.setdefault(found.asset, []).append((raw, event, found.receipt))
        else:
            intake.settle(services, raw, event, found)
    for asset, group in arrivals.items():
        try:
            put_bundle(services, asset, [receipt for _, _, receipt in group])
            # Also when the bundle was there: the first delivery may have died between the bundle and this line.
            wake(services, DATA_ASSETS, asset)
        except PermanentError as error:
            for raw, event, _ in group:
                intake.settle(services, raw, event, refused(str(error)))


def sort(services: Services, raw: str) -> tuple[Event | None, Arrival | Outcome]:
    """The event, None when it cannot be read; and whose arrival it is, or what becomes of it. Writes nothing."""
    event, outcome = intake.screen(services, raw)
    if outcome is not None:
        return event, outcome
    if not isinstance(event, BlobCreated | BlobDeleted):
        return event, ignored("it says nothing about a blob")
    asset = services.config.asset_of(event.container, event.path)
    if asset is None:
        reason = f"no data asset of the configuration holds {event.path!r} of the container {event.container!r}"
        return event, ignored(reason)
    return event, Arrival(asset, _receipt(services, event))


def _receipt(services: Services, event: BlobCreated | BlobDeleted) -> Receipt:
    created = isinstance(event, BlobCreated)
    return Receipt(
        event_id=event.event_id,
        what="created" if created else "deleted",
        path=event.path,
        url=event.url,
        etag=event.etag if isinstance(event, BlobCreated) else "",
        size=event.size if isinstance(event, BlobCreated) else 0,
        sequencer=event.sequencer,
        occurred_at=event.occurred_at,
        received_at=services.now(),
    )
