"""The client of the scoring benchmark: plain or TLS, the same code for both, so that neither side has the better client."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from local.azureml.serving.wire import Message


class ClientConnection(asyncio.Protocol):
    """One connection to a scoring process; carries one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._future: asyncio.Future[Message] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._message = Message()
        self.reusable = True

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
