"""What all steps use, and the end of what they leave in MLflow."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.azureml.execution.materials import Materials
from local.azureml.execution.processes import Processes
from local.azureml.execution.runs import Runs
from local.azureml.execution.tracking import Tracking, TrackingError

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

Tracked = tuple[str, str]
"""(experiment id, run id) in MLflow."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workshop:
    """What all steps use."""

    emulator: Emulator
    runs: Runs
    materials: Materials
    processes: Processes
    tracking: Tracking


def end_tracking(tracking: Tracking, tracked: Future[Tracked], status: str) -> None:
    """End the MLflow run, when there is one; that it could not be ended must not change what the job came to."""
    if tracked.exception() is None:
        run_id = tracked.result()[1]
        try:
            tracking.end_run(run_id, status)
        except TrackingError as error:
            _log.warning("the MLflow run %s stays open: %s", run_id, error)
