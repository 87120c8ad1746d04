"""How does a model version take over an endpoint's traffic? Pure: no clock, no network, one step per call.

    provisioning ──> ramping (10, 25, 50, 100 %) ──> archiving ──> settled
         │               │
         └──> settled    └──> rolling back ──> settled

The candidate lives in the idle slot (blue or green), the stable deployment in the other. Weights are intended in the state,
written to the endpoint, and read back from it: what the endpoint says is true, and a weight that is neither the intended one
nor the one before was set by somebody else, who is not overruled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from ml_core.naming import idle_slot
from ml_core.ports import DeploymentState, EndpointState
from ml_core.reconciling import ROLLOUTS, Rest, Rules
from ml_core.rollout.provenance import objection
from ml_core.rollout.simple_rule import Verdict, judge
from ml_core.rollout.values import (
    Action,
    Begin,
    CreateDeployment,
    CreateEndpoint,
    DeleteDeployment,
    Hold,
    Observation,
    Phase,
    Refuse,
    Rollout,
    Settle,
    ShiftTraffic,
    State,
    weights,
)


def decide(state: State, observation: Observation, now: datetime) -> Action:
    """One step of the rollout that is under way, or the beginning of the next one."""
    rollout, endpoint = state.active, observation.endpoint
    if endpoint is not None and _busy(endpoint.provisioning_state):
        # Azure answers 409 to every change while an endpoint is updating.
        return Hold(f"the endpoint is {endpoint.provisioning_state}", observation.rules.poll)
    if rollout is None:
        return _next_rollout(observation)
    if rollout.phase == Phase.PROVISIONING:
        return _provision(rollout, observation)
    # From here on the weights matter, and a change of somebody else's stops everything.
    foreign = _read_back(rollout, endpoint, observation)
    if foreign is not None:
        return foreign
    if rollout.phase == Phase.ROLLING_BACK:
        return Settle(rollout, "rolled back", rollout.reason)
    if rollout.phase == Phase.ARCHIVING:
        return _archive(rollout, observation)
    return _ramp(rollout, observation, now)


def evolve(state: State, action: Action, now: datetime) -> State:
    """The state after the action. It is written before the action is taken: the weights in it are intentions."""
    active = state.active
    if isinstance(action, Begin):
        begun = Rollout(action.model, action.version, Phase.PROVISIONING, action.candidate, action.stable, since=now)
        return replace(state, active=replace(begun, correlation_id=action.correlation_id))
    if isinstance(action, ShiftTraffic) and active is not None:
        if action.phase == active.phase and weights(action.weights) == weights(active.intended):
            return state  # the same step once more
        shifted = replace(active, phase=action.phase, intended=action.weights, before=active.intended, since=now)
        return replace(state, active=replace(shifted, reason=action.reason))
    if isinstance(action, DeleteDeployment) and active is not None:
        return replace(state, active=replace(active, phase=Phase.ARCHIVING))
    if isinstance(action, Refuse):
        refused = {**state.refused, action.version: action.reason}
        return replace(state, outcome="refused", reason=action.reason, refused=refused)
    if isinstance(action, Settle):
        return _settled(state, action.rollout.version, action.outcome, action.reason)
    return state


def refuse(state: State, action: Action, error: str, _now: datetime) -> State:
    """Azure refused a step for good: the rollout is over, and the traffic stays as the endpoint has it."""
    version = state.active.version if state.active else action.version if isinstance(action, Begin) else None
    if version is None:
        return replace(state, outcome="refused", reason=error)
    return replace(_settled(state, version, "refused", error), refused_by_azure=int(version))


def forgive(state: State) -> State:
    """The state in which the version of the refused step is no longer settled, so that its rollout begins anew."""
    version = state.refused_by_azure
    return replace(state, settled=version - 1, outcome="", reason="", refused_by_azure=0) if version else state


def _settled(state: State, version: str, outcome: str, reason: str) -> State:
    newer = {refused: why for refused, why in state.refused.items() if int(refused) > int(version)}
    return State(settled=int(version), outcome=outcome, reason=reason, refused=newer)


def _next_rollout(observation: Observation) -> Action:
    """Begin with the newest version that was asked for. A version that comes meanwhile waits for the end of this one."""
    if observation.requested is None:
        return Rest("no newer version was asked for")
    model, version, job = observation.requested.name, observation.requested.version, observation.origin.job
    if against := objection(observation.requested, observation.origin):
        return Refuse(version, against)
    if job is None or not job.completed:
        # Its last step registers the model, and may fail after that.
        return Hold(
            f"{model}:{version} is registered; its job {job.name if job else ''} has not completed", observation.rules.poll
        )
    traffic = weights(observation.endpoint.traffic) if observation.endpoint else {}
    deployments = observation.endpoint.deployments if observation.endpoint else {}
    if traffic and list(traffic.values()) != [100]:
        reason = f"the traffic is split by somebody else ({_told(traffic)}); set one deployment to 100 to go on"
        return Hold(reason, observation.rules.interval)
    stable = next(iter(traffic), None)
    if stable and stable in deployments and deployments[stable].model == f"{model}:{version}":
        serving = Rollout(model, version, Phase.ARCHIVING, stable, None, since=None)
        return Settle(serving, "succeeded", f"{model}:{version} serves already, in {stable}")
    candidate = idle_slot(stable)
    if candidate in deployments:
        return _remove_leftover(deployments[candidate], observation)
    reason = f"{model}:{version} was registered; {candidate} is idle"
    return Begin(model, version, candidate, stable, reason, correlation_id=observation.origin.correlation_id)


def _remove_leftover(leftover: DeploymentState, observation: Observation) -> Action:
    """A failed or rolled-back candidate was left for people to look at; now its slot is needed."""
    poll = observation.rules.poll
    if _busy(leftover.provisioning_state):
        return Hold(f"{leftover.name} is {leftover.provisioning_state}", poll)
    return DeleteDeployment(leftover.name, f"{leftover.name} still holds {leftover.model} of an earlier rollout", poll)


def _provision(rollout: Rollout, observation: Observation) -> Action:
    """Endpoint, deployment at 0 %, smoke test: nobody's request meets the candidate before all three are done."""
    endpoint, poll, slot = observation.endpoint, observation.rules.poll, rollout.candidate
    if endpoint is None:
        return CreateEndpoint("there is no endpoint yet", poll)
    if endpoint.provisioning_state.lower() != "succeeded" and rollout.stable is None:
        return Settle(rollout, "failed", f"the endpoint's provisioning is {endpoint.provisioning_state}")
    deployment = endpoint.deployments.get(slot)
    if deployment is None:
        reason = f"{slot} is to hold the candidate"
        return CreateDeployment(slot, rollout.model, rollout.version, reason, poll, rollout.correlation_id)
    if _busy(deployment.provisioning_state):
        return Hold(f"{slot} is {deployment.provisioning_state}", poll)
    if deployment.provisioning_state.lower() != "succeeded":
        error = deployment.error or "Azure gives no reason; see the deployment's logs"
        return Settle(rollout, "failed", f"{slot} is {deployment.provisioning_state}: {error}")
    if deployment.model != f"{rollout.model}:{rollout.version}":
        # Somebody was faster, or came late: whatever it scores, it is not what was trained, judged and asked for.
        return Settle(rollout, "failed", f"{slot} holds {deployment.model}, which this rollout has not put there")
    smoke = observation.smoke
    if smoke is None or not smoke.passed:
        return Settle(rollout, "failed", f"smoke test: {smoke.reason if smoke else 'not done'}")
    if weights(endpoint.traffic) != _before(rollout):
        return _respect(endpoint, _before(rollout), observation)
    share = 100 if rollout.stable is None else observation.rules.steps[0]
    return _shift(rollout, share, Phase.RAMPING, f"smoke test: {smoke.reason}", observation)


