"""Serves the control plane over TLS from a thread of this process."""

from __future__ import annotations

import threading
import time

import uvicorn

from local.azureml.app import build_app
from local.azureml.emulator import Emulator

_START_SECONDS = 30.0


class Server:
    """`start` returns when requests are answered; `stop` when the last one was."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        config = uvicorn.Config(
            build_app(emulator),
            host="127.0.0.1",
            port=emulator.settings.port,
            ssl_certfile=str(emulator.certificates.certificate),
            ssl_keyfile=str(emulator.certificates.key),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="azureml", daemon=True)

    def start(self) -> None:
        """Open the emulator and listen. RuntimeError when the port cannot be had (its log line says why)."""
        self.emulator.open()
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"The emulator could not listen on port {self.emulator.settings.port}.")
            time.sleep(0.005)

    def stop(self) -> None:
        """No more requests first, then the emulator's own work."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self.emulator.close()
