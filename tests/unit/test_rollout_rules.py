"""The rules of a rollout by example: one look after the other. Nothing is faked: decisions are pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ml_core.documents import from_document, to_document
from ml_core.ports import (
    EndpointState,
    JobState,
    ModelVersion,
    SourceFailed,
)
from ml_core.rollout.actions import (
    CreateDeployment,
    Hold,
    MakePlan,
    RaiseAlert,
    Refuse,
    Settle,
    ShiftTraffic,
    StandStill,
    Weigh,
)
from ml_core.rollout.decide import RULES, decide
from ml_core.rollout.evolve import evolve
from ml_core.rollout.freeze import FreezeWindow
from ml_core.rollout.judge.sequential import Tally
from ml_core.rollout.judge.values import Promises
from ml_core.rollout.provenance import Origin
from ml_core.rollout.smoke import SmokeTest
from ml_core.rollout.state import Observation, Phase, State
from tests.rollout_by_hand import BAD, MINUTE, OURS, RULES_OF_TODAY, START, TAGS, World, at, serving


def test_the_first_deployment_goes_from_its_smoke_test_to_all_traffic() -> None:
    world = World()
    world.rest()
    assert world.splits == [({"blue": 100}, {})]
    assert (world.state.outcome, world.state.settled) == ("succeeded", 1)
    assert [one.version for one in world.state.served] == ["1"]


def test_a_second_version_is_ramped_up_baked_beside_the_old_one_and_the_old_one_archived() -> None:
    world = serving()
    world.rest()
    assert world.splits == [
        ({"blue": 90, "green": 10}, {}),
        ({"blue": 75, "green": 25}, {}),
        ({"blue": 50, "green": 50}, {}),
        ({"green": 100}, {}),
        ({"green": 100}, {"blue": 10}),
        ({"green": 100}, {}),
    ]
    assert world.endpoint is not None
    assert set(world.endpoint.deployments) == {"green"}
    assert [one.version for one in world.state.served] == ["1", "2"]


def test_every_step_is_watched_for_its_whole_interval_from_when_the_endpoint_carries_it() -> None:
    world = serving()
    first = world.until(lambda action: isinstance(action, ShiftTraffic))
    asked_at = world.now
    world.now += 5 * MINUTE  # Azure takes its time
    world.until(lambda action: isinstance(action, ShiftTraffic))
    assert first.split.weights == {"blue": 90, "green": 10}
    assert world.now - asked_at >= 15 * MINUTE


def test_steps_carry_a_fencing_token_that_only_grows() -> None:
    world = serving()
    world.rest()
    steps = [action.step for action in world.actions if isinstance(action, ShiftTraffic)]
    assert steps == list(range(2, 8)), "the first deployment took step 1"


def test_before_the_first_request_there_is_a_plan_and_the_promises_are_fixed() -> None:
    world = serving()
    plan = world.until(lambda action: isinstance(action, MakePlan))
    assert not world.splits
    assert plan.slower_than_ms == 25.0
    world.rules = replace(RULES_OF_TODAY, promises=Promises(alpha=0.4))
    world.tick()
    assert world.active.promises.alpha == 0.01


def test_a_candidate_that_fails_is_rolled_back_before_its_step_is_over_and_stays_for_people_to_look_at() -> None:
    world = at(10)
    world.failing = BAD
    world.until(lambda action: isinstance(action, ShiftTraffic) and action.phase is Phase.ROLLING_BACK)
    assert world.now - world.actions[-1].look_again_in <= START + 60 * MINUTE
    world.rest()
    assert world.state.outcome == "rolled back"
    assert "fails more often than the stable deployment" in world.state.reason
    assert world.endpoint is not None
    assert (world.traffic, set(world.endpoint.deployments)) == ({"blue": 100}, {"blue", "green"})


def test_without_evidence_a_step_is_held_and_people_are_told() -> None:
    for per_minute, source, alert in ((0, None, "no traffic"), (1200, SourceFailed("503"), "source failed")):
        world = at(10)
        world.per_minute, world.source = per_minute, source
        raised = world.until(lambda action: isinstance(action, RaiseAlert))
        assert raised.alert == alert
        assert world.traffic == {"blue": 90, "green": 10}
        first = world.now
        assert world.until(lambda action: isinstance(action, RaiseAlert)).times == 2
        assert world.now - first >= RULES_OF_TODAY.deadlines.repeat
        assert world.traffic == {"blue": 90, "green": 10}


def test_the_last_step_is_held_until_the_verdict_and_then_asks_a_person() -> None:
    world = at(50)
    world.per_minute = 2
    world.state = replace(world.state, active=replace(world.active, tally=Tally()))
    paused = world.until(lambda action: isinstance(action, StandStill))
    assert paused.pause.cause == "inconclusive"
    assert world.traffic == {"blue": 50, "green": 50}
    world.says("promote")
    world.until(lambda _: world.traffic == {"green": 100})
    assert "anna" in world.active.reason


def test_an_older_version_than_the_live_one_does_not_begin_by_itself() -> None:
    world = World(requested="3")
    world.rest()
    world.state = State()  # a ledger that was lost
    world.requested = "2"
    action = world.tick()
    assert isinstance(action, Refuse)
    assert "m:2 is older than m:3, which serves" in action.reason


def test_a_candidate_that_fails_its_smoke_test_never_gets_traffic() -> None:
    world = serving()
    world.smoke = SmokeTest("failed", "row 3: 0.7 instead of 0.2")
    world.rest()
    assert (world.state.outcome, world.splits) == ("failed", [])
    assert world.state.reason == "smoke test: row 3: 0.7 instead of 0.2"


def test_a_freeze_holds_promotions_and_no_rollback() -> None:
    world = at(10)
    world.rules = replace(RULES_OF_TODAY, freeze=(FreezeWindow(world.now, world.now + 120 * MINUTE, "holidays"),))
    held_since = world.now
    world.until(lambda action: isinstance(action, Hold) and world.now > held_since + 60 * MINUTE)
    assert world.traffic == {"blue": 90, "green": 10}
    assert "nothing is promoted until" in world.actions[-1].reason
    world.failing = BAD
    world.until(lambda _: world.traffic == {"blue": 100})


@pytest.mark.parametrize(
    ("supersede", "share", "ends"), [("before traffic", 10, False), ("always", 10, True), ("never", 0, False)]
)
def test_a_newer_version_ends_a_rollout_as_the_configuration_wants_it(supersede: Any, share: int, ends: bool) -> None:
    world = (
        at(share, replace(RULES_OF_TODAY, supersede=supersede))
        if share
        else serving(replace(RULES_OF_TODAY, supersede=supersede))
    )
    if not share:
        world.until(lambda action: isinstance(action, CreateDeployment))
    world.requested = "3"
    world.now += MINUTE
    world.until(lambda _: world.state.active is None)
    assert (world.state.outcome == "superseded") == ends
    assert world.state.settled == 2
    world.rest()
    assert world.state.settled == 3


def test_a_candidate_that_stands_at_zero_is_told_again_and_again() -> None:
    frozen = replace(RULES_OF_TODAY, freeze=(FreezeWindow(START, START + timedelta(days=9), "the quarter closes"),))
    world = serving()
    world.rules = frozen
    for times in (1, 2, 3):
        alert = world.until(lambda action: isinstance(action, RaiseAlert))
        assert (alert.alert, alert.times) == ("at zero", times)
    assert world.traffic == {"blue": 100}


def test_a_deployment_that_takes_too_long_is_told() -> None:
    world = serving()
    world.until(lambda action: isinstance(action, CreateDeployment))
    assert world.endpoint is not None
    world.endpoint = replace(world.endpoint, provisioning_state="Updating")
    assert world.until(lambda action: isinstance(action, RaiseAlert)).alert == "provisioning"


def test_versions_are_compared_as_numbers() -> None:
    world = World(requested="9")
    world.rest()
    world.requested = "10"
    world.rest()
    assert world.state.settled == 10


def test_without_a_bake_the_old_deployment_is_archived_at_once() -> None:
    world = serving(replace(RULES_OF_TODAY, bake=timedelta(0)))
    world.rest()
    assert world.splits[-1] == ({"green": 100}, {})
    assert isinstance(world.actions[-2], Settle)


def test_people_are_told_once_of_everything_that_matters() -> None:
    world = serving()
    told = {notice.id for notice in world.state.notices}
    world.rest()
    new = [notice for notice in world.state.notices if notice.id not in told]
    assert [notice.title for notice in new] == ["m:2 is being rolled out", "m:2 gets all traffic", "m:2: succeeded"]
    assert len({notice.facts["rollout"] for notice in new}) == 1, "each says which rollout it is about"
    assert [notice.facts["traffic"] for notice in new] == ["blue 100 %", "blue 0 %, green 100 %", "blue 0 %, green 100 %"]
    assert len({notice.id for notice in world.state.notices}) == len(world.state.notices)


def test_a_state_goes_through_json_and_back() -> None:
    world = at(50)
    assert from_document(State, to_document(world.state)) == world.state
    assert RULES.read(to_document(world.state)) == world.state


def test_an_interval_in_which_the_traffic_changed_is_weighed_not_at_all_and_every_other_one_once() -> None:
    world = serving()
    world.rest()
    weighed = [action for action in world.actions if isinstance(action, Weigh)]
    splits = [action for action in world.actions if isinstance(action, ShiftTraffic)]
    until = [action.judged_until for action in weighed]
    assert until == sorted(set(until))
    assert weighed[-1].tally.intervals <= sum((action.judged_until is not None) for action in weighed)
    assert len(splits) == 6


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
    seen = Observation(RULES_OF_TODAY, "e", requested=ModelVersion("m", "7", tags), origin=origin)
    action = decide(State(), seen, START)
    assert action == Refuse("e", "7", told)
    state = evolve(State(), action, START)
    assert (state.outcome, state.reason, state.settled, state.refused) == ("refused", told, 0, {"7": told})


def test_a_version_whose_job_is_still_running_waits_for_its_end() -> None:
    running = replace(OURS, job=JobState("train-m-v1", "Running"))
    seen = Observation(RULES_OF_TODAY, "e", requested=ModelVersion("m", "7", TAGS), origin=running)
    action = decide(State(), seen, START)
    assert isinstance(action, Hold)
    assert action.reason == "m:7 is registered; its job train-m-v1 has not completed"


def test_a_version_that_cannot_begin_is_told_again_and_again() -> None:
    running = replace(OURS, job=JobState("train-m-v1", "Running"))
    busy = EndpointState("e", "Updating")
    for seen in (
        Observation(RULES_OF_TODAY, "e", requested=ModelVersion("m", "7", TAGS), origin=running),
        Observation(RULES_OF_TODAY, "e", busy, requested=ModelVersion("m", "7", TAGS), origin=OURS),
    ):
        state, now, told = State(), START, []
        while now < START + timedelta(hours=9):
            action = decide(state, seen, now)
            assert isinstance(action, Hold | RaiseAlert)
            if isinstance(action, RaiseAlert):
                told.append(now - START)
            state, now = evolve(state, action, now), now + 5 * MINUTE
        assert told == [45 * MINUTE, 105 * MINUTE, 225 * MINUTE, 465 * MINUTE]
        assert [one.title for one in state.notices] == ["a version waits to be rolled out"] * 4


def test_a_split_that_a_freeze_holds_for_days_is_told() -> None:
    world = at(10)
    starts_at = world.now + MINUTE
    world.rules = replace(RULES_OF_TODAY, freeze=(FreezeWindow(starts_at, starts_at + timedelta(days=60), "the audit"),))
    told = world.until(lambda action: isinstance(action, RaiseAlert))
    assert "nothing is promoted until" in told.reason
    assert starts_at + timedelta(hours=4) <= world.now <= starts_at + timedelta(hours=5)
    assert world.traffic == {"blue": 90, "green": 10}
