"""Event Grid's JSON (its own schema and CloudEvents) turned into four kinds of value, or into `Ignored` with a reason.

Parsed by hand: azure.eventgrid's models would cost an import on the path that must answer fastest, and they check neither
the fields nor their case, which is what goes wrong in practice (Azure ML's documentation and its deliveries differ in it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ml_core.addresses import BlobAddress, blob_address
from ml_core.errors import EventError
from ml_core.event_fields import Fields, shown
from ml_core.naming import unquoted

# A file that is just being opened: 0 bytes now, and its commit follows.
# https://learn.microsoft.com/azure/storage/blobs/storage-blob-event-overview#practices-for-consuming-events
OPENING_APIS = frozenset({"createfile", "sftpcreate"})
COMMITTING_APIS = frozenset({"putblob", "putblocklist", "copyblob", "flushwithclose", "sftpcommit"})

_TOO_DEEP = "The event is JSON that is nested too deeply to be read; expected an event, which has a few levels."

# They change files as well, but name no eTag or only a folder.
_LEFT_TO_THE_INVENTORY = frozenset(
    {"microsoft.storage.blobrenamed", "microsoft.storage.directoryrenamed", "microsoft.storage.directorydeleted"}
)

NOT_TOLD = datetime.fromtimestamp(0, UTC)
"""The time of an event that tells none (CloudEvents may): older than every other, so it never counts as news by its time."""

# A sequencer in a length that all have in common: the longest that was seen has 48 digits.
_SEQUENCER = 64


@dataclass(frozen=True)
class BlobCreated:
    """A blob was written or replaced.

    `url` in its one spelling (ml_core.addresses), container and path decoded, the eTag without quotes, `size` in bytes.
    `sequencer` is comparable as text with others of the same blob ('' when the event has none).
    """

    event_id: str
    url: str
    container: str
    path: str
    etag: str
    size: int
    sequencer: str
    occurred_at: datetime
    source: str = ""
    """Here and below: the ARM id of who announces it, as sent (Event Grid's `topic`, CloudEvents' `source`), '' when untold."""


@dataclass(frozen=True)
class BlobDeleted:
    """A blob was deleted. The fields are those of BlobCreated."""

    event_id: str
    url: str
    container: str
    path: str
    sequencer: str
    occurred_at: datetime
    source: str = ""


@dataclass(frozen=True)
class ModelRegistered:
    """A model version was registered in the workspace."""

    event_id: str
    model: str
    version: str
    occurred_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class RunStatusChanged:
    """A run of a job, or of one of its steps, changed its status. It says no more than "look at the job again"."""

    event_id: str
    run_id: str
    status: str
    occurred_at: datetime
    source: str = ""


@dataclass(frozen=True)
class Ignored:
    """An event that is well formed and none of ours."""

    event_id: str
    type: str
    reason: str
    source: str = ""


Event = BlobCreated | BlobDeleted | ModelRegistered | RunStatusChanged | Ignored


def parse(raw: str) -> Event:
    """Read one event; raise EventError that names the field when a type we know lacks something we need."""
    try:
        document = _load(raw)
        # Some senders put a single CloudEvent into an array.
        if isinstance(document, list) and len(document) == 1:
            document = document[0]
        return _event(document)
    except RecursionError as error:
        raise EventError(_TOO_DEEP) from error


def parse_all(raw: str) -> list[tuple[str, Event | EventError]]:
    """Read a body that may hold many events: of each its own JSON, and what it is or why it cannot be read.

    One bad event takes none of its neighbours with it, unless the body is nested beyond reading. The Functions host calls once
    per event; dead letters and other senders keep the array.
    """
    try:
        document = _load(raw)
        if not isinstance(document, list) or not document:
            return [(raw, _event_or_error(document))]
        return [(json.dumps(one), _event_or_error(one)) for one in document]
    except RecursionError:
        return [(raw, EventError(_TOO_DEEP))]
    except EventError as error:
        return [(raw, error)]


def _load(raw: str) -> object:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise EventError(f"The event is not JSON: {error}.") from error


def _event_or_error(document: object) -> Event | EventError:
    try:
        return _event(document)
    except EventError as error:
        return error


def _event(document: object) -> Event:
    if not isinstance(document, dict):
        raise EventError(f"The event is a JSON {type(document).__name__}; expected one object.")
    envelope = Fields(document, "")
    event_type = envelope.text("eventType", "type")
    build = _BUILDERS.get(event_type.lower())
    if build is None:
        reason = f"{event_type} is not a type that Tidegate reacts to"
        if event_type.lower() in _LEFT_TO_THE_INVENTORY:
            reason += "; the inventory finds the files that it has changed"
        return Ignored(envelope.text("id"), event_type, reason, _source(envelope))
    return build(envelope, Fields(envelope.mapping("data"), "data."))


def _source(envelope: Fields) -> str:
    """Who announces it: each schema has its own word, and an event cannot answer with the other's."""
    return envelope.optional_text("topic" if envelope.find("eventType") is not None else "source")


