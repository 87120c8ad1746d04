"""The judge's theorems: by exact enumeration of small tables, as properties of its bets, and on simulated rollouts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.ports import Counts
from ml_core.rollout.judge import Arms, Promises, Tally, Verdict, rule, weigh
from ml_core.rollout.judge.betting import Capital, bet, by_rate, by_ratio
from ml_core.rollout.judge.values import Ruling

START = datetime(2026, 3, 1, tzinfo=UTC)
PROMISES = Promises(tolerable_error_rate=0.001)
RATES = (0.0, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0)
ROUNDING = 1 + 1e-12

Chances = dict[tuple[int, int], float]
"""The probability of each (failures of the candidate, failures of the stable deployment)."""


def failures(rates: Sequence[float]) -> list[float]:
    """The probability of 0, 1, 2, … failures of independent requests with these rates."""
    chances = [1.0]
    for rate in rates:
        longer = [0.0] * (len(chances) + 1)
        for count, chance in enumerate(chances):
            longer[count] += chance * (1 - rate)
            longer[count + 1] += chance * rate
        chances = longer
    return chances


def independent(candidate: Sequence[float], stable: Sequence[float]) -> Chances:
    of_x, of_y = failures(candidate), failures(stable)
    return {(x, y): of_x[x] * of_y[y] for x in range(len(of_x)) for y in range(len(of_y))}


def mean_of_ratio(chances: Chances, q: float, ratio: float, null: float = 1.0) -> float:
    return math.fsum(chance * math.exp(by_ratio(x, y, q, ratio, null)) for (x, y), chance in chances.items())


# ---- one interval: the mean of every factor is at most 1 -----------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1.2, 1.5, 2.5, 5.0, 15.0])
@pytest.mark.parametrize(("asked", "beside"), [(1, 1), (1, 9), (3, 5), (6, 2), (5, 0), (0, 5)])
def test_a_bet_against_a_candidate_that_is_as_good_or_better_does_not_win(ratio: float, asked: int, beside: int) -> None:
    for stable in RATES:
        for candidate in (stable, stable * 0.7):
            chances = independent([candidate] * asked, [stable] * beside)
            assert mean_of_ratio(chances, asked / (asked + beside), ratio) <= ROUNDING


@pytest.mark.parametrize("psi", [1.5, 3.0, 10.0])
@pytest.mark.parametrize(("asked", "beside"), [(1, 1), (1, 9), (3, 5), (6, 2)])
def test_a_bet_for_a_candidate_that_is_psi_times_worse_or_more_does_not_win(psi: float, asked: int, beside: int) -> None:
    for stable in RATES:
        for candidate in (stable * psi, stable * psi * 1.3):
            if candidate <= 1:
                chances = independent([candidate] * asked, [stable] * beside)
                assert mean_of_ratio(chances, asked / (asked + beside), 1.0, null=psi) <= ROUNDING


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
    st.floats(1.01, 30),
    st.floats(0.2, 4),
)
def test_it_does_not_matter_how_single_requests_differ(
    candidate: list[float], stable: list[float], further: float, null: float
) -> None:
    """Easy and hard requests may be mixed in any way: only the mean rates of the two count."""
    mean, allowed = sum(candidate) / len(candidate), null * sum(stable) / len(stable)
    if mean > allowed:
        candidate = [rate * allowed / mean for rate in candidate]
    q = len(candidate) / (len(candidate) + len(stable))
    assert mean_of_ratio(independent(candidate, stable), q, null * further, null) <= 1 + 1e-9


@pytest.mark.parametrize(("asked", "beside"), [(2, 6), (4, 4), (1, 10)])
@pytest.mark.parametrize("ratio", [1.5, 5.0, 15.0])
def test_nor_what_is_down_as_long_as_chance_says_who_answers(asked: int, beside: int, ratio: float) -> None:
    """So many of these requests fail wherever they go: then the candidate's part of them is hypergeometric."""
    for failing in range(asked + beside + 1):
        ways = comb(asked + beside, asked)
        chances = {
            (x, failing - x): comb(failing, x) * comb(asked + beside - failing, asked - x) / ways
            for x in range(max(0, failing - beside), min(asked, failing) + 1)
        }
        assert math.fsum(chances.values()) == pytest.approx(1)
        assert mean_of_ratio(chances, asked / (asked + beside), ratio) <= ROUNDING


