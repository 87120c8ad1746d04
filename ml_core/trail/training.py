"""Of data versions, requests and jobs: what was trained, why, and why not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ml_core.chain import decisions
from ml_core.naming import is_job_name, training_job
from ml_core.reconciling import JOBS, MODELS
from ml_core.services import Services
from ml_core.trail import rollouts
from ml_core.trail.looks import answer_of, next_look, state_of
from ml_core.trail.values import Chapter, Step, moment, some
from ml_core.training.values import DATA


def noted_job(services: Services, job: str) -> dict[str, Any] | None:
    """Our own note from when the job was submitted; None for a job of somebody else. The name is anybody's text."""
    entry = services.ledger.get(f"{JOBS}/{job}.json") if is_job_name(job) else None
    return entry.value if entry else None


def trainings_of(services: Services, asset: str, version: str) -> Chapter:
    """What the models that learn from a data asset have made of one of its versions."""
    models = services.config.models_of(asset)
    if not models:
        return Chapter(ends=(f"no model of the configuration learns from {asset}, so nothing is trained",))
    told = Chapter()
    for model in models:
        jobs = list(_jobs_of(services, model, version))
        for job in jobs:
            told += job_told(services, job)
        if not jobs:
            told += Chapter(ends=(_why_not_trained(services, model, asset, version),))
    return told


def job_told(services: Services, job: str) -> Chapter:
    """A job of ours from its causes to its end, and what became of its model."""
    note = noted_job(services, job)
    if note is None:
        return Chapter(ends=(f"{job} is no training job of ours",))
    model, version = str(note["model"]), str(note["data_version"])
    causes = list(note.get("causes", ()))
    submitted_at = moment(note, "submitted_at")
    names = some([str(cause["cause"]) for cause in causes]) or "unknown"
    asset = services.config.models[model].data_asset if model in services.config.models else ""
    told = f"{job} was submitted: {model} on {asset}:{version}, caused by {names}"
    submitted = Step(submitted_at, "job", told, see=job, document=f"{JOBS}/{job}.json")
    correlation = (str(note["correlation_id"]),) if note.get("correlation_id") else ()
    asked = tuple(_asked(cause) for cause in causes if cause["cause"] != DATA)
    return Chapter((*asked, submitted), (), correlation) + _end_of(services, model, job, submitted)


def model_told(services: Services, model: str) -> Chapter:
    """How a model stands: what its last look decided, what is pending, and its newest job."""
    state = state_of(services, MODELS, model).get("state", {})
    newest = state.get("running") or (state.get("last") or {}).get("run")
    told = Chapter(ends=(f"{model}: {answer_of(services, MODELS, model)}",)) + pending_of(services, model)
    return told + job_told(services, newest["job"]) if newest else told


def pending_of(services: Services, model: str) -> Chapter:
    """The one training of a model that comes next: what was asked for and no job has answered."""
    pending = state_of(services, MODELS, model).get("state", {}).get("pending")
    if not pending:
        return Chapter()
    asked = tuple(_asked(cause) for cause in pending["causes"] if cause["cause"] != DATA)
    causes = some([str(cause["cause"]) for cause in pending["causes"]])
    version = pending["data_version"] or "the first data version, which is not there yet"
    return Chapter(asked, (f"pending for {model}: a training on {version}, caused by {causes}",))


def _jobs_of(services: Services, model: str, version: str) -> Iterator[str]:
    """Ours, by their notes: the names begin alike, and the note says for certain."""
    beginning = training_job(model, version, "data")
    for key in services.ledger.keys(f"{JOBS}/{beginning}"):
        job = key.removeprefix(f"{JOBS}/").removesuffix(".json")
        note = noted_job(services, job)
        if note and (note["model"], note["data_version"]) == (model, version):
            yield job


def _asked(cause: dict[str, Any]) -> Step:
    by = f" by {cause['by']}" if cause.get("by") else ""
    reason = f": {cause['reason']}" if cause.get("reason") else ""
    return Step(moment(cause, "at"), "request", f"a training was asked for{by} ({cause['cause']}){reason}")


def _end_of(services: Services, model: str, job: str, submitted: Step) -> Chapter:
    """How the job stands: as it was concluded, or else as the workspace has it now."""
    concluded = _conclusion(services, model, job, submitted)
    if concluded is None:
        return _still_under_way(services, model, job)
    step, outcome = concluded
    if outcome["model_version"]:
        return Chapter((step,)) + rollouts.version_told(services, model, str(outcome["model_version"]))
    return Chapter((step,), (f"{job} ended as {outcome['status']}, so there is no model: {outcome['error']}",))


def _conclusion(services: Services, model: str, job: str, submitted: Step) -> tuple[Step, dict[str, Any]] | None:
    if submitted.at is None:
        return None
    for decision in decisions(services.ledger, MODELS, model, submitted.at, services.now()):
        action = decision.value["action"]
        if action["kind"] == "conclude" and action["outcome"]["run"]["job"] == job:
            at = moment(decision.value, "now")
            return Step(at, "job", action["reason"], see=job, document=decision.key), action["outcome"]
    return None


def _still_under_way(services: Services, model: str, job: str) -> Chapter:
    if model not in services.config.models:
        return Chapter(ends=(f"{model} was taken out of the configuration: nobody follows {job}",))
    refused = state_of(services, MODELS, model).get("state", {}).get("refused")
    if refused and refused["run"]["job"] == job:
        return Chapter(ends=(f"{job} never ran, for Azure refused it: {refused['error']}",))
    found = services.workspace.job(job)
    if found is None:
        return Chapter(ends=(f"{job} is not in the workspace yet; {answer_of(services, MODELS, model)}",))
    error = f": {found.error}" if found.error else ""
    following = next_look(services, MODELS, model)
    return Chapter(ends=(f"{job} is {found.status}{error}" + (f" ({following})" if following else ""),))


def _why_not_trained(services: Services, model: str, asset: str, version: str) -> str:
    """No job has this version. The newest one counts, and one job runs at a time."""
    state = state_of(services, MODELS, model).get("state", {})
    running, last = state.get("running"), (state.get("last") or {}).get("run")
    for run in (running, last):
        if run and version in run.get("superseded", ()):
            return (
                f"{model} was not trained on {version}: while it waited, {run['data_version']} came, and {run['job']} took that"
            )
    newest = services.ledger.get(f"data-versions/{asset}.json")
    newest_version = str(newest.value["version"]) if newest else ""
    if running and newest_version == version:
        return f"{model} waits with {version} until {running['job']} has ended: one job runs, and one training is pending"
    if newest_version and newest_version != version:
        return f"{model} was not trained on {version}: {newest_version} is newer, and only the newest version is trained on"
    return f"{model} has not been trained on {version}: {answer_of(services, MODELS, model)}"
