"""An ASGI application on a port of 127.0.0.1, served from a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import uvicorn

_START_SECONDS = 30.0
_LOOK_SECONDS = 0.02


class Listener:
    """`start` returns when requests are answered; `stop` when the last one was, or `grace` seconds after it was asked."""

    def __init__(self, app: Any, port: int, *, name: str, grace: int = 5, **options: Any) -> None:
        """`options`: more of `uvicorn.Config`, the certificate for one."""
        self.port, self._name = port, name
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=grace,
            **{"lifespan": "off", **options},
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, name=name, daemon=True)

    def start(self) -> None:
        """RuntimeError when the port cannot be had (the log line before it says why)."""
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"{self._name} could not listen on port {self.port}.")
            time.sleep(0.005)

    def ask_to_stop(self) -> None:
        """Begin to stop, without waiting for it."""
        self._server.should_exit = True

    def stop(self) -> None:
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join()


class _Server(uvicorn.Server):
    """Hangs up on idle clients when it stops: over TLS a goodbye is waited for, which a pool of connections never says."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        hanging_up = asyncio.create_task(self._hang_up())
        try:
            await super().shutdown(sockets)
        finally:
            hanging_up.cancel()

    async def _hang_up(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not self.server_state.tasks:  # every request that came was answered
                for connection in list(self.server_state.connections):
                    connection.transport.abort()
