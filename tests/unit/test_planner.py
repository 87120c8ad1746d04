"""What the planner expects of a rollout, held against the rollouts that the benchmark simulates. Nothing is faked: it is all
arithmetic."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from math import nan

import numpy as np
import pytest

from benchmarks import ramp, rivals
from benchmarks.traffic import Scenario, as_good, simulate, worse
from ml_core.ports import History, SourceFailed
from ml_core.rollout.deadlines import Deadlines
from ml_core.rollout.judge import Promises
from ml_core.rollout.judge.pairs import PairsPromises
from ml_core.rollout.planner import plan, span, told
from ml_core.rollout.state import RolloutRules
from tests.rollout_by_hand import MINUTE, RULES_OF_TODAY

SHADOWED = replace(RULES_OF_TODAY, shadow=PairsPromises(), shadow_mirror=20, shadow_duration=10 * MINUTE)
# The product's own configuration, as the benchmark plays it: there no metric comes late, and each is known by itself.
AT_WORK = replace(ramp.default_rules(), evidence_delay=timedelta(0))
NO_SHADOW = replace(AT_WORK, shadow=None)
DAY, STORIES = 86_400, 25


def history(per_second: float, error_rate: float) -> History:
    requests = round(per_second * DAY)
    return History(requests, round(requests * error_rate), DAY, p95_ms=120.0)


def simulated(rules: RolloutRules, scenario: Scenario) -> tuple[float, float]:
    """The medians of the minutes until a promotion and until a rollback, of rollouts of the benchmark; nan: there was none."""
    seed = (8, 20260101)
    verdicts = ramp.play(ramp.plan(rules), scenario, simulate(scenario, seed, STORIES, range(rivals.MINUTES)), seed)
    ends = (verdicts.promoted, verdicts.rolled_back)
    promoted, caught = (float(np.median(verdicts.minutes[ended])) if ended.any() else nan for ended in ends)
    return promoted, caught


def is_near(planned: timedelta | None, minutes: float) -> bool:
    """Half as much again, or two intervals: what is obvious is found in one."""
    return planned is not None and abs(planned / MINUTE - minutes) <= max(0.5 * minutes, 2)


@pytest.mark.parametrize(
    ("rules", "error_rate", "per_second"),
    [(AT_WORK, 0.005, 10.0), (AT_WORK, 0.005, 1.0), (NO_SHADOW, 0.0, 2.0), (NO_SHADOW, 0.02, 0.3)],
    ids=["busy", "calm", "without an error", "quiet and faulty"],
)
def test_the_median_of_the_promotions_of_good_candidates_is_near_what_was_planned(
    rules: RolloutRules, error_rate: float, per_second: float
) -> None:
    made = plan(history(per_second, error_rate), rules)
    promoted, _ = simulated(rules, as_good("as good", error_rate, per_second=per_second))
    assert is_near(made.promoted_after, promoted), (made.promoted_after, promoted)
    assert made.advice == ()


@pytest.mark.parametrize(
    ("rules", "error_rate", "per_second"),
    [(AT_WORK, 0.002, 10.0), (AT_WORK, 0.01, 1.0), (NO_SHADOW, 0.005, 10.0), (AT_WORK, 0.05, 50.0)],
    ids=["inside the objective", "calm", "without a shadow", "obvious"],
)
def test_the_median_of_the_rollbacks_of_bad_candidates_is_near_what_was_planned(
    rules: RolloutRules, error_rate: float, per_second: float
) -> None:
    made = plan(history(per_second, error_rate), rules)
    scenario = worse("worse", error_rate, rules.promises.psi * error_rate, per_second=per_second)
    _, caught = simulated(rules, scenario)
    assert is_near(made.caught_after, caught), (made.caught_after, caught)


def test_a_plan_says_what_it_rests_on_and_what_it_expects() -> None:
    assert re.fullmatch(
        r"600 requests a minute, of which 0\.5 % fail: a candidate that is as good is promoted after about 30 min, "
        r"one that is 3 times worse is found after about \d+ min",
        told(plan(history(10, 0.005), RULES_OF_TODAY), psi=3.0),
    )


def test_a_candidate_that_fails_less_often_than_is_tolerated_is_told_to_be_promoted_however_it_compares() -> None:
    made = plan(history(10, 0.0001), RULES_OF_TODAY)
    assert (made.caught_after, made.tolerated) == (None, True)
    assert "fails less often than is tolerated, and is promoted too" in told(made, psi=3.0)


@pytest.mark.parametrize("rules", [RULES_OF_TODAY, SHADOWED], ids=["canary only", "with a shadow"])
def test_what_is_advised_leads_to_a_verdict(rules: RolloutRules) -> None:
    quiet = history(0.4, 0.001)
    made = plan(quiet, rules)
    assert made.promoted_after is None
    assert any("deadlines.no_verdict" in one for one in made.advice)
    assert plan(quiet, replace(rules, deadlines=Deadlines(no_verdict=timedelta(days=2)))).promoted_after
    (replayed,) = (one for one in made.advice if "replayed load" in one)
    per_minute = int(replayed.split("so that ")[1].split()[0])
    assert plan(history(per_minute / 60, 0.001), rules).promoted_after
    (tolerable,) = (one for one in made.advice if "tolerable_error_rate" in one)
    rate = float(tolerable.split("tolerable_error_rate of ")[1].split(",")[0])
    assert plan(quiet, replace(rules, promises=Promises(tolerable_error_rate=rate))).promoted_after


def test_a_wider_step_and_a_longer_shadow_are_advised_where_they_are_enough() -> None:
    narrow = replace(SHADOWED, steps=(1, 2, 100), deadlines=Deadlines(no_verdict=timedelta(hours=3)))
    calm = history(1, 0.005)
    made = plan(calm, narrow)
    assert made.promoted_after is None
    assert any(one.startswith("a last step of 50 % instead of 2 %") for one in made.advice)
    assert plan(calm, replace(narrow, steps=(1, 2, 50, 100))).promoted_after
    (shadow,) = (one for one in made.advice if one.startswith("a shadow of 50 % for "))
    assert "for 1 h" in shadow or "for 2 h" in shadow
    assert plan(calm, replace(narrow, shadow_mirror=50, shadow_duration=timedelta(hours=2))).promoted_after


def test_where_nothing_is_known_nothing_is_promised() -> None:
    silent, unasked, broken = (
        plan(None, RULES_OF_TODAY),
        plan(History(0, 0, DAY), RULES_OF_TODAY),
        plan(SourceFailed("it answers 503"), RULES_OF_TODAY),
    )
    for made in (silent, unasked, broken):
        assert (made.promoted_after, made.caught_after, made.error_rate) == (None, None, None)
    assert "nobody has asked" in told(unasked, psi=3.0)
    assert "cannot be read (it answers 503)" in told(broken, psi=3.0)


def test_planning_twice_is_planning_the_same() -> None:
    assert plan(history(0.4, 0.001), SHADOWED) == plan(history(0.4, 0.001), SHADOWED)


def test_a_road_without_steps_before_all_the_traffic_waits_for_no_verdict() -> None:
    assert plan(history(10, 0.005), replace(RULES_OF_TODAY, steps=(100,))).promoted_after == timedelta(0)


@pytest.mark.parametrize(
    ("length", "spoken"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=40), "40 s"),
        (timedelta(minutes=5), "5 min"),
        (timedelta(minutes=65, seconds=20), "1 h 5 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(days=2, minutes=59), "2 d"),
    ],
)
def test_spans_are_told_by_their_two_greatest_units(length: timedelta, spoken: str) -> None:
    assert span(length) == spoken
