"""The canary's judge by example: what it says of which counts, and in which order it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ml_core.documents import from_document, to_document
from ml_core.ports import Counts, History, SourceFailed
from ml_core.rollout import judge
from ml_core.rollout.judge import Arms, Finding, Promises, Ruling, Tally, Verdict, finding, promises_for, rule
from ml_core.rollout.judge.ruling import LEAST_TOLERABLE, lowest_rate

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PROMISES = Promises(tolerable_error_rate=0.001)


def minute(number: int, candidate: Counts, stable: Counts, share: float = 0.1) -> Arms:
    return Arms(START + number * MINUTE, candidate, stable, share)


def minutes(count: int, candidate: Counts, stable: Counts, share: float = 0.1, *, first: int = 0) -> list[Arms]:
    return [minute(first + number, candidate, stable, share) for number in range(count)]


def weigh(arms: Sequence[Arms], promises: Promises = PROMISES, tally: Tally | None = None) -> Tally:
    return judge.weigh(tally or Tally(), arms, promises, since=START)


def ruled(arms: Sequence[Arms], promises: Promises = PROMISES) -> Ruling:
    return rule(weigh(arms, promises), promises)


GOOD = Counts(60), Counts(540)
FAILING = Counts(60, errors=6), Counts(540, errors=3)
ALL_FAIL = Counts(30, errors=30), Counts(270)


def test_a_candidate_that_fails_far_more_often_is_rolled_back_in_its_second_minute() -> None:
    assert ruled(minutes(1, *FAILING)).verdict is Verdict.UNDECIDED
    ruling = ruled(minutes(2, *FAILING))
    assert (ruling.verdict, ruling.finding) == (Verdict.ROLL_BACK, Finding.BAD)
    assert ruling.reason == (
        "the candidate fails more often than the stable deployment: it failed 12 of 120 requests, the stable deployment 6 of 1080"
    )
    assert ruling.figures["errors_e_value"] >= ruling.figures["errors_roll_back_at"]


def test_when_both_fail_alike_however_often_nobody_is_to_blame() -> None:
    outage = minutes(10, Counts(60, errors=30), Counts(540, errors=270))
    assert ruled(outage).verdict is not Verdict.ROLL_BACK


def test_a_single_minute_never_decides() -> None:
    """A client that repeats a request that fails, over one connection, looks like this."""
    before = minutes(10, *GOOD)
    burst = minute(10, Counts(260, errors=200), Counts(540, errors=0))
    ruling = ruled([*before, burst])
    assert ruling.verdict is Verdict.UNDECIDED
    assert ruled([*before, burst, *minutes(20, *GOOD, first=11)]).verdict is not Verdict.ROLL_BACK


def test_a_regression_that_begins_late_is_found_as_fast_as_an_early_one() -> None:
    """What was won by doing well must not have to be lost first."""
    a_day = weigh(minutes(1440, Counts(60, errors=1), Counts(540, errors=9)))
    assert rule(weigh(minutes(4, *FAILING, first=1440), tally=a_day), PROMISES).verdict is Verdict.ROLL_BACK


def minutes_until_rolled_back(tally: Tally, share: float) -> int:
    for number in range(1, 60):
        tally = weigh([minute(1000 + number, Counts(60, errors=2), Counts(540, errors=3), share)], tally=tally)
        if rule(tally, PROMISES).verdict is Verdict.ROLL_BACK:
            return number
    raise AssertionError("it is not found within an hour")


def test_a_regression_that_comes_with_a_new_step_is_found_sooner_than_one_in_the_middle_of_it() -> None:
    """More load may be what a candidate cannot take, so part of the stake waits for that."""
    good = weigh(minutes(120, Counts(60, errors=1), Counts(540, errors=9)))
    assert minutes_until_rolled_back(good, share=0.11) < minutes_until_rolled_back(good, share=0.1)


def test_a_burst_does_not_hide_a_smaller_regression_behind_it() -> None:
    burst = minute(0, Counts(260, errors=200), Counts(540))
    worse = minutes(40, Counts(60, errors=1), Counts(540, errors=3), first=1)  # three times as often
    assert rule(weigh([burst, *worse]), PROMISES).verdict is Verdict.ROLL_BACK


def test_a_candidate_that_is_slow_more_often_is_rolled_back_and_one_that_is_a_little_slower_is_not() -> None:
    slow = minutes(3, Counts(60, slow=20, slow_at_most=20), Counts(540, slow=27, slow_at_most=27))
    assert ruled(slow).verdict is Verdict.ROLL_BACK
    assert "is slow more often than the stable deployment" in ruled(slow).reason
    a_little = minutes(300, Counts(60, slow=4, slow_at_most=4), Counts(540, slow=27, slow_at_most=27))
    assert ruled(a_little).verdict is not Verdict.ROLL_BACK


def test_slow_counts_that_are_known_within_bounds_only_are_read_in_the_candidates_favour_when_it_is_accused() -> None:
    vague = minutes(30, Counts(60, slow=3, slow_at_most=30), Counts(540, slow=5, slow_at_most=54))
    assert ruled(vague).figures["slow_e_value"] < 1
    exact = minutes(30, Counts(60, slow=30, slow_at_most=30), Counts(540, slow=54, slow_at_most=54))
    assert ruled(exact).verdict is Verdict.ROLL_BACK


def test_and_against_it_when_it_wants_to_be_promoted() -> None:
    vague = minutes(60, Counts(60, slow=1, slow_at_most=30), Counts(540, slow=27, slow_at_most=54))
    assert ruled(vague).figures["slow_promote_e_value"] < 1
    assert ruled(vague).verdict is Verdict.UNDECIDED


def test_a_candidate_that_is_as_good_is_promoted_by_the_comparison_where_both_err() -> None:
    ruling = ruled(minutes(40, Counts(60, errors=1), Counts(540, errors=9)))
    assert (ruling.verdict, ruling.finding) == (Verdict.PROMOTE, Finding.OK)
    assert ruling.reason.startswith("the candidate is not 3 times worse than the stable deployment: ")
    told = ruling.figures
    assert told["own_rate_e_value"] < 1 < told["promote_at"] < told["relative_e_value"]
    assert told["errors_promote_e_value"] == pytest.approx((told["relative_e_value"] + told["own_rate_e_value"]) / 2)


def test_a_service_that_never_errs_concludes_by_the_candidates_own_rate() -> None:
    ruling = ruled(minutes(100, *GOOD))
    assert ruling.verdict is Verdict.PROMOTE
    assert ruling.reason.startswith("the candidate fails less often than the tolerable 0.100% of its requests: ")
    assert ruling.figures["relative_e_value"] == pytest.approx(1.0)


def test_and_not_before_it_was_asked_often_enough_for_that() -> None:
    """0.999^3000 = 5 %: with fewer requests a candidate at the tolerable rate is seen without an error too often."""
    assert ruled(minutes(49, *GOOD)).verdict is Verdict.UNDECIDED
    without = replace(PROMISES, tolerable_error_rate=None)
    assert ruled(minutes(1000, *GOOD), without).verdict is Verdict.UNDECIDED


def test_no_merit_promotes_a_candidate_against_which_the_evidence_is_half_of_the_way() -> None:
    """Fewer failures than anybody minds, and still many more than the stable deployment's."""
    promises = replace(PROMISES, tolerable_error_rate=0.2)
    tally = weigh(minutes(60, *GOOD), promises)
    tally = weigh([minute(60, Counts(60, errors=3), Counts(540)), minute(61, Counts(60, errors=2), Counts(540))], promises, tally)
    ruling = rule(tally, promises)
    assert ruling.figures["errors_promote_e_value"] > ruling.figures["promote_at"]
    assert (ruling.verdict, ruling.finding) == (Verdict.UNDECIDED, Finding.BAD)


