"""How the emulator's listeners stop: requests under way are answered, clients that merely keep a connection are hung up on."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from local.azureml.listener import Listener
from local.certificates import Certificates
from local.processes import free_port

GRACE = 60


def listening(certificates: Certificates, arrived: threading.Event, go: threading.Event) -> Listener:
    async def answer(request: Request) -> Response:
        arrived.set()
        while request.url.path == "/slow" and not go.is_set():
            await asyncio.sleep(0.01)
        return PlainTextResponse("answered")

    app = Starlette(routes=[Route("/{path}", answer)])
    files = {"ssl_certfile": str(certificates.certificate), "ssl_keyfile": str(certificates.key)}
    listener = Listener(app, free_port(), name="listener", grace=GRACE, **files)
    listener.start()
    return listener


def test_a_client_that_keeps_its_connection_does_not_hold_up_the_end(certificates: Certificates) -> None:
    listener = listening(certificates, threading.Event(), threading.Event())
    with httpx.Client(base_url=f"https://127.0.0.1:{listener.port}", verify=certificates.ssl_context()) as client:
        client.get("/quick").raise_for_status()
        began = time.monotonic()
        listener.stop()
        assert time.monotonic() - began < GRACE / 2


def test_a_request_under_way_is_answered_before_the_end(certificates: Certificates) -> None:
    arrived, go, answers = threading.Event(), threading.Event(), list[str]()
    listener = listening(certificates, arrived, go)
    with httpx.Client(base_url=f"https://127.0.0.1:{listener.port}", verify=certificates.ssl_context()) as client:
        asking = threading.Thread(target=lambda: answers.append(client.get("/slow", timeout=GRACE).text))
        asking.start()
        assert arrived.wait(GRACE)
        stopping = threading.Thread(target=listener.stop)
        stopping.start()
        stopping.join(0.5)
        assert stopping.is_alive(), "it did not wait for the request"
        go.set()
        asking.join(GRACE)
        stopping.join(GRACE)
    assert answers == ["answered"]
    assert not stopping.is_alive()
