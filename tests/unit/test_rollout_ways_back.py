"""What people say to a rollout, and every way back: pause, abort, versions that served. Pure functions, no ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ml_core.config_rollout import Rollout as RolloutConfig
from ml_core.ports import (
    SourceFailed,
)
from ml_core.rollout.actions import (
    CreateDeployment,
    Hold,
    Obey,
    ShiftTraffic,
    StandStill,
)
from ml_core.rollout.commands import Command
from ml_core.rollout.decide import decide
from ml_core.rollout.evolve import evolve, refuse
from ml_core.rollout.freeze import FreezeWindow
from ml_core.rollout.state import Observation, Phase, Served
from tests.rollout_by_hand import BAD, MINUTE, RULES_OF_TODAY, START, World, at, serving


def test_while_paused_nothing_goes_on_but_a_bad_candidate_is_rolled_back() -> None:
    world = at(10)
    world.says("pause")
    for _ in range(60):
        world.now += MINUTE
        world.tick()
    assert world.traffic == {"blue": 90, "green": 10}
    world.failing = BAD
    world.until(lambda _: world.traffic == {"blue": 100})
    world.rest()
    assert world.state.outcome == "rolled back"


def test_after_a_pause_it_goes_on_where_it_stood() -> None:
    world = at(10)
    world.says("pause")
    world.now += 60 * MINUTE
    world.says("resume")
    world.rest()
    assert world.traffic == {"green": 100}


@pytest.mark.parametrize("share", [10, 50, 100])
def test_an_abort_is_noted_while_azure_is_at_work_and_followed_as_soon_as_it_can_be(share: int) -> None:
    world = at(share)
    assert world.endpoint is not None
    world.endpoint = replace(world.endpoint, provisioning_state="Updating")
    assert world.says("abort").obeyed
    assert isinstance(world.tick(), Hold)
    world.endpoint = replace(world.endpoint, provisioning_state="Succeeded")
    assert isinstance(world.tick(), ShiftTraffic)
    assert world.traffic == {"blue": 100}
    world.rest()
    assert (world.state.outcome, world.state.settled) == ("rolled back", 2)
    assert "anna" in world.state.reason


def test_an_abort_before_any_traffic_ends_it_without_a_step() -> None:
    world = serving()
    world.until(lambda action: isinstance(action, CreateDeployment))
    world.says("abort")
    world.rest()
    assert world.state.outcome == "rolled back"
    assert world.splits == []


def test_a_command_about_another_rollout_is_not_obeyed() -> None:
    world = at(10)
    action = world.says("abort", rollout="e-1-20250101T000000.000000Z")
    assert isinstance(action, Obey)
    assert (action.obeyed, world.active.phase, world.state.commands) == (False, Phase.CANARY, 1)


def test_a_version_that_served_not_long_ago_is_gone_back_to_without_a_canary() -> None:
    world = serving()
    world.rest()
    world.requested = None
    world.actions.clear()
    world.says("roll back", "1")
    world.rest()
    assert [live for live, _ in world.splits[:1]] == [{"blue": 100}]
    assert world.traffic == {"blue": 100}
    assert world.endpoint is not None
    assert world.endpoint.deployments["blue"].model == "m:1"
    assert (world.state.settled, world.state.wanted) == (2, None)
    assert [one.version for one in world.state.served] == ["2", "1"]


def test_while_the_old_deployment_is_warm_going_back_is_one_change_of_traffic() -> None:
    world = at(100)
    world.actions.clear()
    world.says("roll back", "1")
    world.rest()
    assert world.splits == [({"blue": 100}, {})]
    assert not any(isinstance(action, CreateDeployment) for action in world.actions)
    assert world.state.wanted is None


def test_a_version_that_never_served_goes_the_whole_way_when_a_person_wants_it() -> None:
    world = World(requested="3")
    world.rest()
    world.requested = None
    world.says("roll back", "2")
    world.actions.clear()
    world.rest()
    assert world.splits[0][0] == {"blue": 90, "green": 10}
    assert world.state.settled == 3


def test_only_so_many_versions_as_the_configuration_knows_are_gone_back_to_fast() -> None:
    world = World(replace(RULES_OF_TODAY, return_window=1))
    world.rest()
    world.state = replace(world.state, served=(Served("7", START), Served("8", START), *world.state.served), settled=9)
    for version, road in (("8", "return"), ("7", "canary")):
        other = replace(world, state=world.state, actions=[])
        other.says("roll back", version)
        other.tick()
        assert other.active.road == road


def test_the_configuration_cannot_keep_more_versions_than_are_remembered() -> None:
    with pytest.raises(ValueError, match="return_window"):
        RolloutConfig(return_window=11)


def test_without_a_way_back_people_are_told_and_it_is_taken_as_soon_as_it_opens() -> None:
    world = at(25)
    assert world.endpoint is not None
    deployments = world.endpoint.deployments
    failed = replace(deployments["blue"], provisioning_state="Failed")
    world.endpoint = replace(world.endpoint, deployments={**deployments, "blue": failed})
    world.failing = BAD
    paused = world.until(lambda action: isinstance(action, StandStill))
    assert "there is no way back: blue is Failed" in paused.reason
    for _ in range(10):
        world.now += MINUTE
        world.tick()
    assert world.traffic == {"blue": 75, "green": 25}
    world.endpoint = replace(world.endpoint, deployments=deployments)
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "rolled back")


def test_a_way_back_that_azure_refuses_is_tried_again_after_a_while_and_at_once_when_a_person_says_so() -> None:
    world = at(25)
    world.says("abort")
    shift = world.tick(lost=True)
    world.state = refuse(world.state, shift, "the subscription is disabled (status 400)", world.now)
    refused_at = world.now
    again = world.until(lambda action: isinstance(action, ShiftTraffic), lost=True)
    assert world.now - refused_at >= RULES_OF_TODAY.deadlines.repeat
    world.state = refuse(world.state, again, "the subscription is disabled (status 400)", world.now)
    world.says("resume")
    assert isinstance(world.tick(), ShiftTraffic)
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "rolled back")


def test_going_back_to_what_served_waits_for_no_calendar_and_no_metrics() -> None:
    world = serving()
    world.rest()
    world.requested, world.source = None, SourceFailed("503")
    world.rules = replace(RULES_OF_TODAY, freeze=(FreezeWindow(world.now, world.now + timedelta(days=9), "the quarter closes"),))
    asked_at = world.now
    world.says("roll back", "1")
    world.until(lambda _: world.traffic == {"blue": 100})
    assert world.now - asked_at < 10 * MINUTE


def test_a_word_is_noted_though_azure_cannot_be_asked() -> None:
    world = at(10)
    said = Command(1, "abort", "anna", "she knows why", world.now)
    action = decide(world.state, Observation(RULES_OF_TODAY, "e", command=said), world.now)
    assert isinstance(action, Obey)
    assert action.obeyed
    assert world.active.phase is Phase.CANARY
    taken = evolve(world.state, action, world.now)
    assert taken.active is not None
    assert (taken.active.phase, taken.active.intended) == (Phase.ROLLING_BACK, world.active.intended)


def test_a_wish_of_a_person_is_not_ended_by_a_newer_version() -> None:
    world = World(requested="3")
    world.rest()
    world.says("roll back", "2")
    world.requested = None
    world.until(lambda action: isinstance(action, CreateDeployment))
    world.requested = "4"
    world.until(lambda _: world.state.active is None)
    assert world.state.outcome == "succeeded"
    assert [one.version for one in world.state.served] == ["3", "2"]


def test_when_the_old_deployment_is_gone_a_bad_candidate_keeps_the_traffic_and_newer_versions_may_come() -> None:
    world = at(100)
    assert world.endpoint is not None
    world.says("abort")
    world.endpoint = replace(world.endpoint, deployments={"green": world.endpoint.deployments["green"]})
    world.now += 10 * MINUTE
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"green": 100}, "failed")
    assert "blue is not there, and green keeps all traffic" in world.state.reason
    assert world.state.notices[-1].level == "critical"
