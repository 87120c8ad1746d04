"""Brings a model in line with the newest version of its data: one step per look."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ml_core.documents import to_document
from ml_core.ports import TrainingJob
from ml_core.reconciling import JOBS, MODELS, handle, tick
from ml_core.rollout.request import is_requested, request_rollout
from ml_core.services import Services
from ml_core.training.decide import RULES
from ml_core.training.request import answer, answered_by, unanswered
from ml_core.training.values import Action, Cause, DataVersion, Observation, RequestRollout, Run, State, Submit

if TYPE_CHECKING:
    from ml_core.config import Model

# Azure ML cuts nothing: a tag may have 256 characters, and longer ones are refused.
_CAUSES_TOLD = 200


def receive(services: Services, message: str) -> None:
    """Work off one message of the queue of models."""
    handle(services, MODELS, message, reconcile)


def reconcile(services: Services, name: str) -> timedelta | None:
    """One look at a model; returns when to look again."""
    if name not in services.config.models:
        return None  # it was taken out of the configuration while its key was waiting
    return tick(RULES, name, services, partial(_observe, services, name), partial(_act, services, name))


def _observe(services: Services, name: str, state: State) -> Observation:
    model, running = services.config.models[name], state.running
    job = services.workspace.job(running.job) if running else None
    registered = services.workspace.model_of_job(name, job.name) if job and job.completed else None
    return Observation(
        model=name,
        data=_newest_data(services, name, model.data_asset),
        requests=unanswered(services, name),
        data_noted=running is not None and answered_by(services, name, running.data_version) != "",
        job=job,
        registered=registered,
        rollout_requested=registered is not None and is_requested(services, model.endpoint.name, registered.version),
        poll=services.config.poll,
    )


def _newest_data(services: Services, name: str, asset: str) -> DataVersion | None:
    entry = services.ledger.get(f"data-versions/{asset}.json")
    if entry is None:
        return None
    version, registered_at = entry.value["version"], datetime.fromisoformat(entry.value["registered_at"])
    job = answered_by(services, name, version)
    return DataVersion(version, registered_at, entry.value.get("correlation_id", ""), job)


def _act(services: Services, name: str, action: Action) -> None:
    model = services.config.models[name]
    if isinstance(action, Submit):
        # Before the job, since its model may be announced before anything else is written: a rollout asks whose it is.
        services.ledger.claim(f"{JOBS}/{action.run.job}.json", _note(name, action.run, services.now()))
        services.workspace.submit_training(_training_job(name, model, action.run))
        # After the job: one that Azure refuses answers nothing.
        answer(services, name, action.run)
    elif isinstance(action, RequestRollout):
        # Azure announces the model too (ModelRegistered), but not surely. Asking twice is asking once.
        request_rollout(services, model.endpoint.name, name, action.model_version)


def _note(name: str, run: Run, now: datetime) -> dict[str, object]:
    """What is kept of a job that is ours. `superseded` are versions that it answers for, though it is not given them."""
    return {
        "model": name,
        "data_version": run.data_version,
        "causes": [to_document(cause) for cause in run.causes],
        "correlation_id": run.correlation_id,
        "superseded": list(run.superseded),
        "submitted_at": now.isoformat(),
    }


def _training_job(name: str, model: Model, run: Run) -> TrainingJob:
    inputs: dict[str, str | int | float] = {"target_column": model.target.column, "positive_value": model.target.positive_value}
    if model.id_columns:
        inputs["id_columns"] = ",".join(model.id_columns)
    inputs |= model.gates.model_dump(exclude_none=True)
    return TrainingJob(
        name=run.job,
        pipeline=model.pipeline,
        data_asset=model.data_asset,
        data_version=run.data_version,
        model=name,
        cause=_told(run.causes),
        inputs=inputs,
        correlation_id=run.correlation_id,
    )


def _told(causes: tuple[Cause, ...]) -> str:
    """The causes as one text for tags; the ledger's note of the job has them all."""
    told = ",".join(cause.cause for cause in causes)
    return told if len(told) <= _CAUSES_TOLD else f"{told[:_CAUSES_TOLD].rpartition(',')[0]} and others"
