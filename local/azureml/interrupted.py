"""What a killed emulator left half done: told so, and tidied away, before the new one answers. Nothing is taken up again."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.azureml.batch import DEPLOYMENTS as BATCH_DEPLOYMENTS
from local.azureml.batch import ENDPOINTS as BATCH_ENDPOINTS
from local.azureml.execution.tracking import Tracking, TrackingError
from local.azureml.store import Store
from local.azureml.writes import fail_interrupted

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_RESOURCES = ("computes", "schedules", BATCH_ENDPOINTS, BATCH_DEPLOYMENTS)
"""Online endpoints and deployments are told by serving/, which knows what of them still serves."""
LEFT_RUNS = "tracking.left"
"""Store kind: run id -> {"experiment"}: ended here, and in MLflow not yet."""
_PAUSE_SECONDS = 1.0
_ATTEMPTS = 60
_log = logging.getLogger(__name__)


def settle(emulator: Emulator) -> None:
    """Resources whose operation died with its process have failed; folders that nothing refers to go."""
    fail_interrupted(emulator.store, _RESOURCES)
    kept = {Path(str(body["folder"])) for body in emulator.store.list("scoringSpecs")}
    for folder in emulator.folder.glob("serving/deployments/*/*/*"):
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    # A download is given its name when it is whole; until then the name has a dot.
    for folder in emulator.folder.glob("materials/code/*.*"):
        shutil.rmtree(folder, ignore_errors=True)
    for file in emulator.folder.glob("secrets/new-*"):
        file.unlink(missing_ok=True)


class LeftRuns:
    """MLflow's runs of jobs that died with the emulator: ended in the background, and at the next start if the server is away."""

    def __init__(self, store: Store, tracking: Tracking) -> None:
        self._store, self._tracking = store, tracking
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="left-runs", daemon=True)

    def add(self, run: dict[str, Any]) -> None:
        self._store.put(LEFT_RUNS, run["runId"], "", {"experiment": run["experimentName"]})

    def begin(self) -> None:
        if self._store.records(LEFT_RUNS):
            self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        problem: TrackingError | None = None
        for _ in range(_ATTEMPTS):
            try:
                self._end()
            except TrackingError as error:
                problem = error
            else:
                return
            if self._stopping.wait(_PAUSE_SECONDS):
                return
        _log.warning("MLflow's runs of interrupted jobs stay RUNNING until the next start: %s", problem)

    def _end(self) -> None:
        for record in self._store.records(LEFT_RUNS):
            if self._stopping.is_set():
                return
            for mlflow_run in self._tracking.running(record.body["experiment"], record.name):
                self._tracking.end_run(mlflow_run, "Failed")
            self._store.delete(LEFT_RUNS, record.name)
