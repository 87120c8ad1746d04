"""What the workspace gives as its tracking URI: the mlflow server, with the workspace's models in the place of its registry.

Everything passes through to the server, in a stream, but: the registry and its models' files are answered here, and a job's name
is understood where MLflow wants the id of a run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local.azureml.bodies import read_body
from local.azureml.errors import AzureError
from local.azureml.mlflow.errors import MlflowError, invalid, translated, unsupported
from local.azureml.mlflow.files import ROOT, ModelFiles
from local.azureml.mlflow.proxy import Proxy
from local.azureml.mlflow.registry import Registry
from local.azureml.mlflow.translation import RunNames

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# The second of each pair is the same thing for MLflow's own pages.
_REGISTRY = re.compile(r"/(?:ajax-)?api/\d\.0/mlflow/(?P<operation>(?:registered-models|model-versions)/[\w/-]+)")
_WEBHOOKS = re.compile(r"/(?:ajax-)?api/\d\.0/mlflow/webhooks(?:/.*)?")
_ARTIFACTS = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts/?")
_MODEL_FILE = re.compile(rf"/(?:ajax-)?api/2\.0/mlflow-artifacts/(?P<service>[\w/]+?)/{ROOT}/(?P<path>.+)")
_PAGE_FILE = "/model-versions/get-artifact"
_LOCAL = ("127.0.0.1", "localhost", "::1")
_log = logging.getLogger(__name__)


class _Found(NamedTuple):
    """A request's parameters, whichever way they came."""

    method: str
    values: dict[str, Any]


def gateway_app(emulator: Emulator) -> Starlette:
    """The ASGI application; its lifespan ends the connections to the mlflow server."""
    gateway = _Gateway(emulator)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await gateway.close()

    return Starlette(routes=[Route("/{path:path}", gateway.endpoint, methods=_METHODS)], lifespan=lifespan)


class _Gateway:
    def __init__(self, emulator: Emulator) -> None:
        self._registry, self._files = Registry(emulator), ModelFiles(emulator)
        self._proxy, self._names = Proxy(emulator.settings.mlflow_server_url), RunNames(emulator)

    async def close(self) -> None:
        await self._proxy.close()

    async def endpoint(self, request: Request) -> Response:
        try:
            _refuse_strangers(request)
            return await self._answer(request)
        except AzureError as error:
            refused = translated(error)
        except MlflowError as error:
            refused = error
        except Exception as error:  # noqa: BLE001 - logged, and told in MLflow's shape
            _log.exception("%s %s failed", request.method, request.url.path)
            refused = MlflowError(500, "INTERNAL_ERROR", f"{type(error).__name__}: {error}")
        return JSONResponse(refused.body, refused.status)

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if match := _REGISTRY.fullmatch(path):
            asked = await _parameters(request)
            return JSONResponse(await run_in_threadpool(self._registry.answer, asked.method, match["operation"], asked.values))
        if _WEBHOOKS.fullmatch(path):
            raise unsupported("webhooks: its events go to Event Grid")
        if match := _MODEL_FILE.fullmatch(path):
            if request.method not in ("GET", "HEAD") or match["service"] != "artifacts":
                raise unsupported(f"{request.method} {match['service']} of a registered model's files: they never change")
            return await self._file(match["path"])
        listed = request.query_params.get("path", "").strip("/") if _ARTIFACTS.fullmatch(path) and request.method == "GET" else ""
        if listed == ROOT or listed.startswith(f"{ROOT}/"):
            return JSONResponse(await run_in_threadpool(self._files.list, listed[len(ROOT) :].strip("/")))
        if path == _PAGE_FILE:
            query = request.query_params
            return await self._file("/".join(query.get(name, "") for name in ("name", "version", "path")))
        return await self._forward(request)

    async def _file(self, path: str) -> Response:
        file = await run_in_threadpool(self._files.open, path)
        # As a download, and nothing that a browser would run in this address's name.
        headers = {"Content-Length": str(file.size), "Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
        return StreamingResponse(file.content, media_type="application/octet-stream", headers=headers)

    async def _forward(self, request: Request) -> Response:
        query, body = await self._names.translate(request)
        return await self._proxy.forward(request, query, body)


async def _parameters(request: Request) -> _Found:
    """Of a query or of a JSON object, as MLflow's clients send them."""
    if request.method in ("GET", "HEAD"):
        query = request.query_params
        return _Found("GET", {key: query.getlist(key) for key in query})
    raw = await read_body(request)
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise invalid(f"The request's body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise invalid("The request's body must be a JSON object.")
    return _Found(request.method, body)


def _refuse_strangers(request: Request) -> None:
    """What a page of another site makes a browser send here is refused: a foreign name for this address, a foreign origin."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    origin = request.headers.get("origin")
    if host not in _LOCAL or (origin is not None and urlsplit(origin).hostname not in _LOCAL):
        raise MlflowError(403, "PERMISSION_DENIED", "Requests come from this machine, by its own address.")