def test_when_the_first_requests_all_fail_the_tripwire_needs_no_second_minute_and_no_grace() -> None:
    promises = replace(PROMISES, grace=5 * MINUTE)
    ruling = ruled([minute(0, *ALL_FAIL)], promises)
    assert (ruling.verdict, ruling.finding) == (Verdict.ROLL_BACK, Finding.BAD)
    assert ruling.reason == "the candidate failed all of its first 30 requests, the stable deployment 0 of 270"


@pytest.mark.parametrize(
    ("arms", "why"),
    [
        (minute(0, Counts(19, errors=19), Counts(270)), "too few were asked"),
        (minute(0, Counts(30, errors=29), Counts(270)), "one was answered"),
        (minute(0, Counts(30, errors=30), Counts(270, errors=200)), "the stable deployment fails as well"),
        (minute(0, Counts(30, errors=30), Counts(0)), "nobody is beside it"),
    ],
)
def test_the_tripwire_lies_still(arms: Arms, why: str) -> None:
    assert ruled([arms]).verdict is Verdict.UNDECIDED, why


def test_the_tripwire_can_be_taken_away() -> None:
    assert ruled([minute(0, *ALL_FAIL)], replace(PROMISES, tripwire=0)).verdict is Verdict.UNDECIDED
    assert replace(PROMISES, tripwire=0).tripwire_alpha == 0


