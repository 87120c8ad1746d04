"""What should a model be trained on next, and what became of the training that runs? Pure: no clock, no network.

One job runs per model, and at most one is pending: the newest data version, with every cause that no job has answered. A newer
cause does not queue up behind it but merges into it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from ml_core.naming import training_job
from ml_core.reconciling import MODELS, Rest, Rules
from ml_core.training.earlier import in_todays_shape
from ml_core.training.values import (
    DATA,
    Action,
    Cause,
    Conclude,
    DataVersion,
    Follow,
    Observation,
    Outcome,
    Pending,
    Refused,
    RequestRollout,
    Run,
    State,
    Submit,
    Wait,
)

# Listing models lags behind registering them; a job that registered nothing by then has not done its work.
PATIENCE_FOR_THE_MODEL = timedelta(minutes=2)
# What made Azure refuse a job (a missing cluster, a quota) is corrected by people, and not within minutes.
RETRY_A_REFUSED_ONE_AFTER = timedelta(hours=1)
# A job of days over data that comes every minute: the newest of those that waited are told, not all.
SUPERSEDED_ONES_TOLD = 20


def decide(state: State, observation: Observation, now: datetime) -> Action:
    """Follow the running job to its end; only then start what is pending."""
    pending = _pending(state, observation, now)
    if state.running is not None:
        return _follow(state.running, pending, observation, now)
    if pending is None:
        return Rest(_nothing_to_do(state, observation.data))
    if observation.data is None:
        return Wait(pending, f"there is no data version yet, and {_told(pending.causes)} waits for one")
    if state.refused is not None and _is_what_was_refused(pending, state.refused.run):
        again_at = state.refused.at + RETRY_A_REFUSED_ONE_AFTER
        if now < again_at:
            job, error = state.refused.run.job, state.refused.error
            return Wait(pending, f"{job} was refused; tried again after {again_at:%H:%M}: {error}")
    run = _run(pending, observation.data, observation.model, now)
    return Submit(run, None, "; ".join(cause.reason for cause in run.causes), observation.poll)


def evolve(state: State, action: Action, _now: datetime) -> State:
    """The state after the action. A refusal stands until the job is seen in the workspace."""
    if isinstance(action, Submit):
        return replace(state, running=action.run, pending=action.pending)
    if isinstance(action, Follow | RequestRollout):
        return replace(state, running=action.run, pending=action.pending, refused=None)
    if isinstance(action, Conclude):
        return State(pending=action.pending, last=action.outcome)
    return replace(state, pending=action.pending if isinstance(action, Wait) else None)


def refuse(state: State, action: Action, error: str, now: datetime) -> State:
    """Azure refused the job: the run has ended before it began, and its causes are still unanswered."""
    if isinstance(action, Submit):
        run = action.run
        # It waits again, and what came meanwhile merges into it at the next look.
        waiting = Pending(run.data_version, run.causes, run.started_at, run.superseded)
        return replace(state, running=None, pending=waiting, refused=Refused(run, error, now))
    return state


def forgive(state: State) -> State:
    """The state in which the job that was refused may be submitted at once."""
    return replace(state, refused=None)


def _pending(state: State, observation: Observation, now: datetime) -> Pending | None:
    """All that no job has answered and the running one will not, as one training. None: nothing."""
    data, running = observation.data, state.running
    under_way = {cause.cause for cause in running.causes} if running else set()
    causes = [cause for cause in observation.requests if cause.cause not in under_way]
    if data is not None and not data.answered_by and not (running and running.data_version == data.version):
        causes.insert(0, Cause(DATA, f"{data.version} has not been trained on", "tidegate", data.registered_at))
    if not causes:
        return None
    before, version = state.pending, data.version if data else ""
    if before is None:
        return Pending(version, tuple(causes), now)
    waited = [*before.superseded, *([before.data_version] if before.causes[0].cause == DATA else [])]
    superseded = tuple(one for one in dict.fromkeys(waited) if one != version)
    return Pending(version, tuple(causes), before.since, superseded[-SUPERSEDED_ONES_TOLD:])


def _run(pending: Pending, data: DataVersion, model: str, now: datetime) -> Run:
    causes = tuple(cause.cause for cause in pending.causes)
    # A version that was made before windows had names has none to hand on.
    correlation_id = data.correlation_id or f"{model}-{data.version if causes[0] == DATA else causes[0]}"
    job = training_job(model, data.version, *causes)
    return Run(job, data.version, pending.causes, now, correlation_id, pending.superseded)


def _is_what_was_refused(pending: Pending, run: Run) -> bool:
    """Newer data and further causes make another job, which is tried at once."""
    asked, refused = ({cause.cause for cause in causes} for causes in (pending.causes, run.causes))
    return pending.data_version == run.data_version and asked == refused


def _follow(run: Run, pending: Pending | None, observation: Observation, now: datetime) -> Action:
    job, poll = observation.job, observation.poll
    if job is None:
        return Submit(run, pending, f"{run.job} is not to be found in the workspace", poll)
    # Before the run may end: what no job seems to have answered would be trained for again.
    unanswered = {cause.cause for cause in observation.requests} | (set() if observation.data_noted else {DATA})
    unnoted = tuple(cause for cause in run.causes if cause.cause in unanswered)
    if unnoted:
        return Submit(run, pending, f"{run.job} answers {_told(unnoted)}, which is not noted yet", poll)
    if not job.ended:
        return Follow(run, pending, f"{run.job} is {job.status}", poll)
    if not job.completed:
        outcome = Outcome(run, job.status, error=job.error)
        return Conclude(outcome, pending, f"{run.job} ended as {job.status}: {job.error}")
    if observation.registered is not None:
        return _hand_over(run, pending, observation, job.status, observation.registered.version)
    completed_at = run.completed_at or now
    if now - completed_at < PATIENCE_FOR_THE_MODEL:
        waiting = replace(run, completed_at=completed_at)
        return Follow(waiting, pending, f"{run.job} completed; its model is not to be seen yet", poll)
    error = "the job completed, but no model version carries its name in the tag 'job'"
    return Conclude(Outcome(run, job.status, error=error), pending, f"{run.job}: {error}")


def _hand_over(run: Run, pending: Pending | None, observation: Observation, status: str, version: str) -> Action:
    """The rollout is asked for before the run ends, because nobody looks at the model of a run that has ended."""
    reason = f"{run.job} registered version {version}"
    if not observation.rollout_requested:
        return RequestRollout(run, version, pending, reason)
    return Conclude(Outcome(run, status, model_version=version), pending, reason)


def _nothing_to_do(state: State, data: DataVersion | None) -> str:
    if data is None:
        return "there is no data version yet"
    if state.last is None:
        return f"{data.answered_by} was given {data.version}"
    if data.version == state.last.run.data_version:
        return f"{data.version} has been trained on: {state.last.status}"
    newer = f"version {state.last.model_version}" if state.last.model_version else f"outcome of {state.last.run.job}"
    return (
        f"the data is that of {data.version} again, which {data.answered_by} was given some time ago."
        f" The newer {newer} stays; ask for a training to get a model of the older data"
    )


def _told(causes: tuple[Cause, ...]) -> str:
    return ", ".join(cause.cause for cause in causes)


# The state comes first. It fixes which causes the job answers, and the job's name with them: a tick that dies between the two
# leaves a run that the next look submits under the same name, however many causes have come meanwhile. What else may be
# missing in the world is seen there: requests that are not noted as answered, a rollout that was not asked for.
RULES = Rules(
    MODELS,
    State,
    Observation,
    Action,
    decide,
    evolve,
    refuse,
    commit_first=True,
    forgive=forgive,
    in_todays_shape=in_todays_shape,
)
