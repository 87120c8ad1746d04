"""What people are told of a rollout, and when. Pure: `telling` sends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Literal

from ml_core.documents import time_name
from ml_core.ports import Notice
from ml_core.rollout.actions import Action, Begin, Obey, RaiseAlert, Refuse, Settle, ShiftTraffic, StandStill
from ml_core.rollout.deadlines import AlertKind
from ml_core.rollout.splits import told
from ml_core.rollout.state import Phase, Rollout, State

MOST_NOTICES = 20
Level = Literal["info", "warning", "critical"]
WHAT_HELPS: Mapping[AlertKind, str] = {
    "at zero": "the reason above holds it back; rollout resume, promote or abort",
    "provisioning": "look at the deployment's logs in the Studio, its quota and its image; rollout abort ends it",
    "no traffic": "look at the endpoint's callers; a wider step or fewer min_requests; rollout promote or abort",
    "source failed": "look at the app's roles and at Azure Monitor's health; nothing is blamed on the candidate",
    "no verdict": "rollout promote or abort; rollout plan says what would help the next one",
    "paused": "rollout resume, promote or abort",
    "approval": "rollout promote or abort",
    "conflict": "undo the change, or rollout resume to have the rollout's own split asked for again",
}
"""What whoever is told of an alert can do about it."""
_ENDS: dict[str, Level] = {"succeeded": "info", "superseded": "info", "rolled back": "critical", "failed": "critical"}


def notice(state: State, action: Action, now: datetime) -> Notice | None:
    """What is worth telling of an action that is about to be taken; None when nothing is."""
    active = state.active
    if isinstance(action, Begin):
        road = {"first": "the endpoint's first deployment", "canary": "step by step", "return": "back to it"}[action.road]
        title = f"{action.model}:{action.version} is being rolled out"
        facts = {"rollout": action.rollout, "traffic": f"{action.stable} 100 %" if action.stable else "nothing"}
        return _notice(action.endpoint, f"begun-{action.version}", "info", title, f"{action.reason} ({road})", now, facts)
    if isinstance(action, Refuse):
        title = f"version {action.version} is not rolled out"
        return _notice(action.endpoint, f"refused-{action.version}", "warning", title, action.reason, now)
    if isinstance(action, Obey) and not action.obeyed:
        command = action.command
        title = f"not carried out: {command.what}, said by {command.by}"
        return _notice(action.endpoint, f"not-obeyed-{command.number}", "warning", title, action.reason, now)
    if active is None and isinstance(action, RaiseAlert):
        title = "a version waits to be rolled out"
        return _notice(action.endpoint, f"alert-{action.alert}-{action.times}", "warning", title, action.reason, now)
    if active is None and isinstance(action, Obey):
        # While nothing is under way that is `roll back` alone; the rollout that it leads to tells of itself.
        command = action.command
        title = f"{command.what} to version {command.version}"
        return _notice(action.endpoint, f"{command.what.replace(' ', '-')}-{command.number}", "info", title, action.reason, now)
    if active is None:
        return None
    return _of_active(active, action, now)


def _of_active(active: Rollout, action: Action, now: datetime) -> Notice | None:
    what, subject = f"{active.model}:{active.version}", active.version
    if isinstance(action, ShiftTraffic) and action.phase != active.phase:
        if action.phase == Phase.PROMOTING:
            return _about(
                active, f"promoted-{subject}", "info", f"{what} gets all traffic", action.reason, now, told(action.split)
            )
        if action.phase == Phase.ROLLING_BACK:
            title = f"{what} loses its traffic"
            return _about(active, f"rolling-back-{subject}", "critical", title, action.reason, now, told(action.split))
    if isinstance(action, Settle):
        kind = f"{action.outcome.replace(' ', '-')}-{subject}"
        return _about(active, kind, _ENDS.get(action.outcome, "warning"), f"{what}: {action.outcome}", action.reason, now)
    if isinstance(action, StandStill):
        title = f"the rollout of {what} stands still"
        return _about(active, f"paused-{subject}", "warning", title, action.reason, now)
    if isinstance(action, RaiseAlert):
        kind, title = action.alert.replace(" ", "-"), f"the rollout of {what}: {action.alert}"
        level: Level = "critical" if action.alert in ("conflict", "source failed") else "warning"
        found = _about(active, f"alert-{kind}-{action.times}-{subject}", level, title, action.reason, now)
        return replace(
            found,
            facts={
                **found.facts,
                "told": "once" if action.times == 1 else f"{action.times} times",
                "what helps": WHAT_HELPS[action.alert],
            },
        )
    if isinstance(action, Obey) and action.obeyed and action.command.what != "promote":
        kind = f"{action.command.what.replace(' ', '-')}-{action.command.number}"
        return _about(active, kind, "info", f"the rollout of {what}: {action.command.what}", action.reason, now)
    return None


def refusal(state: State, action: Action, error: str, now: datetime) -> Notice | None:
    """What people are told when Azure refuses a step for good."""
    active = state.active
    if active is None:
        return None
    title = f"Azure refused a step of the rollout of {active.model}:{active.version} ({action.kind})"
    return _about(active, f"azure-refused-{active.version}", "critical", title, error, now)


def _about(active: Rollout, kind: str, level: Level, title: str, text: str, now: datetime, traffic: str = "") -> Notice:
    facts = {"rollout": active.id, "phase": active.phase.value, "traffic": traffic or told(active.intended)}
    return _notice(active.endpoint, kind, level, title, text, now, facts)


def _notice(
    endpoint: str, kind: str, level: Level, title: str, text: str, now: datetime, facts: dict[str, str] | None = None
) -> Notice:
    """At one moment one thing happens to an endpoint, so its time and kind are its id."""
    return Notice(f"{endpoint}-{time_name(now)}-{kind}", level, endpoint, title, text, facts or {})
