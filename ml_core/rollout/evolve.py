"""The state after an action. It is written before the action is taken: the traffic in it is an intention. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from ml_core.reconciling import Rest
from ml_core.rollout.actions import (
    Action,
    Begin,
    DeleteDeployment,
    Enter,
    Hold,
    MakePlan,
    Obey,
    RaiseAlert,
    Refuse,
    Settle,
    ShiftTraffic,
    Standing,
    StandStill,
    Weigh,
)
from ml_core.rollout.deadlines import Alert, AlertKind
from ml_core.rollout.judge import rule
from ml_core.rollout.judge.values import Finding
from ml_core.rollout.notices import MOST_NOTICES, notice, refusal
from ml_core.rollout.obeying import can_be_taken_back
from ml_core.rollout.splits import live, meets, same
from ml_core.rollout.state import AZURE, Outcome, Pause, Phase, Rollout, Served, State, Wanted

# More are never gone back to without a canary (`return_window` of the configuration).
_MOST_SERVED = 10


def evolve(state: State, action: Action, now: datetime) -> State:
    """The state after the action, and what people are told of it."""
    after = _after(state, action, now)
    told = notice(state, action, now)
    return replace(after, notices=(*after.notices, told)[-MOST_NOTICES:]) if told else after


def _after(state: State, action: Action, now: datetime) -> State:
    match action:
        case Begin():
            return _begun(state, action, now)
        case Refuse():
            return _refused(state, action)
        case Settle():
            return _settled(state, action, now)
        case Enter():
            return _entered(state, action, now)
        case MakePlan():
            return _planned(state, action)
        case ShiftTraffic():
            return _shifted(state, action, now)
        case Standing():
            return _standing(state, now)
        case Weigh():
            return _weighed(state, action)
        case StandStill():
            return _still(state, action)
        case RaiseAlert():
            return _alerted(state, action, now)
        case Obey():
            return _obeyed(state, action, now)
        case Hold() | DeleteDeployment() if state.active is None:
            return replace(state, waiting_since=state.waiting_since or now)
        case Rest():
            return replace(state, waiting_since=None)
        case _:
            # Nothing is remembered of the others: the world shows what they have led to.
            return state


def _begun(state: State, action: Begin, now: datetime) -> State:
    begun = Rollout(
        id=action.rollout,
        endpoint=action.endpoint,
        model=action.model,
        version=action.version,
        road=action.road,
        phase=Phase.GATED,
        candidate=action.candidate,
        stable=action.stable,
        stable_model=action.stable_model,
        began_at=now,
        since=now,
        reason=action.reason,
        correlation_id=action.correlation_id,
    )
    as_it_is = live(begun, 0)
    wanted_by = state.wanted.by if state.wanted else ""
    active = replace(begun, intended=as_it_is, before=as_it_is, wanted_by=wanted_by)
    return replace(state, active=active, alerts={}, wanted=None, waiting_since=None)


def _refused(state: State, action: Refuse) -> State:
    newer = int(action.version) > state.settled
    refused = {**state.refused, action.version: action.reason} if newer else state.refused
    wanted = None if state.wanted and state.wanted.version == action.version else state.wanted
    return replace(state, outcome="refused", reason=action.reason, refused=refused, wanted=wanted, waiting_since=None)


def _settled(state: State, action: Settle, now: datetime) -> State:
    settled = max(state.settled, int(action.version))
    newer = {version: why for version, why in state.refused.items() if int(version) > settled}
    served = state.served
    if action.outcome == "succeeded":
        served = (*(one for one in served if one.version != action.version), Served(action.version, now))[-_MOST_SERVED:]
    # A version that is wanted back while its own rollout is being taken back is wanted all the same.
    served_now = state.active is None or action.outcome == "succeeded"
    wanted = None if served_now and state.wanted and state.wanted.version == action.version else state.wanted
    over = replace(state, active=None, settled=settled, outcome=action.outcome, reason=action.reason, refused=newer)
    return replace(over, served=served, wanted=wanted, refused_by_azure=0, alerts={}, waiting_since=None)


def _entered(state: State, action: Enter, now: datetime) -> State:
    active = _active(state)
    entered = replace(active, phase=action.phase, since=now, reason=action.reason)
    if action.deployment:
        entered = replace(entered, deployment=action.deployment)
    if action.phase == Phase.SMOKE:
        entered = replace(entered, ready_at=now)
    if action.phase == Phase.CANARY:
        # What a person has said about the shadow was said about the shadow.
        entered = replace(entered, promoted_by="", resumed_at=None)
    return replace(state, active=entered, alerts=_without(state.alerts, "provisioning"))


def _planned(state: State, action: MakePlan) -> State:
    known = replace(_active(state), plan=action.plan, slower_than_ms=action.slower_than_ms, promises=action.promises)
    return replace(state, active=known)


def _shifted(state: State, action: ShiftTraffic, now: datetime) -> State:
    active, steps = _active(state), max(state.steps, action.step)
    if action.phase == active.phase and same(action.split, active.intended):
        # The same once more.
        return replace(state, active=replace(active, before=action.replaces, standing_since=None), steps=steps)
    shifted = replace(active, phase=action.phase, intended=action.split, before=action.replaces, since=now, reason=action.reason)
    shifted = replace(shifted, before_since=active.standing_since, standing_since=None, counted=0, promoted_by="")
    shifted = replace(shifted, unseen=() if same(action.replaces, active.intended) else (*active.unseen, active.intended))
    if action.phase == Phase.ROLLING_BACK:
        shifted = replace(shifted, ends_as=action.ends_as or active.ends_as or "rolled back", pause=None)
    return replace(state, active=shifted, steps=steps, alerts=_without(state.alerts, "no traffic", "no verdict", "at zero"))


def _standing(state: State, now: datetime) -> State:
    active = _active(state)
    pause = None if active.pause and active.pause.cause == "conflict" else active.pause
    met_at = active.met_at or (now if meets(active.intended, active.candidate) else None)
    standing = replace(active, standing_since=now, met_at=met_at, pause=pause)
    return replace(state, active=standing, alerts=_without(state.alerts, "provisioning", "conflict"))


def _weighed(state: State, action: Weigh) -> State:
    active = _active(state)
    weighed = replace(active, tally=action.tally, judged_until=action.judged_until, pairs=action.pairs)
    weighed = replace(weighed, counted=action.counted, heard_at=action.heard_at)
    over: list[AlertKind] = ["no traffic"] if action.heard_at != active.heard_at else []
    if not action.pairs.error and rule(action.tally, active.promises).finding is not Finding.ERROR:
        over.append("source failed")
    return replace(state, active=weighed, alerts=_without(state.alerts, *over))


def _still(state: State, action: StandStill) -> State:
    active = replace(_active(state), pause=action.pause)
    if action.pause.cause == "conflict":
        active = replace(active, standing_since=None)
    return replace(state, active=active)


def _alerted(state: State, action: RaiseAlert, now: datetime) -> State:
    return replace(state, alerts={**state.alerts, action.alert: Alert(action.times, now)})


def _obeyed(state: State, action: Obey, now: datetime) -> State:
    command, active = action.command, state.active
    heard = replace(state, commands=command.number)
    if not action.obeyed:
        return heard
    if command.what == "roll back":
        return _gone_back(heard, action)
    if active is None:
        return heard
    said = f"{command.by}: {command.reason}"
    if command.what == "abort":
        return replace(heard, active=_taken_back(active, "rolled back", f"aborted by {said}", action))
    if command.what == "pause":
        return replace(heard, active=replace(active, pause=Pause("person", command.reason, command.by, now)))
    if command.what == "promote":
        promoted = replace(active, pause=None, promoted_by=f"promoted by {said}")
        return replace(heard, active=promoted, alerts=_without(heard.alerts, "paused", "approval"))
    resumed = replace(active, pause=None, resumed_at=now)
    if action.seen and active.pause and active.pause.cause == "conflict":
        # The intended split is asked for anew from here on: the time in which it was somebody else's was nobody's delay.
        resumed = replace(resumed, before=action.seen, since=now)
    return replace(heard, active=resumed, alerts=_without(heard.alerts, "paused", "approval", "conflict"))


def _gone_back(state: State, action: Obey) -> State:
    """A rollout under way gives way; when it stood on the wanted version, that is all there is to do."""
    command, active = action.command, state.active
    said = f"{command.by} wants version {command.version} back: {command.reason}"
    if active is None or not can_be_taken_back(active):
        return replace(state, wanted=Wanted(command.version, command.by, command.reason))
    taken = replace(state, active=_taken_back(active, "superseded", said, action))
    if active.stable_model.rpartition(":")[2] == command.version:
        return taken
    return replace(taken, wanted=Wanted(command.version, command.by, command.reason))


def _taken_back(active: Rollout, ends_as: Outcome, reason: str, action: Obey) -> Rollout:
    """From now on it is rolling back. What the endpoint carries may be somebody else's split: a person has decided against it."""
    conflict = active.pause is not None and active.pause.cause == "conflict"
    before = action.seen if conflict and action.seen else active.before
    return replace(active, phase=Phase.ROLLING_BACK, ends_as=ends_as, reason=reason, pause=None, before=before)


