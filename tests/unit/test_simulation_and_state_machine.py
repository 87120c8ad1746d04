"""The benchmark tells the state machine in short. Here the same stories go through the state machine itself, without delays."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from benchmarks import traffic
from benchmarks.ramp import BEGAN, Stage, Story, Traffic, default_rules, plan, roll_out
from benchmarks.traffic import Scenario, as_good, worse
from ml_core.ports import DeploymentState, EndpointState, History, Interval, JobState, Measured, ModelVersion
from ml_core.rollout import judge
from ml_core.rollout.actions import Action, CreateDeployment, DeleteDeployment, Hold, RaiseAlert, ShiftTraffic
from ml_core.rollout.decide import decide, evolve
from ml_core.rollout.provenance import Origin
from ml_core.rollout.smoke import SmokeTest
from ml_core.rollout.splits import live
from ml_core.rollout.state import Observation, Phase, Rollout, RolloutRules, Split, State

MINUTE = timedelta(minutes=1)
PAST = History(864_000, 4_320, 86_400.0, 250.0)
SCENARIOS = (
    as_good("as good", 0.005),
    as_good("as good and quiet", 0.005, per_second=0.4),
    as_good("neither errs", 0.0),
    worse("4 times worse", 0.005, 0.02),
    worse("20 times worse", 0.005, 0.1),
    worse("worse at the end", 0.005, 0.1, begins_at=41),
    worse("3 times worse", 0.005, 0.015, per_second=2.0),
)


def prompt_rules() -> RolloutRules:
    """The default ones, for a world in which nothing takes time, and without held-out rows."""
    return replace(default_rules(), poll=MINUTE, evidence_delay=timedelta(0), shadow_requests=0, freeze=())


class World:
    """An endpoint with a story's traffic. Whatever is asked for is there at once; a minute's counts are there when it is over."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.stories = traffic.simulate(scenario, (seed,), 1, range(90))
        self.traffic = Traffic(scenario, self.stories, 0, (seed, 0, 2))
        self.rules = prompt_rules()
        self.now, self.state = BEGAN, State(settled=1)
        self.split = Split({"blue": 100})
        self.deployments = {"blue": DeploymentState("blue", "m:1", "Succeeded", "", "long ago")}
        self.minutes: list[Interval] = []
        self.paused = False

    def minute(self) -> None:
        """Look until there is nothing to do, then let a minute pass."""
        for _ in range(20):
            action = decide(self.state, self.observed(), self.now)
            self.state = evolve(self.state, action, self.now)
            self.take(action)
            if self.state.active is None or isinstance(action, Hold | RaiseAlert):
                break
        self.paused = self.state.active is not None and self.state.active.pause is not None
        if self.state.active is not None and self.state.active.met_at is not None:
            self.minutes.append(self.counted(self.state.active))
        self.now += MINUTE

    def counted(self, rollout: Rollout) -> Interval:
        share, copies = self.split.weights.get(rollout.candidate, 0), sum(self.split.mirror.values())
        arms, _ = self.traffic.minute(len(self.minutes), Stage(0, share, copies))
        counts = {rollout.candidate: arms.candidate, rollout.stable or "": arms.stable}
        return Interval(self.now, self.now + MINUTE, counts)

    def observed(self) -> Observation:
        rollout = self.state.active
        requested = ModelVersion("m", "2", {"job": "train-m", "data_version": "v"})
        new = [one for one in self.minutes if rollout and (rollout.judged_until is None or one.start >= rollout.judged_until)]
        return Observation(
            rules=self.rules,
            name="line",
            endpoint=EndpointState("line", "Succeeded", self.split.weights, self.deployments, self.split.mirror),
            requested=requested if rollout is None and self.state.settled == 1 else None,
            origin=Origin({"model": "m", "data_version": "v"}, JobState("train-m", "Completed")),
            smoke=SmokeTest("passed", "all rows") if rollout and rollout.phase == Phase.SMOKE else None,
            history=PAST,
            evidence=Measured(tuple(new)) if new else None,
        )

    def take(self, action: Action) -> None:
        if isinstance(action, CreateDeployment):
            made = DeploymentState(action.slot, f"{action.model}:{action.version}", "Succeeded", "", "now")
            self.deployments[action.slot] = made
        if isinstance(action, DeleteDeployment):
            del self.deployments[action.slot]
        if isinstance(action, ShiftTraffic):
            self.split = Split(*({slot: share for slot, share in half.items() if share} for half in vars(action.split).values()))


def by_the_state_machine(world: World) -> tuple[str, int]:
    """How it ended, and after how many whole minutes of the candidate's traffic."""
    promoted_at: datetime | None = None
    for _ in range(700):
        world.minute()
        rollout = world.state.active
        if rollout is None:
            end = "promoted" if world.state.outcome == "succeeded" else world.state.outcome
            return end, round((promoted_at - BEGAN) / MINUTE) if promoted_at and end == "promoted" else len(world.minutes)
        if world.paused:
            return "held", len(world.minutes)
        if rollout.intended.weights == live(rollout, 100).weights and promoted_at is None:
            promoted_at = rollout.since
    return "held", len(world.minutes)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_simulation_ends_as_the_state_machine_does_in_the_same_minute_with_the_same_evidence(scenario: Scenario) -> None:
    world = World(scenario, seed=1)
    told = by_the_state_machine(world)
    own = replace(plan(world.rules), promises=judge.promises_for(world.rules.promises, PAST))
    story = Story()
    end = roll_out(own, Traffic(scenario, world.stories, 0, (1, 0, 2)), story)
    minutes = story.promoted_after[0] if end == "promoted" else story.minute
    assert (end, minutes) == told


def test_a_split_that_is_not_the_intended_one_holds_both_where_they_are() -> None:
    scenario = replace(as_good("a third of its share", 0.005), routed=1 / 3)
    world, story = World(scenario, seed=1), Story()
    for _ in range(40):
        world.minute()
    assert world.state.active is not None
    assert (world.state.active.phase, "source failed" in world.state.alerts) == (Phase.SHADOW, True)
    own = replace(plan(world.rules), no_verdict=40)
    assert roll_out(own, Traffic(scenario, world.stories, 0, (1, 0, 2)), story) == "held"
