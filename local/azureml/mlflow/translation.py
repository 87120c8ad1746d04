"""A job's name where MLflow wants a run's id: in Azure they are the same, and people write `mlflow.get_run(job.name)`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from local.azureml.execution.runs import KIND as RUNS

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_NAMES = ("run_id", "run_uuid", "run_ids")
_WITH_BODY = re.compile(r"/(?:ajax-)?api/2\.0/mlflow/(?:runs|artifacts)/[\w-]+")
# What MLflow's client sends in one log-batch stays below a megabyte; a larger body is passed on as it is.
_MOST_BYTES = 2 * 1024 * 1024


class RunNames:
    """Costs a look into the store per request that names a run; the mlflow server is asked once for each job."""

    def __init__(self, emulator: Emulator) -> None:
        self._store, self._artifacts = emulator.store, emulator.artifacts

    async def translate(self, request: Request) -> tuple[bytes, bytes | None]:
        """The query and, where it changed, the body to send on."""
        query: bytes = request.scope["query_string"]
        if b"run_" in query:
            pairs = parse_qsl(query.decode(), keep_blank_values=True)
            translated = [(key, await self._id(value) if key in _NAMES else value) for key, value in pairs]
            query = query if translated == pairs else urlencode(translated).encode()
        return query, await self._body(request)

    async def _body(self, request: Request) -> bytes | None:
        length = request.headers.get("content-length", "")
        if not _WITH_BODY.fullmatch(request.url.path) or not length.isdecimal() or int(length) > _MOST_BYTES:
            return None
        raw = await request.body()
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:  # the server shall say what is wrong with it
            return raw
        if not isinstance(body, dict):
            return raw
        changed = {key: await self._id(body[key]) for key in _NAMES if isinstance(body.get(key), str)}
        return orjson.dumps({**body, **changed}) if any(body[key] != value for key, value in changed.items()) else raw

    async def _id(self, run: Any) -> Any:
        if self._store.record(RUNS, run) is None:
            return run
        return await run_in_threadpool(self._artifacts.mlflow_id, run) or run
