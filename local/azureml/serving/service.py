"""Keeps the router and one scoring process per deployment alive, and the routing table true."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from local.azureml.errors import AzureError
from local.azureml.serving import process, request_log, table
from local.azureml.serving.collection.shipping import Shipping
from local.azureml.serving.probes import Probe
from local.azureml.serving.probing import Probing, Watched
from local.azureml.serving.process import ScoringSpec
from local.azureml.serving.records import DEPLOYMENTS, ENDPOINTS, SPECS, routing_table
from local.azureml.serving.router_process import RouterProcess
from local.azureml.writes import fail_interrupted, with_state
from local.processes import Child, ChildFailed, free_port, tail

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

READY_SECONDS = 120.0
"""How long init() may take before the deployment is given up."""
_LOOK_SECONDS = 0.1
_FIRST_PAUSE = 0.5
_LOG_LINES = 60  # reaches back over the last lines of a server that stops, to the traceback of init()
_LAST_PAUSE = 30.0
_GRACE_SECONDS = 0.5  # for a process that has not answered for a while
_log = logging.getLogger(__name__)


@dataclass
class _Running:
    spec: ScoringSpec
    port: int
    child: Child
    started_at: float
    collector_port: int | None
    pause: float = _FIRST_PAUSE
    watched: Watched = field(init=False)

    def __post_init__(self) -> None:
        self.watch(ready=False)

    def watch(self, *, ready: bool) -> None:
        self.watched = Watched(self.port, self.spec.probes, started_at=self.started_at, ready=ready)

    @property
    def target(self) -> table.Target:
        spec, ready = self.spec, self.watched.readiness.well
        collecting = (self.collector_port, spec.collection)
        return table.Target(spec.deployment, self.port, spec.timeout_seconds, spec.limit, ready, *collecting)


class Serving:
    """The emulator's `serving`. Its constructor starts nothing; `resume` does.

    `deploy` and `retire` block; they are called from the threads of long-running operations.
    """

    def __init__(self, emulator: Emulator, *, seed: int | None = None) -> None:
        self._emulator = emulator
        self.folder = emulator.folder / "serving"
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._running: dict[tuple[str, str], _Running] = {}
        self._router = RouterProcess(emulator, self.folder, stopping=self.stopping, seed=seed)
        # The kernel kills a child when the *thread* that started it ends, so all of them are started by this one.
        self._starter = ThreadPoolExecutor(1, "scoring-processes")
        self._watcher = threading.Thread(target=self._watch, name="scoring-watch", daemon=True)
        self._probing = Probing()
        self._shipping = Shipping(emulator.storage, self.folder / "collected")

    @property
    def counts_file(self) -> Path:
        return self.folder / "counts.sqlite"

    @property
    def router_url(self) -> str:
        return f"https://127.0.0.1:{self._emulator.settings.router_port}"

    def log_file(self, endpoint: str, deployment: str) -> Path:
        """Standard output and error of a deployment's process, over all its lives."""
        return self.logs / endpoint / f"{deployment}.log"

    def storage_log_file(self, endpoint: str, deployment: str) -> Path:
        """What was fetched for a deployment, and from where."""
        return self.logs / endpoint / f"{deployment}.storage-initializer.log"

    @property
    def logs(self) -> Path:
        """`<endpoint>/<deployment>.log`, `.storage-initializer.log` and `.requests.jsonl` of every deployment."""
        return self.folder / "logs"

    def resume(self) -> None:
        """Start the router and every deployment that an earlier life had; they answer 503 until they are ready."""
        fail_interrupted(self._emulator.store, (ENDPOINTS, DEPLOYMENTS))
        for spec in (ScoringSpec.from_json(body) for body in self._emulator.store.list(SPECS)):
            self._resume_one(spec)
        self._write_table()
        self._router.start(self._starter)
        self._watcher.start()
        self._shipping.start()

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
        for child in children:
            child.stop()
        self._router.stop()
        self._starter.shutdown()
        self._probing.close()
        self._shipping.close()

    def deploy(self, spec: ScoringSpec) -> None:
        """Start the process and let it take the place of an older one once it is healthy.

        AzureError (400, ResourceNotReady) with the log's tail when it ends or is not ready in time; an older process goes on.
        """
        key = (spec.endpoint, spec.deployment)
        fresh = self._start(spec)
        try:
            self._wait_until_ready(fresh)
        except ChildFailed as error:
            fresh.child.stop()
            shutil.rmtree(spec.folder, ignore_errors=True)
            said = tail(fresh.child.log, _LOG_LINES)
            message = f"User container has crashed or is not ready: {str(error).splitlines()[0]}\n{said}"
            raise AzureError(400, "ResourceNotReady", message) from error
        with self._lock:
            old = self._running.get(key)
            fresh.watch(ready=True)
            self._running[key] = fresh
            self._emulator.store.put(SPECS, *key, spec.to_json())
        self.publish()
        if old is not None:
            old.child.stop()
            if old.spec.folder != spec.folder:
                shutil.rmtree(old.spec.folder, ignore_errors=True)

    def _wait_until_ready(self, fresh: _Running) -> None:
        """ChildFailed when it ends, or is not well in the time that its liveness probe gives it."""
        probes = fresh.spec.probes
        patience = min(READY_SECONDS, probes.patience)
        well = Probe(probes.readiness, started_at=fresh.started_at, well=False)

        def ready() -> bool:
            # Not once in a period: what it takes to be ready is the same, but nobody waits for the next look.
            if time.monotonic() - fresh.started_at < probes.readiness.initial_delay:
                return False
            well.saw(process.healthy(fresh.port, probes.readiness.timeout))
            return well.well

        fresh.child.wait_until(ready, timeout=max(patience, probes.readiness.initial_delay + probes.readiness.timeout))
        if self.stopping.is_set():
            raise ChildFailed("The emulator was stopped.")

    def adjust(self, spec: ScoringSpec) -> bool:
        """Let the process that runs go on under a new spec, when it is as good as one of its own; False when it is not."""
        key = (spec.endpoint, spec.deployment)
        with self._lock:
            running = self._running.get(key)
            if running is None or running.child.poll() is not None or not running.spec.runs_like(spec):
                return False
            if not process.scale(running.child, running.spec.workers, spec.workers):
                return False
            running.spec = running.spec.adjusted(spec)
            running.watched.adjust(spec.probes)
            self._emulator.store.put(SPECS, *key, running.spec.to_json())
        self.publish()
        return True

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
        self.storage_log_file(endpoint, deployment).unlink(missing_ok=True)
        request_log.forget(self.logs, endpoint, deployment)

    def pid(self, endpoint: str, deployment: str) -> int | None:
        """The process id of the deployment's scoring server (gunicorn's master), for people and tests."""
        with self._lock:
            running = self._running.get((endpoint, deployment))
        return running.child.pid if running else None

    def router_pid(self) -> int | None:
        return self._router.pid

    def publish(self) -> None:
        """Bring the router up to date with the store; returns when it routes by the new table."""
        with self._lock:
            self._write_table()
            self._router.reload()

    def _write_table(self) -> None:
        with self._lock:
            targets = {key: running.target for key, running in self._running.items()}
            faults = self._emulator.faults.rules("scoring")
            table.save(self.folder / "table.json", routing_table(self._emulator.store, targets, faults))

    def _start(self, spec: ScoringSpec) -> _Running:
        port = free_port()
        log = self.log_file(spec.endpoint, spec.deployment)
        trust = self._emulator.certificates.environment()
        collector_port = free_port() if spec.collection is not None and spec.collection.custom else None
        child = self._starter.submit(process.start, spec, port, log, trust, collector_port=collector_port).result()
        return _Running(spec, port, child, time.monotonic(), collector_port)

    def _watch(self) -> None:
        while not self.stopping.wait(_LOOK_SECONDS):
            with self._lock:
                dead = [key for key, running in self._running.items() if running.child.poll() is not None]
                dead = [key for key in dead if self._restart_is_due(self._running[key])]
                for key in dead:
                    self._restart(key)
                changed = self._probe()
            if dead or changed:
                self.publish()
            if self._router.ended:
                self._router.restart(self._starter)
            for key in list(self._running):
                process.rotate(self.log_file(*key))

    def _probe(self) -> bool:
        """Look after every process; True when some deployment became ready or is so no more."""
        running = list(self._running.values())
        changed = self._probing.look([one.watched for one in running if one.child.poll() is None])
        for one in running:
            if not one.watched.liveness.well and one.child.poll() is None:
                _log.warning("%s no longer answers its liveness probe", one.child.name)
                one.child.stop(grace=_GRACE_SECONDS)  # the watch finds it dead and starts it again
        return changed

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
