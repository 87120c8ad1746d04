"""Runs submitted jobs, as many steps at once as it was given room for, and answers for every one of them to the end."""

from __future__ import annotations

import logging
import shutil
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.azureml import computes
from local.azureml.errors import not_found, not_supported
from local.azureml.execution.environments import EnvironmentMissing, default_interpreter, interpreters
from local.azureml.execution.graph import plan_job
from local.azureml.execution.job import JobRun
from local.azureml.execution.materials import Materials
from local.azureml.execution.nested import nested_folder
from local.azureml.execution.places import fill_names
from local.azureml.execution.plan import Plan
from local.azureml.execution.processes import Processes
from local.azureml.execution.provisioning import refuse_missing
from local.azureml.execution.runs import PIPELINE, ROOT_TYPES, STEP, TERMINAL, Run, Runs, failure, log_name
from local.azureml.execution.tracking import Tracking
from local.azureml.execution.warmed_parent import LaunchFailedError
from local.azureml.execution.web_files import refuse_web_folders
from local.azureml.execution.workshop import Workshop
from local.azureml.interrupted import LeftRuns
from local.azureml.lookup import find_version

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "jobs"
_STOPPED = "The emulator was stopped while this job was running."
USUAL_MODULES = (
    "numpy", "pandas", "pyarrow.csv", "pyarrow.compute", "pyarrow.parquet", "sklearn.metrics", "xgboost",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "mlflow", "mlflow.models", "mlflow.pyfunc",
    "azure.identity", "azure.storage.blob", "azure.ai.ml",
)  # fmt: skip
"""What trainings usually import, the slow ones: for the first start, when nothing was learned from a step yet."""
_log = logging.getLogger(__name__)


