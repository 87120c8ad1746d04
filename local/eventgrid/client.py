"""A typed client of the emulator's management and publish routes, for the stack and for tests."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from local.eventgrid.schema import CLOUD_EVENTS, EVENT_GRID

STORAGE_ACCOUNTS = "Microsoft.Storage.StorageAccounts"
WORKSPACES = "Microsoft.MachineLearningServices.Workspaces"


class EventGridError(Exception):
    """The emulator refused a request; the message is Event Grid's own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code = status, code


@dataclass(frozen=True)
class TopicAccess:
    """Where to publish, and with which key."""

    name: str
    endpoint: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Metrics:
    """Counts for one subscription: events that were `published` to its topic, `matched` by its filter and `lost` on purpose
    (chaos); copies that were delivered, given up or are pending; attempts that `failed`."""

    published: int
    matched: int
    delivered: int
    failed: int
    dead_lettered: int
    dropped: int
    pending: int
    lost: int = 0


class EventGridClient:
    """Talks to `python -m local.eventgrid` at `base_url` (`http://127.0.0.1:<port>`)."""

    def __init__(self, base_url: str) -> None:
        # A new subscription's handshake may take its 30 s before it is refused.
        self._http = httpx.Client(base_url=base_url, trust_env=False, timeout=40.0)

    def create_topic(
        self, name: str, *, topic_type: str | None = None, source: str | None = None, input_schema: str = EVENT_GRID
    ) -> TopicAccess:
        """Make a custom topic, or with `topic_type` and `source` (an ARM ID) the system topic of a resource. Idempotent."""
        properties = {"topicType": topic_type, "source": source, "inputSchema": input_schema}
        body = {"properties": {key: value for key, value in properties.items() if value is not None}}
        made = self._call("PUT", f"/topics/{name}", json=body).json()
        key = self._call("POST", f"/topics/{name}/listKeys").json()["key1"]
        return TopicAccess(name, made["properties"]["endpoint"], key)

    def create_subscription(
        self,
        topic: str,
        name: str,
        *,
        endpoint_url: str,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the resource's own word
        schema: str | None = None,
        max_events_per_batch: int | None = None,
        preferred_batch_kilobytes: int | None = None,
        retry_policy: Mapping[str, int] | None = None,
        dead_letter: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make or replace an event subscription; raises EventGridError when the endpoint fails its handshake."""
        webhook = {
            "endpointUrl": endpoint_url,
            "maxEventsPerBatch": max_events_per_batch,
            "preferredBatchSizeInKilobytes": preferred_batch_kilobytes,
        }
        properties = {
            "destination": {"endpointType": "WebHook", "properties": _given(webhook)},
            "filter": filter,
            "eventDeliverySchema": schema,
            "retryPolicy": retry_policy,
            "deadLetterDestination": dead_letter,
        }
        made: dict[str, Any] = self._call(
            "PUT", f"/topics/{topic}/subscriptions/{name}", json={"properties": _given(properties)}
        ).json()
        return made

    def subscription(self, topic: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("GET", f"/topics/{topic}/subscriptions/{name}").json()
        return found

    def delete_subscription(self, topic: str, name: str) -> None:
        self._call("DELETE", f"/topics/{topic}/subscriptions/{name}")

    def publish(self, topic: TopicAccess, events: Sequence[Mapping[str, Any]], *, schema: str = EVENT_GRID) -> None:
        """Publish a batch (at most 1 MB as JSON)."""
        content_type = "application/cloudevents-batch+json" if schema == CLOUD_EVENTS else "application/json"
        headers = {"aeg-sas-key": topic.key, "content-type": f"{content_type}; charset=utf-8"}
        self._call("POST", topic.endpoint, json=list(events), headers=headers)

    def metrics(self, topic: str, name: str) -> Metrics:
        counts = self._call("GET", f"/topics/{topic}/subscriptions/{name}/metrics").json()
        return Metrics(dead_lettered=counts.pop("deadLettered"), **counts)

    def is_idle(self) -> bool:
        """True when no delivery and no dead letter is pending anywhere."""
        return bool(self._call("GET", "/_emulator/idle").json()["idle"])

    def wait_until_idle(self, timeout: float = 30.0) -> None:
        """Raise TimeoutError when something is still pending after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.is_idle():
            if time.monotonic() > deadline:
                raise TimeoutError(f"Event Grid still has pending deliveries after {timeout:g} s.")
            time.sleep(0.01)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _call(self, method: str, url: str, **kwargs: Any) -> httpx.Response:
        response = self._http.request(method, url, **kwargs)
        if response.is_success:
            return response
        try:
            error = response.json()["error"]
        except (ValueError, KeyError):
            raise EventGridError(response.status_code, "Unknown", response.text[:500]) from None
        raise EventGridError(response.status_code, error["code"], error["message"])


def _given(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}
