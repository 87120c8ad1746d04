"""Passes requests on to the mlflow server and its answers back, both in streams: a large artifact never lies here whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from local.azureml.mlflow.rest import unreachable

# RFC 9110, 7.6.1: these belong to one connection and are not passed on.
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
     b"transfer-encoding", b"upgrade")
)  # fmt: skip
# Checked at the door: the server shall not take the address of the gateway for a foreign one.
_OURS = frozenset((b"host", b"origin"))
_CONNECT_SECONDS = 5.0
# Shorter than the server keeps a connection (uvicorn: 5 s), so that a request never meets one that is just being closed.
_IDLE_SECONDS = 2.0


class Proxy:
    """One pool of connections, made in the event loop that first uses it."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def forward(self, request: Request, query: bytes, body: bytes | None) -> Response:
        """`query` and `body` replace the request's own; body None: the request's, as it comes. 502 when nobody answers."""
        try:
            answer = await self._connected().send(self._request(request, query, body), stream=True)
        except httpx.HTTPError as error:
            raise unreachable(self._url, error) from error
        response = StreamingResponse(_content(answer), answer.status_code)
        response.raw_headers = [(key.lower(), value) for key, value in answer.headers.raw if key.lower() not in _HOP_BY_HOP]
        return response

    def _request(self, request: Request, query: bytes, body: bytes | None) -> httpx.Request:
        dropped = _HOP_BY_HOP | _OURS | _named_by_connection(request)
        # Of two lengths the server must not choose another than was chosen here.
        if body is not None or "transfer-encoding" in request.headers:
            dropped |= {b"content-length"}
        headers = [(key, value) for key, value in request.headers.raw if key not in dropped]
        headers.append((b"host", urlsplit(self._url).netloc.encode()))
        url = httpx.URL(self._url).copy_with(raw_path=_joined(request.scope["raw_path"], query))
        sent = any(name in request.headers for name in ("content-length", "transfer-encoding"))
        content = body if body is not None else request.stream() if sent else None
        # A request of our own making: the client would add headers, and ask for an encoding that the caller did not ask for.
        return httpx.Request(request.method, url, headers=headers, content=content)

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            secure = urlsplit(self._url).scheme == "https"
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=_IDLE_SECONDS),
                verify=secure,
                trust_env=secure,
                follow_redirects=False,
            )
        return self._client


def _named_by_connection(request: Request) -> frozenset[bytes]:
    named = ",".join(request.headers.getlist("connection")).lower().split(",")
    return frozenset(name.strip().encode("latin-1") for name in named)


async def _content(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    finally:
        await answer.aclose()


def _joined(path: bytes, query: bytes) -> bytes:
    return path + b"?" + query if query else path
