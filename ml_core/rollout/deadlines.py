"""How long anything may take before people are told, and how often they are told again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

AlertKind = Literal["at zero", "provisioning", "no traffic", "source failed", "no verdict", "paused", "approval", "conflict"]

# 2 to the power of this many seconds is longer than any deadline: what lies above would only overflow.
_MOST_DOUBLINGS = 40


@dataclass(frozen=True)
class Deadlines:
    """After so long in a situation its alert is raised: the first time then, again after `repeat`, 2 × `repeat`, … at most
    `longest_repeat` apart."""

    provisioning: timedelta = timedelta(minutes=45)
    at_zero: timedelta = timedelta(hours=2)
    no_traffic: timedelta = timedelta(minutes=30)
    source_failed: timedelta = timedelta(minutes=15)
    no_verdict: timedelta = timedelta(hours=6)
    paused: timedelta = timedelta(hours=4)
    approval: timedelta = timedelta(hours=4)
    repeat: timedelta = timedelta(hours=1)
    longest_repeat: timedelta = timedelta(days=1)

    def of(self, kind: AlertKind) -> timedelta:
        """How long the situation may last before people are told for the first time."""
        if kind == "conflict":
            # Somebody changes the traffic of a rollout by hand: the pause has told so, and who did it may be at work right now.
            return self.repeat
        spans: dict[AlertKind, timedelta] = {
            "provisioning": self.provisioning,
            "at zero": self.at_zero,
            "no traffic": self.no_traffic,
            "source failed": self.source_failed,
            "no verdict": self.no_verdict,
            "paused": self.paused,
            "approval": self.approval,
        }
        return spans[kind]


@dataclass(frozen=True)
class Alert:
    """An alert that was raised `times` times so far, the last time at `last_at`."""

    times: int
    last_at: datetime


def due(kind: AlertKind, since: datetime, alerts: Mapping[str, Alert], deadlines: Deadlines, now: datetime) -> Alert | None:
    """The alert as it is once it is raised now, when it is time for that; otherwise None.

    `since` is when the situation began; `alerts` are those that were raised, by kind. One from before `since` was about an
    earlier situation of the same kind, and does not keep this one quiet.
    """
    if now < due_at(kind, since, alerts, deadlines):
        return None
    raised = _raised(kind, since, alerts)
    return Alert(raised.times + 1 if raised else 1, now)


def due_at(kind: AlertKind, since: datetime, alerts: Mapping[str, Alert], deadlines: Deadlines) -> datetime:
    """When people are to be told (again), should the situation last until then."""
    raised = _raised(kind, since, alerts)
    if raised is None:
        return since + deadlines.of(kind)
    doubled = deadlines.repeat.total_seconds() * 2.0 ** min(raised.times - 1, _MOST_DOUBLINGS)
    return raised.last_at + timedelta(seconds=min(doubled, deadlines.longest_repeat.total_seconds()))


def _raised(kind: AlertKind, since: datetime, alerts: Mapping[str, Alert]) -> Alert | None:
    raised = alerts.get(kind)
    return raised if raised is not None and raised.last_at >= since else None
