"""Speaks to a subscriber's webhook: the validation handshake, and one delivery request with Event Grid's headers.

Sources, below learn.microsoft.com/azure/event-grid: end-point-validation-event-grid-events-schema,
end-point-validation-cloud-events-schema, delivery-and-retry.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson

from local.eventgrid.errors import RefusedError, bad_request
from local.eventgrid.retry import Outcome
from local.eventgrid.schema import CLOUD_EVENTS, EVENT_GRID, Event
from local.eventgrid.store import Delivery
from local.eventgrid.subscription import AWAITING_MANUAL_ACTION, SUCCEEDED, Subscription, Topic

ORIGIN = "eventgrid.azure.net"


def http_client() -> httpx.AsyncClient:
    """Trusts SSL_CERT_FILE; knows no proxy and follows no redirect (Event Grid counts one as a failure)."""
    context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    # The callers bound every request as a whole.
    return httpx.AsyncClient(verify=context, trust_env=False, timeout=None, limits=limits)  # noqa: S113


async def deliver(
    http: httpx.AsyncClient, subscription: Subscription, deliveries: Sequence[tuple[Delivery, Event]], timeout: float
) -> Outcome:
    """Send one request and say how it ended. `timeout` in seconds, for the whole answer."""
    (first, first_event) = deliveries[0]
    headers = {
        "aeg-subscription-name": subscription.name.upper(),
        "aeg-delivery-count": str(first.attempts),
        "aeg-event-type": "Notification",
    }
    bodies = [event.in_schema(subscription.schema) for _, event in deliveries]
    body: Any = bodies
    if subscription.schema == EVENT_GRID:
        headers |= {"aeg-data-version": first_event.data_version, "aeg-metadata-version": "1"}
        headers["content-type"] = "application/json; charset=utf-8"
    elif subscription.batching:
        headers["content-type"] = "application/cloudevents-batch+json; charset=utf-8"
    else:
        headers["content-type"] = "application/cloudevents+json; charset=utf-8"
        body = bodies[0]
    try:
        async with asyncio.timeout(timeout):
            response = await http.post(subscription.endpoint_url, content=orjson.dumps(body), headers=headers)
    except TimeoutError:
        return Outcome("TimedOut")
    except httpx.ConnectError as error:
        return Outcome("ResolutionError" if _unresolved(error) else "SocketError")
    except httpx.HTTPError:
        return Outcome("SocketError")
    return Outcome.of_status(response.status_code)


async def validate(http: httpx.AsyncClient, topic: Topic, subscription: Subscription, validation_url: str, timeout: float) -> str:
    """Perform the handshake; return the provisioning state that it leads to. RefusedError when the endpoint does not agree."""
    shake = _validate_cloud_events if subscription.schema == CLOUD_EVENTS else _validate_event_grid
    try:
        async with asyncio.timeout(timeout):
            return await shake(http, topic, subscription, validation_url)
    except TimeoutError as error:
        raise _refusal(subscription, f"there was no answer within {timeout:g} s") from error
    except httpx.HTTPError as error:
        raise _refusal(subscription, f"the request failed: {error or type(error).__name__}") from error


async def _validate_event_grid(http: httpx.AsyncClient, topic: Topic, subscription: Subscription, validation_url: str) -> str:
    event = {
        "id": str(uuid.uuid4()),
        "topic": topic.source,
        "subject": "",
        "data": {"validationCode": subscription.validation_code, "validationUrl": validation_url},
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z",
        "metadataVersion": "1",
        "dataVersion": "2",
    }
    headers = {
        "aeg-event-type": "SubscriptionValidation",
        "aeg-subscription-name": subscription.name.upper(),
        "aeg-delivery-count": "0",
        "aeg-data-version": "2",
        "aeg-metadata-version": "1",
        "content-type": "application/json; charset=utf-8",
    }
    response = await http.post(subscription.endpoint_url, content=orjson.dumps([event]), headers=headers)
    if response.status_code != 200:
        raise _refusal(subscription, f"the SubscriptionValidation event was answered with {response.status_code}, not 200")
    try:
        answer = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        answer = None
    given = (
        {name.lower(): value for name, value in answer.items()}.get("validationresponse") if isinstance(answer, dict) else None
    )
    if given is None:  # 200 without the code: a person may still open the validationUrl
        return AWAITING_MANUAL_ACTION
    if given != subscription.validation_code:
        raise _refusal(subscription, "the validationResponse is not the code that was sent")
    return SUCCEEDED


async def _validate_cloud_events(http: httpx.AsyncClient, topic: Topic, subscription: Subscription, validation_url: str) -> str:
    del topic, validation_url  # the CloudEvents handshake tells neither
    response = await http.options(subscription.endpoint_url, headers={"WebHook-Request-Origin": ORIGIN})
    allowed = [origin.strip() for origin in response.headers.get("WebHook-Allowed-Origin", "").split(",")]
    if not response.is_success:
        raise _refusal(subscription, f"OPTIONS was answered with {response.status_code}")
    if "*" not in allowed and ORIGIN not in allowed:
        raise _refusal(subscription, f"WebHook-Allowed-Origin does not name {ORIGIN}")
    return SUCCEEDED


def _refusal(subscription: Subscription, why: str) -> RefusedError:
    base = subscription.body()["properties"]["destination"]["properties"]["endpointBaseUrl"]
    return bad_request(f"The attempt to validate the provided endpoint {base} failed: {why}.", "Url validation")


def _unresolved(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False
