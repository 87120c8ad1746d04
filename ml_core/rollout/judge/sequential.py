"""The canary's judge: errors and slow answers against a concurrent control, with promises that hold at any look. Pure.

docs/concepts/judge.md tells the theorems in plain words, and what breaks them. What is remembered is a handful of capitals
(`betting`), each a bet against one hypothesis; what they add up to is said by `ruling`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from ml_core.ports import Counts
from ml_core.rollout.judge.betting import Capital, bet, by_rate, by_ratio
from ml_core.rollout.judge.values import Arms, Promises

# How many times as often the candidate fails, and how much is bet on it.
_RATIOS = (1.5, 2.5, 5.0, 15.0)
_WEIGHTS = (0.1, 0.35, 0.35, 0.2)
# The candidate's own rate, as a part of the rate that must be refuted.
_PARTS = (0.0, 0.1, 1 / 3, 0.6)
_PART_WEIGHTS = (0.4, 0.25, 0.25, 0.1)
# How much of the idle capital is bet: at the beginning, when the split has changed (more load may be too much), and each time,
# divided by the number of intervals and these more (so that some is left after days).
_AT_FIRST, _AT_A_STEP, _LATER = 0.8, 0.3, 50
# One interval goes so much less far towards a promotion than towards a rollback: there is no haste.
_LESS_HASTE = 0.25
# Of evidence for a candidate only so many times what a promotion asks for is kept: the last hour must not be outweighed by days.
_HOARD = 10.0
# The stable deployment's 95th percentile: so much of its requests is slower.
SLOW = 0.05
_ALWAYS = 0.9  # a psi that asks for more than that is content with it
# The split that was asked for and the one that is seen: odds that differ by a quarter are let pass.
_SPLIT_TOLERANCE = 1.25
_SPLIT_RATIOS, _SPLIT_WEIGHTS, _SPLIT_MOST = (1.6, 3.0, 10.0), (0.5, 0.3, 0.2), 4.0
# The risk of calling a right split wrong, for each of the two directions.
SPLIT_ALPHA = 0.0005


@dataclass(frozen=True)
class Tally:
    """All that the judge remembers of the intervals so far. `Tally()` is the beginning."""

    intervals: int = 0
    candidate: Counts = field(default_factory=Counts)
    """All that was judged, summed up: for people."""

    stable: Counts = field(default_factory=Counts)
    share: float = 0.0
    """The candidate's intended part in the last interval."""

    asked_in_step: int = 0
    """The candidate's requests since that changed."""

    errors_against: Capital = field(default_factory=Capital)
    """Bets that it fails more often than the stable deployment."""

    slow_against: Capital = field(default_factory=Capital)
    """Bets that it is slow more than `tolerated_slowness` times as often."""

    errors_for: Capital = field(default_factory=Capital)
    """Bets that it does not fail psi times as often."""

    slow_for: Capital = field(default_factory=Capital)
    rate_for: Capital = field(default_factory=Capital)
    """Bets that its own error rate is below the tolerable one."""

    slow_rate_for: Capital = field(default_factory=Capital)
    """Bets that fewer of its answers are slow than would be of a candidate that is psi times slower."""

    too_many: Capital = field(default_factory=Capital)
    """Bets that it gets more of the requests than it should."""

    too_few: Capital = field(default_factory=Capital)
    first_candidate: Counts = field(default_factory=Counts)
    """What the tripwire looks at: all from the beginning, until it has seen enough."""

    first_stable: Counts = field(default_factory=Counts)
    distrusted: str = ""
    """Why the last interval's counts cannot be true."""


def weigh(tally: Tally, arms: Sequence[Arms], promises: Promises, *, since: datetime | None) -> Tally:
    """The tally with these intervals, each of which must not be in it yet.

    `since`: when the candidate's first traffic stood. What begins earlier is left out, and what begins within the grace after it
    is seen by the tripwire only. None: there is no grace.
    """
    for one in arms:
        tally = _weigh(tally, one, promises, since)
    return tally


def contradiction(arms: Arms) -> str:
    """Why these counts cannot be true; '' when they can."""
    for name, counts in (("candidate", arms.candidate), ("stable deployment", arms.stable)):
        if not 0 <= counts.errors <= counts.requests:
            return f"the {name} cannot have failed {counts.errors} of {counts.requests} requests"
        if not 0 <= counts.slow <= counts.slow_at_most <= counts.requests:
            told = f"{counts.slow} to {counts.slow_at_most} of {counts.requests}"
            return f"the {name} cannot have been slow for {told} requests"
    return ""


