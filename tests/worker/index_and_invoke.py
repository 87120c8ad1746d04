"""Index a Functions app, and invoke its functions, in Microsoft's Python worker library (azure-functions-runtime, Python 3.13).

    index_and_invoke.py index APP [APP ...]        -> {APP: {"functions": [...], "error": null or text}}
    index_and_invoke.py invoke APP < calls.json    -> {"functions": [...], "error": ..., "results": [...]}

A call is {"function", "kind": json | string | http, "value", "metadata": {name: text}},
a result is {"error", "returned", "outputs"}. The library gets its protobuf classes from the caller, so plain stand-ins with
the same fields do, and neither gRPC nor the .NET host is needed. Its registry is global: one app per process, hence the fork.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from types import SimpleNamespace
from typing import Any


class Message:
    """Stands in for a protobuf message: fields by keyword, and the name of the one that was set."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self.__dict__.update(fields)

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's name
        return next((name for name, value in self._fields.items() if name != "name" and value is not None), None)


class BindingInfo(Message):
    undefined, inout, out = 0, 2, 1


class StatusResult(Message):
    Failure, Success = 0, 1


_PLAIN = (
    "TypedData", "RpcHttp", "RpcHttpCookie", "NullableString", "NullableBool", "NullableDouble", "NullableTimestamp",
    "ParameterBinding",
    "RpcException", "RpcFunctionMetadata", "RpcRetryOptions", "WorkerMetadata", "WorkerInitResponse", "FunctionMetadataResponse",
    "FunctionLoadResponse", "InvocationResponse",
)  # fmt: skip


class Protos:
    """No `__getattr__`: the library probes for names in try/except and must not find what is not there."""


PROTOS = Protos()
PROTOS.BindingInfo, PROTOS.StatusResult = BindingInfo, StatusResult  # type: ignore[attr-defined]
for _name in _PLAIN:
    setattr(PROTOS, _name, type(_name, (Message,), {}))


def request(**part: Any) -> Any:
    return SimpleNamespace(request=SimpleNamespace(**part), properties={"protos": PROTOS, "host": "127.0.0.1"})


async def index(app: str) -> dict[str, Any]:
    """Init (which indexes), metadata and load, in the host's order."""
    import azure_functions_runtime as worker

    os.chdir(app)
    sys.path.insert(0, app)
    worker.start_threadpool_executor()
    init = SimpleNamespace(capabilities={}, function_app_directory=app)
    answer = await worker.worker_init_request(request(worker_init_request=init))
    if answer.result.status != StatusResult.Success:
        return {"functions": [], "error": answer.result.exception.message}
    metadata = await worker.functions_metadata_request(request())
    functions = []
    for item in metadata.function_metadata_results or []:
        loading = SimpleNamespace(function_id=item.function_id)
        loaded = await worker.function_load_request(request(function_load_request=loading))
        assert loaded.result.status == StatusResult.Success
        functions.append(
            {"name": item.name, "id": item.function_id, "bindings": [json.loads(text) for text in item.raw_bindings]}
        )
    return {"functions": functions, "error": None}


async def invoke(function: dict[str, Any], call: dict[str, Any]) -> dict[str, Any]:
    import azure_functions_runtime as worker

    trigger = next(binding["name"] for binding in function["bindings"] if binding["type"].endswith("Trigger"))
    invocation = SimpleNamespace(
        invocation_id=str(uuid.uuid4()),
        function_id=function["id"],
        input_data=[PROTOS.ParameterBinding(name=trigger, data=typed(call["kind"], call["value"]))],  # type: ignore[attr-defined]
        trigger_metadata={name: typed("string", value) for name, value in call.get("metadata", {}).items()},
        trace_context=SimpleNamespace(trace_parent="00-" + "1" * 32 + "-" + "2" * 16 + "-00", trace_state="", attributes={}),
        retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
    )
    answer = await worker.invocation_request(request(invocation_request=invocation))
    if answer.result.status != StatusResult.Success:
        return {
            "error": answer.result.exception.message,
            "trace": answer.result.exception.stack_trace,
            "returned": None,
            "outputs": {},
        }
    outputs = {item.name: plain(item.data) for item in answer.output_data}
    return {"error": None, "returned": plain(answer.return_value), "outputs": outputs}


def typed(kind: str, value: Any) -> Any:
    """A TypedData as the host makes it: events and timers as JSON text, requests with a body of bytes."""
    if kind == "http":
        parts = {"headers": {}, "query": {}, "params": {}} | value | {"body": typed("bytes", value.get("body", "").encode())}
        return PROTOS.TypedData(http=SimpleNamespace(**parts))  # type: ignore[attr-defined]
    return PROTOS.TypedData(**{kind: value})  # type: ignore[attr-defined]


def plain(data: Any) -> Any:
    """A TypedData as something that JSON can carry."""
    kind = data.WhichOneof("data") if data is not None else None
    if kind is None:
        return None
    value = getattr(data, kind)
    if kind == "http":
        return {"status_code": value.status_code, "headers": dict(value.headers), "body": plain(value.body)}
    return {kind: value.decode() if isinstance(value, bytes) else value}


async def index_and_invoke(app: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    indexed = await index(app)
    functions = {item["name"]: item for item in indexed["functions"]}
    return indexed | {"results": [await invoke(functions[call["function"]], call) for call in calls if not indexed["error"]]}


def in_child(app: str) -> dict[str, Any]:
    """Index in a fork of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            json.dump(asyncio.run(index(app)), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text)  # type: ignore[no-any-return]


def main() -> None:
    command, *apps = sys.argv[1:]
    if command == "index":
        import azure_functions_runtime  # noqa: F401 - imported once, before the forks

        answer: Any = {app: in_child(app) for app in apps}
    else:
        answer = asyncio.run(index_and_invoke(apps[0], json.load(sys.stdin)))
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
