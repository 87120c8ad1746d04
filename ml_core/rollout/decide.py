"""How does a model version take over an endpoint's traffic? Pure: no clock, no network, one step per call.

    gated ─> provisioning ─> smoke test ─> [shadow] ─> canary (10, 25, 50 %) ─> promoting (100 %) ─> baking ─> archiving ─> over
                                  any of them ──> rolling back ──> over          a pause lies over any of them

The candidate lives in the idle slot (blue or green), the stable deployment in the other. A split of the traffic is intended in
the state, written to the endpoint, and read back from it: what the endpoint says is true, and a split that is neither the
intended one nor the one before was set by somebody else, who is not overruled. docs/concepts/rollouts.md draws it all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ml_core.reconciling import ROLLOUTS, Rules
from ml_core.rollout.actions import Action, Hold
from ml_core.rollout.beginning import gated, next_rollout, provisioning, smoke, waiting
from ml_core.rollout.ending import archiving, baking, promoting, rolling_back
from ml_core.rollout.evolve import evolve, forgive, refuse
from ml_core.rollout.obeying import obey
from ml_core.rollout.ramping import canary, shadow
from ml_core.rollout.situation import Situation, busy
from ml_core.rollout.state import Observation, Phase, State
from ml_core.rollout.watching import judged, planned, read_back, same_candidate, standing_still, superseded
from ml_core.rollout.yesterday import in_todays_shape

# In this order: what is seen must be ours, and the candidate's, before anything is judged by it; a bad candidate loses its
# traffic though a person wants the rollout to stand still, and everything else stands still then.
_WATCH: tuple[Callable[[Situation], Action | None], ...] = (
    read_back,
    same_candidate,
    judged,
    superseded,
    standing_still,
    planned,
)
_STEPS: dict[Phase, Callable[[Situation], Action]] = {
    Phase.REQUESTED: gated,
    Phase.GATED: gated,
    Phase.PROVISIONING: provisioning,
    Phase.SMOKE: smoke,
    Phase.SHADOW: shadow,
    Phase.CANARY: canary,
    Phase.PROMOTING: promoting,
    Phase.BAKING: baking,
    Phase.ARCHIVING: archiving,
    Phase.ROLLING_BACK: rolling_back,
}


def decide(state: State, observation: Observation, now: datetime) -> Action:
    """One step of the rollout that is under way, or the beginning of the next one."""
    if observation.command is not None:
        return obey(state, observation, observation.command)
    endpoint, rollout = observation.endpoint, state.active
    # Azure answers 409 to every change while an endpoint is updating.
    updating = f"the endpoint is {endpoint.provisioning_state}" if endpoint and busy(endpoint.provisioning_state) else ""
    if rollout is None:
        if updating:
            return waiting(Hold(updating, observation.rules.poll), state, observation, now)
        return next_rollout(state, observation, now)
    situation = Situation(state, rollout, observation, now)
    if updating:
        return situation.hold(updating, ("provisioning", rollout.since))
    for watch in _WATCH:
        if (action := watch(situation)) is not None:
            return action
    return _STEPS[rollout.phase](situation)


# A step taken late by a slow double could undo a newer one, so the state comes first. What is missing in the world is redone.
RULES = Rules(
    ROLLOUTS,
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
