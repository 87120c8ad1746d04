"""The local host and Microsoft's worker library, side by side: the same apps are refused, the same payloads end alike."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from azure.functions.meta import Datum

from local.host.function import HostFunction
from local.host.invoker import Invoker
from local.host.loader import load
from tests.local.host.bad_apps import BAD_APPS
from tests.local.host.conftest import APPS
from tests.worker.conftest import RunWorker

APP = APPS / "every_trigger"
SETTINGS = {"KEYS_QUEUE": "keys", "WORK_QUEUE": "work"}
EVENT = {
    "id": "e-1",
    "topic": "/t",
    "subject": "/s",
    "eventType": "Microsoft.Storage.BlobCreated",
    "eventTime": "2026-11-21T10:00:00.1234567Z",
    "dataVersion": "",
    "data": {"url": "https://x/y"},
}
CLOUD_EVENT = {"specversion": "1.0", "id": "c-1", "source": "/here", "type": "t", "data": {}}
TIMER = {
    "Schedule": {"AdjustForDST": True},
    "IsPastDue": True,
    "ScheduleStatus": {"Last": "0001", "Next": "2026", "LastUpdated": "2025"},
}
CALLS: dict[str, dict[str, Any]] = {
    "event": {"function": "record_event", "kind": "json", "value": json.dumps(EVENT)},
    "failing event": {"function": "record_event", "kind": "json", "value": json.dumps(EVENT | {"data": {"fail": True}})},
    "malformed event": {"function": "record_event", "kind": "json", "value": json.dumps(EVENT | {"eventTime": "yesterday"})},
    "cloud event": {"function": "record_cloud_event", "kind": "json", "value": json.dumps(CLOUD_EVENT)},
    "cloud event for an Event Grid function": {"function": "record_event", "kind": "json", "value": json.dumps(CLOUD_EVENT)},
    "queue": {"function": "take_key", "kind": "string", "value": '{"a": 1}', "metadata": {"Id": "m", "DequeueCount": "2"}},
    "queue with text that is no JSON": {
        "function": "take_key",
        "kind": "string",
        "value": "x",
        "metadata": {"Id": "m", "DequeueCount": "1"},
    },
    "timer": {"function": "tick_yearly", "kind": "json", "value": json.dumps(TIMER)},
    "async timer": {"function": "tick_each_second", "kind": "json", "value": json.dumps({"IsPastDue": False})},
    "http": {
        "function": "hello",
        "kind": "http",
        "value": {"method": "GET", "url": "http://h/api/hello/anna", "params": {"name": "anna"}, "query": {"q": "1"}},
    },
    "async http with a body": {
        "function": "echo",
        "kind": "http",
        "value": {"method": "POST", "url": "http://h/api/echo", "body": '{"a": 1}'},
    },
    "http that answers text": {"function": "steer", "kind": "http", "value": {"method": "GET", "url": "http://h/api/steer"}},
    "http that answers nothing": {
        "function": "no_answer",
        "kind": "http",
        "value": {"method": "GET", "url": "http://h/api/no-answer"},
    },
    "http with a list output": {
        "function": "fan_out",
        "kind": "http",
        "value": {"method": "POST", "url": "http://h/api/fan-out", "body": "[1, 2]"},
    },
}


@pytest.fixture(scope="module")
def refusals(run_worker: RunWorker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the worker makes of every bad app, by its name."""
    folders = {}
    for number, (name, app) in enumerate(BAD_APPS.items()):
        folders[name] = tmp_path_factory.mktemp("bad") / str(number)
        folders[name].mkdir()
        (folders[name] / "function_app.py").write_text(app.source)
    answers = run_worker("index", *folders.values())
    return {name: answers[str(folder)] for name, folder in folders.items()}


@pytest.mark.parametrize("name", BAD_APPS)
def test_the_worker_refuses_what_the_host_refuses_but_for_the_documented_ones(
    name: str, refusals: dict[str, dict[str, Any]]
) -> None:
    answer = refusals[name]
    assert (answer["error"] is not None) is BAD_APPS[name].worker_refuses, answer


