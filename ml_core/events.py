"""Event Grid's JSON (its own schema and CloudEvents) turned into four kinds of value, or into `Ignored` with a reason.

Parsed by hand: azure.eventgrid's models would cost an import on the path that must answer fastest, and they check neither
the fields nor their case, which is what goes wrong in practice (Azure ML's documentation and its deliveries differ in it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from ml_core.errors import EventError
from ml_core.naming import unquoted

# Committed writes only. CreateFile and SftpCreate announce a file that is just being opened; its commit follows.
# https://learn.microsoft.com/azure/storage/blobs/storage-blob-event-overview#practices-for-consuming-events
COMMITTING_APIS = frozenset({"putblob", "putblocklist", "copyblob", "flushwithclose", "sftpcommit"})


@dataclass(frozen=True)
class BlobCreated:
    """A blob was written or replaced."""

    event_id: str
    url: str
    container: str
    path: str
    etag: str
    size: int
    sequencer: str
    occurred_at: datetime


@dataclass(frozen=True)
class BlobDeleted:
    """A blob was deleted."""

    event_id: str
    url: str
    container: str
    path: str
    sequencer: str
    occurred_at: datetime


@dataclass(frozen=True)
class ModelRegistered:
    """A model version was registered in the workspace."""

    event_id: str
    model: str
    version: str
    occurred_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunStatusChanged:
    """A run of a job, or of one of its steps, changed its status. It says no more than "look at the job again"."""

    event_id: str
    run_id: str
    status: str
    occurred_at: datetime


@dataclass(frozen=True)
class Ignored:
    """An event that is well formed and none of ours."""

    event_id: str
    type: str
    reason: str


Event = BlobCreated | BlobDeleted | ModelRegistered | RunStatusChanged | Ignored


def parse(raw: str) -> Event:
    """Read one event; raise EventError that names the field when a type we know lacks something we need."""
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise EventError(f"The event is not JSON: {error}.") from error
    # Some senders put a single CloudEvent into an array.
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        raise EventError(f"The event is a JSON {type(document).__name__}; expected one object.")
    envelope = _Fields(document, "")
    event_type = envelope.text("eventType", "type")
    build = _BUILDERS.get(event_type.lower())
    if build is None:
        return Ignored(envelope.text("id"), event_type, f"{event_type} is not a type that Tidegate reacts to")
    return build(envelope, _Fields(envelope.mapping("data"), "data."))


class _Fields:
    """A JSON object whose keys are read in any case, with errors that name the field in full."""

    def __init__(self, values: Mapping[str, Any], prefix: str) -> None:
        self._values = {key.lower(): value for key, value in values.items()}
        self._prefix = prefix

    def find(self, *names: str) -> Any:
        return next((value for name in names if (value := self._values.get(name.lower())) is not None), None)

    def text(self, *names: str) -> str:
        value = self.find(*names)
        # Versions come as numbers too ("ModelVersion": 20); a bool or a container is a mistake.
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise self._error(names, value, "text")
        return str(value)

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.find(name)
        if not isinstance(value, dict):
            raise self._error((name,), value, "an object")
        return value

    def size(self, name: str) -> int:
        value = self.find(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._error((name,), value, "a number of bytes")
        return value

    def moment(self, *names: str) -> datetime:
        """An aware time in UTC. Event Grid writes 0 to 9 fractional digits; Python keeps 6."""
        text = self.text(*names)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self._error(names, text, "an ISO 8601 time") from None
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _error(self, names: tuple[str, ...], found: object, expected: str) -> EventError:
        fields = " or ".join(self._prefix + name for name in names)
        return EventError(f"The event's field {fields} holds {found!r}; expected {expected}.")


def _blob_created(envelope: _Fields, data: _Fields) -> Event:
    api = data.text("api")
    if api.lower() not in COMMITTING_APIS:
        return Ignored(envelope.text("id"), "Microsoft.Storage.BlobCreated", f"{api} opens a file; its commit is announced later")
    url, container, path = _blob_address(data)
    return BlobCreated(
        event_id=envelope.text("id"),
        url=url,
        container=container,
        path=path,
        etag=unquoted(data.text("eTag")),
        size=data.size("contentLength"),
        sequencer=_sequencer(data),
        occurred_at=envelope.moment("eventTime", "time"),
    )


def _blob_deleted(envelope: _Fields, data: _Fields) -> Event:
    url, container, path = _blob_address(data)
    return BlobDeleted(envelope.text("id"), url, container, path, _sequencer(data), envelope.moment("eventTime", "time"))


def _model_registered(envelope: _Fields, data: _Fields) -> Event:
    tags = data.find("modelTags")
    return ModelRegistered(
        event_id=envelope.text("id"),
        model=data.text("modelName"),
        version=data.text("modelVersion"),
        occurred_at=envelope.moment("eventTime", "time"),
        tags={str(key): str(value) for key, value in tags.items()} if isinstance(tags, dict) else {},
    )


def _run_status_changed(envelope: _Fields, data: _Fields) -> Event:
    return RunStatusChanged(envelope.text("id"), data.text("runId"), data.text("runStatus"), envelope.moment("eventTime", "time"))


def _blob_address(data: _Fields) -> tuple[str, str, str]:
    """The blob's url as sent, and its container and path, decoded. Path-style urls carry the account before the container."""
    url = data.text("url")
    parts = urlsplit(url)
    segments = parts.path.lstrip("/").split("/")
    if _is_path_style(parts.hostname or ""):
        segments = segments[1:]
    if parts.scheme not in ("https", "http") or len(segments) < 2 or not all((segments[0], segments[1])):
        raise EventError(f"The event's field data.url holds {url!r}; expected the address of a blob in a container.")
    return url, unquote(segments[0]), unquote("/".join(segments[1:]))


def _is_path_style(host: str) -> bool:
    """Azure Storage addresses an account by path when the host is an IP address or a bare name (private endpoints, emulators).

    https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
    """
    return "." not in host or host.replace(".", "").isdigit() or ":" in host


def _sequencer(data: _Fields) -> str:
    """Comparable as text: one case, one length."""
    value = data.find("sequencer")
    return str(value).lower().zfill(64) if value else ""


_BUILDERS = {
    "microsoft.storage.blobcreated": _blob_created,
    "microsoft.storage.blobdeleted": _blob_deleted,
    "microsoft.machinelearningservices.modelregistered": _model_registered,
    "microsoft.machinelearningservices.runstatuschanged": _run_status_changed,
}
