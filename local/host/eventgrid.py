"""The Event Grid webhook, `/runtime/webhooks/eventgrid?functionName=...&code=...`, as the Functions extension answers it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

from azure.functions.meta import Datum
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from local.host.function import HostFunction
from local.host.invoker import Invoker
from local.host.keys import Keys

_log = logging.getLogger("tidegate.host")
PATH = "/runtime/webhooks/eventgrid"
_ORIGINS = frozenset({"eventgrid.azure.net", "eventgrid.azure.us", "eventgrid.azure.cn"})


class EventGridWebhook:
    """Answers Event Grid for every function with an Event Grid trigger. Function names are case-sensitive here."""

    def __init__(self, functions: Mapping[str, HostFunction], invoker: Invoker, keys: Keys) -> None:
        self._functions = {name: item for name, item in functions.items() if item.trigger_type == "eventGridTrigger"}
        self._invoker, self._keys = invoker, keys

    def route(self) -> Route:
        return Route(PATH, self.answer, methods=["GET", "PUT", "POST", "DELETE", "OPTIONS"])

    async def answer(self, request: Request) -> Response:
        if not self._keys.opens(_code(request), self._keys.eventgrid_extension):
            return PlainTextResponse("", 401)
        name = request.query_params.get("functionName", "")
        function = self._functions.get(name)
        if function is None:
            _log.error("Event Grid asked for a function that does not exist: %r; there are %s", name, sorted(self._functions))
            return PlainTextResponse(f"cannot find function: '{name}'", 404)
        if request.method == "OPTIONS":
            return _cloud_events_handshake(request)
        kind = request.headers.get("aeg-event-type", "")
        if kind.lower() == "unsubscribe":
            return Response(status_code=202)
        if kind.lower() not in ("subscriptionvalidation", "notification"):
            _log.error(
                "a request to %s has aeg-event-type %r: only Notification, SubscriptionValidation and Unsubscribe are known",
                PATH,
                kind,
            )
            return PlainTextResponse("the header aeg-event-type is missing or unknown", 400)
        events = _events(await request.body())
        if events is None:
            return PlainTextResponse("the body is neither a JSON array of events nor one event", 400)
        if kind.lower() == "subscriptionvalidation":
            return _validation(events)
        return await self._notify(function, events, request.headers.get("traceparent", ""))

    async def _notify(self, function: HostFunction, events: list[dict[str, Any]], trace: str) -> Response:
        """All events at the same time; one failure makes Event Grid send the whole array again."""
        results = await asyncio.gather(
            *(self._invoker.invoke(function, Datum(json.dumps(event), "json"), None, trace) for event in events)
        )
        failures = [result.error for result in results if result.error is not None]
        return PlainTextResponse("\n".join(failures), 500) if failures else Response(status_code=202)


def _code(request: Request) -> str | None:
    return request.query_params.get("code") or request.headers.get("x-functions-key")


def _cloud_events_handshake(request: Request) -> Response:
    origin = request.headers.get("webhook-request-origin", "")
    headers = {"Webhook-Allowed-Origin": origin} if origin.lower() in _ORIGINS else {}
    return Response(status_code=200, headers=headers)


def _events(body: bytes) -> list[dict[str, Any]] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    events = document if isinstance(document, list) else [document]
    return events if all(isinstance(event, dict) for event in events) else None


def _validation(events: list[dict[str, Any]]) -> Response:
    """In the array form `data` is an object; in the object form it is JSON text."""
    data = events[0].get("data") if events else None
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except ValueError:
            data = None
    code = data.get("validationCode") if isinstance(data, dict) else None
    if not isinstance(code, str) or not code:
        return PlainTextResponse("the validation event carries no data.validationCode", 400)
    return JSONResponse({"validationResponse": code})
