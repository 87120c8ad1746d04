"""The shadow's judge: what it promises is computed exactly, over all that may happen, and not simulated."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.documents import from_document, to_document
from ml_core.rollout.judge.pairs import (
    Pairs,
    PairsPromises,
    PairsTally,
    SliceTally,
    evidence_against,
    flips_in_doubt,
    log_capital_above,
    log_capital_below,
    passed,
    rule_pairs,
    weigh_pairs,
)
from ml_core.rollout.judge.values import Finding, Promises, Verdict

# What the default configuration comes to.
PROMISES = PairsPromises(alpha=Promises().alpha_for("pairs"))
HIGHEST = 1 + 1e-9


def chance_of_ever(says: Callable[[int, int], bool], rate: float, rows: int = 300) -> float:
    """The probability that `says(happened, of)` is true after one of the first `rows` pairs, each of which happens at `rate`.

    What it says changes once, from the smallest to the largest number that may have happened.
    """
    ways, ever = [1.0], 0.0
    for of in range(1, rows + 1):
        ways = [stays * (1 - rate) + comes * rate for stays, comes in zip([*ways, 0.0], [0.0, *ways], strict=True)]
        first = says(0, of)
        change = bisect_left(range(of + 1), True, key=partial(_differs, says, of, first))
        stops = range(change) if first else range(change, of + 1)
        ever += sum(ways[happened] for happened in stops)
        for happened in stops:
            ways[happened] = 0.0
    return ever


def _differs(says: Callable[[int, int], bool], of: int, first: bool, happened: int) -> bool:
    return says(happened, of) != first


def all_failed(pairs: int, by_candidate: int) -> PairsTally:
    return PairsTally(asked=pairs, candidate_failed=by_candidate, stable_failed=pairs - by_candidate)


def answered(rows: int, flips: int = 0, slower: int = 0) -> PairsTally:
    return PairsTally(asked=rows, timed=rows, flips=flips, slower=slower)


def convicted(tally: PairsTally) -> bool:
    return rule_pairs(tally, PROMISES).verdict is Verdict.ROLL_BACK


@cache
def taken_back(flips: int, of: int) -> bool:
    return convicted(answered(of, flips))


@cache
def passes(flips: int, of: int) -> bool:
    return passed(answered(of, flips), PROMISES)


def test_a_candidate_within_each_limit_is_convicted_with_a_chance_of_at_most_alpha_over_all_looks() -> None:
    by_flips = chance_of_ever(taken_back, PROMISES.max_flip_rate, 200)
    by_slowness = chance_of_ever(lambda slower, of: convicted(answered(of, slower=slower)), 0.5, 200)
    by_failures = chance_of_ever(lambda failed, of: convicted(all_failed(of, failed)), 0.5, 200)
    assert 0 < by_flips + by_slowness + by_failures <= PROMISES.alpha


def test_a_candidate_at_the_limit_passes_with_a_chance_of_at_most_beta_over_all_looks() -> None:
    assert 0 < chance_of_ever(passes, PROMISES.max_flip_rate) <= PROMISES.beta


@pytest.mark.parametrize("limit", [0.01, 0.1, 0.5, 0.9])
def test_no_bet_gains_on_average_while_the_rate_is_on_the_allowed_side(limit: float) -> None:
    for share, capital in ((1.0, log_capital_above), (0.5, log_capital_above), (1.0, log_capital_below)):
        rate = limit * share
        expected = math.fsum(
            math.comb(40, happened) * rate**happened * (1 - rate) ** (40 - happened) * math.exp(capital(happened, 40, limit))
            for happened in range(41)
        )
        assert expected <= HIGHEST


def test_many_slices_cost_no_more_than_one_promise() -> None:
    # Two slices at their limit, a row of each in turn: the mean of both capitals is looked at after every row.
    promises = PairsPromises(max_flip_rate=1, max_flip_rate_in_slice=0.2, alpha=0.25)

    def says(one: int, other: int, of: int) -> bool:
        slices = {"a": SliceTally((of + 1) // 2, one), "b": SliceTally(of // 2, other)}
        return rule_pairs(PairsTally(asked=of, timed=of, slices=slices), promises).verdict is Verdict.ROLL_BACK

    ways, ever = {(0, 0): 1.0}, 0.0
    for of in range(1, 51):
        after: dict[tuple[int, int], float] = {}
        for (one, other), chance in ways.items():
            flipped = (one + 1, other) if of % 2 else (one, other + 1)
            for counts, part in (((one, other), 0.8), (flipped, 0.2)):
                after[counts] = after.get(counts, 0.0) + chance * part
        ways = {}
        for counts, chance in after.items():
            if says(*counts, of):
                ever += chance
            else:
                ways[counts] = chance
    assert 0 < ever <= 0.25 * 0.2


def test_what_is_plainly_worse_is_convicted_within_two_hundred_rows() -> None:
    caught = chance_of_ever(taken_back, 0.3, 200)
    slow = chance_of_ever(lambda slower, of: convicted(answered(of, slower=slower)), 0.8, 200)
    assert min(caught, slow) > 0.99
    assert convicted(all_failed(14, 14))
    assert not convicted(all_failed(14, 7))


def test_a_candidate_that_decides_alike_passes_within_forty_rows_and_one_within_the_limit_mostly_within_two_hundred() -> None:
    assert passed(answered(40), PROMISES)
    assert chance_of_ever(passes, 0.03, 200) > 0.9


def test_the_documented_chances_are_the_exact_ones() -> None:
    page = (Path(__file__).parents[2] / "docs/concepts/smoke-and-shadow.md").read_text()
    lines = re.findall(r"^((?:\| [\d.]+ % )+)\|$", page, re.MULTILINE)
    rows = [[float(cell.strip(" %")) for cell in line.split("|")[1:]] for line in lines]
    assert len(rows) == 7
    for percent, *documented in rows:
        exact = [chance_of_ever(says, percent / 100, most) for says in (taken_back, passes) for most in (200, 500)]
        assert [round(100 * chance, 1) for chance in exact] == documented


def test_failures_of_both_and_of_the_stable_deployment_do_not_speak_against_the_candidate() -> None:
    for tally in (PairsTally(asked=500, both_failed=500), all_failed(500, 0)):
        ruling = rule_pairs(tally, PROMISES)
        assert (ruling.verdict, ruling.finding) == (Verdict.UNDECIDED, Finding.ERROR)
        assert "no row was answered by both" in ruling.reason


def test_who_fails_or_is_slow_more_often_does_not_pass_however_few_decisions_flip() -> None:
    fails = PairsTally(asked=103, timed=100, candidate_failed=3)
    assert [rule_pairs(one, PROMISES).verdict for one in (fails, answered(20, 0, 14))] == [Verdict.UNDECIDED] * 2
    assert rule_pairs(PairsTally(asked=103, timed=100, stable_failed=3), PROMISES).verdict is Verdict.PROMOTE


def test_doubt_is_about_flips_only_when_more_flipped_than_allowed() -> None:
    assert [flips_in_doubt(answered(200, flips), PROMISES) for flips in (0, 20, 21, 30)] == [False, False, True, True]
    assert not flips_in_doubt(PairsTally(), PROMISES)


def test_a_limit_of_zero_is_broken_by_one_flip_and_a_limit_of_one_by_none() -> None:
    none, all_of_them = PairsPromises(max_flip_rate=0), PairsPromises(max_flip_rate=1)
    assert rule_pairs(answered(200), none).verdict is Verdict.UNDECIDED
    assert rule_pairs(answered(200, 1), none).verdict is Verdict.ROLL_BACK
    assert rule_pairs(answered(200, 199), all_of_them).verdict is Verdict.PROMOTE


def test_a_slice_may_be_guilty_where_all_rows_together_are_not() -> None:
    promises = PairsPromises(max_flip_rate_in_slice=0.2)
    slices = {"carrier = AA": SliceTally(30, 24, -8.0), "carrier = UA": SliceTally(470, 6, 1.0)}
    tally = PairsTally(asked=500, timed=500, flips=30, slices=slices)
    ruling = rule_pairs(tally, promises)
    assert ruling.verdict is Verdict.ROLL_BACK
    assert "more decisions flip within a slice" in ruling.reason
    named = "carrier = AA (24 of 30 flipped, scores -0.2667), carrier = UA (6 of 470 flipped, scores +0.0021)"
    assert f"most different in {named}" in ruling.reason
    assert "slices" not in evidence_against(tally, PROMISES)
    assert rule_pairs(tally, PROMISES).verdict is Verdict.PROMOTE


def test_where_slices_have_a_limit_all_rows_are_asked_before_a_candidate_passes() -> None:
    promises = PairsPromises(max_flip_rate_in_slice=0.2)
    tally = PairsTally(asked=100, timed=100, slices={"a": SliceTally(90), "b": SliceTally(10)})
    assert rule_pairs(tally, promises).verdict is Verdict.UNDECIDED
    assert rule_pairs(replace(tally, over=True), promises).verdict is Verdict.PROMOTE
    assert rule_pairs(tally, PROMISES).verdict is Verdict.PROMOTE


def test_a_source_that_fails_and_a_model_without_rows_say_nothing_about_the_candidate() -> None:
    broken = weigh_pairs(PairsTally(asked=50, timed=50), chunk(50, 0, error="it cannot be reached"))
    assert rule_pairs(broken, PROMISES).finding is Finding.ERROR
    assert not broken.over
    without = weigh_pairs(PairsTally(), chunk(0, 0, last=True, note="the model m:2 brings no rows"))
    ruling = rule_pairs(without, PROMISES)
    assert (without.over, ruling.verdict, ruling.finding) == (True, Verdict.UNDECIDED, Finding.NONE)
    assert "the model m:2 brings no rows" in ruling.reason
    # The next chunk that arrives is weighed as if nothing had been.
    assert weigh_pairs(broken, chunk(50, 10, flips=1)) == PairsTally(asked=60, timed=60, flips=1)


def chunk(first: int, rows: int, flips: int = 0, *, last: bool = False, note: str = "", error: str = "") -> Pairs:
    return Pairs(first, rows, flips, 0, 0, 0, 0, rows, last, note=note, error=error)


def test_a_chunk_that_comes_again_or_after_the_end_changes_nothing() -> None:
    once = weigh_pairs(PairsTally(), chunk(0, 50, 3))
    assert weigh_pairs(once, chunk(0, 50, 3)) == once
    over = weigh_pairs(once, chunk(50, 10, 0, last=True))
    assert (over.asked, over.flips, over.over) == (60, 3, True)
    assert weigh_pairs(over, chunk(60, 10, 5)) == over


counts = st.integers(0, 40)


@settings(deadline=None)
@given(st.lists(st.tuples(counts, counts, counts), max_size=5))
def test_a_tally_is_the_sum_of_its_chunks_and_survives_the_ledger(parts: list[tuple[int, int, int]]) -> None:
    tally = PairsTally()
    for flips, more, failed in parts:
        rows = flips + more + failed
        one = {"s": SliceTally(flips + more, flips, 0.25 * flips)}
        pairs = Pairs(tally.asked, rows, flips, failed, 0, 0, more, flips + more, False, 0.25 * flips, one)
        tally = weigh_pairs(tally, from_document(Pairs, json.loads(json.dumps(to_document(pairs)))))
    flips, rows = sum(part[0] for part in parts), sum(sum(part) for part in parts)
    assert (tally.flips, tally.asked, tally.sum_of_differences) == (flips, rows, 0.25 * flips)
    assert from_document(PairsTally, json.loads(json.dumps(to_document(tally)))) == tally
    json.dumps(dict(rule_pairs(tally, PROMISES).figures), allow_nan=False)
