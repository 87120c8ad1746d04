"""Storage's events as Event Grid carries them, made from what a listing shows of a blob."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

CREATED, DELETED = "Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobDeleted"


@dataclass(frozen=True)
class StorageAccount:
    """The account that the events name as their source."""

    name: str = "devstoreaccount1"
    subscription_id: str = "00000000-0000-0000-0000-000000000000"
    resource_group: str = "tidegate-local"

    @property
    def resource_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.Storage/storageAccounts/{self.name}"
        )


@dataclass(frozen=True)
class BlobChange:
    """What happened to one blob. `etag` and `size` are None for a deleted one (Azure's events do not carry them)."""

    container: str
    name: str
    url: str
    api: str
    content_type: str
    blob_type: str
    etag: str | None = None
    size: int | None = None

    @property
    def type(self) -> str:
        return DELETED if self.api == "DeleteBlob" else CREATED

    @property
    def subject(self) -> str:
        """The name as it is: a subject is no URL and is not percent-encoded."""
        return f"/blobServices/default/containers/{self.container}/blobs/{self.name}"


def sequencer(number: int) -> str:
    """48 hex digits; by plain comparison of strings, later is greater."""
    return f"{number:048x}"


def event(account: StorageAccount, change: BlobChange, number: int, *, cloud_events: bool) -> dict[str, Any]:
    """The event for the `number`-th change of this account, in the Event Grid schema or as a CloudEvent."""
    request = str(uuid.uuid4())[:-6]
    fields = {
        "api": change.api,
        "clientRequestId": str(uuid.uuid4()),
        "requestId": f"{request}000000",
        "eTag": change.etag,
        "contentType": change.content_type,
        "contentLength": change.size,
        "blobType": change.blob_type,
        "url": change.url,
        "sequencer": sequencer(number),
        "storageDiagnostics": {"batchId": str(uuid.uuid4())},
    }
    data = {name: value for name, value in fields.items() if value is not None}
    # As in real captures, the event's id is the request's with its last digits set.
    identity, at = request + secrets.token_hex(3), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
    if cloud_events:
        return {
            "source": account.resource_id,
            "subject": change.subject,
            "type": change.type,
            "time": at,
            "id": identity,
            "data": data,
            "specversion": "1.0",
        }
    return {
        "topic": account.resource_id,
        "subject": change.subject,
        "eventType": change.type,
        "id": identity,
        "data": data,
        "dataVersion": "",
        "metadataVersion": "1",
        "eventTime": at,
    }
