"""The request's life: find the route, authenticate, ask for an api-version, decode, check, handle, encode the answer."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route as StarletteRoute

from local.azureml import (
    arm,
    batch_deployments,
    batch_endpoints,
    codes,
    components,
    computes,
    connections,
    dashboard,
    data,
    datastores,
    discovery,
    environments,
    jobs,
    log_queries,
    metadata,
    metrics,
    models,
    msi,
    online_deployments,
    online_endpoints,
    operations,
    registries,
    registry_assets,
    run_history,
    schedules,
    steering,
    vm_sizes,
    workspaces,
)
from local.azureml.batch import jobs as batch_jobs
from local.azureml.bodies import read_body
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, bad_request
from local.azureml.store import MissingDocumentError

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_PIECE = 256 * 1024
"""Characters of a file that are in memory at once."""
_log = logging.getLogger(__name__)

# One module per resource; each has `routes(emulator) -> list[Route]`.
RESOURCES = (
    metadata, msi, discovery, workspaces, datastores, data, codes, environments, components, models,
    jobs, run_history, schedules, computes, vm_sizes, online_endpoints, online_deployments, metrics, log_queries,
    operations, steering, connections,
    batch_endpoints, batch_deployments, batch_jobs, registries, registry_assets, dashboard,
)  # fmt: skip


def routes(emulator: Emulator) -> list[Route]:
    """Every route of every resource, in the order in which they are tried."""
    return [route for resource in RESOURCES for route in resource.routes(emulator)]


class Router:
    """Finds the route of a path; paths are compared case-insensitively, names in them keep their case."""

    def __init__(self, emulator: Emulator, table: list[Route]) -> None:
        self._workspace = emulator.workspace_id
        self._table = [(route, self._pattern(route.path)) for route in table]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        path = path.rstrip("/")
        for route, pattern in self._table:
            if route.method == method and (match := pattern.fullmatch(path)):
                return route, match.groupdict()
        return None

    def _pattern(self, path: str) -> re.Pattern[str]:
        absolute = path[1:].rstrip("/") if path.startswith("//") else self._workspace + path
        pieces = re.split(r"\{(\w+)(:path)?\}", absolute)
        source = re.escape(pieces[0])
        for name, rest, literal in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
            source += f"(?P<{name}>{'.*' if rest else '[^/]+'})" + re.escape(literal)
        return re.compile(source, re.IGNORECASE)


def build_app(emulator: Emulator) -> Starlette:
    """The ASGI application of the control plane."""
    router = Router(emulator, routes(emulator))
    # Threads that live as long as the app: the kernel ends a child when the thread that started it ends (local/processes.py), and
    # the threads of Starlette's own pool end when they were idle for a while.
    threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="handler")

    async def endpoint(request: Request) -> Response:
        try:
            call, route = await _call(emulator, router, request)
            emulator.checks.request(route, call)
            if emulator.faults.requests:
                await steering.suffer(emulator, call)
            if emulator.transitions.counting:
                steering.count_read(emulator, call)
            answer = await asyncio.get_running_loop().run_in_executor(threads, route.handler, call)
            emulator.checks.answer(route, answer)
            return _response(answer)
        except AzureError as error:
            return _response(Answer(error.body, error.status, error.headers))
        except MissingDocumentError as error:
            return _response(Answer(AzureError(404, "UserError", str(error)).body, 404))
        except Exception as error:  # noqa: BLE001
            # A bug, or Azurite that is not there: the client gets Azure's shape of it, the log keeps the traceback.
            _log.exception("%s %s failed", request.method, request.url.path)
            return _response(Answer(AzureError(500, "InternalServerError", f"{type(error).__name__}: {error}").body, 500))

    methods = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"]
    return Starlette(routes=[StarletteRoute("/{path:path}", endpoint, methods=methods)])


async def _call(emulator: Emulator, router: Router, request: Request) -> tuple[Call, Route]:
    path = request.scope["path"].rstrip("/")
    found = router.find(request.method, path)
    # As Azure does: who is asking comes before what is asked, so an unknown route without a token is a 401 too.
    arm.authenticate(emulator, request.headers, "arm" if found is None else found[0].auth)
    if found is None:
        raise arm.unknown_route(emulator, request.method, path)
    route, path_params = found
    if route.auth == "arm" and not any(key.lower() == "api-version" for key in request.query_params):
        raise bad_request(
            "The api-version query parameter (?api-version=) is required for all requests.", "MissingApiVersionParameter"
        )
    headers = {key.lower(): value for key, value in request.headers.items()}
    return Call(request.method, path, path_params, dict(request.query_params), headers, await _body(request)), route


async def _body(request: Request) -> Any:
    raw = await read_body(request)
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise bad_request(
            f"The request content was invalid and could not be deserialized: {error}", "InvalidRequestContent"
        ) from error


def _response(answer: Answer) -> Response:
    if answer.body is None:
        return Response(status_code=answer.status, headers=answer.headers)
    if isinstance(answer.body, str):
        return Response(answer.body, answer.status, answer.headers, media_type="text/plain")
    if isinstance(answer.body, Path):
        return StreamingResponse(_text_of(answer.body), answer.status, answer.headers, media_type="text/plain")
    if isinstance(answer.body, bytes):
        return Response(answer.body, answer.status, answer.headers, media_type="application/octet-stream")
    return Response(orjson.dumps(answer.body), answer.status, answer.headers, media_type="application/json")


def _text_of(file: Path) -> Iterator[bytes]:
    """A text file, perhaps one that grows, in pieces: a job may log more than this process should hold. No file: nothing."""
    try:
        with file.open(encoding="utf-8", errors="replace", newline="") as text:
            while piece := text.read(_PIECE):
                yield piece.encode()
    except FileNotFoundError:
        return
