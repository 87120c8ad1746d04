"""A sweep while it runs: trials are begun, watched, ended early or at their end, and the best one is chosen."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from local.azureml.execution.endings import StepFailedError, StepTimedOutError
from local.azureml.execution.runs import Run
from local.azureml.execution.step import StepRun
from local.azureml.execution.sweep.plan import Sweep
from local.azureml.execution.sweep.sampling import Sampler, make_sampler, space_size
from local.azureml.execution.sweep.termination import Watch
from local.azureml.execution.sweep.trials import Trial, begin_trial
from local.azureml.execution.tracking import TrackingError

TRIALS_AT_ONCE = 2
"""Of one sweep, whatever it asks for: this machine is its compute."""
_LOOK_SECONDS = 0.25


class _OutOfTimeError(Exception):
    """The sweep's own limit was reached."""


@dataclass
class SweepRun(StepRun):
    """The step's own process is none: its outputs are those of the best trial."""

    trials: list[Trial] = field(default_factory=list)
    _changed: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """With all trials; `interruption` is theirs too."""
        self.canceled.set()
        for trial in list(self.trials):
            if trial.status is None:
                trial.step.interruption = self.interruption
                trial.step.cancel()
        self._changed.set()

    @property
    def sweep(self) -> Sweep:
        work = self.step.work
        if not isinstance(work, Sweep):
            raise TypeError(f"{type(self).__name__} runs no {type(work).__name__}")
        return work

    def _produce(self, run_id: str) -> None:
        size = space_size(self.sweep.space)
        about = {
            "primary_metric_config": orjson.dumps({"name": self.sweep.metric, "goal": self.sweep.goal}).decode(),
            "runTemplate": "HyperDrive",
            "azureml.runsource": "hyperdrive",
            "platform": "AML",
            "space_size": "infinite_space_size" if size is None else str(size),
        }
        self.shop.runs.change(run_id, {"properties": about})
        self._tell_differences()
        self._stop_if_canceled()
        self.shop.runs.set_status(run_id, "Running")
        try:
            self._run_trials()
        except _OutOfTimeError:
            self._end_all(f"the sweep ran longer than its limit of {self.sweep.limits.timeout}")
            self._choose(run_id)
            raise StepTimedOutError(f"The sweep '{self.step.name}' ran longer than its {self.sweep.limits.timeout}.") from None
        finally:
            self._end_all("the sweep has ended")
        best = self._choose(run_id)
        self._stop_if_canceled()
        if best is None:
            raise StepFailedError(self._why_none())
        for name in self.step.outputs:
            self._take_output(best, name)

    def _tell_differences(self) -> None:
        if self.sweep.limits.concurrent > TRIALS_AT_ONCE:
            self._say(f"max_concurrent_trials is {self.sweep.limits.concurrent}: this machine runs {TRIALS_AT_ONCE} at once")

    def _run_trials(self) -> None:
        """To the end of the last trial; raises `_OutOfTimeError`."""
        sampler, maximize = make_sampler(self.sweep), self.sweep.goal == "maximize"
        watch = Watch(self.sweep.policy, maximize=maximize) if self.sweep.policy else None
        limit, begun, told = self.sweep.limits.timeout, time.monotonic(), set[int]()
        while True:
            self._changed.clear()
            self._begin_more(sampler)
            running = [trial for trial in self.trials if trial.status is None]
            for trial in self.trials:
                if trial.status is not None and trial.number not in told:
                    told.add(trial.number)
                    self._ended(trial, sampler)
            if not running:
                if self.canceled.is_set() or not self._begin_more(sampler):
                    return
                continue
            if limit is not None and time.monotonic() - begun > limit.total_seconds():
                raise _OutOfTimeError
            self._look_after(running, watch)
            self._changed.wait(_LOOK_SECONDS)

    def _begin_more(self, sampler: Sampler) -> bool:
        """Fill the free places; True when a trial was begun."""
        before, limits = len(self.trials), self.sweep.limits
        while not self.canceled.is_set() and len(self.trials) < limits.total:
            if sum(trial.status is None for trial in self.trials) >= min(limits.concurrent, TRIALS_AT_ONCE):
                break
            settings = sampler.ask()
            if settings is None:
                break
            number = len(self.trials)
            self._say(f"trial {number} begins with {settings}")
            self.trials.append(begin_trial(self, number, settings, self._changed.set))
            if self.canceled.is_set():  # it came between the look and the start
                self.cancel()
        return len(self.trials) > before

    def _look_after(self, running: list[Trial], watch: Watch | None) -> None:
        """End the trials that the policy gives up."""
        if watch is None:
            return
        for trial in running:
            self._read(trial)
        logged = {trial.number: trial.values for trial in self.trials}
        for number in watch.to_stop(logged, [trial.number for trial in running if not trial.stopped]):
            values = self.trials[number].values
            self._end(self.trials[number], f"the early termination policy gave it up, best of {len(values)} values")

    def _end(self, trial: Trial, reason: str) -> None:
        if not trial.stopped:
            trial.stopped = reason
            self._say(f"trial {trial.number} is ended: {reason}")
            trial.step.cancel()

    def _end_all(self, reason: str) -> None:
        for trial in self.trials:
            if trial.status is None:
                self._end(trial, reason)
        for trial in self.trials:
            trial.join()

    def _ended(self, trial: Trial, sampler: Sampler) -> None:
        self._read(trial)
        score = trial.score(maximize=self.sweep.goal == "maximize")
        self._say(f"trial {trial.number} ended: {trial.status}, {self.sweep.metric} {score}")
        sampler.tell(trial.settings, score if trial.status == "Completed" else None)

    def _read(self, trial: Trial) -> None:
        try:
            trial.read(self.sweep.metric)
        except TrackingError as error:
            self._say(f"the metric of trial {trial.number} could not be read: {error}")

    def _choose(self, run_id: str) -> Trial | None:
        """The completed trial with the best score, told in the run's properties."""
        maximize = self.sweep.goal == "maximize"
        scored = [(score, trial) for trial in self._completed() if (score := trial.score(maximize=maximize)) is not None]
        if not scored:
            return None
        score, best = (max if maximize else min)(scored, key=lambda entry: entry[0])
        child = best.step.run["runId"]
        found = {
            "best_child_run_id": child,
            "score": str(score),
            "best_metric_status": "Succeeded",
            "best_data_container_id": f"dcid.{child}",
        }
        self.shop.runs.change(run_id, {"properties": found})
        self._say(f"the best trial is {child} with {self.sweep.metric} {score}")
        return best

    def _completed(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.status == "Completed"]

    def _why_none(self) -> str:
        completed = len(self._completed())
        if completed:
            return f"None of the {completed} completed trials logged the primary metric '{self.sweep.metric}' to MLflow."
        error = next((run["error"] for trial in self.trials if (run := self._fresh(trial))["error"]), None)
        first = f" The first error: {error['error']['message']}" if error else ""
        return f"None of the {len(self.trials)} trials completed.{first}"

    def _fresh(self, trial: Trial) -> Run:
        return self.shop.runs.get(trial.step.run["runId"])

    def _take_output(self, best: Trial, name: str) -> None:
        source, target = best.step.output_path(name), self.output_path(name)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)

    def _say(self, text: str) -> None:
        self._note(f"{datetime.now(UTC):%H:%M:%S.%f} {text}")