@pytest.mark.parametrize("ratio", [1.5, 5.0])
def test_a_mirrored_request_that_fails_at_both_is_no_evidence_against_the_copy(ratio: float) -> None:
    """Copies are dependent on their originals. The more the two fail together, the poorer the bet."""
    for rate in (0.05, 0.3, 0.6):
        for together in (rate * rate, rate):  # independent; always together
            pair = {(1, 1): together, (1, 0): rate - together, (0, 1): rate - together, (0, 0): 1 - 2 * rate + together}
            chances: Chances = {}
            for ((x, y), chance), (alone, likely) in product(pair.items(), enumerate(failures([rate] * 4))):
                chances[x, y + alone] = chances.get((x, y + alone), 0.0) + chance * likely
            assert mean_of_ratio(chances, 1 / 6, ratio) <= ROUNDING


@pytest.mark.parametrize("part", [0.0, 0.1, 0.6])
def test_a_bet_that_a_rate_is_tolerable_does_not_win_when_it_is_not(part: float) -> None:
    for null in (0.001, 0.1, 0.5):
        for rate in (null, min(1.0, 1.5 * null)):
            chances = failures([rate] * 6)
            mean = math.fsum(chance * math.exp(by_rate(x, 6, part * null, null)) for x, chance in enumerate(chances))
            assert mean <= ROUNDING


# ---- the whole capital ---------------------------------------------------------------------------------------------------

bets = st.tuples(*[st.floats(0, 100)] * 3)


@given(bets, st.floats(0.01, 1), st.floats(0, 1), st.floats(0.1, 10), st.floats(0.5, 1e6), st.sampled_from(RATES))
def test_whatever_lies_where_and_is_bet_when_a_capital_does_not_grow_on_average(
    lies: tuple[float, float, float], idle: float, start: float, most: float, largest: float, rate: float
) -> None:
    capital, weights, ratios = Capital(lies, idle), (0.2, 0.5, 0.3), (1.5, 3.0, 10.0)
    before = math.exp(capital.log)
    after = math.fsum(
        chance * math.exp(bet(capital, logs, weights, start=start, most=most, largest=max(largest, 1.0)).log)
        for (x, y), chance in independent([rate] * 2, [rate] * 3).items()
        for logs in [[by_ratio(x, y, 0.4, ratio) for ratio in ratios]]
    )
    assert after <= before * (1 + 1e-9)


def outcomes(intervals: int, rate: float) -> Iterator[tuple[list[tuple[int, int]], float]]:
    """Every course of so many intervals with one request each, and its probability."""
    once = independent([rate], [rate])
    for course in product(once.items(), repeat=intervals):
        yield [counts for counts, _ in course], math.prod(chance for _, chance in course)


def evidence(course: Sequence[tuple[int, int]]) -> Capital:
    capital = Capital()
    for number, (x, y) in enumerate(course):
        logs = [by_ratio(x, y, 0.5, ratio) for ratio in (2.0, 8.0)]
        capital = bet(capital, logs, (0.5, 0.5), start=0.8 if not number else 0.1)
    return capital


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("spoiled", range(4))
def test_one_interval_in_which_anything_may_happen_does_not_break_the_promise(rate: float, spoiled: int) -> None:
    """The sum over all courses of four intervals, the worst put in the place of one of them."""
    mean = math.fsum(
        chance * math.exp(evidence([*course[:spoiled], (1, 0), *course[spoiled:]]).log_without_the_surest)
        for course, chance in outcomes(3, rate)
    )
    assert mean <= ROUNDING


# ---- the rulings ---------------------------------------------------------------------------------------------------------

counted = st.integers(1, 40).flatmap(lambda asked: st.tuples(st.just(asked), st.integers(0, asked - 1)))


def tallied(course: Sequence[tuple[Counts, Counts]], share: float = 0.5) -> Tally:
    arms = [Arms(START + number * timedelta(minutes=1), *counts, share) for number, counts in enumerate(course)]
    return weigh(Tally(), arms, PROMISES, since=None)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(counted, counted), min_size=1, max_size=8))