def test_a_tripwire_that_is_too_short_for_alpha_waits_for_more_requests() -> None:
    hasty = replace(PROMISES, tripwire=2)
    assert hasty.tripwire_at == 17
    assert hasty.tripwire_alpha <= hasty.alpha / 10


def test_what_is_spent_on_all_that_is_watched_is_alpha() -> None:
    spent = sum(PROMISES.alpha_for(name) for name in ("errors", "slow", "pairs")) + PROMISES.tripwire_alpha
    assert spent == pytest.approx(PROMISES.alpha)


def test_evidence_before_the_first_traffic_and_within_the_grace_is_left_out() -> None:
    promises = replace(PROMISES, grace=2 * MINUTE)
    early = [minute(-1, *FAILING), minute(0, *FAILING), minute(1, *FAILING)]
    tally = weigh(early, promises)
    assert (tally.intervals, tally.candidate) == (0, Counts())
    assert rule(tally, promises).finding is Finding.NONE
    assert weigh([minute(2, *FAILING)], promises, tally).intervals == 1


def test_without_a_first_traffic_there_is_no_grace() -> None:
    promises = replace(PROMISES, grace=timedelta(hours=1))
    assert judge.weigh(Tally(), minutes(2, *FAILING), promises, since=None).intervals == 2


def test_nobody_asked_is_no_evidence() -> None:
    ruling = ruled(minutes(5, Counts(), Counts()))
    assert (ruling.verdict, ruling.finding) == (Verdict.UNDECIDED, Finding.NONE)
    assert ruling.reason.startswith("nobody asked the candidate anything in this step that can be judged")


def test_each_step_needs_requests_of_its_own() -> None:
    tally = weigh(minutes(10, *GOOD))
    tally = weigh(minutes(1, Counts(), Counts(), 0.25, first=10), tally=tally)
    assert rule(tally, PROMISES).finding is Finding.NONE


def test_a_split_that_is_not_the_one_asked_for_is_an_error_and_no_fault_of_the_candidates() -> None:
    for candidate in (Counts(20, errors=10), Counts(180, errors=90)):
        ruling = ruled(minutes(3, candidate, Counts(540)))
        assert (ruling.verdict, ruling.finding) == (Verdict.UNDECIDED, Finding.ERROR)
        assert "requests than its 10%: the two cannot be compared" in ruling.reason


def test_a_candidate_that_gets_nothing_at_all_is_an_error_too() -> None:
    assert ruled(minutes(3, Counts(), Counts(540))).finding is Finding.ERROR


def test_a_split_that_is_right_again_is_trusted_again() -> None:
    off = weigh(minutes(3, Counts(20), Counts(540)))
    assert rule(off, PROMISES).finding is Finding.ERROR
    assert rule(weigh(minutes(20, *GOOD, first=3), tally=off), PROMISES).finding is Finding.OK


def test_a_split_that_is_nearly_right_is_let_pass() -> None:
    assert ruled(minutes(1440, Counts(66), Counts(534))).finding is Finding.OK


