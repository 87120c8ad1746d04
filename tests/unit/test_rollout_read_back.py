"""What the endpoint is seen with: changes that are lost, refused, late, or somebody else's. Pure functions, no ledger."""

from __future__ import annotations

from dataclasses import replace

from ml_core.rollout.actions import (
    CreateDeployment,
    Hold,
    RaiseAlert,
    ShiftTraffic,
    StandStill,
)
from ml_core.rollout.evolve import refuse
from ml_core.rollout.splits import weights
from ml_core.rollout.state import Phase, Split
from tests.rollout_by_hand import BAD, GOOD, MINUTE, RULES_OF_TODAY, World, at


def test_a_foreign_change_pauses_and_is_never_overwritten_until_a_person_says_so() -> None:
    world = at(10)
    world.meddle({"blue": 60, "green": 40})
    world.now += 5 * MINUTE
    paused = world.until(lambda action: isinstance(action, StandStill))
    assert "somebody else set the traffic to blue 60 %, green 40 %" in paused.reason
    for _ in range(60):
        world.now += MINUTE
        world.tick()
    assert world.traffic == {"blue": 60, "green": 40}
    world.says("resume")
    world.until(lambda _: world.traffic == {"blue": 90, "green": 10})
    world.rest()
    assert world.state.outcome == "succeeded"


def test_the_time_in_which_the_traffic_was_somebody_elses_is_told_as_no_delay_of_azures() -> None:
    world = at(10)
    world.meddle({"blue": 60, "green": 40})
    world.now += 5 * MINUTE
    world.until(lambda action: isinstance(action, StandStill))
    world.now += 2 * RULES_OF_TODAY.deadlines.provisioning
    world.says("resume")
    world.until(lambda _: world.traffic == {"blue": 90, "green": 10})
    assert "provisioning" not in world.state.alerts


def test_a_foreign_change_that_is_undone_needs_nobodys_word() -> None:
    world = at(10)
    world.meddle({"blue": 60, "green": 40})
    world.now += 5 * MINUTE
    world.until(lambda action: isinstance(action, StandStill))
    world.meddle({"blue": 90, "green": 10})
    world.rest()
    assert world.state.outcome == "succeeded"


def test_a_mirror_that_somebody_added_is_a_conflict_too() -> None:
    world = at(10)
    world.meddle({"blue": 90, "green": 10}, {"red": 5})
    world.now += 5 * MINUTE
    assert "copies of 5 % to red" in world.until(lambda action: isinstance(action, StandStill)).reason


def test_a_lost_shift_is_asked_for_again_under_the_next_token() -> None:
    world = at(10)
    action = world.until(lambda action: isinstance(action, ShiftTraffic), lost=True)
    again = world.until(lambda action: isinstance(action, ShiftTraffic))
    assert (again.split, again.step) == (action.split, action.step + 1)
    assert world.traffic == {"blue": 75, "green": 25}


def test_a_rollback_that_is_lost_is_asked_for_again_even_if_requests_look_well_now() -> None:
    world = at(10)
    world.failing = BAD
    world.until(lambda action: isinstance(action, ShiftTraffic) and action.phase is Phase.ROLLING_BACK, lost=True)
    world.failing = GOOD
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "rolled back")


def test_a_deployment_that_was_made_anew_after_the_smoke_test_gets_no_more_requests() -> None:
    world = at(25)
    world.put("green", "m:2")
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "failed")
    assert "the one that passed the smoke test" in world.state.reason


def test_a_lost_shift_is_not_asked_for_again_when_the_candidate_was_made_anew_meanwhile() -> None:
    world = at(10)
    world.until(lambda action: isinstance(action, ShiftTraffic), lost=True)
    world.put("green", "m:2")
    world.now += MINUTE
    world.rest()
    assert max(split.get("green", 0) for split, _ in world.splits[2:]) == 0, "and no share was asked for again"
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "failed")


def test_a_slot_that_holds_another_model_gets_no_traffic() -> None:
    """Somebody puts a deployment by hand, or a process that stood still puts that of an earlier rollout."""
    world = World()
    world.until(lambda action: isinstance(action, CreateDeployment))
    world.put("blue", "m:77")
    world.tick()
    assert (world.state.outcome, world.state.active) == ("failed", None)
    assert "blue holds m:77" in world.state.reason
    assert world.splits == []


def test_what_azure_refuses_for_good_takes_the_candidates_traffic_away() -> None:
    world = at(25)
    world.now += MINUTE
    shift = ShiftTraffic(Split({"blue": 50, "green": 50}), Split(), Phase.CANARY, 9, "on", MINUTE)
    world.state = refuse(world.state, shift, "the quota is used up (status 400)", world.now)
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "failed")
    assert world.state.reason == "the quota is used up (status 400)"
    assert any(notice.level == "critical" for notice in world.state.notices)


def test_an_endpoint_that_is_updating_is_left_alone() -> None:
    world = at(10)
    assert world.endpoint is not None
    world.endpoint = replace(world.endpoint, provisioning_state="Updating")
    world.failing = BAD
    assert world.tick() == Hold("the endpoint is Updating", RULES_OF_TODAY.poll)


def test_a_split_that_azure_never_takes_is_asked_for_again_and_told() -> None:
    world = at(10)
    first = world.until(lambda action: isinstance(action, ShiftTraffic), lost=True)
    alert = world.until(lambda action: isinstance(action, RaiseAlert), lost=True)
    assert (alert.alert, alert.times) == ("provisioning", 1)
    again = world.until(lambda action: isinstance(action, ShiftTraffic), lost=True)
    assert again.split == first.split


def test_a_mirror_that_somebody_removed_is_asked_for_again() -> None:
    world = at(100)
    world.until(lambda _: world.active.phase is Phase.BAKING and world.active.standing_since is not None)
    world.meddle({"green": 100})
    again = world.until(lambda action: isinstance(action, ShiftTraffic))
    assert (weights(again.split.mirror), again.phase) == ({"blue": 10}, Phase.BAKING)
