"""What a look at an endpoint's rollout must know of the world. What its phase does not need is not asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ml_core.naming import is_job_name
from ml_core.ports import EndpointState, History, Measured, ModelVersion, SourceFailed
from ml_core.reconciling import JOBS
from ml_core.rollout.deadlines import Deadlines
from ml_core.rollout.freeze import windows
from ml_core.rollout.golden import next_pairs, smoke_test
from ml_core.rollout.judge.pairs import PairsPromises
from ml_core.rollout.judge.values import Promises
from ml_core.rollout.people import next_command
from ml_core.rollout.provenance import Origin
from ml_core.rollout.ramping import more_pairs
from ml_core.rollout.request import requested_versions
from ml_core.rollout.situation import busy
from ml_core.rollout.state import Observation, Phase, Rollout, RolloutRules, State
from ml_core.rollout.watching import JUDGED, newer_ends_it
from ml_core.services import Services

if TYPE_CHECKING:
    from ml_core.config import Config
    from ml_core.config_rollout import Judge, Shadow

# The stable deployment's past that a plan is made from: a whole day, since nights are quiet.
_PAST, _LEAST_PAST = timedelta(days=1), timedelta(minutes=1)
# What a decision was made from is kept with it. After a long silence the rest comes with the next look, at once.
_MOST_INTERVALS = 240
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def observe(services: Services, endpoint: str, model: str, state: State) -> Observation:
    """The world as far as the endpoint's rollout is concerned."""
    rules = rules_of(services.config, model, services.now())
    command = next_command(services, endpoint, state.commands)
    if command is not None:
        # It is noted first, whatever Azure says. Only what a person may overrule by it is needed.
        conflict = state.active and state.active.pause and state.active.pause.cause == "conflict"
        return Observation(rules, endpoint, services.workspace.endpoint(endpoint) if conflict else None, command=command)
    requested = _requested(services, endpoint, model, state, rules)
    if state.active is None and requested is None:
        return Observation(rules, endpoint)  # at rest: no need to ask Azure for the endpoint
    seen = services.workspace.endpoint(endpoint)
    origin = _origin(services, requested) if requested else Origin()
    if state.active is None or seen is None or busy(seen.provisioning_state):
        return Observation(rules, endpoint, seen, requested, origin)
    rollout, asked = state.active, state.active.pause is None
    return Observation(
        rules=rules,
        name=endpoint,
        endpoint=seen,
        requested=requested,
        origin=origin,
        smoke=smoke_test(services, endpoint, rollout) if asked and _can_be_tested(rollout, seen) else None,
        pairs=next_pairs(services, endpoint, rollout) if asked and _planned(rollout) and more_pairs(rollout, rules) else None,
        history=stable_history(services, endpoint, rollout.stable or "", rollout.stable_model, state, rules)
        if asked and not _planned(rollout)
        else None,
        evidence=_evidence(services, endpoint, rollout, rules),
    )


def rules_of(config: Config, model: str, now: datetime) -> RolloutRules:
    """What the configuration says about a model's rollouts at this time."""
    rollout = config.models[model].rollout
    shadow, promises = rollout.shadow, _promises(rollout.judge)
    return RolloutRules(
        steps=rollout.steps,
        interval=rollout.interval,
        min_requests=rollout.min_requests,
        bake=rollout.bake,
        bake_mirror=rollout.bake_mirror,
        poll=config.poll,
        evidence_delay=rollout.evidence_delay,
        granularity=rollout.evidence_granularity,
        promises=promises,
        shadow=_promises_of_pairs(shadow, promises) if shadow else None,
        shadow_mirror=shadow.mirror if shadow else 0,
        shadow_duration=shadow.duration if shadow else timedelta(0),
        shadow_requests=shadow.requests if shadow else 0,
        smoke_required=rollout.smoke.required,
        deadlines=Deadlines(**rollout.deadlines.model_dump()),
        supersede=rollout.supersede,
        return_window=rollout.return_window,
        freeze=windows(config, now),
    )


