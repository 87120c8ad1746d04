"""How long anything may take before people are told, and how often they are told again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

AlertKind = Literal["at zero", "provisioning", "no traffic", "source failed", "no verdict", "paused", "approval", "conflict"]


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
    approval: timedelta = timedelta(hours=24)
    repeat: timedelta = timedelta(hours=1)
    longest_repeat: timedelta = timedelta(days=1)


@dataclass(frozen=True)
class Alert:
    """An alert that was raised `times` times so far, the last time at `last_at`."""

    times: int
    last_at: datetime
