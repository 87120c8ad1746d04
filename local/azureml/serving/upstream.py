"""The router's way to one scoring process: kept connections, a limit on what is under way, a deadline."""

from __future__ import annotations

import asyncio

from local.azureml.serving.table import Target
from local.azureml.serving.wire import ClientConnection, Headers, Message

_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect")
)
_NOT_FORWARDED = _HOP_BY_HOP | {b"host", b"content-length", b"authorization", b"azureml-model-deployment"}
"""The key opens the endpoint; the scoring script has no business with it."""
_NOT_RETURNED = _HOP_BY_HOP | {b"content-length", b"server"}


class TooManyRequests(Exception):  # noqa: N818 - the name of the HTTP status
    """More requests are under way than the deployment's settings allow."""


class Upstream:
    """One scoring process. `target` may be replaced by a newer one with the same port (its limits changed)."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._under_way = 0
        self._idle: list[ClientConnection] = []

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
        while True:
            connection = await self._connection()
            kept = connection.used
            connection.used = True
            try:
                answer = await connection.exchange(request)
            except ConnectionResetError:
                connection.close()
                if not kept:
                    raise
                continue  # the process closes idle connections when it likes; scoring twice is harmless, so a fresh one is tried
            except BaseException:
                connection.close()
                raise
            self._put_back(connection)
            return answer

    async def _connection(self) -> ClientConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(ClientConnection, "127.0.0.1", self.target.port)
        return connection

    def _put_back(self, connection: ClientConnection) -> None:
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()


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
