"""The `/admin` routes, all behind the master key: what there is, what ran, and firing a function by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from azure.functions.meta import Datum
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from local.host.function import HostFunction
from local.host.invoker import Invoker
from local.host.keys import Keys


class Admin:
    """Handlers for the admin routes; a wrong or missing master key is 401 everywhere."""

    def __init__(self, functions: Mapping[str, HostFunction], invoker: Invoker, keys: Keys) -> None:
        self._functions, self._invoker, self._keys = functions, invoker, keys
        self._fired: set[asyncio.Task[Any]] = set()

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "/admin/functions", self._list),
            ("POST", "/admin/functions/{name}", self._fire),
            ("GET", "/admin/host/status", self._status),
            ("GET", "/admin/host/invocations", self._invocations),
            ("GET", "/admin/host/systemkeys/eventgrid_extension", self._system_key),
            ("GET", "/admin/host/functionkeys/default", self._function_key),
        ]
        return [Route(path, self._guarded(handler), methods=[method]) for method, path, handler in table]

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            given = request.headers.get("x-functions-key") or request.query_params.get("code")
            return await handler(request) if self._keys.opens(given) else PlainTextResponse("", 401)

        return guarded

    async def _list(self, _request: Request) -> Response:
        return JSONResponse(
            [
                {
                    "name": item.name,
                    "config": {"bindings": [dict(item.trigger), *map(dict, item.outputs.values())]},
                    "isDisabled": False,
                }
                for item in self._functions.values()
            ]
        )

    async def _fire(self, request: Request) -> Response:
        """202 at once; the run is seen in `/admin/host/invocations`."""
        function = self._functions.get(request.path_params["name"])
        if function is None:
            return PlainTextResponse("", 404)
        if function.trigger_type == "httpTrigger":
            return PlainTextResponse("an HTTP function is called by its own route", 400)
        try:
            text = _input(await request.body())
            payload, metadata = manual_payload(function, text)
        except ValueError as error:
            return PlainTextResponse(str(error), 400)
        task = asyncio.create_task(self._invoker.invoke(function, payload, metadata))
        self._fired.add(task)
        task.add_done_callback(self._fired.discard)
        return Response(status_code=202)

    async def _status(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "id": "tidegate-local",
                "state": "Running",
                "version": "tidegate local functions host",
                "functions": len(self._functions),
                "running": self._invoker.running,
                "counts": self._invoker.invocations.counts(),
            }
        )

    async def _invocations(self, request: Request) -> Response:
        return JSONResponse(self._invoker.invocations.recent(request.query_params.get("function")))

    async def _system_key(self, _request: Request) -> Response:
        return JSONResponse({"name": "eventgrid_extension", "value": self._keys.eventgrid_extension, "links": []})

    async def _function_key(self, _request: Request) -> Response:
        return JSONResponse({"name": "default", "value": self._keys.function, "links": []})


def _input(body: bytes) -> str:
    """The `input` of the body; an object there is taken as its JSON text. Raises ValueError."""
    document = json.loads(body or b"{}")
    if not isinstance(document, dict):
        raise ValueError('the body must be {"input": "..."}')
    value = document.get("input", "")
    return value if isinstance(value, str) else json.dumps(value)


def manual_payload(function: HostFunction, text: str) -> tuple[Datum, dict[str, Datum]]:
    """What a function gets that is fired by hand. Raises ValueError when an event is not a JSON object."""
    if function.trigger_type == "timerTrigger":
        return Datum(json.dumps({"Schedule": {"AdjustForDST": True}, "IsPastDue": False}), "json"), {}
    if function.trigger_type == "queueTrigger":
        return Datum(text, "string"), {"Id": Datum("manual", "string"), "DequeueCount": Datum("1", "string")}
    try:
        event = json.loads(text)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise ValueError('"input" must hold the event as JSON text')
    return Datum(text, "json"), {}