def refuse(state: State, action: Action, error: str, now: datetime) -> State:
    """Azure refused a step for good. A candidate with requests loses them; without, the rollout is over."""
    active = state.active
    steps = max(state.steps, action.step) if isinstance(action, ShiftTraffic) else state.steps
    told = refusal(state, action, error, now)
    kept = replace(state, steps=steps, notices=(*state.notices, told)[-MOST_NOTICES:] if told else state.notices)
    if active is None:
        return replace(kept, outcome="refused", reason=error)
    if isinstance(action, DeleteDeployment):
        return _settled(kept, Settle(active.version, "succeeded", f"the old deployment could not be deleted: {error}"), now)
    if active.phase == Phase.ROLLING_BACK:
        return replace(kept, active=replace(active, pause=Pause("no way back", error, AZURE, now)))
    if meets(active.intended, active.candidate) or isinstance(action, ShiftTraffic):
        back = replace(active, phase=Phase.ROLLING_BACK, ends_as="failed", reason=error, pause=None)
        return replace(kept, active=back)
    over = _settled(kept, Settle(active.version, "refused", error), now)
    return replace(over, refused_by_azure=int(active.version))


def forgive(state: State) -> State:
    """The state in which the version of the refused step is no longer settled, so that its rollout begins anew."""
    version = state.refused_by_azure
    if not version:
        return state
    open_again = replace(state, outcome="", reason="", refused_by_azure=0)
    if version < state.settled:
        return replace(open_again, wanted=Wanted(str(version), "", "it was refused, and is tried again"))
    return replace(open_again, settled=version - 1)


def _active(state: State) -> Rollout:
    if state.active is None:
        raise ValueError("This action is about a rollout under way, and there is none.")
    return state.active


def _without(alerts: Mapping[str, Alert], *kinds: AlertKind) -> dict[str, Alert]:
    return {kind: alert for kind, alert in alerts.items() if kind not in kinds}