def _read_back(rollout: Rollout, endpoint: EndpointState | None, observation: Observation) -> Action | None:
    """None when the endpoint carries the intended weights; otherwise what to do about it."""
    if endpoint is None or rollout.candidate not in endpoint.deployments:
        return Settle(rollout, "failed", f"{rollout.candidate} was deleted by somebody else")
    seen = weights(endpoint.traffic)
    if seen == weights(rollout.intended):
        return None
    if seen == _before(rollout):
        # The update was lost or failed, and it is still the intended one.
        poll, correlation_id = observation.rules.poll, rollout.correlation_id
        return ShiftTraffic(rollout.intended, rollout.phase, rollout.reason, poll, correlation_id)
    return _respect(endpoint, weights(rollout.intended), observation)


def _respect(endpoint: EndpointState, wanted: Mapping[str, int], observation: Observation) -> Hold:
    """Somebody had a reason to change the traffic by hand. Theirs to end."""
    seen = _told(weights(endpoint.traffic))
    return Hold(f"somebody else set the traffic to {seen}; set it back to {_told(wanted)} to go on", observation.rules.interval)


def _ramp(rollout: Rollout, observation: Observation, now: datetime) -> Action:
    """Judge the candidate on this step's requests: back, on, or stay."""
    rules, share = observation.rules, rollout.intended[rollout.candidate]
    if rollout.stable is None:
        return Settle(rollout, "succeeded", f"{rollout.candidate} is the first deployment and has all traffic")
    verdict, why = judge(observation.evidence, rules.min_requests)
    # First of all, since it must not wait for the end of a step.
    if verdict is Verdict.UNHEALTHY:
        return _shift(rollout, 0, Phase.ROLLING_BACK, f"at {share} %: {why}", observation)
    ends_at = (rollout.since or now) + (rules.bake if share == 100 else rules.interval)
    if now < ends_at:
        return Hold(f"at {share} %, watched until {ends_at:%H:%M:%S}", min(rules.poll, ends_at - now))
    if share == 100:
        return _archive(rollout, observation)
    if verdict is Verdict.INCONCLUSIVE:
        return Hold(f"at {share} %: {why}", rules.poll)
    following = next(step for step in rules.steps if step > share)
    return _shift(rollout, following, Phase.RAMPING, f"at {share} %: {why}", observation)


