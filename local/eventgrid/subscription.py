"""Topics and event subscriptions: read from the bodies of the ARM resources, and written as them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from local.eventgrid.errors import bad_request
from local.eventgrid.filters import EventFilter, parse_filter
from local.eventgrid.retry import RetryPolicy
from local.eventgrid.schema import CLOUD_EVENTS, EVENT_GRID, SCHEMAS

_NAME = re.compile(r"[A-Za-z0-9-]{3,64}")
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
SUCCEEDED = "Succeeded"
AWAITING_MANUAL_ACTION = "AwaitingManualAction"


def checked_name(name: str, kind: str) -> str:
    """Azure's rule for the names of topics and event subscriptions."""
    if not _NAME.fullmatch(name):
        raise bad_request(f"The {kind} name '{name}' must be 3-64 letters, digits and hyphens.")
    return name


@dataclass(frozen=True)
class Topic:
    """A custom topic, or (with `topic_type`) the system topic of a resource; `source` is stamped as the events' topic."""

    name: str
    key: str = field(repr=False)
    source: str
    topic_type: str | None
    input_schema: str

    @property
    def accepts(self) -> tuple[str, ...]:
        """A custom topic takes the one schema that it was made for; the publishers of system topics here may use both."""
        return SCHEMAS if self.topic_type else (self.input_schema,)

    def body(self, endpoint: str) -> dict[str, Any]:
        properties = {
            "provisioningState": SUCCEEDED,
            "endpoint": endpoint,
            "inputSchema": self.input_schema,
            "source": self.source,
            **({"topicType": self.topic_type} if self.topic_type else {}),
        }
        return {"name": self.name, "type": "Microsoft.EventGrid/topics", "properties": properties}


def parse_topic(name: str, document: Any, key: str, default_source: str) -> Topic:
    properties = _object(document, "body").get("properties") or {}
    schema = properties.get("inputSchema") or EVENT_GRID
    if schema not in SCHEMAS:
        raise bad_request(f"'properties.inputSchema' is '{schema}'; known are {', '.join(SCHEMAS)}.")
    source, topic_type = properties.get("source") or default_source, properties.get("topicType")
    if not isinstance(source, str) or not isinstance(topic_type, str | None):
        raise bad_request("'properties.source' and 'properties.topicType' must be strings.")
    return Topic(checked_name(name, "topic"), key, source, topic_type, schema)


@dataclass(frozen=True)
class DeadLetterDestination:
    """A storage container. `blob_service_url` (the emulator's extension) says where, else its one configured account is used."""

    resource_id: str
    container: str
    blob_service_url: str | None


@dataclass(frozen=True)
class Subscription:
    """An event subscription with a webhook. `document` is the resource as it was put, `state` its provisioning state."""

    topic: str
    name: str
    endpoint_url: str = field(repr=False)  # its query holds the function's key
    filter: EventFilter
    schema: str
    batch_events: int
    batch_bytes: int
    batching: bool
    retry: RetryPolicy
    dead_letter: DeadLetterDestination | None
    document: dict[str, Any] = field(repr=False)
    state: str = SUCCEEDED
    validation_code: str = field(default="", repr=False)

    def with_state(self, state: str, validation_code: str) -> Subscription:
        return replace(self, state=state, validation_code=validation_code)

    def body(self) -> dict[str, Any]:
        """The resource as GET shows it: the webhook's query string is kept back, as in Azure (getFullUrl tells it)."""
        parts = urlsplit(self.endpoint_url)
        base = {"endpointType": "WebHook", "properties": {"endpointBaseUrl": f"{parts.scheme}://{parts.netloc}{parts.path}"}}
        if self.batching:
            base["properties"] |= {  # type: ignore[operator]
                "maxEventsPerBatch": self.batch_events,
                "preferredBatchSizeInKilobytes": self.batch_bytes // 1024,
            }
        retry = {
            "maxDeliveryAttempts": self.retry.max_attempts,
            "eventTimeToLiveInMinutes": int(self.retry.time_to_live / timedelta(minutes=1)),
        }
        given = self.document.get("properties", {})
        properties = {**given, "destination": base, "provisioningState": self.state, "eventDeliverySchema": self.schema}
        properties["retryPolicy"] = retry
        return {"name": self.name, "type": "Microsoft.EventGrid/eventSubscriptions", "properties": properties}


