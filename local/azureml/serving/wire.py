"""HTTP/1.1 messages over asyncio transports, parsed by httptools: the server side and the client side of the router."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import cast

import httptools

Headers = list[tuple[bytes, bytes]]
MAX_BODY = 10 * 1024 * 1024
"""Bytes of a request's body that are taken; more is answered with 413."""
_MAX_HEADERS = 64 * 1024
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
        return next((value.decode("latin-1") for key, value in self.headers if key == name), "")

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
    """One client. Requests are answered in order, one at a time; what a client sends ahead waits, bounded."""

    def __init__(self, answer: Callable[[Message], Awaitable[bytes]], open_connections: set[ServerConnection]) -> None:
        self._answer, self._open = answer, open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._message = Message()
        self._waiting: deque[Message] = deque()
        self._task: asyncio.Task[None] | None = None
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
        except httptools.HttpParserUpgrade:
            self._refuse(400)
        except httptools.HttpParserError:
            self._refuse(400)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # -- httptools' callbacks

    def on_message_begin(self) -> None:
        self._message = Message()

    def on_url(self, url: bytes) -> None:
        self._message.target += url

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
        message = self._message
        message.method = self._parser.get_method()
        message.keep_alive = self._parser.should_keep_alive()
        if message.too_large:
            self._refuse(413)
        elif self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(message))
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting.append(message)
        else:
            self._refuse(400)

    async def _run(self, message: Message) -> None:
        while True:
            response = await self._answer(message)
            if self._transport is None:
                return
            self._transport.write(response)
            if not message.keep_alive:
                self._transport.close()
                return
            if not self._waiting:
                self._task = None
                return
            message = self._waiting.popleft()

    def _refuse(self, status: int) -> None:
        if self._transport is not None:
            self._transport.write(render(status, [], b"", keep_alive=False))
            self._transport.close()
            self._transport = None


class ClientConnection(asyncio.Protocol):
    """One connection to a scoring process; carries one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._future: asyncio.Future[Message] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._message = Message()
        self.reusable = True
        self.used = False

    async def exchange(self, request: bytes) -> Message:
        """Send a whole request, return the whole response; ConnectionError when the process goes away before it is complete."""
        if self._transport is None:
            raise ConnectionResetError("the scoring process closed the connection")
        self._message = Message()
        self._parser = httptools.HttpResponseParser(self)
        self._future = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._future

    def close(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, no check: uvloop's TLS transport does not derive from asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the scoring process answered something that is not HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self.reusable = False
        if self._message.status and not self._message.framed:
            self._finish()  # neither length nor chunks: the end of the connection is the end of the body
        self._fail(ConnectionResetError("the scoring process closed the connection before it had answered"))

    # -- httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        self._message.framed |= lowered in (b"content-length", b"transfer-encoding")
        self._message.headers.append((lowered, value))

    def on_headers_complete(self) -> None:
        self._message.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._message.body.append(body)

    def on_message_complete(self) -> None:
        self.reusable = self.reusable and self._parser.should_keep_alive()
        self._finish()

    def _finish(self) -> None:
        if self._future is not None and not self._future.done():
            self._message.complete = True
            self._future.set_result(self._message)

    def _fail(self, error: Exception) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)
