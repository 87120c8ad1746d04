"""MLflow runs for jobs and steps, made through MLflow's REST API: as in Azure, every step is a run below its job's run."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from local.azureml.errors import AzureError
from local.azureml.mlflow.rest import MlflowRest

_STATUS = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}


class TrackingError(RuntimeError):
    """The tracking server did not do what was asked."""


class Tracking:
    """A client of one MLflow tracking server. Thread-safe; connects when first used."""

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self._rest = MlflowRest(url, timeout=timeout)
        self._experiments: dict[str, str] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        self._rest.close()

    def experiment_id(self, name: str) -> str:
        """The experiment's id in MLflow; created when it does not exist."""
        with self._lock:
            if name not in self._experiments:
                self._experiments[name] = self._find_or_create(name)
            return self._experiments[name]

    def create_run(self, experiment: str, name: str, *, parent: str | None, tags: Mapping[str, str]) -> tuple[str, str]:
        """(experiment id, run id) of a new run, RUNNING from now on."""
        experiment_id = self.experiment_id(experiment)
        all_tags = {"mlflow.runName": name, **tags, **({"mlflow.parentRunId": parent} if parent else {})}
        body = {
            "experiment_id": experiment_id,
            "run_name": name,
            "start_time": int(time.time() * 1000),
            "tags": [{"key": key, "value": str(value)} for key, value in all_tags.items()],
        }
        return experiment_id, str(self._post("runs/create", body)["run"]["info"]["run_id"])

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self._post("runs/set-tag", {"run_id": run_id, "key": key, "value": value})

    def end_run(self, run_id: str, status: str) -> None:
        """`status` as the job's: Completed, Failed or Canceled."""
        self._post("runs/update", {"run_id": run_id, "status": _STATUS[status], "end_time": int(time.time() * 1000)})

    def metric_history(self, run_id: str, name: str) -> list[float]:
        """Every value that a run logged of a metric, in the order it did."""
        answer = self._get("metrics/get-history", {"run_id": run_id, "metric_key": name}) or {}
        found = sorted(answer.get("metrics", []), key=lambda metric: (int(metric["timestamp"]), int(metric.get("step", 0))))
        return [float(metric["value"]) for metric in found]

    def running(self, experiment: str, job_run: str) -> list[str]:
        """MLflow's ids of the runs of a job or step (`azureml.runId`) that have not ended; none in an unknown experiment."""
        known = self._get("experiments/get-by-name", {"experiment_name": experiment})
        if known is None:
            return []
        wanted = {
            "experiment_ids": [known["experiment"]["experiment_id"]],
            "filter": f"tags.`azureml.runId` = '{job_run}' AND attributes.status = 'RUNNING'",
            "max_results": 100,
        }
        return [str(run["info"]["run_id"]) for run in self._post("runs/search", wanted).get("runs", [])]

    def _find_or_create(self, name: str) -> str:
        known = self._get("experiments/get-by-name", {"experiment_name": name})
        if known is None:
            return str(self._post("experiments/create", {"name": name})["experiment_id"])
        return str(known["experiment"]["experiment_id"])

    def _get(self, path: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            return self._rest.get(path, params)
        except AzureError as error:
            raise TrackingError(error.message) from error

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            found = self._rest.post(path, body)
        except AzureError as error:
            raise TrackingError(error.message) from error
        if found is None:
            raise TrackingError(f"MLflow does not know what {path} was asked for.")
        return found


class JobTracking:
    """The MLflow runs of one job and its steps, made beside the job: a step waits for its own run only."""

    def __init__(
        self,
        tracking: Tracking,
        experiment: str,
        tags: Mapping[str, str],
        names: Mapping[str, str],
        parents: Mapping[str, str | None],
    ) -> None:
        """`names`: run id -> display name, every run after the one above it, which `parents` tells (None: the job)."""
        self._tracking, self._experiment, self._tags, self._names, self._parents = tracking, experiment, tags, names, parents
        self._made: dict[str, Future[tuple[str, str]]] = {run_id: Future() for run_id in names}

    def __getitem__(self, run_id: str) -> Future[tuple[str, str]]:
        """Of (experiment id, run id) in MLflow; its exception is a TrackingError."""
        return self._made[run_id]

    def make(self, first: Sequence[str]) -> None:
        """Make them all. `first`: the steps that wait already; they are told their parent last, when nobody waits any more."""
        try:
            for run_id in first:
                self._make(run_id, None)
            for run_id in self._names:
                self._make(run_id, self._parents[run_id])
            for run_id in first:
                if above := self._parents[run_id]:
                    self._tracking.set_tag(self._made[run_id].result()[1], "mlflow.parentRunId", self._made[above].result()[1])
        except TrackingError as error:
            for future in self._made.values():
                if not future.done():
                    future.set_exception(error)

    def _make(self, run_id: str, parent: str | None) -> None:
        future = self._made[run_id]
        if not future.done():
            tags = {**self._tags, "azureml.runId": run_id}
            above = self._made[parent].result()[1] if parent else None
            future.set_result(self._tracking.create_run(self._experiment, self._names[run_id], parent=above, tags=tags))