def test_one_more_failure_now_never_speaks_for_a_candidate(course: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    so_far = [(Counts(*candidate), Counts(*stable)) for candidate, stable in course]
    (candidate, stable) = so_far[-1]
    worse = tallied([*so_far[:-1], (replace(candidate, errors=candidate.errors + 1), stable)])
    told = (rule(tallied(so_far), PROMISES).figures, rule(worse, PROMISES).figures)
    assert told[1]["errors_e_value"] >= told[0]["errors_e_value"] * (1 - 1e-9)
    assert told[1]["errors_promote_e_value"] <= told[0]["errors_promote_e_value"] * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(counted, counted), min_size=1, max_size=8))
def test_and_one_more_of_the_stable_deployment_never_against_it(
    course: list[tuple[tuple[int, int], tuple[int, int]]],
) -> None:
    so_far = [(Counts(*candidate), Counts(*stable)) for candidate, stable in course]
    (candidate, stable) = so_far[-1]
    worse = tallied([*so_far[:-1], (candidate, replace(stable, errors=stable.errors + 1))])
    told = (rule(tallied(so_far), PROMISES).figures, rule(worse, PROMISES).figures)
    assert told[1]["errors_e_value"] <= told[0]["errors_e_value"] * (1 + 1e-9)


# ---- on simulated rollouts -----------------------------------------------------------------------------------------------

STEPS = ((0.1, 10), (0.25, 10), (0.5, 40))


def judged(random: np.random.Generator, promises: Promises, stable: float, candidate: float, per_minute: int) -> Ruling:
    """A rollout to its end: the ruling that rolls it back or, in the last step, promotes it. The longest takes an hour."""
    tally, ruling, at = Tally(), None, START
    for share, count in STEPS:
        for minute in range(count):
            asked = int(random.binomial(per_minute, share))
            x, y = random.binomial(asked, candidate), random.binomial(per_minute - asked, stable)
            arms = Arms(at, Counts(asked, int(x)), Counts(per_minute - asked, int(y)), share)
            tally, at = weigh(tally, [arms], promises, since=START), at + timedelta(minutes=1)
            ruling = rule(tally, promises)
            if ruling.verdict is Verdict.ROLL_BACK or (share == 0.5 and minute >= 9 and ruling.verdict is Verdict.PROMOTE):
                return ruling
    assert ruling is not None
    return ruling


def share_of(verdict: Verdict, stories: int, seed: int, promises: Promises, stable: float, candidate: float) -> float:
    random = np.random.default_rng(seed)
    rulings = [judged(random, promises, stable, candidate, per_minute=600) for _ in range(stories)]
    return sum(ruling.verdict is verdict for ruling in rulings) / stories


def most_by_chance(promise: float, stories: int) -> float:
    """The share that a promise that is just kept exceeds in one of ten thousand such simulations (an exact binomial tail)."""
    tail, count = 1.0, 0
    while tail > 1e-4:
        tail -= comb(stories, count) * promise**count * (1 - promise) ** (stories - count)
        count += 1
    return count / stories


RISKY = replace(PROMISES, alpha=0.2, beta=0.2, tripwire=0, budget={"errors": 1.0, "slow": 1e-9, "pairs": 1e-9})
"""Promises that are broken often enough to be counted in a hundred stories, were they not kept."""


def test_a_candidate_that_is_as_good_is_rolled_back_no_more_often_than_promised() -> None:
    assert share_of(Verdict.ROLL_BACK, 120, 1, RISKY, 0.01, 0.01) <= most_by_chance(RISKY.alpha, 120)


def test_one_that_is_psi_times_worse_is_promoted_no_more_often_than_promised() -> None:
    assert share_of(Verdict.PROMOTE, 120, 2, RISKY, 0.002, 0.006) <= most_by_chance(RISKY.beta, 120)


def test_one_at_the_tolerable_rate_is_promoted_no_more_often_than_promised_though_nothing_else_errs() -> None:
    """There is nothing to compare it with, so this is the own rate's promise alone."""
    assert share_of(Verdict.PROMOTE, 120, 3, RISKY, 0.0, 0.001) <= most_by_chance(RISKY.beta, 120)


def test_what_is_clear_gets_its_verdict() -> None:
    assert share_of(Verdict.ROLL_BACK, 30, 4, PROMISES, 0.005, 0.02) == 1
    assert share_of(Verdict.PROMOTE, 30, 5, PROMISES, 0.005, 0.005) >= 0.9
    assert share_of(Verdict.PROMOTE, 30, 6, PROMISES, 0.0, 0.0) == 1
