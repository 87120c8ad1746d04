"""HTTP/1.1 messages, parsed by httptools, and the router's side towards its clients."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import httptools

Headers = list[tuple[bytes, bytes]]
Respond = Callable[[bytes], None]
Answer = Callable[["Message", Respond], None]
MAX_BODY = 10 * 1024 * 1024
"""Bytes of a request's body that are taken; more is answered with 413."""
_MAX_HEADERS = 64 * 1024
"""Bytes of a request's target and headers together."""
_MAX_WAITING = 64


class Message:
    """A request or a response while it is parsed; afterwards what it says. Header names are lower case."""

    __slots__ = ("body", "complete", "framed", "headers", "keep_alive", "method", "size", "status", "target", "too_large")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.body: list[bytes] = []
        self.size = 0
        self.method = self.target = b""
        self.status = 0
        self.keep_alive = True
        self.framed = False
        self.complete = False
        self.too_large = False

    def header(self, name: bytes) -> str:
        """The first value of a header, or an empty string."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return ""

    def content(self) -> bytes:
        return b"".join(self.body)


def render(status: int, headers: Headers, body: bytes, *, keep_alive: bool) -> bytes:
    """A whole response with Content-Length."""
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, _reason(status))]
    lines += [b"%s: %s\r\n" % header for header in headers]
    lines.append(b"content-length: %d\r\n" % len(body))
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    return b"".join((*lines, b"\r\n", body))


def _reason(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode() if status in HTTPStatus._value2member_map_ else b"Status"


class ServerConnection(asyncio.Protocol):
    """One client. Requests are answered in order, one at a time; what a client sends ahead waits, bounded.

    `answer(message, respond)` is called for each; it calls `respond` with the whole response, once, now or later. Callbacks and
    no coroutines: tasks, futures and timeouts cost more per request than everything else that the router does.
    """

    def __init__(self, answer: Answer, open_connections: set[ServerConnection]) -> None:
        self._answer, self._open = answer, open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._message = Message()
        self._waiting: deque[Message] = deque()
        self._under_way: Message | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, no check: uvloop's TLS transport does not derive from asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._open.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a fault of our own: the event loop reports it and closes the connection
        except httptools.HttpParserError:
            self._refuse(400)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # -- httptools' callbacks

    def on_message_begin(self) -> None:
        self._message = Message()

    def on_url(self, url: bytes) -> None:
        message = self._message
        message.size += len(url)
        if message.size > _MAX_HEADERS:
            self._refuse(431)
            return
        message.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        message = self._message
        message.size += len(name) + len(value)
        if message.size > _MAX_HEADERS:
            self._refuse(431)
            return
        message.headers.append((name.lower(), value))
        if name.lower() == b"expect" and value.lower() == b"100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_headers_complete(self) -> None:
        self._message.size = 0

    def on_body(self, body: bytes) -> None:
        message = self._message
        message.size += len(body)
        if message.size > MAX_BODY:
            message.too_large = True
            message.body.clear()
        else:
            message.body.append(body)

    def on_message_complete(self) -> None:
        if self._transport is None:  # refused, or gone: what is left of it is not to be scored
            return
        message = self._message
        message.method = self._parser.get_method()
        message.keep_alive = self._parser.should_keep_alive()
        if message.too_large:
            self._refuse(413)
        elif self._under_way is None:
            self._under_way = message
            self._answer(message, self._respond)
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting.append(message)
        else:
            self._refuse(400)

    def _respond(self, response: bytes) -> None:
        answered, self._under_way = self._under_way, None
        if self._transport is None or answered is None:
            return
        self._transport.write(response)
        if not answered.keep_alive:
            self._transport.close()
        elif self._waiting:
            self._under_way = self._waiting.popleft()
            self._answer(self._under_way, self._respond)

    def _refuse(self, status: int) -> None:
        if self._transport is not None:
            self._transport.write(render(status, [], b"", keep_alive=False))
            self._transport.close()
            self._transport = None