def _occurred_at(envelope: Fields) -> datetime:
    return envelope.moment("eventTime", "time") or NOT_TOLD


def _blob_created(envelope: Fields, data: Fields) -> Event:
    api = data.text("api")
    if api.lower() not in COMMITTING_APIS:
        opens = api.lower() in OPENING_APIS
        reason = f"{api} opens a file; its commit is announced later" if opens else f"{shown(api)} is no API that commits a file"
        return Ignored(envelope.text("id"), "Microsoft.Storage.BlobCreated", reason, _source(envelope))
    address = _blob_address(data)
    etag = unquoted(data.text("eTag"))
    if not etag:
        raise data.error(("eTag",), data.find("eTag"), "text")
    return BlobCreated(
        event_id=envelope.text("id"),
        url=address.url,
        container=address.container,
        path=address.path,
        etag=etag,
        size=data.size("contentLength"),
        sequencer=_sequencer(data),
        occurred_at=_occurred_at(envelope),
        source=_source(envelope),
    )


def _blob_deleted(envelope: Fields, data: Fields) -> Event:
    address = _blob_address(data)
    return BlobDeleted(
        event_id=envelope.text("id"),
        url=address.url,
        container=address.container,
        path=address.path,
        sequencer=_sequencer(data),
        occurred_at=_occurred_at(envelope),
        source=_source(envelope),
    )


def _model_registered(envelope: Fields, data: Fields) -> Event:
    tags = data.find("modelTags")
    return ModelRegistered(
        event_id=envelope.text("id"),
        model=data.text("modelName"),
        version=data.text("modelVersion"),
        occurred_at=_occurred_at(envelope),
        tags={str(key): str(value) for key, value in tags.items()} if isinstance(tags, dict) else {},
        source=_source(envelope),
    )


def _run_status_changed(envelope: Fields, data: Fields) -> Event:
    return RunStatusChanged(
        event_id=envelope.text("id"),
        run_id=data.text("runId"),
        status=data.text("runStatus"),
        occurred_at=_occurred_at(envelope),
        source=_source(envelope),
    )


def _blob_address(data: Fields) -> BlobAddress:
    url = data.text("url")
    try:
        return blob_address(url)
    except ValueError:
        raise data.error(("url",), url, "the address of a blob in a container") from None


def _sequencer(data: Fields) -> str:
    """Comparable as text: one case, one length. One that cannot be brought to it is none: the order is then not known."""
    text = data.optional_text("sequencer")
    return text.lower().rjust(_SEQUENCER, "0") if 0 < len(text) <= _SEQUENCER else ""


_BUILDERS = {
    "microsoft.storage.blobcreated": _blob_created,
    "microsoft.storage.blobdeleted": _blob_deleted,
    "microsoft.machinelearningservices.modelregistered": _model_registered,
    "microsoft.machinelearningservices.runstatuschanged": _run_status_changed,
}
