"""Brings an endpoint in line with the newest model version that was asked for: one step per look."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from ml_core.errors import PermanentError
from ml_core.naming import is_job_name
from ml_core.ports import DeploymentSpec, EndpointState, Evidence, ModelVersion
from ml_core.reconciling import JOBS, ROLLOUTS, handle, tick
from ml_core.rollout.decide import RULES
from ml_core.rollout.provenance import Origin
from ml_core.rollout.request import requested_versions
from ml_core.rollout.values import (
    Action,
    CreateDeployment,
    CreateEndpoint,
    DeleteDeployment,
    Observation,
    Phase,
    Rollout,
    RolloutRules,
    ShiftTraffic,
    SmokeTest,
    State,
)
from ml_core.services import Services

if TYPE_CHECKING:
    from ml_core.config import Config


def receive(services: Services, message: str) -> None:
    """Work off one message of the queue of rollouts."""
    handle(services, ROLLOUTS, message, reconcile)


def reconcile(services: Services, endpoint: str) -> timedelta | None:
    """One look at an endpoint; returns when to look again."""
    model = services.config.model_at(endpoint)
    if model is None:
        return None  # it was taken out of the configuration while its key was waiting
    observe, act = partial(_observe, services, endpoint, model), partial(_act, services, endpoint, model)
    return tick(RULES, endpoint, services, observe, act)


def _observe(services: Services, endpoint: str, model: str, state: State) -> Observation:
    rules = _rules(services.config, model)
    requested = None if state.active else _requested(services, endpoint, model, state)
    if state.active is None and requested is None:
        return Observation(rules)  # at rest: no need to ask Azure for the endpoint
    seen = services.workspace.endpoint(endpoint)
    return Observation(
        rules=rules,
        endpoint=seen,
        requested=requested,
        origin=_origin(services, requested) if requested else Origin(),
        smoke=_smoke_test(services, endpoint, state.active, seen) if state.active and seen else None,
        evidence=_evidence(services, endpoint, model, state.active) if state.active else None,
    )


def _requested(services: Services, endpoint: str, model: str, state: State) -> ModelVersion | None:
    """The newest version asked for that exists. A forged or mistaken event asks for one that does not."""
    versions = [
        version for version in requested_versions(services, endpoint, above=state.settled) if version not in state.refused
    ]
    return next((found for version in versions if (found := services.workspace.model(model, version))), None)


def _origin(services: Services, version: ModelVersion) -> Origin:
    """What the ledger and the workspace know of the job that a version names. The name is somebody's word: it may be anything."""
    job = version.tags.get("job", "")
    noted = services.ledger.get(f"{JOBS}/{job}.json") if is_job_name(job) else None
    if noted is None:
        return Origin()
    told = {field: str(noted.value.get(field, "")) for field in ("model", "data_version", "correlation_id")}
    return Origin(told, services.workspace.job(job))


def _smoke_test(services: Services, endpoint: str, rollout: Rollout, seen: EndpointState) -> SmokeTest | None:
    """Score a known request by the candidate, once it is ready and before it gets traffic."""
    deployment = seen.deployments.get(rollout.candidate)
    if rollout.phase != Phase.PROVISIONING or not deployment or deployment.provisioning_state.lower() != "succeeded":
        return None
    golden = services.ledger.get(f"golden-requests/{rollout.model}.json")
    if golden is None:
        return SmokeTest(True, f"skipped, since the ledger holds no golden-requests/{rollout.model}.json")
    try:
        answer = services.workspace.score(endpoint, rollout.candidate, golden.value)
    except PermanentError as error:
        return SmokeTest(False, str(error))
    return SmokeTest(True, f"{rollout.candidate} answered a golden request with {str(answer)[:200]}")


def _evidence(services: Services, endpoint: str, model: str, rollout: Rollout) -> Evidence | None:
    if rollout.phase != Phase.RAMPING or rollout.stable is None or rollout.since is None:
        return None
    granularity = services.config.models[model].rollout.evidence_granularity
    return services.evidence.read(endpoint, rollout.candidate, rollout.since, services.now(), granularity)


def _act(services: Services, endpoint: str, model: str, action: Action) -> None:
    workspace, place = services.workspace, services.config.models[model].endpoint
    if isinstance(action, CreateEndpoint):
        workspace.create_endpoint(endpoint, {"tidegate.model": model})
    elif isinstance(action, CreateDeployment):
        workspace.create_deployment(
            DeploymentSpec(
                endpoint=endpoint,
                slot=action.slot,
                model=action.model,
                version=action.version,
                instance_type=place.instance_type,
                instance_count=place.instance_count,
                image=place.image,
                correlation_id=action.correlation_id,
            )
        )
    elif isinstance(action, ShiftTraffic):
        tags = {"tidegate.correlation_id": action.correlation_id} if action.correlation_id else {}
        workspace.set_traffic(endpoint, action.weights, tags)
    elif isinstance(action, DeleteDeployment):
        workspace.delete_deployment(endpoint, action.slot)


def _rules(config: Config, model: str) -> RolloutRules:
    rollout = config.models[model].rollout
    return RolloutRules(rollout.steps, rollout.interval, rollout.min_requests, rollout.bake, config.poll)