class JobRunner:
    """The constructor starts nothing. `steps_at_once` is for all jobs together: they share this machine."""

    def __init__(self, emulator: Emulator, *, steps_at_once: int = 2) -> None:
        self._emulator = emulator
        self._folder = emulator.folder / "jobs"
        self.runs = Runs(emulator)
        self.processes = Processes(emulator, emulator.folder / "processes")
        self._tracking = Tracking(emulator.settings.mlflow_server_url)
        self._left = LeftRuns(emulator.store, self._tracking)
        materials = Materials(emulator, emulator.folder / "materials")
        self._shop = Workshop(emulator, self.runs, materials, self.processes, self._tracking)
        self._rooms = ThreadPoolExecutor(steps_at_once, thread_name_prefix="step")
        self._afterwards = ThreadPoolExecutor(4, thread_name_prefix="after-step")
        self._jobs: dict[str, tuple[JobRun, threading.Thread]] = {}
        self._lock = threading.Lock()
        self.submitting = threading.Lock()
        """Held from the look whether a job's name is free until the job is there."""

    def plan(self, name: str, properties: dict[str, Any]) -> Plan:
        """Check a job; AzureError for what Azure would refuse at submission, and for what the emulator cannot run."""
        plan = plan_job(name, properties, self.look_up)
        refuse_missing(plan, self._emulator.settings.environments)
        computes.refuse_unknown(self._emulator, {"jobs": {compute: {"computeId": compute} for compute in plan.computes}})
        for step in plan.steps.values():
            refuse_web_folders(step, self._emulator.storage.blob_url)
            for shown, output in step.outputs.items():
                if output.uri:  # that it can be written is found out now, not at the step's end
                    self._emulator.storage.resolve(fill_names(output.uri, name, shown))
        return plan

    def submit(self, name: str) -> None:
        """Run the stored job `name`; returns when its run documents are there."""
        properties = self._emulator.store.get(KIND, name)
        if properties is None:
            raise not_found(f"Job '{name}' was not found.")
        properties = properties["properties"]
        plan = self.plan(name, properties)
        root = self._create_root(name, properties)
        nested, steps = self._create_below(root, plan) if root["runType"] == PIPELINE else ({}, {name: root})
        job = JobRun(self._shop, plan, root, nested, steps, self._folder / name, self._rooms, self._afterwards)
        thread = threading.Thread(target=self._run, args=(name, job), name=f"job-{name}", daemon=True)
        with self._lock:
            self._jobs[name] = (job, thread)
        thread.start()

    def cancel(self, name: str) -> None:
        """Begin to cancel; without effect on a job that has ended. 404 when there is none, 501 for a part of a job."""
        run = self.runs.get(name)
        if run["status"] in TERMINAL:
            return
        if run["parentRunId"] is not None:
            raise not_supported(f"cancelling a part of a job; cancel the job '{run['rootRunId']}'")
        with self._lock:
            running = self._jobs.get(name)
        if running is not None:
            running[0].cancel()

    def warm(self) -> None:
        """Let parents import in the background what steps will ask for: what earlier ones did, or what trainings usually do.

        For a control plane that answers already: azureml-mlflow asks it when it is imported.
        """
        try:
            self.processes.warm_known(interpreters())
            self.processes.parent(default_interpreter()).warm(USUAL_MODULES)
        except (EnvironmentMissing, LaunchFailedError) as error:  # the first job will fail with it; the rest works without
            _log.warning("no environment for jobs is warmed: %s", error)

    def wait(self, name: str, timeout: float | None = None) -> bool:
        """True when the job has ended and everything of it is stored."""
        with self._lock:
            running = self._jobs.get(name)
        if running is not None:
            running[1].join(timeout)
            return not running[1].is_alive()
        return True

    def resume(self) -> None:
        """After a restart: what was running died with the old process, and is told so. Its files go, its MLflow runs end."""
        for run in self.runs.unfinished():
            self._left.add(run)
            self.runs.set_status(run["runId"], "Failed", error=failure(_STOPPED, "ServiceError"))
            if run["parentRunId"] is None:
                self._tidy(self._folder / run["runId"])
        for record in self._emulator.store.records(KIND):
            if self.runs.find(record.name) is None:  # killed in the middle of its submission: nobody was told that it exists
                self._emulator.store.delete(KIND, record.name)
        self._left.begin()

    def close(self) -> None:
        """End all jobs and every process of theirs."""
        with self._lock:
            running = list(self._jobs.values())
        for job, _ in running:
            job.cancel(_STOPPED)
        for _, thread in running:
            thread.join()
        self._left.close()
        self._rooms.shutdown()
        self._afterwards.shutdown()
        self.processes.close()
        self._tracking.close()

    def log_file(self, run: Run) -> Path:
        """The live log of a job or a step."""
        job, name = self._folder / str(run["rootRunId"]), str(run["name"])
        if run["runType"] != PIPELINE:
            return job / "steps" / name / log_name(run)
        return (nested_folder(job, name) if run["parentRunId"] else job) / log_name(run)

    def _create_root(self, name: str, properties: dict[str, Any]) -> Run:
        run_type = ROOT_TYPES[properties["jobType"]]
        return self.runs.create(
            name, run_type, properties.get("experimentName") or "Default",
            name=name,
            displayName=properties.get("displayName") or name,
            description=properties.get("description"),
            tags=properties.get("tags") or {},
            properties=properties.get("properties") or {},
            hidden=bool(properties.get("isArchived")),
        )  # fmt: skip

    def _create_below(self, root: Run, plan: Plan) -> tuple[dict[str, Run], dict[str, Run]]:
        """The runs of the nested pipelines and of the steps, each below the one that holds it."""
        nested: dict[str, Run] = {}
        for path, node in plan.nested.items():
            above = nested.get(path.rpartition(".")[0], root)
            nested[path] = self._create_node(PIPELINE, above, path, node.display_name)
        steps = {
            path: self._create_node(STEP, nested.get(path.rpartition(".")[0], root), path, step.display_name)
            for path, step in plan.steps.items()
        }
        return nested, steps

    def _create_node(self, run_type: str, parent: Run, path: str, display_name: str) -> Run:
        return self.runs.create(
            str(uuid.uuid4()), run_type, parent["experimentName"],
            parent=parent,
            name=path,
            displayName=display_name,
            properties={"azureml.moduleName": path.rpartition(".")[2], "azureml.pipelinerunid": parent["runId"]},
        )  # fmt: skip

    def _run(self, name: str, job: JobRun) -> None:
        try:
            job.run()
        except Exception as error:  # noqa: BLE001 - logged, and told as the job's error
            # The thread's last frame: the job must not stay Running for ever, and the log keeps the traceback.
            _log.exception("job %s", name)
            for run in [*self.runs.below(name), self.runs.get(name)]:
                self.runs.set_status(run["runId"], "Failed", error=failure(f"The emulator failed: {error!r}", "ServiceError"))
        finally:
            with self._lock:
                del self._jobs[name]
            self._tidy(self._folder / name)

    def _tidy(self, folder: Path) -> None:
        """Logs stay; all else is in storage now."""
        for used in [
            folder / "data",
            *(step / part for step in folder.glob("steps/*") for part in ("code", "inputs", "outputs")),
        ]:
            shutil.rmtree(used, ignore_errors=True)

    def look_up(self, kind: str, asset_id: str) -> dict[str, Any]:
        return find_version(self._emulator, kind, asset_id).properties
