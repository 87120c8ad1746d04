"""The simulation behind the benchmark of rollouts: fair to all rules, the same at every run, and true to the state machine."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest

from benchmarks import ramp, rivals, rollouts, traffic
from benchmarks.binomial import at_most, interval
from benchmarks.ramp import Stage, Story, Traffic, default_rules, plan, roll_out
from benchmarks.rivals import Verdicts
from benchmarks.traffic import SCENARIOS, Rates, Scenario, Stories, as_good, simulate, worse

TEN_RPS = as_good("as good", 0.02)


def same(one: Stories, other: Stories) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Stories))


def test_the_same_seed_gives_the_same_stories_and_another_one_others() -> None:
    assert same(simulate(TEN_RPS, (1, 2), 3, range(5)), simulate(TEN_RPS, (1, 2), 3, range(5)))
    assert not same(simulate(TEN_RPS, (1, 2), 3, range(5)), simulate(TEN_RPS, (1, 3), 3, range(5)))


def test_a_larger_share_holds_all_requests_and_errors_of_a_smaller_one() -> None:
    stories = simulate(TEN_RPS, (1,), 2, range(5))
    for field in fields(Stories):
        assert (np.diff(getattr(stories, field.name), axis=2) >= 0).all()


@pytest.mark.parametrize("weight", [5, 25, 50, 100])
def test_a_candidate_gets_its_share_of_the_requests_and_fails_at_its_rate(weight: int) -> None:
    scenario = worse("worse", 0.01, 0.1)
    stories = simulate(scenario, (7,), 20, range(50))
    asked = stories.requests[:, :, scenario.column(weight)].sum()
    expected = 20 * 50 * 600 * weight / 100
    assert abs(asked - expected) < 5 * math.sqrt(expected)
    for errors, rate in ((stories.c_errors, 0.1), (stories.b_errors, 0.01)):
        failed = errors[:, :, scenario.column(weight)].sum()
        assert abs(failed - rate * asked) < 5 * math.sqrt(rate * asked)


def test_a_fault_of_the_routing_keeps_requests_from_the_candidate() -> None:
    scenario = replace(TEN_RPS, routed=1 / 3)
    stories = simulate(scenario, (7,), 20, range(50))
    part = stories.requests[:, :, scenario.column(50)].sum() / stories.requests[:, :, -1].sum()
    assert abs(part - 1 / 6) < 0.005


def test_an_outage_hits_both_and_a_cold_minute_the_candidate_alone() -> None:
    scenario = replace(TEN_RPS, outage=(2, 3, 1.0), cold=Rates(1.0))
    stories = simulate(scenario, (7,), 4, range(4))
    assert np.array_equal(stories.c_errors[:, 2], stories.requests[:, 2])
    assert np.array_equal(stories.b_errors[:, 2], stories.requests[:, 2])
    assert np.array_equal(stories.c_errors[:, 0], stories.requests[:, 0])
    assert (stories.b_errors[:, 0, -1] < stories.requests[:, 0, -1] / 2).all()


def test_a_burst_fails_wherever_it_lands() -> None:
    scenario = replace(as_good("bursts", 0.0), bursts_per_hour=60.0)
    stories = simulate(scenario, (7,), 4, range(10))
    assert np.array_equal(stories.c_errors, stories.b_errors)
    assert stories.c_errors[:, :, -1].sum() % traffic.RETRIES == 0
    assert stories.c_errors[:, :, -1].sum() > 0


def test_traffic_that_swings_keeps_the_errors_of_both_alike() -> None:
    scenario = replace(TEN_RPS, swing=5.0)
    stories = simulate(scenario, (7,), 1, range(60))
    per_minute = stories.requests[0, :, -1]
    assert per_minute.max() > 10 * per_minute.min()
    candidate, stable = stories.c_errors[0, :, -1].sum(), stories.b_errors[0, :, -1].sum()
    assert abs(candidate - stable) < 5 * math.sqrt(candidate + stable)


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (1, 20), (7, 50), (20, 20)])
def test_an_exact_interval_leaves_at_most_its_tail_on_each_side(successes: int, trials: int) -> None:
    low, high = interval(successes, trials)
    assert low <= successes / trials <= high
    assert low == 0 or 1 - at_most(successes - 1, trials, low) == pytest.approx(0.025)
    assert high == 1 or at_most(successes, trials, high) == pytest.approx(0.025)


def test_none_of_two_thousand_still_allows_for_some() -> None:
    assert interval(0, 2000)[1] == pytest.approx(1 - 0.025 ** (1 / 2000))


def test_what_cannot_be_a_share_is_refused() -> None:
    with pytest.raises(ValueError, match="3 of 2 is no share"):
        interval(3, 2)


# ---- the product's side -----------------------------------------------------------------------------------------------


def test_copies_reach_no_client_and_live_requests_do() -> None:
    stories = simulate(worse("all fail", 0.0, 1.0), (7,), 1, range(90))
    seen = Traffic(worse("all fail", 0.0, 1.0), stories, 0, (7, 1))
    copies, harmed = seen.minute(0, Stage(10, live=0, mirror=10))
    assert copies.candidate.errors == copies.candidate.requests > 0
    assert copies.stable.requests == stories.requests[0, 0, -1]
    assert harmed == 0
    live, harmed = seen.minute(0, Stage(10, live=10))
    assert harmed == live.candidate.errors == copies.candidate.errors
    assert live.stable.requests == stories.requests[0, 0, -1] - live.candidate.requests


def test_while_baking_the_old_deployment_is_the_one_that_gets_copies() -> None:
    stories = simulate(TEN_RPS, (7,), 1, range(90))
    arms, _ = Traffic(TEN_RPS, stories, 0, (7, 1)).minute(0, Stage(10, live=100, mirror=10))
    assert arms.candidate.requests == stories.requests[0, 0, -1]
    assert arms.stable.requests == stories.requests[0, 0, TEN_RPS.column(10)]
    assert arms.share == pytest.approx(100 / 110)


def test_a_story_goes_on_beyond_the_minutes_that_all_rules_share() -> None:
    stories = simulate(TEN_RPS, (7,), 1, range(90))
    seen = Traffic(TEN_RPS, stories, 0, (7, 1))
    before, after = (seen.minute(number, Stage(10, live=10))[0] for number in (89, 90))
    assert before.candidate.requests > 0
    assert after.candidate.requests > 0
    assert (after.at - before.at).total_seconds() == 60


def test_the_plan_is_the_default_configurations() -> None:
    rules = default_rules()
    own = plan(rules)
    live = [stage.live for stage in own.stages]
    assert live == [0, *rules.steps]
    assert own.stages[0].mirror == rules.shadow_mirror
    assert own.promises == rules.promises
    assert [stage.live for stage in plan(rules, shadow=False).stages] == list(rules.steps)


def played(scenario: Scenario, stories: int = 2) -> Verdicts:
    simulated = simulate(scenario, (11,), stories, range(90))
    return ramp.play(plan(default_rules()), scenario, simulated, (11,))


def test_a_candidate_that_always_fails_is_rolled_back_before_a_client_meets_it() -> None:
    verdicts = played(worse("all fail", 0.005, 1.0))
    assert verdicts.rolled_back.all()
    assert verdicts.errors.tolist() == [0, 0]


def test_a_candidate_as_good_is_promoted_when_all_steps_are_over_and_not_before() -> None:
    verdicts = played(TEN_RPS)
    assert verdicts.promoted.all()
    own = plan(default_rules())
    assert verdicts.minutes.min() >= sum(stage.minutes for stage in own.stages[:-1])


def test_a_rollout_whose_traffic_cannot_be_trusted_is_held_until_a_person_is_asked() -> None:
    scenario = replace(TEN_RPS, routed=1 / 3)
    own, story = replace(plan(default_rules()), no_verdict=30), Story()
    stories = simulate(scenario, (11,), 1, range(90))
    assert roll_out(own, Traffic(scenario, stories, 0, (11, 1)), story) == "held"
    assert story.distrusted


# The goals, with few stories and bounds that chance breaks once in thousands of seeds; `make bench` measures them.


def test_of_sixty_candidates_as_good_hardly_one_is_rolled_back() -> None:
    assert played(as_good("as good", 0.005), stories=60).rolled_back.sum() <= 4


def test_a_regression_of_twenty_times_is_found_in_two_minutes_before_a_client_meets_it() -> None:
    verdicts = played(worse("20 times worse", 0.005, 0.1), stories=60)
    assert verdicts.rolled_back.all()
    assert np.median(verdicts.minutes) <= 2
    assert np.median(verdicts.errors) == 0


def test_a_regression_of_four_times_is_found_in_less_than_fourteen_minutes() -> None:
    verdicts = played(worse("4 times worse", 0.005, 0.02), stories=60)
    assert verdicts.rolled_back.all()
    assert np.median(verdicts.minutes) < 14


def test_a_regression_of_three_times_inside_the_objective_is_found() -> None:
    assert played(worse("3 times worse", 0.002, 0.006), stories=40).rolled_back.sum() >= 37


# ---- the report -------------------------------------------------------------------------------------------------------


def test_the_batches_of_two_processes_are_those_of_one() -> None:
    few = [SCENARIOS[-2]]
    alone, shared = (rollouts.play_all(4, few, workers=workers) for workers in (1, 2))
    for rule, outcome in alone[few[0].name].items():
        assert np.array_equal(outcome.verdicts.minutes, shared[few[0].name][rule].verdicts.minutes)


def outcome(kind: str, rolled_back: int, promoted: int, stories: int = 100, minutes: float = 5.0) -> rollouts.Outcome:
    flags = np.arange(stories)
    back, through = flags < rolled_back, flags >= stories - promoted
    return rollouts.Outcome(Verdicts(back, through, np.full(stories, minutes), np.ones(stories, dtype=int), back), kind)


def report(**wrong: int) -> rollouts.Report:
    """All scenarios end as they should, but for `wrong` stories of a kind."""
    made: rollouts.Report = {}
    for scenario in SCENARIOS:
        missed = wrong.get(scenario.kind, 0)
        back, through = (100 - missed, missed) if scenario.kind == "worse" else (missed, 100 - missed)
        played = (rollouts.OURS, *rivals.RIVALS) if scenario.kind != "worse" else rollouts.RULES
        made[scenario.name] = {rule: outcome(scenario.kind, back, through, minutes=2.0) for rule in played}
    return made


def test_all_goals_are_met_where_all_stories_end_as_they_should() -> None:
    assert all(line.met for line in rollouts.goals(report()))


def test_false_rollbacks_beyond_alpha_miss_a_goal() -> None:
    missed = [line.name for line in rollouts.goals(report(good=2)) if not line.met]
    assert missed == ["rolled back though as good, worst scenario, Tidegate"]


def test_missed_regressions_beyond_beta_miss_their_goals() -> None:
    missed = [line.name for line in rollouts.goals(report(worse=6)) if not line.met]
    assert any(name.startswith("promoted though worse") for name in missed)
    assert any(name.endswith("caught") for name in missed)


def test_the_tables_tell_shares_with_bounds_minutes_and_bad_answers_of_every_scenario() -> None:
    told = rollouts.tables(report(good=2))
    assert all(scenario.name in told for scenario in SCENARIOS)
    assert "| 2.00 [0.24-7.04] |" in told
    assert "| 100.0 / 2 / 1 |" in told
