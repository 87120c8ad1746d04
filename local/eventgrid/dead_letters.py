"""Writes events that could not be delivered into a storage container, laid out and annotated as Event Grid does.

Source: learn.microsoft.com/azure/event-grid/manage-event-delivery and /delivery-and-retry.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from local.eventgrid.schema import CLOUD_EVENTS
from local.eventgrid.store import Delivery
from local.eventgrid.subscription import DeadLetterDestination, Subscription
from local.storage.blob_rest import BlobService, BlobServiceError


def annotated(delivery: Delivery, schema: str) -> dict[str, Any]:
    """The event with what became of it; CloudEvents attributes are lower-case."""
    notes: dict[str, Any] = {
        "deadLetterReason": delivery.reason,
        "deliveryAttempts": delivery.attempts,
        "lastDeliveryOutcome": delivery.outcome,
        "publishTime": _time(delivery.published_at),
    }
    if delivery.attempted_at:
        notes["lastDeliveryAttemptTime"] = _time(delivery.attempted_at)
    if schema == CLOUD_EVENTS:
        notes = {name.lower(): value for name, value in notes.items()}
    return {**delivery.event.in_schema(schema), **notes}


def blob_name(subscription: str, at: datetime) -> str:
    """`<SUBSCRIPTION IN UPPER CASE>/<year>/<month>/<day>/<hour>/<guid>.json`, numbers without leading zeros, UTC."""
    return f"{subscription.upper()}/{at.year}/{at.month}/{at.day}/{at.hour}/{uuid.uuid4()}.json"


class DeadLetters:
    """Keeps one blob client per account; `connect` opens one for a blob service URL."""

    def __init__(self, connect: Callable[[str], BlobService], default_url: str | None) -> None:
        self._connect, self._default_url = connect, default_url
        self._services: dict[str, BlobService] = {}

    def write(self, subscription: Subscription, destination: DeadLetterDestination, deliveries: Sequence[Delivery]) -> None:
        """Put one blob with all the events; raise BlobServiceError when the container cannot be written. Blocks."""
        url = destination.blob_service_url or self._default_url
        if url is None:
            raise BlobServiceError("No blob service is configured for dead letters (--blob-url).")
        service = self._services.get(url) or self._services.setdefault(url, self._connect(url))
        content = orjson.dumps([annotated(delivery, subscription.schema) for delivery in deliveries])
        service.put(destination.container, blob_name(subscription.name, datetime.now(UTC)), content, "application/json")

    def close(self) -> None:
        for service in self._services.values():
            service.close()


def _time(at: float) -> str:
    # Seven digits, as .NET prints them.
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
