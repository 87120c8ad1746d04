"""The router's way to one scoring process: connections kept or opened ahead, a limit on what is under way, a deadline."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable

from local.azureml.serving.connection import Connection
from local.azureml.serving.table import Target
from local.azureml.serving.wire import Headers, Message

_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect")
)
_NOT_FORWARDED = _HOP_BY_HOP | {b"host", b"content-length", b"authorization", b"azureml-model-deployment"}
"""The key opens the endpoint; the scoring script has no business with it."""
_NOT_RETURNED = _HOP_BY_HOP | {b"content-length", b"server"}


_CAN_OPEN_AHEAD = sys.platform == "linux"
"""Where launch.py can keep a connection without a request from occupying a worker."""
_IDLE_SECONDS = 20.0
"""Well below launch.py's time after which a worker is given the connection after all."""


class TooManyRequests(Exception):
    """More requests are under way than the deployment's settings allow."""


class Upstream:
    """One scoring process. `target` may be replaced by a newer one with the same port (its limits changed).

    A scoring process closes every connection after its answer (gunicorn's sync worker). So that a request need not wait for a
    new one, spare connections are opened ahead of need, as many as requests are under way
    (docs/adr/0005-connections-to-scoring-processes.md).
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.under_way = 0
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()
        self._closes = False

    def send(self, message: Message, path: bytes, done: Callable[[Message | Exception], None]) -> None:
        """`done` gets the process's answer; TooManyRequests at once, TimeoutError after the deadline, OSError when it is away."""
        if self.under_way >= self.target.limit:
            done(TooManyRequests())
            return
        self.under_way += 1
        _Exchange(self, _request(message, path, self.target.port), done)
        self._loop.call_soon(self._open_ahead)

    def open(self) -> Connection:
        return Connection(self.target.port, self._loop)

    def take(self) -> Connection | None:
        """A connection that was opened ahead or kept, if there is one that has not ended."""
        while self._idle:
            connection = self._idle.popleft()
            if connection.reusable:
                return connection
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep what can be used again; close the rest at once: gunicorn's worker does nothing else until the router has."""
        self._closes = not connection.reusable
        if self._closes:
            connection.close()
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    def _open_ahead(self) -> None:
        """While the scoring process is busy with a request, open what the next ones will need."""
        if self._closes and _CAN_OPEN_AHEAD:
            for _ in range(len(self._idle), self.under_way):
                self._idle.append(self.open())

    def sweep(self) -> None:
        """Close the connections that nobody has wanted for a while."""
        oldest = self._loop.time() - _IDLE_SECONDS
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().close()

    def close(self) -> None:
        """Close what is idle; what is under way goes on."""
        while self._idle:
            self._idle.popleft().close()


class _Exchange:
    """One request on its way: a deadline, and a second try when the connection had been opened long before."""

    __slots__ = ("_connection", "_deadline", "_done", "_fresh", "_request", "_upstream")

    def __init__(self, upstream: Upstream, request: bytes, done: Callable[[Message | Exception], None]) -> None:
        self._upstream, self._request, self._done = upstream, request, done
        kept = upstream.take()
        self._fresh = kept is None
        self._connection = kept or upstream.open()
        self._connection.exchange(request, self._answered)
        self._deadline = asyncio.get_running_loop().call_later(upstream.target.timeout_seconds, self._too_late)

    def _answered(self, outcome: Message | OSError) -> None:
        if isinstance(outcome, ConnectionError) and not self._fresh:
            # The process closes idle connections when it likes, or is another one by now. Scoring twice is harmless, so a fresh
            # connection is tried, once: a request that kills the process must not kill its successors as well.
            self._connection.close()
            self._upstream.close()
            self._fresh, self._connection = True, self._upstream.open()
            self._connection.exchange(self._request, self._answered)
            return
        self._deadline.cancel()
        self._end(outcome)

    def _too_late(self) -> None:
        self._connection.close()
        self._end(TimeoutError())

    def _end(self, outcome: Message | Exception) -> None:
        upstream = self._upstream
        upstream.under_way -= 1
        self._done(outcome)
        upstream.give_back(self._connection)


def _request(message: Message, path: bytes, port: int) -> bytes:
    body = message.content()
    lines = [b"%s %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % (message.method, path, port)]
    lines += [b"%s: %s\r\n" % header for header in message.headers if header[0] not in _NOT_FORWARDED]
    lines.append(b"content-length: %d\r\n\r\n" % len(body))
    return b"".join((*lines, body))


def forwarded_headers(answer: Message) -> Headers:
    """The headers of a scoring process's answer that the client may see."""
    return [header for header in answer.headers if header[0] not in _NOT_RETURNED]
