"""The run documents: one per job and one per step, the only place where a status changes, and with it the events that leave.

Store kind `runs`: name = run id. Store kind `run_children`: name = the job, version = the step's number, body {"runId"}.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from local.azureml.errors import not_found
from local.azureml.store import timestamp

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "runs"
CHILDREN = "run_children"
TERMINAL = frozenset({"Completed", "Failed", "Canceled"})
# As real events name them; for command jobs it is what the run history of Azure is believed to say (not confirmed).
PIPELINE, STEP, COMMAND = "azureml.PipelineRun", "azureml.StepRun", "azureml.commandjob"
SWEEP = "azureml.hyperdrive"
"""Of stand-alone sweeps: the run history's `hyperdrive` with the prefix of the others (not confirmed)."""
ROOT_TYPES: Mapping[str, str] = {"Pipeline": PIPELINE, "Command": COMMAND, "Sweep": SWEEP}
"""jobType -> the type of the job's own run."""
PIPELINE_LOG = "logs/azureml/executionlogs.txt"
LOG = "user_logs/std_log.txt"
_LOGS = {PIPELINE: PIPELINE_LOG, SWEEP: "azureml-logs/hyperdrive.txt"}
_EVENTS = "Microsoft.MachineLearningServices"

Run = dict[str, Any]


class Runs:
    """Thread-safe, as the store is."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store

    def create(self, run_id: str, run_type: str, experiment: str, *, parent: Run | None = None, **fields: Any) -> Run:
        """Write a new run (NotStarted) and publish its first event. `fields`: name, displayName, tags and the like."""
        above = parent["runId"] if parent else None
        run: Run = {
            "runId": run_id,
            "rootRunId": parent["rootRunId"] if parent else run_id,
            "parentRunId": above,
            "runType": run_type,
            "experimentName": experiment,
            "experimentId": self.experiment_id(experiment),
            "status": "NotStarted",
            "createdUtc": timestamp(),
            "startTimeUtc": None,
            "endTimeUtc": None,
            "error": None,
            "hidden": False,
            "tags": {},
            "properties": {},
            "outputs": {},
            "warnings": [],
            **fields,
        }
        self._store.put(KIND, run_id, "", run)
        if above is not None:
            with self._store.transaction():  # of two that come at the same moment each has a number of its own
                number = self._store.count(CHILDREN, above)
                self._store.put(CHILDREN, above, f"{number:05}", {"runId": run_id})
        self._publish(run)
        return run

    def get(self, run_id: str) -> Run:
        """404 when there is no such run."""
        run = self._store.get(KIND, run_id)
        if run is None:
            raise not_found(f"Run '{run_id}' was not found.")
        return run

    def find(self, run_id: str) -> Run | None:
        return self._store.get(KIND, run_id)

    def children(self, run_id: str) -> list[Run]:
        """One level: a job's steps and nested pipelines, or what is below one of these, in the order of the plan."""
        return [self.get(child["runId"]) for child in self._store.list(CHILDREN, run_id)]

    def below(self, run_id: str) -> list[Run]:
        """All levels, the deepest first."""
        found: list[Run] = []
        for child in self.children(run_id):
            found += [*self.below(child["runId"]), child]
        return found

    def unfinished(self) -> list[Run]:
        """Runs that have not ended, the last made first: no run ends before those below it, which were made after it."""
        runs = [run for run in self._store.list(KIND) if run["status"] not in TERMINAL]
        return sorted(runs, key=lambda run: str(run["createdUtc"]), reverse=True)

    def set_status(self, run_id: str, status: str, **fields: Any) -> Run:
        """Move a run on. A run that has ended stays as it is; every real change leaves as an event."""
        changed = False

        def change(run: Run) -> Run:
            nonlocal changed
            changed = run["status"] not in TERMINAL and run["status"] != status
            if not changed:
                return run
            times = {}
            if status == "Running":
                times["startTimeUtc"] = timestamp()
            if status in TERMINAL:
                times["endTimeUtc"] = timestamp()
            return {**run, "status": status, **times, **fields}

        run = self._store.update(KIND, run_id, "", change)
        if changed:
            self._publish(run)
        return run

    def change(self, run_id: str, fields: Mapping[str, Any]) -> Run:
        """Metadata: `tags` and `properties` are merged into what is there, everything else is replaced."""

        def changed(run: Run) -> Run:
            merged = {key: {**run[key], **fields[key]} for key in ("tags", "properties") if fields.get(key)}
            return {**run, **{key: value for key, value in fields.items() if key not in ("tags", "properties")}, **merged}

        self.get(run_id)
        return self._store.update(KIND, run_id, "", changed)

    def experiment_id(self, experiment: str) -> str:
        """Always the same for an experiment of this workspace."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._emulator.workspace_id}/experiments/{experiment}"))

    def _publish(self, run: Run) -> None:
        subject = f"experiments/{run['experimentId']}/runs/{run['runId']}"
        data = {
            "experimentId": run["experimentId"],
            "experimentName": run["experimentName"],
            "runId": run["runId"],
            "runType": run["runType"],
            "runTags": run["tags"],
            "runProperties": run["properties"],
        }
        self._emulator.events.publish(f"{_EVENTS}.RunStatusChanged", subject, {**data, "runStatus": run["status"]})
        if run["status"] == "Completed":
            self._emulator.events.publish(f"{_EVENTS}.RunCompleted", subject, data)


def log_name(run: Run) -> str:
    """Where a run's main log is among its artifacts: the SDK looks for it by the job's type."""
    return _LOGS.get(run["runType"], LOG)


def failure(message: str, code: str = "UserError") -> dict[str, Any]:
    """A run's `error` field."""
    return {"error": {"code": code, "message": message}}