@pytest.fixture(scope="module")
def from_worker(run_worker: RunWorker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    observed = tmp_path_factory.mktemp("worker") / "observed.jsonl"
    answer = run_worker("invoke", APP, calls=list(CALLS.values()), environment=SETTINGS | {"OBSERVED": str(observed)})
    assert answer["error"] is None
    answer["observed"] = _observed(observed)
    return answer  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def from_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The same calls through this project's invoker, in this process and on this Python."""
    observed = tmp_path_factory.mktemp("host") / "observed.jsonl"
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("OBSERVED", str(observed))
        functions = {item.name: item for item in load(APP, SETTINGS)}
        results = asyncio.run(_invoke_all(functions))
        yield {"functions": functions, "results": results, "observed": _observed(observed)}
    for name in {"function_app", "events", "web", "observed"} - before:
        sys.modules.pop(name, None)


def test_both_index_the_same_functions_and_bindings(from_worker: dict[str, Any], from_host: dict[str, Any]) -> None:
    def names(bindings: Any) -> set[tuple[str, str]]:
        return {(binding["name"], binding["type"]) for binding in bindings}

    theirs = {item["name"]: names(item["bindings"]) for item in from_worker["functions"]}
    ours = {name: names([item.trigger, *item.outputs.values()]) for name, item in from_host["functions"].items()}
    assert ours == theirs


@pytest.mark.parametrize("name", CALLS)
def test_an_invocation_ends_alike(name: str, from_worker: dict[str, Any], from_host: dict[str, Any]) -> None:
    number = list(CALLS).index(name)
    theirs, ours = from_worker["results"][number], from_host["results"][number]
    assert (ours["error"] is None) == (theirs["error"] is None), (ours, theirs)
    assert ours["returned"] == theirs["returned"]
    assert _parsed(ours["outputs"]) == _parsed(theirs["outputs"])


def test_functions_saw_the_same_arguments(from_worker: dict[str, Any], from_host: dict[str, Any]) -> None:
    assert from_host["observed"] == from_worker["observed"]
    assert {line["what"] for line in from_host["observed"]} == {"event", "cloud event", "key", "yearly", "second"}


async def _invoke_all(functions: Mapping[str, HostFunction]) -> list[dict[str, Any]]:
    sent: dict[str, Any] = {}

    async def send(binding: Mapping[str, Any], datum: Datum) -> None:
        sent[binding["name"]] = {datum.type: datum.value}

    invoker = Invoker(timeout=None, threads=2, send=send, finished=lambda: None)
    results = []
    for call in CALLS.values():
        sent.clear()
        metadata = {name: Datum(value, "string") for name, value in call.get("metadata", {}).items()}
        result = await invoker.invoke(functions[call["function"]], _datum(call["kind"], call["value"]), metadata)
        results.append({"error": result.error, "returned": _plain(result.returned), "outputs": dict(sent)})
    await invoker.drain()
    return results


def _datum(kind: str, value: Any) -> Datum:
    if kind != "http":
        return Datum(value, kind)
    parts: dict[str, Any] = {name: Datum(value[name], "string") for name in ("method", "url")}
    parts |= {
        name: {key: Datum(text, "string") for key, text in value.get(name, {}).items()} for name in ("headers", "query", "params")
    }
    return Datum(parts | {"body": Datum(value.get("body", "").encode(), "bytes")}, "http")


def _plain(datum: Datum | None) -> Any:
    if datum is None:
        return None
    if datum.type != "http":
        return {datum.type: datum.value}
    value = datum.value
    headers = {name: header.value for name, header in value["headers"].items()}
    return {"status_code": value["status_code"].value, "headers": headers, "body": {"bytes": value["body"].value.decode()}}


def _parsed(outputs: dict[str, Any]) -> dict[str, Any]:
    """JSON as values: azure-functions 1.x and 2.x put different white space into it."""
    return {
        name: {kind: json.loads(text) if kind == "json" else text for kind, text in datum.items()}
        for name, datum in outputs.items()
    }


def _observed(path: Path) -> list[dict[str, Any]]:
    """What the app saw, without the invocation's own id."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "invocation"} for line in lines]
