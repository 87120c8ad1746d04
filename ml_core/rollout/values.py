"""What a rollout remembers, what it sees, and the steps it can take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal

from ml_core.ports import EndpointState, Evidence, ModelVersion
from ml_core.reconciling import Rest
from ml_core.rollout.provenance import Origin


class Phase(Enum):
    """Where a rollout stands."""

    PROVISIONING = "provisioning"
    RAMPING = "ramping"
    ROLLING_BACK = "rolling back"
    ARCHIVING = "archiving"


@dataclass(frozen=True)
class Rollout:
    """A rollout under way. `intended` and `before` are weights by slot: those asked for last, and those they replaced."""

    model: str
    version: str
    phase: Phase
    candidate: str
    stable: str | None
    since: datetime | None
    """When the intended weights were asked for."""

    intended: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    correlation_id: str = ""
    """That of the training job; it becomes a tag of the endpoint and of the deployment."""


@dataclass(frozen=True)
class State:
    """What is remembered of an endpoint between two looks."""

    active: Rollout | None = None
    settled: int = 0
    """The newest model version whose rollout is over, however it ended: only newer ones begin."""

    outcome: str = ""
    """How the last rollout ended: succeeded, rolled back, failed or refused."""

    reason: str = ""

    refused: Mapping[str, str] = field(default_factory=dict)
    """Versions above the settled one that must not go live, and why. Older ones that were asked for may begin all the same."""

    refused_by_azure: int = 0
    """The settled version, when its rollout ended because Azure refused a step; otherwise 0."""


@dataclass(frozen=True)
class RolloutRules:
    """What the configuration says. Part of the observation, so that a decision is replayed by the rules of its day."""

    steps: tuple[int, ...]
    interval: timedelta
    min_requests: int
    bake: timedelta
    poll: timedelta


@dataclass(frozen=True)
class SmokeTest:
    """A real scoring call to the candidate at 0 %. Passed also when there was nothing to call it with; the reason says so."""

    passed: bool
    reason: str


@dataclass(frozen=True)
class Observation:
    """The world as far as an endpoint is concerned."""

    rules: RolloutRules
    endpoint: EndpointState | None = None
    requested: ModelVersion | None = None
    """The newest version asked for that is newer than the settled one, not refused, and exists in the workspace."""

    smoke: SmokeTest | None = None
    evidence: Evidence | None = None

    origin: Origin = field(default_factory=Origin)
    """Where the requested version comes from."""


@dataclass(frozen=True)
class Hold:
    """Stay as it is, and look again."""

    reason: str
    look_again_in: timedelta
    kind: Literal["hold"] = "hold"


@dataclass(frozen=True)
class Begin:
    """Start the rollout of a model version in the idle slot."""

    model: str
    version: str
    candidate: str
    stable: str | None
    reason: str
    look_again_in: timedelta = timedelta(0)
    correlation_id: str = ""
    kind: Literal["begin"] = "begin"


@dataclass(frozen=True)
class Refuse:
    """This version must not go live."""

    version: str
    reason: str
    # Another version may have been asked for.
    look_again_in: timedelta = timedelta(0)
    kind: Literal["refuse"] = "refuse"


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
class ShiftTraffic:
    """Ask for these weights; `phase` is where the rollout stands from then on."""

    weights: Mapping[str, int]
    phase: Phase
    reason: str
    look_again_in: timedelta
    correlation_id: str = ""
    kind: Literal["shift traffic"] = "shift traffic"


@dataclass(frozen=True)
class DeleteDeployment:
    """Start to delete a deployment that has no traffic: the old one after a promotion, or a leftover before a beginning."""

    slot: str
    reason: str
    look_again_in: timedelta
    kind: Literal["delete deployment"] = "delete deployment"


@dataclass(frozen=True)
class Settle:
    """The rollout is over."""

    rollout: Rollout
    outcome: str
    reason: str
    # A version that was asked for meanwhile may begin at once.
    look_again_in: timedelta = timedelta(0)
    kind: Literal["settle"] = "settle"


Action = Rest | Hold | Begin | Refuse | CreateEndpoint | CreateDeployment | ShiftTraffic | DeleteDeployment | Settle


def weights(traffic: Mapping[str, int]) -> dict[str, int]:
    """Traffic in a comparable form: Azure and its SDK leave zeros out, or not."""
    return {name: weight for name, weight in sorted(traffic.items()) if weight}
