"""From a wish to a candidate that has passed its smoke test at 0 %: requested, gated, provisioning, smoke test. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_never

from ml_core.documents import time_name
from ml_core.naming import idle_slot, is_model_version
from ml_core.ports import DeploymentState, ModelVersion
from ml_core.reconciling import Rest
from ml_core.rollout.actions import (
    Action,
    Begin,
    CreateDeployment,
    CreateEndpoint,
    DeleteDeployment,
    Enter,
    Hold,
    RaiseAlert,
    Refuse,
    Settle,
)
from ml_core.rollout.deadlines import due
from ml_core.rollout.provenance import objection
from ml_core.rollout.situation import Since, Situation, busy
from ml_core.rollout.splits import carried, told, weights
from ml_core.rollout.state import Observation, Phase, Road, State

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def next_rollout(state: State, observation: Observation, now: datetime) -> Action:
    """Begin with the version that a person wants back, or with the newest that was asked for, once its gates are open."""
    requested, wanted, rules = observation.requested, state.wanted, observation.rules
    if requested is None:
        if wanted is not None:
            return Refuse(observation.name, wanted.version, f"the workspace holds no version {wanted.version} of the model")
        return Rest("no newer version was asked for")
    version = f"{requested.name}:{requested.version}"
    served = any(one.version == requested.version for one in state.served)
    # A person may go back to what has served here, whatever became of its job since.
    if not (wanted and served):
        if against := objection(requested, observation.origin):
            return Refuse(observation.name, requested.version, against)
        job = observation.origin.job
        if job is None or not job.completed:
            # Its last step registers the model, and may fail after that.
            held = Hold(f"{version} is registered; its job {job.name if job else ''} has not completed", rules.poll)
            return waiting(held, state, observation, now)
    split = carried(observation.endpoint) if observation.endpoint else None
    if split and (split.mirror or (split.weights and list(split.weights.values()) != [100])):
        reason = f"{version} waits: the traffic is split by somebody else ({told(split)}); set one deployment to 100 to go on"
        # Nothing has told of it yet, so people are told at once.
        alert = due("conflict", _LONG_AGO, state.alerts, rules.deadlines, now)
        if alert is not None:
            return RaiseAlert("conflict", alert.times, reason, rules.interval, observation.name)
        return Hold(reason, rules.interval)
    return _begin(state, observation, requested, now)


def waiting(action: Hold | DeleteDeployment, state: State, observation: Observation, now: datetime) -> Action:
    """What is done while a version cannot begin yet; people are told when that takes too long."""
    since = state.waiting_since or now
    alert = due("provisioning", since, state.alerts, observation.rules.deadlines, now)
    if alert is None:
        return action
    reason = f"since {since:%Y-%m-%d %H:%M}: {action.reason}"
    return RaiseAlert("provisioning", alert.times, reason, action.look_again_in, observation.name)


def _begin(state: State, observation: Observation, requested: ModelVersion, now: datetime) -> Action:
    name, number, endpoint = requested.name, requested.version, observation.endpoint
    traffic = weights(endpoint.traffic) if endpoint else {}
    deployments = endpoint.deployments if endpoint else {}
    stable = next((slot for slot in traffic if slot in deployments), None)
    stable_model = deployments[stable].model if stable else ""
    if stable_model == f"{name}:{number}":
        return Settle(number, "succeeded", f"{name}:{number} serves already, in {stable}")
    wanted = state.wanted is not None
    if not wanted and _is_older(number, stable_model, name):
        reason = f"{name}:{number} is older than {stable_model}, which serves; `rollout rollback-to` goes back to it"
        return Refuse(observation.name, number, reason)
    slot = idle_slot(stable)
    if slot in deployments and not (wanted and deployments[slot].model == f"{name}:{number}"):
        return waiting(_remove_leftover(deployments[slot], observation.rules.poll), state, observation, now)
    why = (
        f"is wanted{f' by {state.wanted.by}' if state.wanted.by else ''}: {state.wanted.reason}"
        if state.wanted
        else "was registered"
    )
    return Begin(
        rollout=f"{observation.name}-{number}-{time_name(now)}",
        endpoint=observation.name,
        model=name,
        version=number,
        road=_road(state, stable, number, observation),
        candidate=slot,
        stable=stable,
        stable_model=stable_model,
        reason=f"{name}:{number} {why}; {slot} is idle",
        correlation_id=observation.origin.correlation_id,
    )


def _road(state: State, stable: str | None, version: str, observation: Observation) -> Road:
    if stable is None:
        return "first"
    window = observation.rules.return_window
    serving = state.served[-1].version if state.served else ""
    earlier = [one.version for one in state.served if one.version != serving]
    return "return" if state.wanted and window and version in earlier[-window:] else "canary"


def _is_older(version: str, stable_model: str, model: str) -> bool:
    name, _, serving = stable_model.rpartition(":")
    return name == model and is_model_version(serving) and int(version) < int(serving)


def _remove_leftover(leftover: DeploymentState, poll: timedelta) -> Hold | DeleteDeployment:
    """A failed or rolled-back candidate was left for people to look at; now its slot is needed."""
    slot = leftover.name
    if busy(leftover.provisioning_state):
        return Hold(f"{slot} is {leftover.provisioning_state}", poll)
    return DeleteDeployment(slot, leftover.model, f"{slot} still holds {leftover.model} of an earlier rollout", poll)


def gated(situation: Situation) -> Action:
    """All that a version needs to be let in was asked before the rollout began."""
    rollout = situation.rollout
    return Enter(Phase.PROVISIONING, f"{rollout.model}:{rollout.version} may go live: {rollout.reason}")


def provisioning(situation: Situation) -> Action:
    """The endpoint and the candidate's deployment, at 0 %."""
    rollout, endpoint, poll = situation.rollout, situation.endpoint, situation.rules.poll
    slot, waiting = rollout.candidate, since_when(situation)
    if endpoint is None:
        if rollout.stable is not None:
            return Settle(rollout.version, "failed", "the endpoint was deleted by somebody else")
        return situation.again(CreateEndpoint("there is no endpoint yet", poll), waiting)
    if endpoint.provisioning_state.lower() != "succeeded" and rollout.stable is None:
        return Settle(rollout.version, "failed", f"the endpoint's provisioning is {endpoint.provisioning_state}")
    deployment = endpoint.deployments.get(slot)
    if deployment is None:
        reason = f"{slot} is to hold the candidate"
        asked = CreateDeployment(slot, rollout.model, rollout.version, reason, poll, rollout.correlation_id)
        return situation.again(asked, waiting)
    if busy(deployment.provisioning_state):
        return situation.hold(f"{slot} is {deployment.provisioning_state}", waiting)
    if against := _not_ours(situation):
        return Settle(rollout.version, "failed", against)
    return Enter(Phase.SMOKE, f"{slot} stands at 0 %")