def _archive(rollout: Rollout, observation: Observation) -> Action:
    """Delete the old deployment, whose weight was just read back as 0; then the rollout is over."""
    deployments, poll = observation.endpoint.deployments if observation.endpoint else {}, observation.rules.poll
    old = deployments.get(rollout.stable or "")
    if old is None:
        return Settle(rollout, "succeeded", f"{rollout.candidate} has all traffic")
    if _busy(old.provisioning_state):
        return Hold(f"{old.name} is {old.provisioning_state}", poll)
    return DeleteDeployment(old.name, f"{rollout.candidate} has all traffic", poll)


def _before(rollout: Rollout) -> dict[str, int]:
    """The weights that the intended ones replace. Before the first shift the stable deployment has all, or nobody has any."""
    return weights(rollout.before) or ({rollout.stable: 100} if rollout.stable else {})


def _shift(rollout: Rollout, share: int, phase: Phase, reason: str, observation: Observation) -> ShiftTraffic:
    """Weights that sum to 100: `share` percent for the candidate, the rest for the stable deployment."""
    stable = {rollout.stable: 100 - share} if rollout.stable else {}
    split = {**stable, rollout.candidate: share}
    return ShiftTraffic(split, phase, reason, observation.rules.poll, rollout.correlation_id)


def _busy(provisioning_state: str) -> bool:
    return provisioning_state.lower() not in ("succeeded", "failed", "canceled")


def _told(traffic: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {weight} %" for name, weight in traffic.items()) or "nothing"


# A step taken late by a slow double could undo a newer one, so the state comes first. What is missing in the world is redone.
RULES = Rules(ROLLOUTS, State, Observation, Action, decide, evolve, refuse, commit_first=True, forgive=forgive)
