"""What a person says is noted at once, also while Azure is at work: what it leads to follows as soon as it can. Pure."""

from __future__ import annotations

from ml_core.naming import is_model_version
from ml_core.rollout.actions import Obey
from ml_core.rollout.commands import Command
from ml_core.rollout.splits import carried
from ml_core.rollout.state import Observation, Phase, Rollout, State


def obey(state: State, observation: Observation, command: Command) -> Obey:
    """Carry the command out, or say why it cannot be (any more)."""
    against = _objection(state, command)
    seen = carried(observation.endpoint) if observation.endpoint else None
    told = f"{command.by}: {command.what}{' to ' + command.version if command.version else ''} ({command.reason})"
    reason = f"{told}; not done, since {against}" if against else told
    return Obey(command, not against, seen, reason, endpoint=observation.name)


def _objection(state: State, command: Command) -> str:
    """Why it cannot be done; '' when it can."""
    active = state.active
    if command.what == "roll back":
        return _against_going_back(active, command)
    if active is None:
        return "no rollout is under way"
    if command.rollout and command.rollout != active.id:
        return f"it was said about {command.rollout}, and {active.id} is under way"
    if active.phase == Phase.ROLLING_BACK and not (active.pause and command.what in ("resume", "abort")):
        return "the rollout is being rolled back"
    if command.what == "abort":
        return _against_taking_back(active)
    if command.what == "pause":
        return f"it stands still already: {active.pause.reason}" if active.pause else ""
    if command.what == "resume":
        return "" if active.pause else "the rollout does not stand still"
    if active.phase not in (Phase.SHADOW, Phase.CANARY):
        return f"a rollout is promoted from its shadow or canary, and this one is at {active.phase.value}"
    if active.pause and active.pause.cause in ("conflict", "no way back"):
        return f"it stands still: {active.pause.reason}; resume it first"
    return ""


def _against_going_back(active: Rollout | None, command: Command) -> str:
    if not is_model_version(command.version):
        return f"{command.version!r} is no version of a model"
    if active is not None and active.version == command.version and active.phase != Phase.ROLLING_BACK:
        return f"version {command.version} is being rolled out right now"
    return ""


def _against_taking_back(active: Rollout) -> str:
    if active.phase == Phase.ARCHIVING:
        return "the old deployment is being deleted; `rollout rollback-to` brings a version back"
    if active.stable is None and active.intended.weights.get(active.candidate):
        return "it is the endpoint's first deployment: there is nothing to go back to"
    return ""


def can_be_taken_back(active: Rollout) -> bool:
    return active.phase != Phase.ROLLING_BACK and not _against_taking_back(active)
