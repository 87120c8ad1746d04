"""The rules that the product is compared with decide as their sources do, also where that is surprising."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import traffic
from benchmarks.rivals import RIVALS, Alarm, Argo, Flagger, Kayenta, Minute, Rule, is_high, play
from benchmarks.traffic import SCENARIOS, Rates, Scenario


def minute(errors: int, requests: int = 100) -> Minute:
    """One story's minute, with a stable deployment that never fails."""
    return Minute(*(np.array([count]) for count in (requests, errors, 900, 0)))


def looks(rule: Rule, *minutes: Minute) -> list[tuple[bool, bool]]:
    """Rolled back and promoted, look by look."""
    return [tuple(bool(said[0]) for said in rule.look(number, seen)) for number, seen in enumerate(minutes, 1)]


GOOD, BAD, QUIET = minute(0), minute(2), minute(0, requests=0)


def test_flagger_gives_five_percent_more_with_each_passed_check_and_promotes_after_the_check_at_fifty() -> None:
    rule = Flagger(1, allowed=0.01)
    said = looks(rule, *[GOOD] * 10)
    assert said == [(False, False)] * 9 + [(False, True)]
    assert rule.weights[0] == 50


def test_flaggers_failed_checks_never_go_down() -> None:
    rule = Flagger(1, allowed=0.01)
    looks(rule, BAD, GOOD, GOOD, BAD, GOOD, GOOD, BAD, GOOD, BAD, GOOD)
    assert rule.failed_checks[0] == 4


def test_flagger_rolls_back_one_look_after_the_fifth_failed_check() -> None:
    assert [back for back, _ in looks(Flagger(1, allowed=0.01), *[BAD] * 6)] == [False] * 5 + [True]


def test_flagger_takes_no_values_for_a_failed_check_and_rolls_a_quiet_candidate_back() -> None:
    assert [back for back, _ in looks(Flagger(1, allowed=0.01), *[QUIET] * 6)] == [False] * 5 + [True]


def test_flagger_keeps_the_weight_where_a_check_has_failed() -> None:
    rule = Flagger(1, allowed=0.01)
    looks(rule, GOOD, BAD, BAD)
    assert rule.weights[0] == 10


def test_argos_failure_limit_of_three_fails_on_the_fourth_failure() -> None:
    assert [back for back, _ in looks(Argo(1, allowed=0.01), BAD, GOOD, BAD, GOOD, BAD, GOOD, BAD)] == [False] * 6 + [True]


def test_argo_ends_on_the_fifth_measurement_without_a_value_in_a_row() -> None:
    rule = Argo(1, allowed=0.01)
    assert [back for back, _ in looks(rule, QUIET, QUIET, QUIET, QUIET, GOOD, *[QUIET] * 5)] == [False] * 9 + [True]


@pytest.mark.parametrize("rule", [Argo(1, 0.01), Alarm(1, 0.01), Kayenta(1)])
def test_fixed_steps_end_in_a_promotion_after_five_times_ten_minutes(rule: Rule) -> None:
    weights = []
    for number in range(1, 51):
        weights.append(int(rule.weights[0]))
        back, through = rule.look(number, GOOD)
        assert not back[0]
    assert through[0]
    assert weights == [5] * 10 + [10] * 10 + [20] * 10 + [30] * 10 + [50] * 10


def test_an_alarm_on_one_data_point_rolls_back_for_one_bad_minute_and_not_for_a_missing_one() -> None:
    assert [back for back, _ in looks(Alarm(1, 0.01), QUIET, GOOD, BAD)] == [False, False, True]


def test_mann_whitney_says_high_where_every_minute_of_the_candidate_is_above_every_other() -> None:
    assert is_high(np.linspace(0.1, 0.11, 10), np.linspace(0.0, 0.01, 10))


def test_mann_whitney_passes_what_is_alike_what_is_lower_and_what_is_too_little() -> None:
    rates = np.linspace(0.0, 0.1, 10)
    assert not is_high(rates, rates)
    assert not is_high(rates - 1, rates)
    assert not is_high(np.array([1.0, 1.0]), np.array([0.0, 0.0]))


def test_mann_whitney_hardly_sees_errors_that_are_rare_in_time_however_many_they_are() -> None:
    """Most minutes are free of errors in both arms, so the middle of all differences is 0 (spinnaker/kayenta, sparse errors)."""
    candidate = np.array([0.0, 0.0, 0.9, 0.0, 0.0, 0.9, 0.0, 0.9, 0.0, 0.0])
    assert not is_high(candidate, np.zeros(10))


def test_the_shortcut_of_counting_pairs_says_the_same_as_the_whole_classification() -> None:
    random, count = np.random.default_rng(3), 40
    rule, candidates, stables = Kayenta(count), [], []
    said = []
    for number in range(1, 16):
        requests = random.poisson(1, size=count)
        seen = Minute(requests, random.binomial(requests, 0.4), np.full(count, 90), random.binomial(90, 0.1, size=count))
        candidates.append(seen.rate)
        stables.append(seen.stable_rate)
        high, _ = rule.look(number, seen)
        whole = [is_high(np.array(candidates)[:, one], np.array(stables)[:, one]) for one in range(count)]
        assert high.tolist() == whole
        said += whole
    assert 0 < sum(said) < len(said)


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_rolls_back_what_always_fails_and_counts_the_answers_that_clients_got(name: str) -> None:
    scenario = Scenario("all fail", "worse", Rates(0.0), Rates(1.0))
    stories = traffic.simulate(scenario, (1,), 3, range(90))
    verdicts = play(RIVALS[name](3), stories, scenario)
    assert verdicts.rolled_back.all()
    assert not verdicts.promoted.any()
    asked = stories.requests[0, : int(verdicts.minutes[0]), scenario.column(5)].sum()
    assert verdicts.errors[0] >= asked > 0
    assert verdicts.minutes.max() <= 10


def test_every_rival_gives_each_story_at_most_one_verdict() -> None:
    scenario = next(one for one in SCENARIOS if one.per_second == 1.0)
    stories = traffic.simulate(scenario, (2,), 50, range(90))
    for rule in RIVALS.values():
        verdicts = play(rule(50), stories, scenario)
        assert not (verdicts.rolled_back & verdicts.promoted).any()
        assert (verdicts.minutes > 0).all()
