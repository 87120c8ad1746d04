"""The shadow's judge: the same request, answered by both deployments. Paired and sequential. Pure.

Every question is put as "this happens in at most a share m of the pairs", and answered by betting against it (Waudby-Smith and
Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 2023, section 4): a bet on a rate p > m multiplies the
capital by p/m when it happens and by (1-p)/(1-m) when it does not. While the true rate is m or less the capital does not grow
on average, so it ever reaches 1/alpha with a probability of at most alpha (Ville 1939), however often one looks. A bet on p < m
says the same of "at least m". Several bets share the capital evenly, since nobody knows the right p.

                 happens                                      among                        at most
    failures     the candidate failed and the stable did not  pairs in which one failed    a half (McNemar's test, as bets)
    flips        one says yes and the other no                pairs that both answered     `max_flip_rate`
    slices       the same within a slice                      its pairs                    `max_flip_rate_in_slice`
    slowness     more than `max_times_slower` times as long   pairs that both answered     a half (a sign test, as bets)

That holds for rows in random order, as the training pipeline writes them. A chunk's counts are enough: each capital is a product
that does not depend on the order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ml_core.rollout.judge.values import Finding, Ruling, Verdict

# How alpha is divided. Without a rule for slices the flips have their share too.
_FAILURES, _FLIPS, _SLICES, _SLOWNESS = 0.4, 0.2, 0.2, 0.2
_MOST_OFTEN = 0.5
# What is bet on, as ratios of the odds to those of the limit. Close to it for what differs little, far for what is obvious.
_ODDS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
# exp() of more is no number that JSON knows.
_LARGEST_LOG = 60.0
_SLICES_TOLD = 3


@dataclass(frozen=True)
class PairsPromises:
    """What the shadow allows. A candidate may differ; it must not fail, be slow, or flip more decisions than that.

    P(roll back a candidate within the limits) <= alpha;  P(pass one whose flip rate is `max_flip_rate` or more) <= beta.
    """

    decision_threshold: float = 0.5
    """A score of at least this is a yes."""

    max_flip_rate: float = 0.1
    max_flip_rate_in_slice: float | None = None
    max_times_slower: float = 2.0
    alpha: float = 0.0015
    beta: float = 0.05


@dataclass(frozen=True)
class SliceTally:
    """The rows of one slice that both answered. A difference is the candidate's score less the stable deployment's."""

    rows: int = 0
    flips: int = 0
    sum_of_differences: float = 0.0


@dataclass(frozen=True)
class Pairs:
    """A chunk of pairs: `rows` rows from row `first` on, each asked of both. `last` when no more are there.

    `candidate_failed` and `stable_failed` count pairs in which only the one failed. `timed` pairs were answered by both; in
    `slower` of them the candidate took more than `max_times_slower` times as long. `slices` names every slice of all rows, those
    without a row in this chunk too: what is tested must not depend on what was seen.
    """

    first: int
    rows: int
    flips: int
    candidate_failed: int
    stable_failed: int
    both_failed: int
    slower: int
    timed: int
    last: bool
    sum_of_differences: float = 0.0
    slices: Mapping[str, SliceTally] = field(default_factory=dict)
    error: str = ""
    """Why there are none although there should be some; they are asked again."""

    note: str = ""
    """What people should know: why nothing is compared, or an example of a failure. Never a row's values."""

    sum_of_distances: float = 0.0
    """Of the differences' absolute values."""


@dataclass(frozen=True)
class PairsTally:
    """All chunks so far. `asked` rows are behind us: the next chunk begins there."""

    asked: int = 0
    over: bool = False
    flips: int = 0
    candidate_failed: int = 0
    stable_failed: int = 0
    both_failed: int = 0
    slower: int = 0
    timed: int = 0
    sum_of_differences: float = 0.0
    sum_of_distances: float = 0.0
    slices: Mapping[str, SliceTally] = field(default_factory=dict)
    error: str = ""
    note: str = ""


def weigh_pairs(tally: PairsTally, pairs: Pairs) -> PairsTally:
    """The tally with one more chunk. A chunk that does not begin where the tally ends was weighed before, and changes nothing."""
    if tally.over or pairs.first != tally.asked:
        return tally
    none = SliceTally()
    slices = {
        name: _together(tally.slices.get(name, none), pairs.slices.get(name, none))
        for name in sorted(tally.slices.keys() | pairs.slices.keys())
    }
    return PairsTally(
        asked=tally.asked + pairs.rows,
        over=pairs.last,
        flips=tally.flips + pairs.flips,
        candidate_failed=tally.candidate_failed + pairs.candidate_failed,
        stable_failed=tally.stable_failed + pairs.stable_failed,
        both_failed=tally.both_failed + pairs.both_failed,
        slower=tally.slower + pairs.slower,
        timed=tally.timed + pairs.timed,
        sum_of_differences=tally.sum_of_differences + pairs.sum_of_differences,
        sum_of_distances=tally.sum_of_distances + pairs.sum_of_distances,
        slices=slices,
        error=pairs.error,
        note=tally.note or pairs.note,
    )


