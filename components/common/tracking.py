"""The MLflow run that Azure ML opened for this step: few calls, and only endpoints that every tracking server has.

`MlflowClient` is used instead of the fluent API: the run belongs to the job, which ends it; nothing here starts or ends one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from step import StepFailedError

# The limits of one log-batch call (MLflow REST API, "Runs Log Batch").
METRICS_PER_CALL, PARAMS_PER_CALL = 1000, 100


class Tracking:
    """The job's run. StepFailedError when the environment does not name one."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        missing = [name for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID") if not environment.get(name)]
        if missing:
            raise StepFailedError(
                f"{' and '.join(missing)} not set. Azure ML sets both in every job; elsewhere, name your MLflow server and a run."
            )
        from mlflow import MlflowClient

        self.run_id = environment["MLFLOW_RUN_ID"]
        self._client = MlflowClient(tracking_uri=environment["MLFLOW_TRACKING_URI"])

    def log(self, params: Mapping[str, Any] | None = None, metrics: Mapping[str, float | Sequence[float]] | None = None) -> None:
        """Log parameters, and metrics given as one value or as a value per step (from step 0)."""
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        points: list[Metric] = []
        for name, value in (metrics or {}).items():
            series = value if isinstance(value, Sequence) else [value]
            points += [Metric(name, float(number), now, step) for step, number in enumerate(series)]
        pairs = [Param(name, str(value)) for name, value in (params or {}).items()]
        while points or pairs:
            self._client.log_batch(self.run_id, metrics=points[:METRICS_PER_CALL], params=pairs[:PARAMS_PER_CALL])
            points, pairs = points[METRICS_PER_CALL:], pairs[PARAMS_PER_CALL:]

    def log_folder(self, folder: Path, name: str) -> None:
        """Upload a folder's files as the run's artifacts below `name`."""
        self._client.log_artifacts(self.run_id, str(folder), name)
