"""Rollouts as pure functions decide them: what is decided is carried out by hand, at a time that tests set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ml_core.documents import from_document, to_document
from ml_core.ports import (
    Counts,
    DeploymentState,
    EndpointState,
    History,
    Interval,
    JobState,
    Measured,
    ModelVersion,
    SourceFailed,
)
from ml_core.reconciling import Rest
from ml_core.rollout.actions import (
    Action,
    CreateDeployment,
    CreateEndpoint,
    DeleteDeployment,
    ShiftTraffic,
)
from ml_core.rollout.commands import Command, What
from ml_core.rollout.deadlines import Deadlines
from ml_core.rollout.decide import decide
from ml_core.rollout.evolve import evolve
from ml_core.rollout.judge.pairs import Pairs
from ml_core.rollout.judge.values import Promises
from ml_core.rollout.provenance import Origin
from ml_core.rollout.smoke import SmokeTest
from ml_core.rollout.splits import weights
from ml_core.rollout.state import Observation, Rollout, RolloutRules, State

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TAGS = {"job": "train-m-v1", "data_version": "v1"}
OURS = Origin({"model": "m", "data_version": "v1"}, JobState("train-m-v1", "Completed"))
RULES_OF_TODAY = RolloutRules(
    steps=(10, 25, 50, 100),
    interval=10 * MINUTE,
    min_requests=20,
    bake=10 * MINUTE,
    bake_mirror=10,
    poll=timedelta(seconds=15),
    evidence_delay=timedelta(0),
    granularity=MINUTE,
    promises=Promises(),
    shadow=None,
    shadow_mirror=0,
    shadow_duration=timedelta(0),
    shadow_requests=0,
    smoke_required=True,
    deadlines=Deadlines(),
    supersede="before traffic",
    return_window=3,
)
GOOD, BAD = 0.0, 0.1


@dataclass
class World:
    """An endpoint that carries out what is decided, unless the step gets lost, and requests that both deployments answer."""

    rules: RolloutRules = RULES_OF_TODAY
    state: State = field(default_factory=State)
    now: datetime = START
    endpoint: EndpointState | None = None
    smoke: SmokeTest = field(default_factory=lambda: SmokeTest("passed", "answered"))
    requested: str | None = "1"
    failing: float = GOOD
    """The share of its requests that the candidate fails."""
    per_minute: int = 1200
    """How many live requests come."""
    source: SourceFailed | None = None
    command: Command | None = None
    pairs: Pairs | None = None
    made: int = 0
    actions: list[Any] = field(default_factory=list)

    def tick(self, *, lost: bool = False) -> Any:
        observation = self.observation()
        action = decide(self.state, observation, self.now)
        seen, stored = to_document(observation), to_document(self.state)
        assert decide(from_document(State, stored), from_document(Observation, seen), self.now) == action
        self.state = evolve(self.state, action, self.now)
        self.command = None
        self.actions.append(action)
        if not lost:
            self.carry_out(action)
        return action

    def observation(self) -> Observation:
        wanted = self.state.wanted.version if self.state.wanted and self.state.active is None else self.requested
        newer = wanted and (self.state.wanted or int(wanted) > self.state.settled)
        requested = ModelVersion("m", wanted, TAGS) if wanted and newer else None
        history = self.source or History(6000, 0, 3600.0, 25.0)
        return Observation(
            self.rules, "e", self.endpoint, requested, OURS, self.command, self.smoke, self.pairs, history, self.evidence()
        )

    def evidence(self) -> Measured | SourceFailed | None:
        rollout = self.state.active
        if rollout is None or rollout.met_at is None or rollout.stable is None:
            return None
        since = rollout.judged_until or rollout.met_at
        if self.source or since + MINUTE > self.now:
            return self.source
        found = []
        while since + MINUTE <= self.now:
            counts = {slot: self.counts(slot) for slot in (rollout.candidate, rollout.stable)}
            found.append(Interval(since, since + MINUTE, {slot: one for slot, one in counts.items() if one.requests}))
            since += MINUTE
        return Measured(tuple(found))

    def counts(self, slot: str) -> Counts:
        """What a slot answers in a minute."""
        copies = self.endpoint.mirror if self.endpoint else {}
        requests = self.per_minute * (self.traffic.get(slot, 0) + copies.get(slot, 0)) // 100
        return Counts(requests, round(requests * self.failing) if slot == self.active.candidate else 0)

    def carry_out(self, action: Action) -> None:
        if isinstance(action, CreateEndpoint):
            self.endpoint = EndpointState("e", "Succeeded")
        endpoint = self.endpoint
        if endpoint is None:
            return
        if isinstance(action, CreateDeployment):
            self.put(action.slot, f"{action.model}:{action.version}")
        elif isinstance(action, ShiftTraffic):
            live, copies = weights(action.split.weights), weights(action.split.mirror)
            self.endpoint = replace(endpoint, traffic=live, mirror=copies)
        elif isinstance(action, DeleteDeployment):
            rest = {slot: state for slot, state in endpoint.deployments.items() if slot != action.slot}
            self.endpoint = replace(endpoint, deployments=rest)

    def put(self, slot: str, model: str) -> None:
        """A deployment is made, by us or by somebody else."""
        assert self.endpoint is not None
        self.made += 1
        created = DeploymentState(slot, model, "Succeeded", created_at=f"{self.made}")
        self.endpoint = replace(self.endpoint, deployments={**self.endpoint.deployments, slot: created})

    def meddle(self, live: Mapping[str, int], copies: Mapping[str, int] | None = None) -> None:
        """Somebody else sets the traffic."""
        assert self.endpoint is not None
        self.endpoint = replace(self.endpoint, traffic=live, mirror=copies or {})

    def says(self, what: What, version: str = "", *, rollout: str = "") -> Any:
        """A person's word, carried out."""
        self.command = Command(self.state.commands + 1, what, "anna", "she knows why", self.now, rollout, version)
        return self.tick()

    def until(self, condition: Callable[[Any], bool], *, lost: bool = False) -> Any:
        """Let looks follow each other, a minute apart unless they are wanted at once."""
        for _ in range(1500):
            action = self.tick(lost=lost)
            if condition(action):
                return action
            if action.look_again_in != timedelta(0):
                self.now += MINUTE
        raise AssertionError(f"it never happens; the last: {self.actions[-5:]}")

    def rest(self) -> None:
        self.until(lambda action: isinstance(action, Rest))

    @property
    def active(self) -> Rollout:
        assert self.state.active is not None
        return self.state.active

    @property
    def traffic(self) -> dict[str, int]:
        return dict(self.endpoint.traffic) if self.endpoint else {}

    @property
    def splits(self) -> list[tuple[dict[str, int], dict[str, int]]]:
        asked = [action for action in self.actions if isinstance(action, ShiftTraffic)]
        return [(weights(one.split.weights), weights(one.split.mirror)) for one in asked]


def serving(rules: RolloutRules = RULES_OF_TODAY) -> World:
    """Version 1 serves, in blue, and version 2 is asked for."""
    world = World(rules)
    world.rest()
    world.requested = "2"
    world.actions.clear()
    return world


def at(share: int, rules: RolloutRules = RULES_OF_TODAY) -> World:
    """Version 2 at so much live traffic."""
    world = serving(rules)
    world.until(lambda action: isinstance(action, ShiftTraffic) and action.split.weights.get("green") == share)
    world.until(lambda _: world.active.standing_since is not None)
    return world
