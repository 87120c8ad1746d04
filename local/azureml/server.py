"""Serves the emulator from threads of this process: the control plane over TLS, and MLflow's REST API beside it."""

from __future__ import annotations

from urllib.parse import urlsplit

from local.azureml.app import build_app
from local.azureml.emulator import Emulator
from local.azureml.listener import Listener
from local.azureml.mlflow.gateway import gateway_app


class Server:
    """`start` returns when requests are answered; `stop` when the last one was."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        settings, certificates = emulator.settings, emulator.certificates
        self._listeners = [
            Listener(
                build_app(emulator),
                settings.port,
                name="The emulator",
                ssl_certfile=str(certificates.certificate),
                ssl_keyfile=str(certificates.key),
            )
        ]
        if settings.mlflow_server is not None:
            port = urlsplit(settings.mlflow_url).port or 80
            self._listeners.append(Listener(gateway_app(emulator), port, name="The MLflow gateway", lifespan="on"))

    def start(self) -> None:
        """Open the emulator and listen. RuntimeError when a port cannot be had (its log line says why)."""
        self.emulator.open()
        for listener in self._listeners:
            listener.start()

    def stop(self) -> None:
        """No more requests first, then the emulator's own work."""
        for listener in self._listeners:
            listener.ask_to_stop()
        for listener in self._listeners:
            listener.stop()
        self.emulator.close()
