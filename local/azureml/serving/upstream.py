"""The router's way to one scoring process: kept connections, a limit on what is under way, a deadline."""

from __future__ import annotations

import asyncio
import sys
from collections import deque

from local.azureml.serving.table import Target
from local.azureml.serving.wire import ClientConnection, Headers, Message

_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect")
)
_NOT_FORWARDED = _HOP_BY_HOP | {b"host", b"content-length", b"authorization", b"azureml-model-deployment"}
"""The key opens the endpoint; the scoring script has no business with it."""
_NOT_RETURNED = _HOP_BY_HOP | {b"content-length", b"server"}


_CAN_OPEN_AHEAD = sys.platform == "linux"
"""Where launch.py can keep a connection without a request from occupying a worker."""
_SPARE_SECONDS = 20.0
"""Well below launch.py's time after which the worker is given the connection after all."""


class TooManyRequests(Exception):
    """More requests are under way than the deployment's settings allow."""


class Upstream:
    """One scoring process. `target` may be replaced by a newer one with the same port (its limits changed).

    A scoring process closes every connection after its answer (gunicorn's sync worker). So that a request need not wait for a
    new one, spare connections are opened ahead of need, as many as requests are under way.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._under_way = 0
        self._ready: deque[ClientConnection] = deque()
        self._opening: asyncio.Task[None] | None = None

    async def send(self, message: Message, path: bytes) -> Message:
        """The process's answer. TooManyRequests at once, TimeoutError after the deadline, OSError when it cannot be reached."""
        if self._under_way >= self.target.limit:
            raise TooManyRequests
        self._under_way += 1
        try:
            async with asyncio.timeout(self.target.timeout_seconds):
                return await self._exchange(_request(message, path, self.target.port))
        finally:
            self._under_way -= 1

    async def _exchange(self, request: bytes) -> Message:
        connection = self._take()
        if connection is not None:
            try:
                return await self._over(connection, request)
            except ConnectionResetError:
                # The process closes idle connections when it likes, or is another one by now. Scoring twice is harmless, so a
                # fresh connection is tried, once: a request that kills the process must not kill its successors too.
                self.close()
        return await self._over(await self._open(), request)

    async def _over(self, connection: ClientConnection, request: bytes) -> Message:
        try:
            answer = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            self._ready.append(connection)
        else:
            connection.close()
            self._open_ahead()
        return answer

    def _take(self) -> ClientConnection | None:
        while self._ready:
            connection = self._ready.popleft()
            if connection.reusable:
                return connection
        return None

    async def _open(self) -> ClientConnection:
        _, connection = await asyncio.get_running_loop().create_connection(ClientConnection, "127.0.0.1", self.target.port)
        return connection

    def _open_ahead(self) -> None:
        if _CAN_OPEN_AHEAD and self._opening is None and len(self._ready) < self._under_way:
            self._opening = asyncio.get_running_loop().create_task(self._add_spare())

    async def _add_spare(self) -> None:
        try:
            self._ready.append(await self._open())
        except OSError:
            pass  # the next request finds out, and says so
        finally:
            self._opening = None

    def sweep(self, now: float) -> None:
        """Close spare connections that nobody has wanted for a while (`now`: the loop's clock)."""
        while self._ready and now - self._ready[0].opened_at > _SPARE_SECONDS:
            self._ready.popleft().close()

    def close(self) -> None:
        while self._ready:
            self._ready.popleft().close()


def _request(message: Message, path: bytes, port: int) -> bytes:
    body = message.content()
    lines = [b"%s %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % (message.method, path, port)]
    lines += [b"%s: %s\r\n" % header for header in message.headers if header[0] not in _NOT_FORWARDED]
    lines.append(b"content-length: %d\r\n\r\n" % len(body))
    return b"".join((*lines, body))


def forwarded_headers(answer: Message) -> Headers:
    """The headers of a scoring process's answer that the client may see."""
    return [
        header for header in answer.headers if header[0] not in _HOP_BY_HOP and header[0] not in (b"content-length", b"server")
    ]
