"""What the tests of Event Grid are made with: a real webhook, and the emulator as a real process."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local.eventgrid.client import EventGridClient
from local.processes import Child, free_port, port_answers

Answer = tuple[int, bytes, dict[str, str]]


@dataclass(frozen=True)
class Received:
    method: str
    headers: dict[str, str]
    body: Any
    at: float

    @property
    def kind(self) -> str:
        return self.headers.get("aeg-event-type", "")


def agree(request: Received) -> Answer:
    """A subscriber that takes everything, and passes both handshakes."""
    if request.method == "OPTIONS":
        return 200, b"", {"WebHook-Allowed-Origin": "eventgrid.azure.net", "WebHook-Allowed-Rate": "*"}
    if request.kind == "SubscriptionValidation":
        return 200, json.dumps({"validationResponse": request.body[0]["data"]["validationCode"]}).encode(), {}
    return 200, b"", {}


def answering(*statuses: int) -> Callable[[Received], Answer]:
    """Passes handshakes; answers notifications with these statuses in turn, the last one for ever."""
    left = list(statuses)

    def answer(request: Received) -> Answer:
        if request.method == "OPTIONS" or request.kind == "SubscriptionValidation":
            return agree(request)
        return (left.pop(0) if len(left) > 1 else left[0]), b"", {}

    return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A kept connection of a sender that was killed on purpose is no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Receiver:
    """A webhook that remembers what it got. Set `answer` to change how it behaves."""

    def __init__(self) -> None:
        self.answer: Callable[[Received], Answer] = agree
        self.requests: list[Received] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                if len(body) < length:  # the sender was killed in the middle of it: no request at all
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Received(self.command, headers, json.loads(body) if body else None, time.monotonic())
                with receiver._changed:
                    receiver.requests.append(request)
                    receiver._changed.notify_all()
                status, content, extra = receiver.answer(request)
                try:
                    self.send_response(status)
                    for name, value in {**extra, "content-length": str(len(content))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):  # the sender was killed or gave up waiting, on purpose
                    self.close_connection = True

            do_POST = do_OPTIONS = _handle  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None: ...

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/runtime/webhooks/eventgrid?functionName=f&code=secret"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def notifications(self) -> list[Received]:
        return [item for item in list(self.requests) if item.method == "POST" and item.kind == "Notification"]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for item in self.notifications for event in (item.body if isinstance(item.body, list) else [item.body])]

    def wait_for(self, reached: Callable[[Receiver], bool], timeout: float = 20.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: reached(self), timeout), [item.headers for item in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class RunningGrid:
    """`python -m local.eventgrid` in a child process, and a client for it."""

    def __init__(self, state: Path, *options: str) -> None:
        self.port = free_port()
        self._command = [sys.executable, "-m", "local.eventgrid", "--state", str(state), "--port", str(self.port), *options]
        self._log = state / "eventgrid.log"
        self.client = EventGridClient(f"http://127.0.0.1:{self.port}")
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self) -> None:
        self.child = Child("eventgrid", self._command, log=self._log)
        self.child.wait_until(lambda: port_answers(self.port))

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.child.pid, signal.SIGKILL)
        while self.child.poll() is None:
            time.sleep(0.005)

    def stop(self) -> None:
        self.client.close()
        self.child.stop()