def since_when(situation: Situation) -> Since:
    """Azure has been at it since the phase began."""
    return ("provisioning", situation.rollout.since)


def smoke(situation: Situation) -> Action:
    """Nobody's request meets the candidate before it has answered its golden requests."""
    rollout, test = situation.rollout, situation.observation.smoke
    if against := _not_ours(situation):
        return Settle(rollout.version, "failed", against)
    if test is None:
        return situation.hold("the smoke test is to be done")
    if test.outcome == "error":
        return situation.hold(f"the smoke test could not be done: {test.reason}")
    if test.outcome == "failed" or (test.outcome == "none" and situation.rules.smoke_required):
        return Settle(rollout.version, "failed", f"smoke test: {test.reason}")
    deployment = situation.deployment(rollout.candidate)
    made = deployment.created_at if deployment else ""
    return Enter(_after_smoke(situation), f"smoke test: {test.reason}", deployment=made)


def _after_smoke(situation: Situation) -> Phase:
    match situation.rollout.road:
        case "first" | "return":
            return Phase.PROMOTING
        case "canary":
            return Phase.SHADOW if situation.rules.shadow else Phase.CANARY
        case road:
            assert_never(road)


def _not_ours(situation: Situation) -> str:
    """Why the deployment in the candidate's slot cannot be the candidate; '' when it can."""
    rollout, deployment = situation.rollout, situation.deployment(situation.rollout.candidate)
    slot = rollout.candidate
    if deployment is None:
        return f"{slot} was deleted by somebody else"
    if deployment.provisioning_state.lower() != "succeeded":
        error = deployment.error or "Azure gives no reason; see the deployment's logs"
        return f"{slot} is {deployment.provisioning_state}: {error}"
    if deployment.model != f"{rollout.model}:{rollout.version}":
        # Somebody was faster, or came late: whatever it scores, it is not what was trained, judged and asked for.
        return f"{slot} holds {deployment.model}, which this rollout has not put there"
    return ""