def _weigh(tally: Tally, arms: Arms, promises: Promises, since: datetime | None) -> Tally:
    if since is not None and arms.at < since:
        return tally
    if reason := contradiction(arms):
        return replace(tally, distrusted=reason)
    first_candidate, first_stable = _the_first(tally, arms, promises)
    if since is not None and arms.at < since + promises.grace:
        return replace(tally, first_candidate=first_candidate, first_stable=first_stable, distrusted="")
    step_is_new = arms.share != tally.share
    start = _AT_FIRST if not tally.intervals else _AT_A_STEP if step_is_new else 1 / (_LATER + tally.intervals)
    errors_against, slow_against, errors_for, slow_for = _by_ratios(tally, arms, promises, start)
    rate_for, slow_rate_for = _by_rates(tally, arms, promises, start)
    too_many, too_few = _by_split(tally, arms, start)
    return Tally(
        intervals=tally.intervals + 1,
        candidate=tally.candidate + arms.candidate,
        stable=tally.stable + arms.stable,
        share=arms.share,
        asked_in_step=arms.candidate.requests + (0 if step_is_new else tally.asked_in_step),
        errors_against=errors_against,
        slow_against=slow_against,
        errors_for=errors_for,
        slow_for=slow_for,
        rate_for=rate_for,
        slow_rate_for=slow_rate_for,
        too_many=too_many,
        too_few=too_few,
        first_candidate=first_candidate,
        first_stable=first_stable,
    )


def _the_first(tally: Tally, arms: Arms, promises: Promises) -> tuple[Counts, Counts]:
    candidate, stable, enough = tally.first_candidate, tally.first_stable, promises.tripwire_at
    if candidate.requests >= enough and stable.requests >= enough:
        return candidate, stable
    return candidate + arms.candidate, stable + arms.stable


def _by_ratios(tally: Tally, arms: Arms, promises: Promises, start: float) -> tuple[Capital, Capital, Capital, Capital]:
    """The comparison with the stable deployment. It says nothing about an interval in which only one of them was asked."""
    candidate, stable = arms.candidate, arms.stable
    if not candidate.requests or not stable.requests:
        return tally.errors_against, tally.slow_against, tally.errors_for, tally.slow_for
    q = candidate.requests / (candidate.requests + stable.requests)

    def against(capital: Capital, x: int, y: int, null: float, alpha: float) -> Capital:
        logs = [by_ratio(x, y, q, ratio * null, null) for ratio in _RATIOS]
        return bet(capital, logs, _WEIGHTS, start=start, most=promises.most_per_interval * math.log(1 / alpha))

    def in_favour(capital: Capital, x: int, y: int) -> Capital:
        most = _LESS_HASTE * promises.most_per_interval * math.log(1 / promises.beta)
        return bet(
            capital, [by_ratio(x, y, q, 1.0, promises.psi)], (1.0,), start=start, most=most, largest=_HOARD / promises.beta
        )

    slowness = promises.tolerated_slowness
    # What is known within bounds only is taken so that it makes the bet poorer: a promise must hold wherever the truth lies.
    return (
        against(tally.errors_against, candidate.errors, stable.errors, 1.0, promises.alpha_for("errors")),
        against(tally.slow_against, candidate.slow, stable.slow_at_most, slowness, promises.alpha_for("slow")),
        in_favour(tally.errors_for, candidate.errors, stable.errors),
        in_favour(tally.slow_for, candidate.slow_at_most, stable.slow),
    )


def _by_rates(tally: Tally, arms: Arms, promises: Promises, start: float) -> tuple[Capital, Capital]:
    """The candidate by itself: it need not be compared when it hardly ever fails."""
    candidate, tolerable = arms.candidate, promises.tolerable_error_rate

    def below(capital: Capital, x: int, null: float) -> Capital:
        logs = [by_rate(x, candidate.requests, part * null, null) for part in _PARTS]
        return bet(capital, logs, _PART_WEIGHTS, start=start, largest=_HOARD / promises.beta)

    rate_for = tally.rate_for if tolerable is None else below(tally.rate_for, candidate.errors, tolerable)
    return rate_for, below(tally.slow_rate_for, candidate.slow_at_most, min(promises.psi * SLOW, _ALWAYS))


def _by_split(tally: Tally, arms: Arms, start: float) -> tuple[Capital, Capital]:
    """Is 10 % really 10 %? The same bets, on requests (Lindon & Malek 2022)."""
    if not 0 < arms.share < 1:
        return tally.too_many, tally.too_few

    def off(capital: Capital, x: int, y: int, share: float) -> Capital:
        logs = [by_ratio(x, y, share, ratio, _SPLIT_TOLERANCE) for ratio in _SPLIT_RATIOS]
        return bet(capital, logs, _SPLIT_WEIGHTS, start=start, most=_SPLIT_MOST, largest=_HOARD / SPLIT_ALPHA)

    candidate, stable = arms.candidate.requests, arms.stable.requests
    return off(tally.too_many, candidate, stable, arms.share), off(tally.too_few, stable, candidate, 1 - arms.share)