@pytest.mark.parametrize(
    "candidate",
    [Counts(10, errors=11), Counts(10, errors=-1), Counts(10, slow=3, slow_at_most=2), Counts(10, slow=3, slow_at_most=11)],
)
def test_counts_that_cannot_be_true_are_an_error_and_are_not_weighed(candidate: Counts) -> None:
    tally = weigh([*minutes(2, *GOOD), minute(2, candidate, Counts(90))])
    assert tally.intervals == 2
    ruling = rule(tally, PROMISES)
    assert (ruling.verdict, ruling.finding) == (Verdict.UNDECIDED, Finding.ERROR)
    assert "the candidate cannot have" in ruling.reason
    assert rule(weigh([minute(3, *GOOD)], tally=tally), PROMISES).finding is Finding.OK
    assert finding([minute(2, candidate, Counts(90))]) is Finding.ERROR


def test_a_finding_is_about_these_intervals_alone() -> None:
    assert finding([]) is Finding.NONE
    assert finding(minutes(3, Counts(), Counts(540))) is Finding.NONE
    assert finding(minutes(3, *GOOD)) is Finding.OK
    assert finding(minutes(1, *FAILING)) is Finding.BAD
    assert finding(minutes(1, Counts(60, errors=30), Counts(540, errors=270))) is Finding.OK


def test_a_tolerable_error_rate_is_psi_times_what_the_past_was_at_least() -> None:
    derived = promises_for(Promises(), History(requests=1_000_000, errors=5_000, seconds=86_400.0)).tolerable_error_rate
    assert derived is not None
    assert 0.014 < derived < 0.015
    a_little = promises_for(Promises(), History(requests=200, errors=1, seconds=86_400.0)).tolerable_error_rate
    assert a_little == LEAST_TOLERABLE  # one error in 200 may be chance


@pytest.mark.parametrize("history", [None, SourceFailed("down"), History(0, 0, 86_400.0), History(900_000, 0, 86_400.0)])
def test_without_a_past_or_without_errors_in_it_one_in_a_thousand_is_tolerable(history: History | SourceFailed | None) -> None:
    assert promises_for(Promises(), history).tolerable_error_rate == LEAST_TOLERABLE


def test_a_configured_tolerable_rate_is_left_alone() -> None:
    assert promises_for(replace(PROMISES, tolerable_error_rate=0.2), History(1000, 900, 60.0)).tolerable_error_rate == 0.2


def test_the_lowest_rate_is_below_what_was_seen_and_closer_the_more_was_seen() -> None:
    assert 0 < lowest_rate(5, 1_000) < lowest_rate(50, 10_000) < lowest_rate(500, 100_000) < 0.005
    assert lowest_rate(0, 1_000) == 0
    assert 0.9 < lowest_rate(1_000, 1_000) < 1


def test_a_tally_is_the_same_after_a_journey_through_the_ledger() -> None:
    tally = weigh([*minutes(30, Counts(60, errors=1, slow=3, slow_at_most=4), Counts(540, errors=2)), minute(30, *ALL_FAIL)])
    assert from_document(Tally, to_document(tally)) == tally


def test_intervals_may_be_weighed_one_by_one_or_together() -> None:
    arms = [*minutes(5, *GOOD), *minutes(5, *FAILING, 0.25, first=5), *minutes(5, *GOOD, 0.5, first=10)]
    one_by_one = Tally()
    for arm in arms:
        one_by_one = weigh([arm], tally=one_by_one)
    assert one_by_one == weigh(arms)


def test_years_of_weighing_leave_numbers_that_can_be_kept() -> None:
    """Of a rollout that somebody has forgotten, in good days and in bad ones."""
    tally = weigh(minutes(3_000, Counts(6_000), Counts(54_000)))
    tally = weigh(minutes(500, Counts(6_000, errors=6_000), Counts(54_000), first=3_000), tally=tally)
    tally = weigh(minutes(500, Counts(6_000), Counts(54_000, errors=54_000), first=3_500), tally=tally)
    assert from_document(Tally, to_document(tally)) == tally
    assert all(0 <= value < float("inf") for value in rule(tally, PROMISES).figures.values())
