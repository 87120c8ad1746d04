"""Brings a model in line with the newest version of its data: one step per look."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from ml_core.ingestion.reconcile import registered_version
from ml_core.ports import TrainingJob
from ml_core.reconciling import JOBS, MODELS, handle, tick
from ml_core.rollout.request import request_rollout
from ml_core.services import Services
from ml_core.training.decide import RULES, Action, Conclude, Observation, Run, State, Submit
from ml_core.training.request import newest_request

if TYPE_CHECKING:
    from ml_core.config import Model


def receive(services: Services, message: str) -> None:
    """Work off one message of the queue of models."""
    handle(services, MODELS, message, reconcile)


def reconcile(services: Services, name: str) -> timedelta | None:
    """One look at a model; returns when to look again."""
    if name not in services.config.models:
        return None  # it was taken out of the configuration while its key was waiting
    return tick(RULES, name, services, partial(_observe, services, name), partial(_act, services, name))


def _observe(services: Services, name: str, state: State) -> Observation:
    job = services.workspace.job(state.running.job) if state.running else None
    return Observation(
        model=name,
        data_version=registered_version(services, services.config.models[name].data_asset),
        request=newest_request(services, name),
        job=job,
        registered=services.workspace.model_of_job(name, job.name) if job and job.completed else None,
        poll=services.config.poll,
    )


def _act(services: Services, name: str, action: Action) -> None:
    model = services.config.models[name]
    if isinstance(action, Submit):
        # Before the job, since its model may be announced before anything else is written: a rollout asks whose it is.
        note = {"model": name, "data_version": action.run.data_version, "cause": action.run.cause}
        services.ledger.claim(f"{JOBS}/{action.run.job}.json", note)
        services.workspace.submit_training(_training_job(name, model, action.run))
    elif isinstance(action, Conclude) and action.outcome.model_version:
        # Azure announces the model too (ModelRegistered), but not surely. Asking twice is asking once.
        request_rollout(services, model.endpoint.name, name, action.outcome.model_version)


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
        cause=run.cause,
        inputs=inputs,
    )