def _together(one: SliceTally, other: SliceTally) -> SliceTally:
    differences = one.sum_of_differences + other.sum_of_differences
    return SliceTally(one.rows + other.rows, one.flips + other.flips, differences)


def rule_pairs(tally: PairsTally, promises: PairsPromises) -> Ruling:
    """What all pairs so far say. PROMOTE: the comparison is passed, nothing more. UNDECIDED and `tally.over`: it stays undecided,
    and `flips_in_doubt` says whether that is a reason to ask a person."""
    against = evidence_against(tally, promises)
    figures = _figures(tally, promises, against)
    told = _told(tally, promises)
    if tally.error:
        return Ruling(Verdict.UNDECIDED, Finding.ERROR, f"the held-out rows cannot be asked: {tally.error}", figures)
    if not tally.asked:
        why = tally.note or "none was asked yet"
        return Ruling(Verdict.UNDECIDED, Finding.NONE, f"no held-out rows were compared: {why}", figures)
    guilty = [reason for reason, threshold in _thresholds(tally, promises).items() if against[reason] >= math.log(threshold)]
    if guilty:
        return Ruling(Verdict.ROLL_BACK, Finding.BAD, f"{' and '.join(_GUILT[one] for one in guilty)}: {told}", figures)
    if not tally.timed:
        return Ruling(Verdict.UNDECIDED, Finding.ERROR, f"no row was answered by both: {told}", figures)
    if passed(tally, promises):
        limit = f"fewer than {promises.max_flip_rate:.2%} of its decisions differ"
        return Ruling(Verdict.PROMOTE, Finding.OK, f"it is shown that {limit}: {told}", figures)
    rest = "all rows are asked, and it is not shown" if tally.over else "more rows are to be asked before it is shown"
    return Ruling(Verdict.UNDECIDED, Finding.OK, f"{rest} that the candidate stays within the limits: {told}", figures)


def flips_in_doubt(tally: PairsTally, promises: PairsPromises) -> bool:
    """Whether more decisions flipped than are allowed, though by too few rows to be sure that it is no chance."""
    return tally.flips > promises.max_flip_rate * tally.timed


def passed(tally: PairsTally, promises: PairsPromises) -> bool:
    """Whether it is shown, at the risk beta, that fewer decisions flip than are allowed, and nothing else looks worse.

    Where slices have a limit, not before all rows are asked: the first forty say little about each of them.
    """
    if _in_slices(tally, promises) and not tally.over:
        return False
    shown = log_capital_below(tally.flips, tally.timed, promises.max_flip_rate) >= math.log(1 / promises.beta)
    return shown and tally.candidate_failed <= tally.stable_failed and tally.slower <= _MOST_OFTEN * tally.timed


def evidence_against(tally: PairsTally, promises: PairsPromises) -> dict[str, float]:
    """The logarithm of the capital of who bets against the candidate, by what for: failures, flips, slices, slowness."""
    one_failed = tally.candidate_failed + tally.stable_failed
    against = {
        "failures": log_capital_above(tally.candidate_failed, one_failed, _MOST_OFTEN),
        "flips": log_capital_above(tally.flips, tally.timed, promises.max_flip_rate),
        "slowness": log_capital_above(tally.slower, tally.timed, _MOST_OFTEN),
    }
    limit = promises.max_flip_rate_in_slice
    if limit is not None and _in_slices(tally, promises):
        # The mean of capitals is one too, whatever they have in common: that is what looking at many slices costs.
        capitals = [log_capital_above(one.flips, one.rows, limit) for one in tally.slices.values()]
        against["slices"] = _log_mean(capitals)
    return against


def log_capital_above(happened: int, of: int, limit: float) -> float:
    """The logarithm of what is left of 1 that was bet on a rate above `limit`. At most 0 on average while the rate is not."""
    if limit >= 1:
        return 0.0  # nothing is more than always
    if limit <= 0:
        return _LARGEST_LOG if happened else 0.0  # what never happens has happened
    return min(_LARGEST_LOG, _log_mean([_log_of_a_bet(happened, of, limit, _rate(odds, limit)) for odds in _ODDS]))


