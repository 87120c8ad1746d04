"""Requests that would take this machine's memory or time, or mean two things: refused, and soon."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.azureml.bodies import LARGEST
from local.azureml.emulator import Emulator
from local.azureml.listener import Listener
from local.azureml.mlflow.proxy import Proxy
from local.azureml.mlflow.search import versions
from local.azureml.serving.wire import Message, Respond, ServerConnection
from local.azureml.store import Record
from local.azureml.yaml_text import parse
from local.processes import free_port

_NOW = "2026-01-01T00:00:00Z"


def test_a_body_that_is_too_large_is_refused_before_it_is_kept(http: httpx.Client, emulator: Emulator) -> None:
    too_large = b"[" + b" " * LARGEST + b"]"
    answer = http.put("/jobs/large", content=too_large)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "RequestContentTooLarge")
    registry = f"{emulator.settings.mlflow_url}/api/2.0/mlflow/registered-models/create"
    assert httpx.post(registry, content=too_large).status_code == 413


def test_numbers_that_are_no_numbers_of_anything_are_refused(http: httpx.Client, stranger: httpx.Client) -> None:
    endless = "9" * 5000
    assert http.get("/jobs", params={"$top": endless}).status_code == 400
    assert stranger.get("/_emulator/jobs", params={"limit": endless}).status_code == 400


def test_a_signature_of_other_letters_is_a_wrong_signature(stranger: httpx.Client) -> None:
    assert stranger.get("/joblog/some-run", params={"sig": "ä"}).status_code == 403


def test_a_pattern_with_many_wildcards_takes_no_longer_than_one_with_few() -> None:
    def found(pattern: str, path: str) -> bool:
        record = Record("models", "m", "1", {"properties": {"modelUri": path}}, _NOW, _NOW, "")
        return bool(versions([record], f"source_path LIKE '{pattern}'", [], lambda _: None))

    assert not found("%a" * 40 + "b", "a" * 20_000)
    for pattern, path in (
        ("%", ""),
        ("a%", "a"),
        ("%a", "ba"),
        ("a%b%c", "a1b2b3c"),
        ("a_c", "abc"),
        ("%b_%", "abc"),
        ("a%a", "aa"),
    ):
        assert found(pattern, path), (pattern, path)
    for pattern, path in (("a", "ab"), ("a%a", "a"), ("%b", "ba"), ("a%b%c", "acb"), ("_", ""), ("a.c", "abc")):
        assert not found(pattern, path), (pattern, path)


def test_the_store_is_for_its_owner_alone(emulator: Emulator) -> None:
    files = list(emulator.folder.glob("emulator.sqlite*"))
    assert files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.fixture
def through_the_proxy() -> Iterator[str]:
    """The address of a proxy before a server that answers with what reached it."""

    async def tell(request: Request) -> Response:
        return JSONResponse({"headers": dict(request.headers), "body": (await request.body()).decode()})

    behind, front = free_port(), free_port()
    proxy = Proxy(f"http://127.0.0.1:{behind}")

    async def forward(request: Request) -> Response:
        return await proxy.forward(request, request.scope["query_string"], None)

    @asynccontextmanager
    async def closing(_: Starlette) -> AsyncIterator[None]:
        yield
        await proxy.close()

    listeners = [
        Listener(Starlette(routes=[Route("/", one, methods=["POST"])], lifespan=closing), port, name="a test", lifespan="on")
        for one, port in ((tell, behind), (forward, front))
    ]
    for listener in listeners:
        listener.start()
    yield f"http://127.0.0.1:{front}/"
    for listener in reversed(listeners):
        listener.stop()


def test_what_belongs_to_one_connection_is_not_passed_on(through_the_proxy: str) -> None:
    headers = {"Connection": "keep-alive, X-Mine", "X-Mine": "only here", "X-Yours": "further"}
    told = httpx.post(through_the_proxy, headers=headers, content=b"whole").json()
    assert told["body"] == "whole"
    assert told["headers"]["x-yours"] == "further"
    assert "x-mine" not in told["headers"]
    chunked = httpx.post(through_the_proxy, content=iter([b"in ", b"pieces"])).json()
    assert chunked["body"] == "in pieces"
    assert "content-length" not in chunked["headers"]


class _Wire:
    """A transport that remembers what was written to it."""

    def __init__(self) -> None:
        self.written, self.closed = b"", False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    "request_bytes",
    [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000 + b"\r\n\r\n"],
    ids=["target", "header"],
)
def test_a_request_that_was_refused_is_not_scored(request_bytes: bytes) -> None:
    scored: list[Any] = []

    def answer(message: Message, respond: Respond) -> None:
        scored.append((message, respond))

    connection, wire = ServerConnection(answer, set()), _Wire()
    connection.connection_made(cast(asyncio.BaseTransport, wire))
    connection.data_received(request_bytes)
    assert wire.written.startswith(b"HTTP/1.1 431 ")
    assert wire.closed
    assert json.dumps(scored) == "[]"


def test_yaml_that_is_larger_than_it_looks_is_refused() -> None:
    doubled = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    for text in (doubled, "a: &a [*a]"):
        with pytest.raises(yaml.YAMLError, match="more than"):
            parse(text)
    assert parse("a: &a [1]\nb: *a\n") == {"a": [1], "b": [1]}