def _promises(judge: Judge) -> Promises:
    return Promises(
        alpha=judge.alpha,
        beta=judge.beta,
        psi=judge.psi,
        budget=judge.budget.model_dump(),
        tripwire=judge.tripwire,
        grace=judge.grace,
        tolerable_error_rate=judge.tolerable_error_rate,
    )


def _promises_of_pairs(shadow: Shadow, promises: Promises) -> PairsPromises:
    return PairsPromises(
        decision_threshold=shadow.decision_threshold,
        max_flip_rate=shadow.max_flip_rate,
        max_flip_rate_in_slice=shadow.max_flip_rate_in_slice,
        max_times_slower=shadow.max_times_slower,
        alpha=promises.alpha_for("pairs"),
        beta=promises.beta,
    )


def _requested(services: Services, endpoint: str, model: str, state: State, rules: RolloutRules) -> ModelVersion | None:
    """The version that a person wants, or the newest one asked for that exists, when one could begin or end something now.

    A forged or mistaken event asks for one that does not exist.
    """
    active = state.active
    if active is None and state.wanted is not None:
        return services.workspace.model(model, state.wanted.version)
    above = state.settled
    if active is not None:
        share = active.intended.weights.get(active.candidate, 0)
        if not newer_ends_it(active.phase, active.road, rules.supersede, share):
            return None
        above = max(above, int(active.version))
    versions = [version for version in requested_versions(services, endpoint, above=above) if version not in state.refused]
    return next((found for version in versions if (found := services.workspace.model(model, version))), None)


def _origin(services: Services, version: ModelVersion) -> Origin:
    """What the ledger and the workspace know of the job that a version names. The name is somebody's word: it may be anything."""
    job = version.tags.get("job", "")
    noted = services.ledger.get(f"{JOBS}/{job}.json") if is_job_name(job) else None
    if noted is None:
        return Origin()
    told = {field: str(noted.value.get(field, "")) for field in ("model", "data_version", "correlation_id")}
    return Origin(told, services.workspace.job(job))


def _can_be_tested(rollout: Rollout, seen: EndpointState) -> bool:
    deployment = seen.deployments.get(rollout.candidate)
    ours = deployment is not None and deployment.model == f"{rollout.model}:{rollout.version}"
    return (
        rollout.phase == Phase.SMOKE and deployment is not None and ours and deployment.provisioning_state.lower() == "succeeded"
    )


def _planned(rollout: Rollout) -> bool:
    return rollout.phase not in JUDGED or rollout.stable is None or rollout.plan is not None


def stable_history(
    services: Services, endpoint: str, slot: str, model: str, state: State, rules: RolloutRules
) -> History | SourceFailed:
    """The last day of the deployment in `slot`, which holds `model` (`<name>:<version>`), as far as it has had all the traffic: a
    plan wants to know how many requests come in a minute."""
    now, newest = services.now(), state.served[-1] if state.served else None
    since = now - _PAST
    if newest is not None and model.rpartition(":")[2] == newest.version:
        # Of the last minutes nothing is known yet.
        since = max(since, min(newest.at, now - _LEAST_PAST - 5 * rules.evidence_delay))
    return services.evidence.history(endpoint, slot, since, now)


def _evidence(services: Services, endpoint: str, rollout: Rollout, rules: RolloutRules) -> Measured | SourceFailed | None:
    """The whole intervals that were not weighed yet and are old enough to be told completely; None when there are none."""
    if rollout.phase not in JUDGED or rollout.stable is None or rollout.met_at is None:
        return None
    if rollout.pause is not None and rollout.pause.cause == "conflict":
        return None
    width = rules.granularity
    since = rollout.judged_until or _EPOCH + -((_EPOCH - rollout.met_at) // width) * width
    until = _EPOCH + ((services.now() - rules.evidence_delay - _EPOCH) // width) * width
    until = min(until, since + _MOST_INTERVALS * width)
    if until <= since:
        return None
    both = [rollout.candidate, rollout.stable]
    return services.evidence.intervals(endpoint, both, since, until, width, rollout.slower_than_ms)
