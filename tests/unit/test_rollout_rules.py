"""The rules of a rollout, held against every story that Hypothesis can think of. Nothing is faked: decisions are pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.ports import Answered, DeploymentState, EndpointState, Evidence, JobState, ModelVersion, NoData, SourceFailed
from ml_core.reconciling import Rest
from ml_core.rollout.decide import decide, evolve
from ml_core.rollout.provenance import Origin
from ml_core.rollout.simple_rule import Verdict, judge
from ml_core.rollout.values import (
    CreateDeployment,
    CreateEndpoint,
    DeleteDeployment,
    Hold,
    Observation,
    Phase,
    Refuse,
    RolloutRules,
    ShiftTraffic,
    SmokeTest,
    State,
    weights,
)

OURS = Origin({"model": "m", "data_version": "v1"}, JobState("train-m-v1", "Completed"))
RULES = RolloutRules((10, 25, 50, 100), timedelta(minutes=10), 20, timedelta(0), timedelta(seconds=15))
START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class World:
    """An endpoint that carries out what is decided, unless the step gets lost, and the invariants that must hold all the time."""

    state: State = field(default_factory=State)
    now: datetime = START
    endpoint: EndpointState | None = None
    smoke: SmokeTest = field(default_factory=lambda: SmokeTest(True, "answered"))
    newest: int = 1
    shares: list[int] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)

    def tick(self, evidence: Evidence | None = None, *, lost: bool = False) -> Any:
        tags = {"job": "train-m-v1", "data_version": "v1"}
        wanted = ModelVersion("m", str(self.newest), tags) if self.newest > self.state.settled else None
        seen = Observation(RULES, self.endpoint, wanted, self.smoke, evidence, OURS)
        action = decide(self.state, seen, self.now)
        self.check(action)
        before, self.state = self.state, evolve(self.state, action, self.now)
        self.actions.append(action)
        if before.active is None or self.state.active is None:
            self.shares.clear()
        if not lost:
            self.carry_out(action)
        return action

    def check(self, action: Any) -> None:
        rollout = self.state.active
        if isinstance(action, ShiftTraffic):
            assert rollout is not None
            assert sum(action.weights.values()) == 100
            assert all(type(weight) is int and weight >= 0 for weight in action.weights.values())
            share = action.weights[rollout.candidate]
            if share:
                assert self.smoke.passed, "the candidate gets traffic before it passed its smoke test"
                assert rollout.phase != Phase.ROLLING_BACK, "the candidate gets traffic after it was rolled back"
            self.shares.append(share)
        if isinstance(action, DeleteDeployment):
            assert self.endpoint is not None
            assert not self.endpoint.traffic.get(action.slot), "a deployment is deleted while it has traffic"

    def carry_out(self, action: Any) -> None:
        if isinstance(action, CreateEndpoint):
            self.endpoint = EndpointState("e", "Succeeded")
        endpoint = self.endpoint
        if endpoint is None:
            return
        if isinstance(action, CreateDeployment):
            created = DeploymentState(action.slot, f"{action.model}:{action.version}", "Succeeded")
            self.endpoint = replace(endpoint, deployments={**endpoint.deployments, action.slot: created})
        elif isinstance(action, ShiftTraffic):
            self.endpoint = replace(endpoint, traffic=weights(action.weights))
        elif isinstance(action, DeleteDeployment):
            rest = {slot: state for slot, state in endpoint.deployments.items() if slot != action.slot}
            self.endpoint = replace(endpoint, deployments=rest)

    def settle(self, evidence: Evidence | None = None) -> None:
        for _ in range(60):
            self.now += timedelta(minutes=11)
            if isinstance(self.tick(evidence), Rest):
                return
        raise AssertionError(f"it never comes to rest: {self.actions[-1]}")


HEALTHY, FAILING = Answered(50, 0), Answered(50, 1)
EVIDENCE = st.sampled_from([HEALTHY, FAILING, Answered(3, 0), NoData(), SourceFailed("503")])
TICKS = st.lists(st.tuples(EVIDENCE, st.booleans(), st.integers(0, 20), st.booleans(), st.booleans()), max_size=80)


@given(TICKS)
@settings(max_examples=200, deadline=None)
def test_whatever_happens_weights_are_whole_and_nobody_meets_an_untested_candidate(ticks: list[tuple[Any, ...]]) -> None:
    world = World()
    for evidence, lost, minutes, newer, smoke in ticks:
        world.now += timedelta(minutes=minutes)
        world.newest += newer
        if world.state.active is None:
            world.smoke = SmokeTest(smoke, "as drawn")
        world.tick(evidence, lost=lost)


@given(TICKS)
@settings(max_examples=100, deadline=None)
def test_however_a_rollout_was_disturbed_healthy_requests_bring_it_to_an_end(ticks: list[tuple[Any, ...]]) -> None:
    world = World()
    for evidence, lost, minutes, newer, _ in ticks:
        world.now += timedelta(minutes=minutes)
        world.newest += newer
        world.tick(evidence, lost=lost)
    world.settle(HEALTHY)
    assert world.state.active is None
    assert world.state.settled == world.newest
    assert world.endpoint is not None
    assert sum(world.endpoint.traffic.values()) == 100


@given(st.lists(st.sampled_from([Answered(3, 0), NoData(), SourceFailed("503"), None]), min_size=1, max_size=30))
def test_without_evidence_a_step_is_held_for_ever(answers: list[Evidence | None]) -> None:
    world = canary()
    traffic = world.endpoint and world.endpoint.traffic
    for evidence in answers:
        world.now += timedelta(hours=1)
        assert isinstance(world.tick(evidence), Hold)
    assert world.endpoint is not None
    assert world.endpoint.traffic == traffic == {"blue": 90, "green": 10}


def canary() -> World:
    """A second version at 10 %."""
    world = World()
    world.settle()
    world.newest = 2
    for _ in range(10):
        if isinstance(world.tick(), ShiftTraffic):
            return world
    raise AssertionError("no canary")


def test_a_failure_rolls_back_at_once_and_not_at_the_end_of_the_step() -> None:
    world = canary()
    world.now += timedelta(seconds=1)
    action = world.tick(FAILING)
    assert isinstance(action, ShiftTraffic)
    assert action.weights == {"blue": 100, "green": 0}


def test_a_lost_shift_is_asked_for_again() -> None:
    world = canary()
    world.now += timedelta(minutes=10)
    first = world.tick(HEALTHY, lost=True)
    second = world.tick(HEALTHY)
    assert isinstance(second, ShiftTraffic)
    assert second.weights == first.weights == {"blue": 75, "green": 25}


def test_a_rollback_that_is_lost_is_asked_for_again_even_if_requests_look_well_now() -> None:
    world = canary()
    world.tick(FAILING, lost=True)
    action = world.tick(HEALTHY)
    assert isinstance(action, ShiftTraffic)
    assert action.weights == {"blue": 100, "green": 0}


def test_an_endpoint_that_is_updating_is_left_alone() -> None:
    world = canary()
    assert world.endpoint is not None
    world.endpoint = replace(world.endpoint, provisioning_state="Updating")
    world.now += timedelta(hours=1)
    assert world.tick(FAILING) == Hold("the endpoint is Updating", RULES.poll)


def test_a_slot_that_holds_another_model_gets_no_traffic() -> None:
    """Somebody puts a deployment by hand, or a process that stood still puts that of an earlier rollout."""
    world = World()
    while not any(isinstance(action, CreateDeployment) for action in world.actions):
        world.tick()
    assert world.endpoint is not None
    strange = DeploymentState("blue", "m:77", "Succeeded")
    world.endpoint = replace(world.endpoint, provisioning_state="Succeeded", deployments={"blue": strange})
    world.tick()
    assert (world.state.outcome, world.state.active) == ("failed", None)
    assert "blue holds m:77" in world.state.reason
    assert not any(isinstance(action, ShiftTraffic) for action in world.actions)


def test_versions_are_compared_as_numbers() -> None:
    world = World(newest=9)
    world.settle(HEALTHY)
    world.newest = 10
    world.settle(HEALTHY)
    assert world.state.settled == 10


def test_with_a_baking_time_the_old_deployment_stays_warm_and_is_gone_back_to() -> None:
    world = canary()
    baking = replace(RULES, bake=timedelta(hours=1))
    assert world.state.active is not None
    assert world.endpoint is not None
    promoted = {"blue": 0, "green": 100}
    rollout = replace(world.state.active, intended=promoted, before={"blue": 50, "green": 50}, since=world.now)
    endpoint = replace(world.endpoint, traffic={"green": 100})
    state, later = replace(world.state, active=rollout), world.now + timedelta(minutes=30)
    assert isinstance(decide(state, Observation(baking, endpoint, evidence=HEALTHY), later), Hold)
    back = decide(state, Observation(baking, endpoint, evidence=FAILING), later)
    assert isinstance(back, ShiftTraffic)
    assert back.weights == {"blue": 100, "green": 0}
    ended = decide(state, Observation(baking, endpoint, evidence=HEALTHY), world.now + timedelta(hours=1))
    assert isinstance(ended, DeleteDeployment)
    assert ended.slot == "blue"


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Answered(20, 0), Verdict.HEALTHY),
        (Answered(19, 0), Verdict.INCONCLUSIVE),
        (Answered(1, 1), Verdict.UNHEALTHY),
        (Answered(1000, 1), Verdict.UNHEALTHY),
        (Answered(0, 0, refused=500), Verdict.INCONCLUSIVE),
        (NoData(), Verdict.INCONCLUSIVE),
        (SourceFailed("503"), Verdict.INCONCLUSIVE),
        (None, Verdict.INCONCLUSIVE),
    ],
)
def test_no_data_and_a_failed_source_count_neither_for_nor_against(evidence: Evidence | None, verdict: Verdict) -> None:
    assert judge(evidence, 20)[0] is verdict


def test_requests_that_were_the_callers_fault_are_told_when_they_are_all_there_is() -> None:
    _, why = judge(Answered(0, 0, refused=30), 20)
    assert why == "0 requests, and 20 are needed; 30 more were refused, by the caller's fault"


TAGS = {"job": "train-m-v1", "data_version": "v1"}


@pytest.mark.parametrize(
    ("tags", "origin", "told"),
    [
        ({}, OURS, "m:7 does not say where it comes from: it has no tag job and no tag data_version"),
        ({"job": "train-m-v1"}, OURS, "m:7 does not say where it comes from: it has no tag data_version"),
        (TAGS, Origin(), "m:7 says that the job train-m-v1 made it, and that is no training job of ours for this model"),
        (
            TAGS,
            replace(OURS, noted={"model": "other", "data_version": "v1"}),
            "m:7 says that the job train-m-v1 made it, and that is no training job of ours for this model",
        ),
        (
            {**TAGS, "data_version": "v2"},
            OURS,
            "m:7 says that it learned from v2, and the job train-m-v1 was given v1",
        ),
        (TAGS, replace(OURS, job=None), "m:7 was made by the job train-m-v1, which is not to be found in the workspace"),
        (
            TAGS,
            replace(OURS, job=JobState("train-m-v1", "Failed")),
            "m:7 was made by the job train-m-v1, which ended as Failed",
        ),
    ],
)
def test_a_version_that_no_job_of_ours_has_made_is_refused_in_plain_words(
    tags: dict[str, str], origin: Origin, told: str
) -> None:
    action = decide(State(), Observation(RULES, requested=ModelVersion("m", "7", tags), origin=origin), START)
    assert action == Refuse("7", told)
    state = evolve(State(), action, START)
    assert (state.outcome, state.reason, state.settled, state.refused) == ("refused", told, 0, {"7": told})


def test_a_version_whose_job_is_still_running_waits_for_its_end() -> None:
    running = replace(OURS, job=JobState("train-m-v1", "Running"))
    action = decide(State(), Observation(RULES, requested=ModelVersion("m", "7", TAGS), origin=running), START)
    assert isinstance(action, Hold)
    assert action.reason == "m:7 is registered; its job train-m-v1 has not completed"
