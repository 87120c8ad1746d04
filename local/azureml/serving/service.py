"""Keeps the router and one scoring process per deployment alive, and the routing table true."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from local.azureml.errors import AzureError
from local.azureml.serving import process, table
from local.azureml.serving.process import ScoringSpec
from local.azureml.serving.records import DEPLOYMENTS, SPECS, fail_interrupted, routing_table, with_state
from local.azureml.serving.router import SECRET_VARIABLE
from local.processes import Child, ChildFailed, free_port, tail

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

READY_SECONDS = 120.0
"""How long init() may take before the deployment is given up."""
_LOOK_SECONDS = 0.1
_FIRST_PAUSE = 0.5
_LOG_LINES = 60  # reaches back over the last lines of a server that stops, to the traceback of init()
_LAST_PAUSE = 30.0
_ROOT = Path(__file__).resolve().parents[3]
_log = logging.getLogger(__name__)


@dataclass
class _Running:
    spec: ScoringSpec
    port: int
    child: Child
    started_at: float
    pause: float = _FIRST_PAUSE


class Serving:
    """The emulator's `serving`. Its constructor starts nothing; `resume` does.

    `deploy` and `retire` block; they are called from the threads of long-running operations.
    """

    def __init__(self, emulator: Emulator, *, seed: int | None = None) -> None:
        self._emulator, self._seed = emulator, seed
        self.folder = emulator.folder / "serving"
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._running: dict[tuple[str, str], _Running] = {}
        self._router: Child | None = None
        self._secret = secrets.token_urlsafe(32)
        # The kernel kills a child when the *thread* that started it ends, so all of them are started by this one.
        self._starter = ThreadPoolExecutor(1, "scoring-processes")
        self._watcher = threading.Thread(target=self._watch, name="scoring-watch", daemon=True)

    @property
    def counts_file(self) -> Path:
        return self.folder / "counts.sqlite"

    @property
    def router_url(self) -> str:
        return f"https://127.0.0.1:{self._emulator.settings.router_port}"

    def log_file(self, endpoint: str, deployment: str) -> Path:
        """Standard output and error of a deployment's process, over all its lives."""
        return self.folder / "logs" / endpoint / f"{deployment}.log"

    def resume(self) -> None:
        """Start the router and every deployment that an earlier life had; they answer 503 until they are ready."""
        fail_interrupted(self._emulator.store)
        for spec in (ScoringSpec.from_json(body) for body in self._emulator.store.list(SPECS)):
            self._resume_one(spec)
        self._write_table()
        self._router = self._start_router()
        self._watcher.start()

    def _resume_one(self, spec: ScoringSpec) -> None:
        key = (spec.endpoint, spec.deployment)
        try:
            self._running[key] = self._start(spec)
        except OSError as error:  # its interpreter is gone: the other deployments are to serve all the same
            _log.error("deployment %s/%s cannot be started again: %s", *key, error)
            if self._emulator.store.get(DEPLOYMENTS, *key) is not None:
                self._emulator.store.update(DEPLOYMENTS, *key, lambda body: with_state(body, "Failed"))

    def close(self) -> None:
        """Stop every child and reap it."""
        self.stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        with self._lock:
            children = [running.child for running in self._running.values()]
            children += [self._router] if self._router else []
        for child in children:
            child.stop()
        self._starter.shutdown()

    def deploy(self, spec: ScoringSpec) -> None:
        """Start the process and let it take the place of an older one once it is healthy.

        AzureError (400, ResourceNotReady) with the log's tail when it ends or is not ready in time; an older process goes on.
        """
        key = (spec.endpoint, spec.deployment)
        fresh = self._start(spec)
        try:
            fresh.child.wait_until(lambda: process.healthy(fresh.port), timeout=READY_SECONDS)
            if self.stopping.is_set():
                raise ChildFailed("The emulator was stopped.")
        except ChildFailed as error:
            fresh.child.stop()
            shutil.rmtree(spec.folder, ignore_errors=True)
            said = tail(fresh.child.log, _LOG_LINES)
            message = f"User container has crashed or is not ready: {str(error).splitlines()[0]}\n{said}"
            raise AzureError(400, "ResourceNotReady", message) from error
        with self._lock:
            old = self._running.get(key)
            self._running[key] = fresh
            self._emulator.store.put(SPECS, *key, spec.to_json())
        self.publish()
        if old is not None:
            old.child.stop()
            if old.spec.folder != spec.folder:
                shutil.rmtree(old.spec.folder, ignore_errors=True)

    def retire(self, endpoint: str, deployment: str) -> None:
        """Take the deployment out of the table, then stop its process and forget its files. Nothing happens when it never ran."""
        with self._lock:
            running = self._running.pop((endpoint, deployment), None)
            self._emulator.store.delete(SPECS, endpoint, deployment)
        self.publish()
        if running is not None:
            running.child.stop()
            shutil.rmtree(running.spec.folder, ignore_errors=True)
        self.log_file(endpoint, deployment).unlink(missing_ok=True)

    def pid(self, endpoint: str, deployment: str) -> int | None:
        """The process id of the deployment's scoring server (gunicorn's master), for people and tests."""
        with self._lock:
            running = self._running.get((endpoint, deployment))
        return running.child.pid if running else None

    def router_pid(self) -> int | None:
        return self._router.pid if self._router else None

    def publish(self) -> None:
        """Bring the router up to date with the store; returns when it routes by the new table."""
        with self._lock:
            self._write_table()
            if self._router is None or self._router.poll() is not None:
                return  # it reads the file when it starts
            try:
                self._call_router()
            except httpx.TransportError as error:  # it died this moment; the one that replaces it reads the file
                _log.warning("the scoring router could not be told of the new table: %s", error)

    def _call_router(self) -> None:
        trust = self._emulator.certificates.ssl_context()
        with httpx.Client(verify=trust, timeout=10.0) as client:
            client.post(f"{self.router_url}/-/reload", headers={"x-router-secret": self._secret}).raise_for_status()

    def _router_answers(self) -> bool:
        # With the secret: something else that listens on the port is not our router.
        try:
            self._call_router()
        except httpx.HTTPError:
            return False
        return True

    def _write_table(self) -> None:
        with self._lock:
            targets = {
                key: table.Target(key[1], running.port, running.spec.timeout_seconds, running.spec.limit)
                for key, running in self._running.items()
            }
            faults = self._emulator.faults.rules("scoring")
            table.save(self.folder / "table.json", routing_table(self._emulator.store, targets, faults))

    def _start(self, spec: ScoringSpec) -> _Running:
        port = free_port()
        log = self.log_file(spec.endpoint, spec.deployment)
        trust = self._emulator.certificates.environment()
        child = self._starter.submit(process.start, spec, port, log, trust).result()
        return _Running(spec, port, child, time.monotonic())

    def _start_router(self) -> Child:
        certificates, port = self._emulator.certificates, self._emulator.settings.router_port
        arguments = ["--port", str(port), "--table", str(self.folder / "table.json"), "--counts", str(self.counts_file)]
        arguments += ["--certificate", str(certificates.certificate), "--key", str(certificates.key)]
        arguments += [] if self._seed is None else ["--seed", str(self._seed)]
        command = [sys.executable, "-m", "local.azureml.serving.router", *arguments]
        environment = {**os.environ, SECRET_VARIABLE: self._secret}
        log = self.folder / "logs" / "router.log"
        child = self._starter.submit(Child, "scoring router", command, log=log, env=environment, cwd=_ROOT).result()
        child.wait_until(self._router_answers)
        return child

    def _watch(self) -> None:
        while not self.stopping.wait(_LOOK_SECONDS):
            with self._lock:
                dead = [key for key, running in self._running.items() if running.child.poll() is not None]
                dead = [key for key in dead if self._restart_is_due(self._running[key])]
                for key in dead:
                    self._restart(key)
            if dead:
                self.publish()
            if self._router is not None and self._router.poll() is not None:
                self._restart_router()
            for key in list(self._running):
                process.rotate(self.log_file(*key))

    def _restart_is_due(self, running: _Running) -> bool:
        return time.monotonic() - running.started_at >= running.pause

    def _restart(self, key: tuple[str, str]) -> None:
        old = self._running[key]
        _log.warning("%s ended with exit code %s; it is started again", old.child.name, old.child.poll())
        old.child.stop()  # its workers, when the master alone was killed
        lived = time.monotonic() - old.started_at
        pause = _FIRST_PAUSE if lived > _LAST_PAUSE else min(old.pause * 2, _LAST_PAUSE)
        try:
            fresh = self._start(old.spec)
        except OSError as error:
            _log.error("%s cannot be started again: %s", old.child.name, error)
            old.started_at, old.pause = time.monotonic(), pause
            return
        fresh.pause = pause
        self._running[key] = fresh

    def _restart_router(self) -> None:
        _log.warning("the scoring router ended; it is started again:\n%s", tail(self.folder / "logs" / "router.log"))
        try:
            self._router = self._start_router()
        except ChildFailed as error:
            _log.error("%s", error)
            self.stopping.wait(_FIRST_PAUSE)


def serving_of(emulator: Emulator) -> Serving:
    """The emulator's serving."""
    return emulator.serving