def parse_subscription(topic: Topic, name: str, document: Any) -> Subscription:
    """Read the body of a PUT; RefusedError (400) names the property that Azure would not take."""
    properties = _object(_object(document, "body").get("properties"), "properties")
    destination = _object(properties.get("destination"), "properties.destination")
    if destination.get("endpointType") != "WebHook":
        raise bad_request("'properties.destination.endpointType' must be WebHook: the emulator delivers to no other kind.")
    webhook = _object(destination.get("properties"), "properties.destination.properties")
    schema = properties.get("eventDeliverySchema") or (EVENT_GRID if topic.topic_type else topic.input_schema)
    if schema not in SCHEMAS:
        raise bad_request(f"'properties.eventDeliverySchema' is '{schema}'; known are {', '.join(SCHEMAS)}.")
    if topic.accepts == (CLOUD_EVENTS,) and schema == EVENT_GRID:
        raise bad_request("'properties.eventDeliverySchema': a topic of CloudEvents cannot deliver in the Event Grid schema.")
    return Subscription(
        topic=topic.name,
        name=checked_name(name, "event subscription"),
        endpoint_url=_endpoint(webhook.get("endpointUrl")),
        filter=parse_filter(properties.get("filter")),
        schema=schema,
        batch_events=_within(webhook, "maxEventsPerBatch", 1, 5000, 1),
        batch_bytes=_within(webhook, "preferredBatchSizeInKilobytes", 1, 1024, 64) * 1024,
        batching=bool(webhook.get("maxEventsPerBatch") or webhook.get("preferredBatchSizeInKilobytes")),
        retry=_retry_policy(properties.get("retryPolicy")),
        dead_letter=_dead_letter(properties.get("deadLetterDestination")),
        document=document,
    )


def _endpoint(url: Any) -> str:
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise bad_request("'properties.destination.properties.endpointUrl' must be an http(s) URL.")
    return str(url)


def _retry_policy(document: Any) -> RetryPolicy:
    policy = {} if document is None else _object(document, "properties.retryPolicy")
    return RetryPolicy(
        _within(policy, "maxDeliveryAttempts", 1, 30, 30),
        timedelta(minutes=_within(policy, "eventTimeToLiveInMinutes", 1, 1440, 1440)),
    )


def _dead_letter(document: Any) -> DeadLetterDestination | None:
    if document is None:
        return None
    path = "properties.deadLetterDestination"
    destination = _object(document, path)
    if destination.get("endpointType") != "StorageBlob":
        raise bad_request(f"'{path}.endpointType' must be StorageBlob.")
    properties = _object(destination.get("properties"), f"{path}.properties")
    container, resource = properties.get("blobContainerName"), properties.get("resourceId")
    if not isinstance(container, str) or not _CONTAINER.fullmatch(container):
        raise bad_request(f"'{path}.properties.blobContainerName' must be the name of a container.")
    if not isinstance(resource, str) or "/storageaccounts/" not in resource.lower():
        raise bad_request(f"'{path}.properties.resourceId' must be the resource ID of a storage account.")
    url = properties.get("blobServiceUrl")
    return DeadLetterDestination(resource, container, None if url is None else str(url))


def _within(document: dict[str, Any], name: str, low: int, high: int, default: int) -> int:
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise bad_request(f"'{name}' is {value!r}; it must be a whole number from {low} to {high}.")
    return value


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_request(f"'{path}' is required and must be an object.")
    return value
