"""The trials of a sweep while they run: each a step of its own with a run below the sweep's, watched through what it logs."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import orjson

from local.azureml.execution.plan import Output, Step
from local.azureml.execution.runs import COMMAND, Run, failure
from local.azureml.execution.step import StepRun
from local.azureml.execution.sweep.plan import Sweep
from local.azureml.execution.sweep.sampling import Settings
from local.azureml.execution.tracking import TrackingError
from local.azureml.execution.workshop import Tracked

_log = logging.getLogger(__name__)


@dataclass
class Trial:
    """One trial. `values`: what it logged of the primary metric so far, in that order; `status` None: it runs."""

    number: int
    settings: Settings
    step: StepRun
    thread: threading.Thread | None = None
    values: list[float] = field(default_factory=list)
    status: str | None = None
    stopped: str = ""
    """Why it was ended early."""

    def join(self) -> None:
        """Wait for its end."""
        if self.thread is not None:
            self.thread.join()

    def score(self, *, maximize: bool) -> float | None:
        """The best that it logged."""
        return (max if maximize else min)(self.values) if self.values else None

    def read(self, metric: str) -> None:
        """Ask MLflow for what it logged; TrackingError when that does not answer."""
        if self.step.tracked.done() and self.step.tracked.exception() is None:
            _, run_id = self.step.tracked.result()
            found = self.step.shop.tracking.metric_history(run_id, metric)
            self.values = [value for value in found if math.isfinite(value)]


def begin_trial(sweep: StepRun, number: int, settings: Settings, ended: Callable[[], None]) -> Trial:
    """Start a trial in a thread of its own; `ended` is called in it at the end."""
    run = _create_run(sweep, number, settings)
    tracked: Future[Tracked] = Future()
    step = StepRun(sweep.shop, _step(sweep, number, settings), run, sweep.job_folder, sweep.earlier, tracked)
    trial = Trial(number, settings, step)

    def execute() -> None:
        try:
            tracked.set_result(_track(sweep, run))
        except TrackingError as error:
            tracked.set_exception(error)
        trial.status = _executed(step)
        ended()

    trial.thread = threading.Thread(target=execute, name=f"trial-{run['runId']}", daemon=True)
    trial.thread.start()
    return trial


def _executed(step: StepRun) -> str:
    """The trial's final status, whatever happens: the sweep waits for it."""
    try:
        status = step.execute()
        step.settle(status)
    except Exception as error:  # noqa: BLE001 - the thread's last frame: logged, and told as the trial's error
        _log.exception("trial %s", step.run["runId"])
        step.shop.runs.set_status(step.run["runId"], "Failed", error=failure(f"The emulator failed: {error!r}", "ServiceError"))
        return "Failed"
    return status


def _step(sweep: StepRun, number: int, settings: Settings) -> Step:
    work = sweep.step.work
    if not isinstance(work, Sweep):
        raise TypeError(f"{type(work).__name__} has no trials")
    text = {name: str(value) for name, value in settings.items()}
    return Step(
        # A dot: no node of a pipeline is called like that.
        f"{sweep.step.name}.{number}",
        f"{sweep.step.display_name}_{number}",
        work.trial,
        inputs={
            **sweep.step.inputs,
            **{f"search_space.{name}": value for name, value in text.items()},
            **{name: text[name] for name in work.direct},
        },
        outputs={name: Output(output.type) for name, output in sweep.step.outputs.items()},
        environment_variables=sweep.step.environment_variables,
        timeout=work.limits.trial_timeout,
    )


def _create_run(sweep: StepRun, number: int, settings: Settings) -> Run:
    parent, shown = sweep.run, orjson.dumps(settings).decode()
    properties: dict[str, Any] = {"azureml.runsource": "hyperdrive", "runTemplate": "HyperDriveChild"}
    return sweep.shop.runs.create(
        f"{parent['runId']}_{number}", COMMAND, parent["experimentName"],
        parent=parent,
        name=f"{sweep.step.name}.{number}",
        displayName=f"{sweep.step.display_name}_{number}",
        tags={**parent["tags"], "hyperparameters": shown},
        properties=properties,
    )  # fmt: skip


def _track(sweep: StepRun, run: Run) -> Tracked:
    tags = {**run["tags"], "azureml.runId": run["runId"]}
    above = sweep.tracked.result()[1]
    return sweep.shop.tracking.create_run(run["experimentName"], run["displayName"], parent=above, tags=tags)
