"""What is remembered of an endpoint's rollouts, and what is seen of the world. Every value goes through JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal

from ml_core.ports import EndpointState, History, Measured, ModelVersion, Notice, SourceFailed
from ml_core.rollout.commands import Command
from ml_core.rollout.deadlines import Alert, Deadlines
from ml_core.rollout.freeze import FreezeWindow
from ml_core.rollout.judge.pairs import Pairs, PairsPromises, PairsTally
from ml_core.rollout.judge.sequential import Tally
from ml_core.rollout.judge.values import Promises
from ml_core.rollout.planner import Plan
from ml_core.rollout.provenance import Origin
from ml_core.rollout.smoke import SmokeTest


class Phase(Enum):
    """Where a rollout stands (docs/concepts/rollouts.md draws it)."""

    REQUESTED = "requested"
    GATED = "gated"
    PROVISIONING = "provisioning"
    SMOKE = "smoke test"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTING = "promoting"
    BAKING = "baking"
    ARCHIVING = "archiving"
    ROLLING_BACK = "rolling back"


Outcome = Literal["succeeded", "rolled back", "superseded", "failed", "refused"]
Road = Literal["first", "canary", "return"]
"""The first deployment of an endpoint (smoke test, then 100 %), the whole way, or back to a version that served not long ago."""


AZURE = "Azure"


@dataclass(frozen=True)
class Split:
    """Live and mirrored traffic in percent, by slot. Never both for one slot."""

    weights: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Pause:
    """A rollout that stands still until a person says what to do."""

    cause: Literal["person", "inconclusive", "conflict", "no way back"]
    """A conflict: somebody else has changed the traffic. It is over when that is undone; everything else by a person's word."""

    reason: str
    by: str
    """A person; `AZURE` when it has refused the way back for good; '' otherwise."""

    at: datetime


@dataclass(frozen=True)
class Rollout:
    """A rollout under way."""

    id: str
    """`<endpoint>-<model version>-<time it began>`: unique, and fit for a path."""

    endpoint: str
    model: str
    version: str
    road: Road
    phase: Phase
    candidate: str
    stable: str | None
    stable_model: str
    """What the stable slot held when it began, `<name>:<version>`; '' when there was none."""

    began_at: datetime
    since: datetime
    """When it came into its phase, or to its weight."""

    intended: Split = Split()
    before: Split = Split()
    """What the endpoint carried when the intended split was asked for."""

    unseen: tuple[Split, ...] = ()
    """What was asked for earlier, and was not seen yet when something else was asked for: it may still come."""

    standing_since: datetime | None = None
    """When the endpoint was first seen with the intended split: evidence of this step counts from then."""

    before_since: datetime | None = None
    """The same of the split before. What it was until `since` comes late and counts all the same, by its own shares."""

    ready_at: datetime | None = None
    """When the candidate's deployment stood, at 0 %."""

    met_at: datetime | None = None
    """When the candidate met its first requests, live ones or copies: caches are cold then."""

    counted: int = 0
    """How many requests the candidate has answered in this step's whole intervals."""

    heard_at: datetime | None = None
    """The end of the last interval in which it answered any."""

    deployment: str = ""
    """`created_at` of the candidate's deployment that has passed the smoke test: another one of the same name has not."""

    slower_than_ms: float | None = None
    """The stable deployment's 95th percentile before the rollout: slower than that counts as slow, in both arms."""

    promises: Promises = field(default_factory=Promises)
    tally: Tally = field(default_factory=Tally)
    judged_until: datetime | None = None
    """The end of the last interval that is in the tally: each counts once."""

    pairs: PairsTally = field(default_factory=PairsTally)
    plan: Plan | None = None
    pause: Pause | None = None
    resumed_at: datetime | None = None
    """When a person let it go on, or wait longer."""

    promoted_by: str = ""
    """The person who lets it go on without a verdict, and why."""

    wanted_by: str = ""
    """The person who wants this very version; '' when an event asked for it. A newer version does not end it."""

    ends_as: Outcome | None = None
    """Why it is rolling back: rolled back, superseded or failed."""

    reason: str = ""
    """Of the last step."""

    correlation_id: str = ""


@dataclass(frozen=True)
class Served:
    """A version that took all the traffic, and stayed."""

    version: str
    at: datetime


@dataclass(frozen=True)
class Wanted:
    """A version that a person wants back, older than the live one or not."""

    version: str
    by: str
    reason: str


@dataclass(frozen=True)
class State:
    """What is remembered of an endpoint between two looks."""

    active: Rollout | None = None
    settled: int = 0
    """The newest model version whose rollout is over, however it ended: by themselves only newer ones begin."""

    outcome: str = ""
    reason: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Versions above the settled one that must not go live, and why."""

    refused_by_azure: int = 0
    """The settled version, when its rollout ended because Azure refused a step; otherwise 0."""

    served: tuple[Served, ...] = ()
    """The newest ten, oldest first."""

    wanted: Wanted | None = None
    waiting_since: datetime | None = None
    """Since when a version could begin and has not yet: its job is still running, Azure is at work, its slot is being emptied."""

    commands: int = 0
    """The number of the last command of a person that was carried out."""

    steps: int = 0
    """How often traffic was asked for: the fencing token of the next time is one more."""

    alerts: Mapping[str, Alert] = field(default_factory=dict)
    """By kind; gone when its cause is."""

    notices: tuple[Notice, ...] = ()
    """The newest twenty: who sends them knows which were sent."""


@dataclass(frozen=True)
class RolloutRules:
    """What the configuration says. Part of the observation, so that a decision is replayed by the rules of its day."""

    steps: tuple[int, ...]
    interval: timedelta
    min_requests: int
    bake: timedelta
    bake_mirror: int
    poll: timedelta
    evidence_delay: timedelta
    granularity: timedelta
    promises: Promises
    shadow: PairsPromises | None
    shadow_mirror: int
    shadow_duration: timedelta
    shadow_requests: int
    smoke_required: bool
    deadlines: Deadlines
    supersede: Literal["before traffic", "always", "never"]
    return_window: int
    freeze: tuple[FreezeWindow, ...] = ()


@dataclass(frozen=True)
class Observation:
    """The world as far as an endpoint is concerned. What a phase does not need is not asked for."""

    rules: RolloutRules
    name: str = ""
    """The endpoint's."""

    endpoint: EndpointState | None = None
    requested: ModelVersion | None = None
    """The newest version asked for that is newer than the settled one, not refused, and exists; or one that a person wants."""

    origin: Origin = field(default_factory=Origin)
    """Where the requested version comes from."""

    command: Command | None = None
    """The oldest command that is not carried out yet."""

    smoke: SmokeTest | None = None
    pairs: Pairs | None = None
    """What the next chunk of replayed requests was answered by both."""

    history: History | SourceFailed | None = None
    evidence: Measured | SourceFailed | None = None
    """The intervals since `judged_until`."""
