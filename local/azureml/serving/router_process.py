"""The scoring router as a child of the control plane."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from local.azureml.serving.router import SECRET_VARIABLE
from local.processes import Child, ChildFailed, tail

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_PAUSE_SECONDS = 0.5
_ROOT = Path(__file__).resolve().parents[3]
_log = logging.getLogger(__name__)


class RouterProcess:
    """Constructed, it runs nothing. `folder` is the one of serving; `stopping` ends the wait between two tries."""

    def __init__(self, emulator: Emulator, folder: Path, *, stopping: threading.Event, seed: int | None) -> None:
        self._emulator, self._folder, self._stopping, self._seed = emulator, folder, stopping, seed
        self._secret = secrets.token_urlsafe(32)
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def ended(self) -> bool:
        """True when it was started and does not run any more."""
        return self._child is not None and self._child.poll() is not None

    def start(self, starter: ThreadPoolExecutor) -> None:
        """Start it in a thread of `starter`, which must outlive it, and wait until it answers."""
        command = [sys.executable, "-m", "local.azureml.serving.router", *self._arguments()]
        environment = {**os.environ, SECRET_VARIABLE: self._secret}
        child = starter.submit(Child, "scoring router", command, log=self._log_file, env=environment, cwd=_ROOT).result()
        child.wait_until(self._answers)
        self._child = child

    def restart(self, starter: ThreadPoolExecutor) -> None:
        """Start it again after it has ended; when it cannot be started the next look tries again."""
        _log.warning("the scoring router ended; it is started again:\n%s", tail(self._log_file))
        try:
            self.start(starter)
        except ChildFailed as error:
            _log.error("%s", error)
            self._stopping.wait(_PAUSE_SECONDS)

    def reload(self) -> None:
        """Have it read the table; one that does not run reads it when it starts."""
        if self._child is None or self.ended:
            return
        try:
            self._call()
        except httpx.TransportError as error:  # it died this moment; the one that replaces it reads the file
            _log.warning("the scoring router could not be told of the new table: %s", error)

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    @property
    def _log_file(self) -> Path:
        return self._folder / "logs" / "router.log"

    def _arguments(self) -> list[str]:
        emulator, folder = self._emulator, self._folder
        arguments = ["--port", str(emulator.settings.router_port), "--table", str(folder / "table.json")]
        arguments += ["--counts", str(folder / "counts.sqlite"), "--logs", str(folder / "logs")]
        arguments += ["--certificate", str(emulator.certificates.certificate), "--key", str(emulator.certificates.key)]
        arguments += ["--signing-key", str(emulator.tokens.key_file), "--storage-url", emulator.storage.blob_url]
        return arguments if self._seed is None else [*arguments, "--seed", str(self._seed)]

    def _call(self) -> None:
        trust = self._emulator.certificates.ssl_context()
        url = f"https://127.0.0.1:{self._emulator.settings.router_port}/-/reload"
        with httpx.Client(verify=trust, timeout=10.0) as client:
            client.post(url, headers={"x-router-secret": self._secret}).raise_for_status()

    def _answers(self) -> bool:
        # With the secret: something else that listens on the port is not our router.
        try:
            self._call()
        except httpx.HTTPError:
            return False
        return True
