"""The steps that a rollout can take. Each is kept with what it was decided from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from ml_core.reconciling import Rest
from ml_core.rollout.commands import Command
from ml_core.rollout.deadlines import AlertKind
from ml_core.rollout.judge.pairs import PairsTally
from ml_core.rollout.judge.sequential import Tally
from ml_core.rollout.judge.values import Promises
from ml_core.rollout.planner import Plan
from ml_core.rollout.state import Outcome, Pause, Phase, Road, Split

NOW = timedelta(0)


@dataclass(frozen=True)
class Hold:
    """Stay as it is, and look again."""

    reason: str
    look_again_in: timedelta
    kind: Literal["hold"] = "hold"


@dataclass(frozen=True)
class Begin:
    """Take a model version up: from now on it is the endpoint's one rollout."""

    rollout: str
    """Its id."""

    endpoint: str
    model: str
    version: str
    road: Road
    candidate: str
    stable: str | None
    stable_model: str
    reason: str
    look_again_in: timedelta = NOW
    correlation_id: str = ""
    kind: Literal["begin"] = "begin"


@dataclass(frozen=True)
class Refuse:
    """This version must not go live."""

    endpoint: str
    version: str
    reason: str
    look_again_in: timedelta = NOW
    kind: Literal["refuse"] = "refuse"


@dataclass(frozen=True)
class Enter:
    """Come into the next phase; nothing in the world is changed by that."""

    phase: Phase
    reason: str
    look_again_in: timedelta = NOW
    deployment: str = ""
    """After the smoke test: the deployment that has passed it."""

    kind: Literal["enter"] = "enter"


@dataclass(frozen=True)
class MakePlan:
    """Keep what is to be expected before the candidate meets its first request, and by which thresholds it will be judged."""

    plan: Plan
    slower_than_ms: float | None
    promises: Promises
    """What the judge keeps to from now on, whatever the configuration will say."""

    reason: str
    look_again_in: timedelta = NOW
    kind: Literal["make plan"] = "make plan"


@dataclass(frozen=True)
class CreateEndpoint:
    """Start to create the endpoint."""

    reason: str
    look_again_in: timedelta
    kind: Literal["create endpoint"] = "create endpoint"


@dataclass(frozen=True)
class CreateDeployment:
    """Start to create the candidate's deployment. A new deployment gets no traffic."""

    slot: str
    model: str
    version: str
    reason: str
    look_again_in: timedelta
    correlation_id: str = ""
    kind: Literal["create deployment"] = "create deployment"


@dataclass(frozen=True)
class DeleteDeployment:
    """Start to delete a deployment that has no traffic and holds `model`: the old one after a promotion, or a leftover."""

    slot: str
    model: str
    reason: str
    look_again_in: timedelta
    kind: Literal["delete deployment"] = "delete deployment"


@dataclass(frozen=True)
class ShiftTraffic:
    """Ask for this split; `phase` is where the rollout stands from then on. `step` is the fencing token."""

    split: Split
    replaces: Split
    """What the endpoint carries now: it may be seen for a while yet."""

    phase: Phase
    step: int
    reason: str
    look_again_in: timedelta
    ends_as: Outcome | None = None
    """Given when the candidate's traffic is taken away for good."""

    correlation_id: str = ""
    kind: Literal["shift traffic"] = "shift traffic"


@dataclass(frozen=True)
class Standing:
    """The endpoint carries the intended split: from now on this step's evidence counts."""

    reason: str
    look_again_in: timedelta
    kind: Literal["standing"] = "standing"


@dataclass(frozen=True)
class Weigh:
    """Take new intervals, or new pairs, into the judgement; no verdict follows yet. The numbers are the judge's, for people."""

    tally: Tally
    judged_until: datetime | None
    pairs: PairsTally
    counted: int
    heard_at: datetime | None
    reason: str
    look_again_in: timedelta
    figures: Mapping[str, float] = field(default_factory=dict)
    kind: Literal["weigh"] = "weigh"


@dataclass(frozen=True)
class StandStill:
    """Pause until a person says what to do."""

    pause: Pause
    look_again_in: timedelta
    reason: str
    kind: Literal["stand still"] = "stand still"


@dataclass(frozen=True)
class Obey:
    """Carry out a person's command, or say why it cannot be (any more). What it leads to follows at the next look."""

    command: Command
    obeyed: bool
    seen: Split | None
    """What the endpoint carries: a person who has seen that may have it replaced."""

    reason: str
    look_again_in: timedelta = NOW
    endpoint: str = ""
    kind: Literal["obey"] = "obey"


@dataclass(frozen=True)
class RaiseAlert:
    """Tell people that something takes too long, once more."""

    alert: AlertKind
    times: int
    """So often with this time."""

    reason: str
    look_again_in: timedelta
    endpoint: str = ""
    """Where no rollout is under way that would tell."""

    kind: Literal["raise alert"] = "raise alert"


@dataclass(frozen=True)
class Settle:
    """The rollout is over."""

    version: str
    outcome: Outcome
    reason: str
    look_again_in: timedelta = NOW
    kind: Literal["settle"] = "settle"


Action = (
    Rest
    | Hold
    | Begin
    | Refuse
    | Enter
    | MakePlan
    | CreateEndpoint
    | CreateDeployment
    | DeleteDeployment
    | ShiftTraffic
    | Standing
    | Weigh
    | StandStill
    | Obey
    | RaiseAlert
    | Settle
)
