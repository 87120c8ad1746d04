"""The emulator's HTTP surface: routes in the order of a topic's life, each one call into the grid."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.eventgrid.dead_letters import DeadLetters
from local.eventgrid.errors import RefusedError, bad_request, too_large
from local.eventgrid.grid import Grid, GridSettings
from local.eventgrid.policy import DeliveryPolicy
from local.eventgrid.schema import MAX_BYTES
from local.eventgrid.store import Store
from local.eventgrid.subscription import Topic
from local.eventgrid.webhook import http_client

_log = logging.getLogger(__name__)


def create_app(
    settings: GridSettings, store: Store, dead_letters: DeadLetters, policy: DeliveryPolicy | None = None
) -> Starlette:
    """The application; deliveries run for as long as it does."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with http_client() as http:
            app.state.grid = Grid(settings, store, http, dead_letters, policy)
            dispatching = asyncio.create_task(app.state.grid.dispatcher.run())
            dispatching.add_done_callback(_end_process_on_error)
            yield
            dispatching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await dispatching
        dead_letters.close()
        store.close()

    routes = [
        Route("/_emulator/idle", _idle, methods=["GET"]),
        Route("/topics", _list_topics, methods=["GET"]),
        Route("/topics/{topic}", _topic, methods=["PUT", "GET", "DELETE"]),
        Route("/topics/{topic}/listKeys", _list_keys, methods=["POST"]),
        Route("/topics/{topic}/api/events", _publish, methods=["POST"]),
        Route("/topics/{topic}/subscriptions", _list_subscriptions, methods=["GET"]),
        Route("/topics/{topic}/subscriptions/{name}", _subscription, methods=["PUT", "GET", "DELETE"]),
        Route("/topics/{topic}/subscriptions/{name}/getFullUrl", _full_url, methods=["POST"]),
        Route("/topics/{topic}/subscriptions/{name}/metrics", _metrics, methods=["GET"]),
        Route("/eventsubscriptions/{topic}/{name}/validate", _validate_by_hand, methods=["GET"]),
    ]
    # A web page that rebinds its name to 127.0.0.1 must not reach the keys.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=routes, middleware=[hosts], lifespan=lifespan, exception_handlers={RefusedError: _refuse})


def _end_process_on_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("deliveries have stopped; ending the process", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)  # noqa: S101 - registered for this type alone
    return JSONResponse(error.body(), error.status)


def _grid(request: Request) -> Grid:
    grid: Grid = request.app.state.grid
    return grid


def _endpoint(grid: Grid, topic: Topic) -> str:
    return f"{grid.settings.base_url}/topics/{topic.name}/api/events"


async def _body(request: Request) -> bytes:
    """Read the body, but not more of it than Event Grid takes."""
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > MAX_BYTES:
            raise too_large(MAX_BYTES)
    return bytes(read)


async def _json(request: Request) -> Any:
    payload = await _body(request)
    try:
        return orjson.loads(payload) if payload else {}
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The body is not JSON: {error}") from error


async def _idle(request: Request) -> Response:
    pending = _grid(request).pending()
    return JSONResponse({"idle": pending == 0, "pending": pending})


async def _list_topics(request: Request) -> Response:
    grid = _grid(request)
    return JSONResponse({"value": [topic.body(_endpoint(grid, topic)) for topic in grid.topics()]})


async def _topic(request: Request) -> Response:
    grid, name = _grid(request), request.path_params["topic"]
    if request.method == "DELETE":
        grid.delete_topic(name)
        return Response(status_code=204)
    if request.method == "PUT":
        topic, is_new = grid.put_topic(name, await _json(request))
        return JSONResponse(topic.body(_endpoint(grid, topic)), 201 if is_new else 200)
    topic = grid.topic(name)
    return JSONResponse(topic.body(_endpoint(grid, topic)))


async def _list_keys(request: Request) -> Response:
    return JSONResponse({"key1": _grid(request).topic(request.path_params["topic"]).key})


async def _publish(request: Request) -> Response:
    grid = _grid(request)
    topic = grid.topic(request.path_params["topic"])
    grid.authorize(topic, request.headers.get("aeg-sas-key"))
    grid.publish(topic, await _body(request), request.headers.get("content-type", "application/json"))
    return Response(status_code=200)


async def _list_subscriptions(request: Request) -> Response:
    found = _grid(request).subscriptions(request.path_params["topic"])
    return JSONResponse({"value": [subscription.body() for subscription in found]})


async def _subscription(request: Request) -> Response:
    grid, topic, name = _grid(request), request.path_params["topic"], request.path_params["name"]
    if request.method == "DELETE":
        grid.delete_subscription(topic, name)
        return Response(status_code=204)
    if request.method == "PUT":
        subscription, is_new = await grid.put_subscription(topic, name, await _json(request))
        return JSONResponse(subscription.body(), 201 if is_new else 200)
    return JSONResponse(grid.subscription(topic, name).body())


def _of_subscription(answer: Callable[[Grid, str, str], Any]) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        return JSONResponse(answer(_grid(request), request.path_params["topic"], request.path_params["name"]))

    return handler


_full_url = _of_subscription(lambda grid, topic, name: {"endpointUrl": grid.subscription(topic, name).endpoint_url})
_metrics = _of_subscription(lambda grid, topic, name: grid.metrics(topic, name))


async def _validate_by_hand(request: Request) -> Response:
    topic, name = request.path_params["topic"], request.path_params["name"]
    _grid(request).validate_by_hand(topic, name, request.query_params.get("code", ""))
    return Response("Webhook successfully validated as a subscription endpoint.", media_type="text/plain")
