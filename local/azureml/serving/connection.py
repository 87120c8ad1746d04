"""One connection to a scoring process, over a plain non-blocking socket: a third of the cost of an asyncio transport."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import httptools

from local.azureml.serving.wire import Message

_READ_SIZE = 256 * 1024
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
Done = Callable[[Message | OSError], None]


class Connection:
    """Carries one exchange at a time. On loopback opening it does not wait; a refusal shows in the first exchange."""

    __slots__ = ("_descriptor", "_done", "_loop", "_message", "_parser", "_socket", "_unsent", "idle_since", "reusable")

    def __init__(self, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex(("127.0.0.1", port))
        self._descriptor = self._socket.fileno()
        self._done: Done | None = None
        self._unsent = memoryview(b"")
        self.reusable = True
        self.idle_since = loop.time()
        loop.add_reader(self._descriptor, self._receive)

    def exchange(self, request: bytes, done: Done) -> None:
        """Send a whole request; `done` gets the whole response, or the OSError that came instead, but never within this call."""
        self._message = Message()
        self._parser = httptools.HttpResponseParser(self)
        self._done = done
        self._unsent = memoryview(request)
        self._send()

    def close(self) -> None:
        """Safe to call twice; `done` is not called any more."""
        self.reusable, self._done = False, None
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            if self._unsent:
                self._loop.remove_writer(self._descriptor)
            self._socket.close()
            self._descriptor = -1

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._loop.call_soon(self._finish, error)
            return
        if self._unsent:
            self._loop.add_writer(self._descriptor, self._send_the_rest)

    def _send_the_rest(self) -> None:
        self._loop.remove_writer(self._descriptor)
        self._send()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._finish(error)
            return
        if not data:
            self._ended()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a fault of our own
        except httptools.HttpParserError as error:
            self._finish(ConnectionError(f"the scoring process answered something that is not HTTP: {error}"))

    def _ended(self) -> None:
        """The process has closed its end; it does so with idle connections too."""
        self.reusable = False
        if self._done is not None and self._message.status and not self._message.framed:
            self._finish(self._message)  # neither length nor chunks: the end of the connection is the end of the body
        else:
            self._finish(ConnectionResetError("the scoring process closed the connection before it had answered"))

    def _finish(self, outcome: Message | OSError) -> None:
        self.reusable = self.reusable and isinstance(outcome, Message)
        if not self.reusable:  # whatever else comes is of no interest
            self._loop.remove_reader(self._descriptor)
        done, self._done = self._done, None
        if done is not None:
            done(outcome)

    # -- httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered in _FRAMING:
            self._message.framed = True
        self._message.headers.append((lowered, value))

    def on_headers_complete(self) -> None:
        self._message.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._message.body.append(body)

    def on_message_complete(self) -> None:
        self._message.complete = True
        self.reusable = self.reusable and self._parser.should_keep_alive()
        self._finish(self._message)