def log_capital_below(happened: int, of: int, limit: float) -> float:
    """The same, bet on a rate below `limit`: large when it is shown that the rate is not `limit` or more."""
    if limit >= 1:
        return _LARGEST_LOG if happened < of else 0.0  # what always happens has not
    if limit <= 0:
        return 0.0  # nothing is less than never
    rates = [0.0, *(_rate(1 / odds, limit) for odds in _ODDS)]
    return min(_LARGEST_LOG, _log_mean([_log_of_a_bet(happened, of, limit, rate) for rate in rates]))


def _rate(odds: float, limit: float) -> float:
    """The rate whose odds are so many times those of `limit`."""
    return odds * limit / (odds * limit + 1 - limit)


def _log_of_a_bet(happened: int, of: int, limit: float, rate: float) -> float:
    if happened and not rate:
        return -math.inf
    gained = happened * math.log(rate / limit) if happened else 0.0
    return gained + (of - happened) * math.log1p((limit - rate) / (1 - limit))


def _log_mean(logs: list[float]) -> float:
    """log(mean(exp(logs))), without leaving the range of a float."""
    largest = max(logs)
    return largest + math.log(math.fsum(math.exp(one - largest) for one in logs) / len(logs))


def _thresholds(tally: PairsTally, promises: PairsPromises) -> dict[str, float]:
    """1 / (the share of alpha), by what it is for. They sum to alpha."""
    in_slices = _in_slices(tally, promises)
    shares = {"failures": _FAILURES, "flips": _FLIPS if in_slices else _FLIPS + _SLICES, "slowness": _SLOWNESS}
    shares |= {"slices": _SLICES} if in_slices else {}
    return {name: 1 / (promises.alpha * share) for name, share in shares.items()}


def _in_slices(tally: PairsTally, promises: PairsPromises) -> bool:
    return promises.max_flip_rate_in_slice is not None and bool(tally.slices)


_GUILT = {
    "failures": "the candidate fails where the stable deployment answers",
    "flips": "more decisions flip than are allowed",
    "slices": "more decisions flip within a slice than are allowed",
    "slowness": "the candidate takes too long for most requests",
}


def _figures(tally: PairsTally, promises: PairsPromises, against: Mapping[str, float]) -> dict[str, float]:
    """The numbers behind a ruling, for people: e-values are what they are held against, by name."""
    figures: dict[str, float] = {"pairs": tally.asked, "pairs_answered_by_both": tally.timed}
    for name, threshold in _thresholds(tally, promises).items():
        figures[f"{name}_e_value"] = math.exp(against[name])
        figures[f"{name}_roll_back_at"] = threshold
    figures["pass_e_value"] = math.exp(log_capital_below(tally.flips, tally.timed, promises.max_flip_rate))
    figures["pass_at"] = 1 / promises.beta
    return figures


def _told(tally: PairsTally, promises: PairsPromises) -> str:
    """What was counted, in a line."""
    both = tally.timed
    parts = [
        f"of {tally.asked} held-out rows {tally.candidate_failed} failed on the candidate only, {tally.stable_failed} on the "
        f"stable deployment only, {tally.both_failed} on both",
    ]
    if both:
        slow = f"{tally.slower} took over {promises.max_times_slower:g} times as long"
        parts.append(f"{tally.flips} of {both} decisions flipped (allowed {promises.max_flip_rate:.2%}), {slow}")
        parts.append(f"scores differ by {tally.sum_of_distances / both:.4f} on average ({tally.sum_of_differences / both:+.4f})")
    if differing := _most_different(tally.slices):
        parts.append(f"most different in {differing}")
    if tally.note:
        parts.append(tally.note)
    return "; ".join(parts)


def _most_different(slices: Mapping[str, SliceTally]) -> str:
    """The three slices with the most flips, and then with the largest mean difference of scores; '' when none differs."""

    def key(named: tuple[str, SliceTally]) -> tuple[float, float]:
        return named[1].flips / named[1].rows, abs(named[1].sum_of_differences) / named[1].rows

    differing = sorted((one for one in slices.items() if one[1].rows and any(key(one))), key=key, reverse=True)
    told = (
        f"{name} ({one.flips} of {one.rows} flipped, scores {one.sum_of_differences / one.rows:+.4f})"
        for name, one in differing[:_SLICES_TOLD]
    )
    return ", ".join(told)
