"""One job while it runs: its steps in order, as many at once as there is room for, and what becomes of them when one fails."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from datetime import UTC, datetime
from pathlib import Path

from azure.core.exceptions import AzureError as StorageError

from local.azureml.execution.kinds import RUNS
from local.azureml.execution.nested import NestedRuns
from local.azureml.execution.plan import Plan, Step, is_lost
from local.azureml.execution.reuse import Reuse, ReusedStep, fingerprint
from local.azureml.execution.runs import PIPELINE_LOG, Run, failure
from local.azureml.execution.step import StepRun
from local.azureml.execution.tracking import JobTracking
from local.azureml.execution.workshop import Workshop, end_tracking
from local.azureml.storage import artifact_place


class JobRun:
    """Scheduled by `run` in a thread of its own; steps run in `rooms`, slow after-work in `afterwards`."""

    def __init__(
        self,
        shop: Workshop,
        plan: Plan,
        root: Run,
        nested_runs: dict[str, Run],
        step_runs: dict[str, Run],
        folder: Path,
        rooms: Executor,
        afterwards: Executor,
    ) -> None:
        self._shop, self._plan, self._root, self._folder = shop, plan, root, folder
        self._rooms, self._afterwards = rooms, afterwards
        self._is_pipeline = root["runId"] not in {run["runId"] for run in step_runs.values()}
        self._canceled = threading.Event()
        every = [root, *nested_runs.values(), *step_runs.values()]
        self._tracked = JobTracking(
            shop.tracking,
            root["experimentName"],
            root["tags"],
            names={run["runId"]: str(run["displayName"]) for run in every},
            parents={run["runId"]: run["parentRunId"] for run in every},
        )
        self._nested = NestedRuns(shop, plan.nested, nested_runs, plan.steps, folder)
        self._steps: dict[str, StepRun] = {}
        self._queued: dict[str, tuple[Future[None], Future[str]]] = {}
        """Of the steps that were given to `rooms`: their places in the queue, and what they come to."""
        self._reuse = Reuse(shop.emulator, shop.runs)
        self._keys: dict[str, str | None] = {}
        self._step_runs = step_runs
        self._status: dict[str, str] = {}
        self._fell: list[str] = []
        """Steps that did not come to their end although nobody cancelled them: they failed, or ran too long."""
        self._loose: list[Future[None]] = []
        self._interruption: str | None = None

    @property
    def log(self) -> Path:
        return self._folder / PIPELINE_LOG

    def cancel(self, interruption: str | None = None) -> None:
        """Cancel what runs and what has not begun. `interruption`: it was not asked for, and the job failed for this reason."""
        self._interruption = interruption
        self._canceled.set()
        for step in list(self._steps.values()):
            step.interruption = interruption
            step.cancel()
        for name in list(self._queued):
            self._leave_queue(name)

    def run(self) -> None:
        """To the end; returns when the job has its final status and everything of it is stored."""
        run_id = self._root["runId"]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._note(f"{run_id} submitted")
        self._begin_tracking()
        if self._is_pipeline:
            self._wait_for_compute(run_id)
            self._shop.runs.set_status(run_id, "Running")
        self._run_steps()
        status, error = self._outcome()
        if self._is_pipeline:
            self._finish_pipeline(run_id, status, error)
        self._settle_loose_ends()

    def _wait_for_compute(self, run_id: str) -> None:
        wait = self._shop.emulator.transitions.wait
        if not wait("job.queued", f"/jobs/{run_id}", self._canceled):
            self._shop.runs.set_status(run_id, "Preparing")
            wait("job.preparing", f"/jobs/{run_id}", self._canceled)

    def _begin_tracking(self) -> None:
        first = [self._step_runs[name]["runId"] for name, step in self._plan.steps.items() if not step.needs]
        self._loose.append(self._afterwards.submit(self._tracked.make, first))

    def _run_steps(self) -> None:
        waiting, running = dict(self._plan.steps), dict[Future[str], str]()
        while waiting or running:
            self._give_up(waiting)
            for name in [name for name, step in waiting.items() if self._is_ready(step)]:
                if self._canceled.is_set():
                    break
                running[self._start(waiting.pop(name))] = name
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                self._ended(running.pop(future), future.result())
        for name in waiting:
            self._leave_out(name)

    def _give_up(self, waiting: dict[str, Step]) -> None:
        """Take out of `waiting` what can never run, because a step that it needs did not complete."""
        lost = {name for name, status in self._status.items() if status != "Completed"}
        while found := [name for name, step in waiting.items() if self._must_have(step) & lost]:
            for name in found:
                del waiting[name]
                self._leave_out(name)
            lost.update(found)

    def _must_have(self, step: Step) -> set[str]:
        """The steps without whose success it does not run."""
        return step.required if self._plan.continue_run_on_failed_optional_input else step.needs

    def _is_ready(self, step: Step) -> bool:
        return self._must_have(step) <= self._completed() and step.needs <= self._status.keys()

    def _leave_out(self, name: str) -> None:
        self._status[name] = "Canceled"
        self._shop.runs.set_status(self._step_runs[name]["runId"], "Canceled")
        self._tell_nested(name)

    def _completed(self) -> set[str]:
        return {name for name, status in self._status.items() if status == "Completed"}

    def _start(self, asked: Step) -> Future[str]:
        name, completed = asked.name, self._completed()
        run = self._step_runs[name]
        asked = asked.without({key for key, value in asked.inputs.items() if is_lost(value, completed)})
        self._nested.step_starts(name)
        step = self._step(asked, run)
        self._steps[name] = step
        self._note(f"step {name} starts ({run['runId']})")
        came_to = Future[str]()
        self._queued[name] = (self._rooms.submit(self._execute, step, came_to), came_to)
        if self._canceled.is_set():  # it came between the last look and the queue
            self._leave_queue(name)
        return came_to

    def _leave_queue(self, name: str) -> None:
        """A cancelled step that has no room yet ends without one: others may need theirs for hours."""
        queued = self._queued.pop(name, None)
        if queued is not None and queued[0].cancel():
            self._execute(self._steps[name], queued[1])

    def _step(self, asked: Step, run: Run) -> StepRun:
        """What runs the step, or stands for it: an earlier run that did the same."""
        key = self._keys[asked.name] = fingerprint(asked, {name: step.origin for name, step in self._steps.items()})
        arguments = (self._shop, asked, run, self._folder, self._steps, self._tracked[run["runId"]])
        if key and not self._plan.force_rerun and (earlier := self._reuse.find(key)):
            return ReusedStep(*arguments, stands=earlier)
        return RUNS[type(asked.work)](*arguments)

    def _execute(self, step: StepRun, came_to: Future[str]) -> None:
        if self._canceled.is_set():
            step.interruption = self._interruption
            step.canceled.set()
        try:
            came_to.set_result(step.execute())
        except BaseException as error:  # noqa: BLE001 - raised in the job's thread, which waits for it
            came_to.set_exception(error)

    def _ended(self, name: str, status: str) -> None:
        self._status[name] = status
        self._queued.pop(name, None)
        self._note(f"step {name} ended: {status}")
        if status == "Completed" and (key := self._keys[name]):
            self._reuse.remember(key, self._steps[name])
        self._loose.append(self._afterwards.submit(self._steps[name].settle, status))
        if any(step == name for step, _ in self._plan.outputs().values()):
            # Not at the job's end only: a later step may register what this one made, or was spared by reuse, as the job's.
            self._shop.runs.change(self._root["runId"], {"outputs": self._places(self._plan.outputs())})
        if status == "Failed" or (status == "Canceled" and not self._canceled.is_set()):
            self._fell.append(name)
            self._note(self._error_of(name))
            if not self._plan.continue_on_step_failure:
                self.cancel(self._interruption)
        self._tell_nested(name)

    def _tell_nested(self, name: str) -> None:
        for path, status in self._nested.step_ended(name, self._status[name], lambda nested: self._places(nested.outputs)):
            self._note(f"pipeline {path} ended: {status}")
            self._loose.append(self._afterwards.submit(self._nested.store_log, path))
            tracked = self._tracked[self._nested.run_id(path)]
            self._loose.append(self._afterwards.submit(end_tracking, self._shop.tracking, tracked, status))

    def _error_of(self, name: str) -> str:
        error = self._shop.runs.get(self._step_runs[name]["runId"])["error"]
        return str(error["error"]["message"]) if error else ""

    def _outcome(self) -> tuple[str, str]:
        if self._interruption:
            return "Failed", self._interruption
        if self._fell:
            return "Failed", "\n".join(self._error_of(name) for name in self._fell)
        return ("Canceled", "") if self._canceled.is_set() else ("Completed", "")

    def _finish_pipeline(self, run_id: str, status: str, error: str) -> None:
        """Logs, outputs and MLflow's states are settled before the end is told: who waits for the end may read them at once."""
        self._shop.runs.set_status(run_id, "Finalizing")
        self._shop.runs.change(run_id, {"outputs": self._places(self._plan.outputs())})
        self._note(f"{run_id} ended: {status}")
        self._loose.append(self._afterwards.submit(end_tracking, self._shop.tracking, self._tracked[run_id], status))
        self._loose.append(self._afterwards.submit(self._store_log, run_id))
        self._settle_loose_ends()
        self._shop.runs.set_status(run_id, status, **({"error": failure(error)} if error else {}))

    def _store_log(self, run_id: str) -> None:
        self._shop.emulator.storage.upload_folder(self.log, *artifact_place(run_id, PIPELINE_LOG))

    def _places(self, outputs: Mapping[str, tuple[str, str]]) -> dict[str, str]:
        """Where a pipeline's outputs are, of the steps that were started."""
        return {name: self._steps[step].destination(output) for name, (step, output) in outputs.items() if step in self._steps}

    def _settle_loose_ends(self) -> None:
        for future in self._loose:
            try:
                future.result()
            except (StorageError, OSError) as error:
                self._note(f"a log could not be stored: {error}")
        self._loose.clear()

    def _note(self, text: str) -> None:
        if self._is_pipeline:
            with self.log.open("a") as log:
                log.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f} {text}\n")
