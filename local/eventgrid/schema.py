"""Events as they are published and delivered: the Event Grid schema, CloudEvents 1.0, their checks and their conversion.

Sources: learn.microsoft.com/azure/event-grid/event-schema and /cloud-event-schema, the CloudEvents 1.0 specification.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from local.eventgrid.errors import bad_request

EVENT_GRID = "EventGridSchema"
CLOUD_EVENTS = "CloudEventSchemaV1_0"
SCHEMAS = (EVENT_GRID, CLOUD_EVENTS)
MAX_BYTES = 1024 * 1024
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}|data_base64")


@dataclass(frozen=True)
class Event:
    """One accepted event, kept in the schema in which it was published."""

    schema: str
    body: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.body["eventType" if self.schema == EVENT_GRID else "type"])

    @property
    def subject(self) -> str:
        return str(self.body.get("subject") or "")

    @property
    def data_version(self) -> str:
        return str(self.body.get("dataVersion" if self.schema == EVENT_GRID else "dataversion") or "")

    def in_schema(self, schema: str) -> dict[str, Any]:
        """The event as a subscriber that asked for `schema` gets it."""
        if schema == self.schema:
            return self.body
        return _to_cloud_event(self.body) if schema == CLOUD_EVENTS else _to_event_grid(self.body)


def schema_of(content_type: str) -> str:
    """The schema that a publisher declares by its content type."""
    return CLOUD_EVENTS if content_type.lower().startswith("application/cloudevents") else EVENT_GRID


def parse_events(payload: bytes, content_type: str, source: str, *, own_topic: bool) -> list[Event]:
    """Check a published body and return its events; `source` is stamped where the publisher gave no topic.

    `own_topic`: a custom topic refuses events that name another topic (as Azure does); a system topic's publisher
    names the resource itself.
    Raises RefusedError (400) with the path of the field, for instance `[2].eventTime`.
    """
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The body is not JSON: {error}") from error
    schema = schema_of(content_type)
    if isinstance(document, dict) and schema == CLOUD_EVENTS:
        document = [document]
    if not isinstance(document, list) or not document:
        raise bad_request("The body must be a JSON array with at least one event.")
    if schema == CLOUD_EVENTS:
        return [_cloud_event(item, f"[{index}]") for index, item in enumerate(document)]
    return [_event_grid(item, f"[{index}]", source, own_topic) for index, item in enumerate(document)]


def _event_grid(item: object, path: str, source: str, own_topic: bool) -> Event:
    event = _object(item, path)
    for name in ("id", "subject", "eventType", "eventTime"):
        _required_text(event, name, path)
    _time(event["eventTime"], f"{path}.eventTime")
    for name in ("topic", "dataVersion", "metadataVersion"):
        if not isinstance(event.get(name, ""), str | None):
            raise bad_request(f"'{path}.{name}' must be a string.")
    if event.get("metadataVersion") not in (None, "", "1"):
        raise bad_request(f"'{path}.metadataVersion' must be \"1\" when it is given.")
    topic = event.get("topic")
    if own_topic and topic and topic.lower() != source.lower():
        raise bad_request(f"'{path}.topic' must be left out or be this topic's resource ID.")
    stamped = {"topic": topic or source, "dataVersion": event.get("dataVersion") or "", "metadataVersion": "1"}
    return Event(EVENT_GRID, {**event, **stamped})


def _cloud_event(item: object, path: str) -> Event:
    event = _object(item, path)
    if event.get("specversion") != "1.0":
        raise bad_request(f"'{path}.specversion' must be \"1.0\".")
    for name in ("id", "source", "type"):
        _required_text(event, name, path)
    for name in event:
        if not _ATTRIBUTE.fullmatch(name):
            raise bad_request(f"'{path}.{name}' is no CloudEvents attribute name: 1-20 lower-case letters and digits.")
    if not isinstance(event.get("subject", ""), str | None):
        raise bad_request(f"'{path}.subject' must be a string.")
    if event.get("time") is not None:
        _time(event["time"], f"{path}.time")
    if "data" in event and "data_base64" in event:
        raise bad_request(f"'{path}.data_base64' and 'data' exclude each other.")
    return Event(CLOUD_EVENTS, event)


def _object(item: object, path: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise bad_request(f"'{path}' must be a JSON object.")
    return item


def _required_text(event: dict[str, Any], name: str, path: str) -> None:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise bad_request(f"'{path}.{name}' is required and must be a non-empty string.")


def _time(value: object, path: str) -> None:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise bad_request(f"'{path}' must be an RFC 3339 time, found '{value}'.") from error
    if at.tzinfo is None:
        raise bad_request(f"'{path}' must carry a time zone, found '{value}'.")


def _to_cloud_event(event: dict[str, Any]) -> dict[str, Any]:
    converted = {
        "id": event["id"],
        "source": event["topic"],
        "specversion": "1.0",
        "type": event["eventType"],
        "subject": event["subject"],
        "time": event["eventTime"],
        "data": event.get("data"),
    }
    return {**converted, "dataversion": event["dataVersion"]} if event.get("dataVersion") else converted


def _to_event_grid(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": event["id"],
        "topic": event["source"],
        "subject": event.get("subject") or "",
        "eventType": event["type"],
        "eventTime": event.get("time"),
        "data": event.get("data", event.get("data_base64")),
        "dataVersion": event.get("dataversion") or "",
        "metadataVersion": "1",
    }
