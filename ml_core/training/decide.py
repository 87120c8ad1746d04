"""What should a model be trained on next, and what became of the training that runs? Pure: no clock, no network.

One job runs per model. What is pending is not a queue: it is whatever is newest when the running job has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from ml_core.naming import training_job
from ml_core.ports import JobState, ModelVersion
from ml_core.reconciling import MODELS, Rest, Rules

# Listing models lags behind registering them; a job that registered nothing by then has not done its work.
PATIENCE_FOR_THE_MODEL = timedelta(minutes=2)
# What made Azure refuse a job (a missing cluster, a quota) is corrected by people, and not within minutes.
RETRY_A_REFUSED_ONE_AFTER = timedelta(hours=1)
REFUSED = "Refused"


@dataclass(frozen=True)
class Run:
    """A training job and what caused it."""

    job: str
    data_version: str
    cause: str
    started_at: datetime
    completed_at: datetime | None = None


@dataclass(frozen=True)
class Outcome:
    """How the last run ended. `model_version` is '' when it led to no model; then `error` says why."""

    run: Run
    status: str
    model_version: str = ""
    error: str = ""


@dataclass(frozen=True)
class State:
    """What is remembered of a model between two looks."""

    running: Run | None = None
    last: Outcome | None = None
    answered_request: str = ""
    """The newest request (a schedule, a person, drift) that a run has answered."""


@dataclass(frozen=True)
class Observation:
    """The world as far as training is concerned. `job` and `registered` belong to the running job."""

    model: str
    data_version: str
    request: str
    job: JobState | None
    registered: ModelVersion | None
    poll: timedelta


@dataclass(frozen=True)
class Submit:
    """Start (or, after a crash, make sure of) this run."""

    run: Run
    reason: str
    look_again_in: timedelta
    kind: Literal["submit"] = "submit"


@dataclass(frozen=True)
class Follow:
    """The job is not over, or its model is not to be seen yet."""

    run: Run
    reason: str
    look_again_in: timedelta
    kind: Literal["follow"] = "follow"


@dataclass(frozen=True)
class Conclude:
    """The run is over. With a model version, its rollout is asked for."""

    outcome: Outcome
    reason: str
    # What is pending may start at once.
    look_again_in: timedelta | None = timedelta(0)
    kind: Literal["conclude"] = "conclude"


Action = Rest | Submit | Follow | Conclude


def decide(state: State, observation: Observation, now: datetime) -> Action:
    """Follow the running job to its end; only then look for what to train on next."""
    if state.running is not None:
        return _follow(state.running, state.last, observation, now)
    version = observation.data_version
    if not version:
        return Rest("there is no data version yet")
    if state.last is None or state.last.run.data_version != version:
        return _submit(observation, "data", f"{version} has not been trained on", now)
    if observation.request and observation.request != state.answered_request:
        return _submit(observation, observation.request, f"retraining was asked for: {observation.request}", now)
    if state.last.status == REFUSED:
        again_at = state.last.run.started_at + RETRY_A_REFUSED_ONE_AFTER
        if now < again_at:
            return Rest(f"{state.last.run.job} was refused; tried again after {again_at:%H:%M}: {state.last.error}")
        return _submit(observation, state.last.run.cause, f"{state.last.run.job} was refused; perhaps it is corrected now", now)
    return Rest(f"{version} has been trained on: {state.last.status}")


def evolve(state: State, action: Action, _now: datetime) -> State:
    """The state after the action was taken."""
    if isinstance(action, Submit):
        answered = state.answered_request if action.run.cause == "data" else action.run.cause
        return replace(state, running=action.run, answered_request=answered)
    if isinstance(action, Follow):
        return replace(state, running=action.run)
    if isinstance(action, Conclude):
        return replace(state, running=None, last=action.outcome)
    return state


def refuse(state: State, action: Action, error: str, _now: datetime) -> State:
    """Azure refused the job: the run has ended before it began. The sweep has it tried again after a while."""
    if isinstance(action, Submit):
        answered = evolve(state, action, action.run.started_at).answered_request
        return State(running=None, last=Outcome(action.run, REFUSED, error=error), answered_request=answered)
    return state


def _submit(observation: Observation, cause: str, reason: str, now: datetime) -> Submit:
    job = training_job(observation.model, observation.data_version, cause)
    return Submit(Run(job, observation.data_version, cause, now), reason, observation.poll)


def _follow(run: Run, last: Outcome | None, observation: Observation, now: datetime) -> Action:
    job = observation.job
    if job is None:
        return Submit(run, f"{run.job} is not to be found in the workspace", observation.poll)
    if not job.ended:
        return Follow(run, f"{run.job} is {job.status}", observation.poll)
    if not job.completed:
        return Conclude(Outcome(run, job.status, error=job.error), f"{run.job} ended as {job.status}: {job.error}")
    if observation.registered is not None:
        version = observation.registered.version
        reason = f"{run.job} registered version {version}"
        if last and last.model_version and int(version) < int(last.model_version):
            reason += (
                f" some time ago: the data is that of {run.data_version} again, and a job runs once."
                f" The newer version {last.model_version} stays; ask for a training to get a model of the older data"
            )
        return Conclude(Outcome(run, job.status, model_version=version), reason)
    completed_at = run.completed_at or now
    if now - completed_at < PATIENCE_FOR_THE_MODEL:
        waiting = replace(run, completed_at=completed_at)
        return Follow(waiting, f"{run.job} completed; its model is not to be seen yet", observation.poll)
    error = "the job completed, but no model version carries its name in the tag 'job'"
    return Conclude(Outcome(run, job.status, error=error), f"{run.job}: {error}")


# Submitting is idempotent by the job's name, so the state follows the step.
RULES = Rules(MODELS, State, Observation, Action, decide, evolve, refuse, commit_first=False)
