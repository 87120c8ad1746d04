"""A rollout under way, the world beside it and the time: what every phase decides from. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeVar

from ml_core.ports import DeploymentState, EndpointState
from ml_core.rollout.actions import Action, Hold, RaiseAlert, Settle, ShiftTraffic, StandStill
from ml_core.rollout.deadlines import AlertKind, due
from ml_core.rollout.freeze import frozen
from ml_core.rollout.splits import carried, live, meets, same
from ml_core.rollout.state import AZURE, Observation, Outcome, Pause, Phase, Rollout, RolloutRules, Split, State

Since = tuple[AlertKind, datetime]
# Azure answers with what was, for a while: what is read may be older than the last change so many polls long.
_READS_LAG_POLLS = 2
A = TypeVar("A", bound=Action)


@dataclass(frozen=True)
class Situation:
    """All that a decision about the rollout under way may use."""

    state: State
    rollout: Rollout
    observation: Observation
    now: datetime

    @property
    def rules(self) -> RolloutRules:
        return self.observation.rules

    @property
    def endpoint(self) -> EndpointState | None:
        return self.observation.endpoint

    @property
    def seen(self) -> Split:
        """What the endpoint carries; nothing when there is none."""
        return carried(self.endpoint) if self.endpoint else Split()

    @property
    def share(self) -> int:
        """The candidate's intended live traffic in percent."""
        return self.rollout.intended.weights.get(self.rollout.candidate, 0)

    @property
    def meets_requests(self) -> bool:
        """Whether the candidate is meant to get any, live ones or copies."""
        return meets(self.rollout.intended, self.rollout.candidate)

    def deployment(self, slot: str | None) -> DeploymentState | None:
        return self.endpoint.deployments.get(slot or "") if self.endpoint else None

    # ---- the steps that several phases take ------------------------------------------------------------------------------

    def hold(self, reason: str, *situations: Since, until: datetime | None = None) -> Hold | RaiseAlert:
        """Stay, and look again after a poll, or at `until` when that is sooner; people are told when it takes too long."""
        rest = until - self.now if until is not None else timedelta(0)
        # A time that is over says no more when to look: at once, and again at once, would be a look that never ends.
        look_again_in = min(self.rules.poll, rest) if rest > timedelta(0) else self.rules.poll
        ready = self.rollout.ready_at
        if ready and not self.share and self.rollout.phase != Phase.ROLLING_BACK:
            # Whatever holds it: the classical failure is the candidate that stands at 0 % for days and nobody knows.
            situations = (*situations, ("at zero", ready))
        return self._due(reason, look_again_in, *situations) or Hold(reason, look_again_in)

    def again(self, action: A, *situations: Since) -> A | RaiseAlert:
        """An action that is taken at every look until the world shows that it was; people are told when it takes too long."""
        return self._due(action.reason, self.rules.poll, *situations) or action

    def _due(self, reason: str, look_again_in: timedelta, *situations: Since) -> RaiseAlert | None:
        for kind, since in situations:
            alert = due(kind, since, self.state.alerts, self.rules.deadlines, self.now)
            if alert is not None:
                return RaiseAlert(kind, alert.times, reason, look_again_in)
        return None

    def shift(self, split: Split, phase: Phase, reason: str, ends_as: Outcome | None = None) -> ShiftTraffic:
        """Ask for a split under the next fencing token."""
        step, poll = self.state.steps + 1, self.rules.poll
        return ShiftTraffic(split, self.seen, phase, step, reason, poll, ends_as, self.rollout.correlation_id)

    def give(self, split: Split, phase: Phase, reason: str) -> Action:
        """Give the candidate more live traffic, unless the calendar says that nothing is promoted now."""
        window = frozen(self.rules.freeze, self.now)
        # Back to a version that has served is a way back: a person wants it, and no calendar holds it.
        if window is not None and self.rollout.road != "return":
            reason = f"nothing is promoted until {window.ends_at:%Y-%m-%d %H:%M %Z} ({window.reason})"
            # That was asked for, but of two versions that serve side by side for days people are reminded.
            held_since = max(window.starts_at, self.rollout.standing_since or self.rollout.since)
            side_by_side = (("paused", held_since),) if self.share else ()
            return self.hold(reason, *side_by_side, until=window.ends_at)
        return self.shift(split, phase, reason)

    def take_back(self, reason: str, ends_as: Outcome = "rolled back") -> Action:
        """Take all traffic from the candidate for good; it is over at once when it has none."""
        rollout, back = self.rollout, live(self.rollout, 0)
        if same(self.seen, back) and not self.meets_requests:
            return Settle(rollout.version, ends_as, reason)
        if self.deployment(rollout.stable) is None and same(self.seen, live(rollout, 100)) and not self.reads_may_lag:
            # Nothing will ever open this way, and a newer version must not wait for it.
            left = f"{rollout.stable or 'what served before'} is not there, and {rollout.candidate} keeps all traffic"
            return Settle(rollout.version, "failed", f"{reason}; but {left}: `rollout rollback-to` brings a version back")
        if against := self._against_the_way_back():
            return self.stand_still("no way back", f"{reason}; but there is no way back: {against}")
        return self.shift(back, Phase.ROLLING_BACK, reason, ends_as)

    @property
    def reads_may_lag(self) -> bool:
        """Whether what the endpoint says may still be from before the intended split was asked for."""
        return self.now - self.rollout.since <= _READS_LAG_POLLS * self.rules.poll

    @property
    def is_shut(self) -> bool:
        """Whether the way back was found shut, and is to be left alone for now: it is tried again when that may help."""
        pause = self.rollout.pause
        if pause is None or pause.cause != "no way back":
            return False
        # What Azure has refused for good it will refuse again, unless somebody has done something about it.
        refused = pause.by == AZURE and self.now < pause.at + self.rules.deadlines.repeat
        return refused or bool(self._against_the_way_back())

    def _against_the_way_back(self) -> str:
        slot, stable = self.rollout.stable or "a stable deployment", self.deployment(self.rollout.stable)
        if stable is None:
            return f"{slot} is not there"
        return "" if stable.provisioning_state.lower() == "succeeded" else f"{slot} is {stable.provisioning_state}"

    def stand_still(self, cause: Literal["inconclusive", "conflict", "no way back"], reason: str) -> Action:
        """Pause until a person says what to do."""
        pause = self.rollout.pause
        if pause is not None and pause.cause == cause:
            return self.hold(pause.reason, ("conflict" if cause == "conflict" else "paused", pause.at))
        return StandStill(Pause(cause, reason, "", self.now), self.rules.poll, reason)


def busy(provisioning_state: str) -> bool:
    """Whether Azure is at work on it, and answers 409 to every change."""
    return provisioning_state.lower() not in ("succeeded", "failed", "canceled")
