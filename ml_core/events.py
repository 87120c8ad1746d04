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

from ml_core.addresses import BlobAddress, blob_address
from ml_core.errors import EventError
from ml_core.naming import unquoted

# A file that is just being opened: 0 bytes now, and its commit follows.
# https://learn.microsoft.com/azure/storage/blobs/storage-blob-event-overview#practices-for-consuming-events
OPENING_APIS = frozenset({"createfile", "sftpcreate"})
COMMITTING_APIS = frozenset({"putblob", "putblocklist", "copyblob", "flushwithclose", "sftpcommit"})

# They change files as well, but name no eTag or only a folder.
_LEFT_TO_THE_INVENTORY = frozenset(
    {"microsoft.storage.blobrenamed", "microsoft.storage.directoryrenamed", "microsoft.storage.directorydeleted"}
)

NOT_TOLD = datetime.fromtimestamp(0, UTC)
"""The time of an event that tells none (CloudEvents may): older than every other, so it never counts as news by its time."""

# A sequencer in a length that all have in common: the longest that was seen has 48 digits.
_SEQUENCER = 64
# Digits of a size: more than any blob has, and few enough to be read as a number.
_LONGEST_SIZE = 18


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
    document = _load(raw)
    # Some senders put a single CloudEvent into an array.
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    return _event(document)


def parse_all(raw: str) -> list[tuple[str, Event | EventError]]:
    """Read a body that may hold many events: of each its own JSON, and what it is or why it cannot be read.

    One bad event takes none of its neighbours with it. The Functions host calls once per event; dead letters and other senders
    keep the array.
    """
    try:
        document = _load(raw)
    except EventError as error:
        return [(raw, error)]
    if not isinstance(document, list) or not document:
        return [(raw, _event_or_error(document))]
    return [(json.dumps(one), _event_or_error(one)) for one in document]


def _load(raw: str) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise EventError(f"The event is not JSON: {error}.") from error


def _event_or_error(document: object) -> Event | EventError:
    try:
        return _event(document)
    except EventError as error:
        return error


def _event(document: object) -> Event:
    if not isinstance(document, dict):
        raise EventError(f"The event is a JSON {type(document).__name__}; expected one object.")
    envelope = _Fields(document, "")
    event_type = envelope.text("eventType", "type")
    build = _BUILDERS.get(event_type.lower())
    if build is None:
        reason = f"{event_type} is not a type that Tidegate reacts to"
        if event_type.lower() in _LEFT_TO_THE_INVENTORY:
            reason += "; the inventory finds the files that it has changed"
        return Ignored(envelope.text("id"), event_type, reason, envelope.source())
    return build(envelope, _Fields(envelope.mapping("data"), "data."))


class _Fields:
    """A JSON object whose keys are read in any case, with errors that name the field in full."""

    def __init__(self, values: Mapping[str, Any], prefix: str) -> None:
        self._values = {key.lower(): value for key, value in values.items()}
        self._prefix = prefix

    def find(self, *names: str) -> Any:
        """The first of these fields that is there and not null."""
        for name in names:
            if (value := self._values.get(name.lower())) is not None:
                return value
        return None

    def text(self, *names: str) -> str:
        value = self.find(*names)
        # Versions come as numbers too ("ModelVersion": 20); a bool or a container is a mistake.
        if isinstance(value, bool) or not isinstance(value, str | int) or not _writable(text := str(value)):
            raise self.error(names, value, "text")
        return text

    def optional_text(self, *names: str) -> str:
        """'' when the field is missing or empty."""
        return "" if self.find(*names) in (None, "") else self.text(*names)

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.find(name)
        if not isinstance(value, dict):
            raise self.error((name,), value, "an object")
        return value

    def size(self, name: str) -> int:
        """A number, or its digits as text."""
        text = self.text(name) if self.find(name) is not None else ""
        if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_SIZE):
            raise self.error((name,), self.find(name), "a number of bytes")
        return int(text)

    def moment(self, *names: str) -> datetime:
        """An aware time in UTC, NOT_TOLD when it is missing. Event Grid writes 0 to 9 fractional digits; Python keeps 6."""
        if self.find(*names) is None:
            return NOT_TOLD
        text = self.text(*names)
        try:
            moment = datetime.fromisoformat(text.upper())
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            raise self.error(names, text, "an ISO 8601 time") from None

    def source(self) -> str:
        """Who announces it: each schema has its own word, and an event cannot answer with the other's."""
        return self.optional_text("topic" if self.find("eventType") is not None else "source")

    def error(self, names: tuple[str, ...], found: object, expected: str) -> EventError:
        fields = " or ".join(self._prefix + name for name in names)
        return EventError(f"The event's field {fields} holds {_shown(found)}; expected {expected}.")


def _writable(text: str) -> bool:
    """Not empty, and no half of a surrogate pair: JSON can say it, but no blob, header or terminal takes it."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def _shown(found: object) -> str:
    """A value from outside in a message: at most a line or two of it."""
    text = repr(found)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _blob_created(envelope: _Fields, data: _Fields) -> Event:
    api = data.text("api")
    if api.lower() not in COMMITTING_APIS:
        opens = api.lower() in OPENING_APIS
        reason = f"{api} opens a file; its commit is announced later" if opens else f"{_shown(api)} is no API that commits a file"
        return Ignored(envelope.text("id"), "Microsoft.Storage.BlobCreated", reason, envelope.source())
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
        occurred_at=envelope.moment("eventTime", "time"),
        source=envelope.source(),
    )


def _blob_deleted(envelope: _Fields, data: _Fields) -> Event:
    address = _blob_address(data)
    return BlobDeleted(
        event_id=envelope.text("id"),
        url=address.url,
        container=address.container,
        path=address.path,
        sequencer=_sequencer(data),
        occurred_at=envelope.moment("eventTime", "time"),
        source=envelope.source(),
    )


def _model_registered(envelope: _Fields, data: _Fields) -> Event:
    tags = data.find("modelTags")
    return ModelRegistered(
        event_id=envelope.text("id"),
        model=data.text("modelName"),
        version=data.text("modelVersion"),
        occurred_at=envelope.moment("eventTime", "time"),
        tags={str(key): str(value) for key, value in tags.items()} if isinstance(tags, dict) else {},
        source=envelope.source(),
    )


def _run_status_changed(envelope: _Fields, data: _Fields) -> Event:
    return RunStatusChanged(
        event_id=envelope.text("id"),
        run_id=data.text("runId"),
        status=data.text("runStatus"),
        occurred_at=envelope.moment("eventTime", "time"),
        source=envelope.source(),
    )


def _blob_address(data: _Fields) -> BlobAddress:
    url = data.text("url")
    try:
        return blob_address(url)
    except ValueError:
        raise data.error(("url",), url, "the address of a blob in a container") from None


def _sequencer(data: _Fields) -> str:
    """Comparable as text: one case, one length. One that cannot be brought to it is none: the order is then not known."""
    text = data.optional_text("sequencer")
    return text.lower().rjust(_SEQUENCER, "0") if 0 < len(text) <= _SEQUENCER else ""


_BUILDERS = {
    "microsoft.storage.blobcreated": _blob_created,
    "microsoft.storage.blobdeleted": _blob_deleted,
    "microsoft.machinelearningservices.modelregistered": _model_registered,
    "microsoft.machinelearningservices.runstatuschanged": _run_status_changed,
}
