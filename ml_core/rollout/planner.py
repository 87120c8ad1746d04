"""How long will a verdict take? Said before the first step, from recent traffic and the stable deployment's errors. Pure.

The judge itself is asked: it is given, interval after interval, the counts that are to be expected, and the time at which it
rules is the answer. The logarithm of its evidence is a sum over the intervals, and counts at their expectation let it grow at its
mean rate, so that time is near the middle of the times that chance will bring (Wald 1945: mean time = threshold / mean growth).
Whatever the judge learns to do better, the planner knows. `tests/unit/test_planner.py` holds it against simulated rollouts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ml_core.ports import Counts, History, SourceFailed
from ml_core.rollout import judge
from ml_core.rollout.judge.sequential import Tally
from ml_core.rollout.judge.values import Arms, Promises, Verdict

if TYPE_CHECKING:  # the state holds a plan
    from ml_core.rollout.state import RolloutRules

_START = datetime(2000, 1, 1, tzinfo=UTC)  # any day: only what lies between two times counts
# The intervals of the metrics at first, later wider ones: a sixtieth of the time so far. A plan is made while a look is at work.
_FINE = 60
# The 95th percentile of a deployment's own latency: so much of its requests is slower.
_SLOW = 0.05
_LONGEST_DEADLINE = timedelta(days=14)
_MOST_REPLAYED, _TIMES = 4096, 4
_TOLERABLE = (0.002, 0.005, 0.01, 0.02, 0.05)


@dataclass(frozen=True)
class Plan:
    """What is to be expected of a rollout. Spans are medians; None: not within the deadline."""

    requests_per_minute: float
    error_rate: float | None
    """Of the stable deployment; None when nothing is known of it."""

    promoted_after: timedelta | None
    """A candidate that is as good."""

    caught_after: timedelta | None
    """One that is psi times worse is rolled back."""

    tolerated: bool = False
    """One that is psi times worse would be promoted: it still fails less often than is tolerated."""

    advice: tuple[str, ...] = ()
    """What to change when there will be no verdict within the deadline; empty otherwise."""


def plan(history: History | SourceFailed | None, rules: RolloutRules) -> Plan:
    """What the stable deployment's `history` lets expect of a rollout by these rules, from the candidate's first request on."""
    if isinstance(history, SourceFailed):
        told = f"the stable deployment's history cannot be read ({history.reason}), so that nothing is expected of this rollout"
        return Plan(0.0, None, None, None, advice=(told,))
    if history is None or history.requests == 0 or history.seconds <= 0:
        told = "nobody has asked the stable deployment anything lately: without requests there is no verdict, so replay some"
        return Plan(0.0, None, None, None, advice=(told,))
    load = _load(history)
    promises = judge.promises_for(rules.promises, history)
    promoted = _expected(load, rules, promises).promoted_after
    worse = _expected(load, rules, promises, times_worse=promises.psi)
    return Plan(
        requests_per_minute=load.requests * 60,
        error_rate=history.errors / history.requests,
        promoted_after=promoted,
        caught_after=worse.caught_after,
        tolerated=worse.promoted_after is not None,
        advice=() if promoted else tuple(_advice(load, rules, promises)),
    )


def told(made: Plan, psi: float) -> str:
    """A plan in a sentence without its full stop."""
    if made.error_rate is None:
        return made.advice[0]
    known = f"{_number(made.requests_per_minute)} requests a minute, of which {100 * made.error_rate:.2g} % fail"
    promoted = f"is promoted after about {span(made.promoted_after)}" if made.promoted_after else "gets no verdict in time"
    caught = "is neither promoted nor found in time"
    if made.caught_after:
        caught = f"is found after about {span(made.caught_after)}"
    elif made.tolerated:
        caught = "still fails less often than is tolerated, and is promoted too"
    change = f". To change: {'; or '.join(made.advice)}" if made.advice else ""
    return f"{known}: a candidate that is as good {promoted}, one that is {psi:g} times worse {caught}{change}"


def in_short(made: Plan) -> str:
    """A plan in half a sentence, for a table."""
    if made.promoted_after:
        return f"a verdict was to be expected after about {span(made.promoted_after)}"
    return f"no verdict was to be expected in time{f'; to change: {made.advice[0]}' if made.advice else ''}"


def span(length: timedelta) -> str:
    """A span as people say it, by its two greatest units: 2 d 3 h, 1 h 5 min, 40 s."""
    seconds = round(length.total_seconds())
    units = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((place for place, (number, _) in enumerate(units) if number), 3)
    return " ".join(f"{number} {unit}" for number, unit in units[first : first + 2] if number or unit == "s" == units[first][1])


def _number(requests: float) -> str:
    return f"{requests:,.0f}" if requests >= 10 else f"{requests:.2g}"


@dataclass(frozen=True)
class _Load:
    """What clients ask for: `requests` per second, and the shares of them that fail and that are slow."""

    requests: float
    failing: float
    slow: float


def _load(history: History) -> _Load:
    # Half an error more: none in a thousand requests does not mean that there will never be one.
    failing = (history.errors + 0.5) / (history.requests + 1)
    return _Load(history.requests / history.seconds, failing, _SLOW if history.p95_ms is not None else 0.0)


@dataclass(frozen=True)
class _Expectation:
    """When the judge rules on counts at their expectation. Both None: it does not, in time."""

    promoted_after: timedelta | None = None
    caught_after: timedelta | None = None


@dataclass(frozen=True)
class _Stage:
    """A part of the road: the candidate gets `copies` or `live` percent of the requests, until its time is over and it was asked
    so often."""

    lasts: timedelta
    live: int = 0
    copies: int = 0
    min_requests: int = 0
    verdict: bool = False
    """Whether the next stage needs the judge's word."""


def _stages(rules: RolloutRules) -> Iterator[_Stage]:
    if rules.shadow is not None and rules.shadow_mirror and rules.shadow_duration:
        # It is left when all that its copies were answered has been told.
        yield _Stage(rules.shadow_duration + rules.evidence_delay, copies=rules.shadow_mirror)
    canary = [step for step in rules.steps if step < 100]
    for step in canary:
        yield _Stage(rules.interval, live=step, min_requests=rules.min_requests, verdict=step == canary[-1])


def _expected(load: _Load, rules: RolloutRules, promises: Promises, *, times_worse: float = 1.0) -> _Expectation:
    """Walk the road with a candidate that fails `times_worse` times as often as the stable deployment."""
    stages = list(_stages(rules))
    arms, tally, at, delay = _Arms(load, times_worse), Tally(), _START, rules.evidence_delay
    for stage in stages:
        began_at, asked = at, 0
        while at - began_at < stage.lasts + rules.deadlines.no_verdict:
            width = _width(rules, at - _START, stage.lasts - (at - began_at))
            # A wider interval stands for several, and each of them may add so much.
            kept = replace(promises, most_per_interval=promises.most_per_interval * (width / rules.granularity))
            one = arms.next(at, width, stage)
            tally, at, asked = judge.weigh(tally, (one,), kept, since=_START), at + width, asked + one.candidate.requests
            verdict = judge.rule(tally, promises).verdict
            if verdict is Verdict.ROLL_BACK:
                return _Expectation(caught_after=at + delay - _START)
            # Only who waits for the judge waits for the evidence as well: the next step goes on with what comes late.
            waited = at - began_at + (delay if stage.verdict else timedelta(0))
            if waited >= stage.lasts and asked >= stage.min_requests and (verdict is Verdict.PROMOTE or not stage.verdict):
                break
        else:
            return _Expectation()
    return _Expectation(promoted_after=at + delay - _START if stages else timedelta(0))


def _width(rules: RolloutRules, elapsed: timedelta, left: timedelta) -> timedelta:
    """The next interval to imagine: the longer it has lasted, the wider, but not beyond the end of a stage."""
    width = rules.granularity * max(1, math.floor(elapsed / _FINE / rules.granularity))
    return max(rules.granularity, min(width, left)) if left > timedelta(0) else width


class _Arms:
    """Intervals with counts at their expectation. What is left of one when it is rounded goes into the next."""

    def __init__(self, load: _Load, times_worse: float) -> None:
        self._load = load
        self._failing = min(times_worse * load.failing, 1.0)
        self._candidate, self._stable = [0.5] * 3, [0.5] * 3

    def next(self, at: datetime, width: timedelta, stage: _Stage) -> Arms:
        copied, live = stage.copies / 100, stage.live / 100
        asked = self._load.requests * width.total_seconds()
        candidate = self._counts(self._candidate, asked * (copied or live), self._failing)
        stable = self._counts(self._stable, asked * (1 - live), self._load.failing)
        return Arms(at, candidate, stable, share=copied / (1 + copied) if copied else live)

    def _counts(self, rests: list[float], requests: float, failing: float) -> Counts:
        whole = []
        for place, expected in enumerate((requests, requests * failing, requests * self._load.slow)):
            rests[place] += expected
            whole.append(math.floor(rests[place]))
            rests[place] -= whole[-1]
        asked, errors, slow = whole[0], min(whole[1], whole[0]), min(whole[2], whole[0])
        return Counts(asked, errors, slow=slow, slow_at_most=slow)


def _advice(load: _Load, rules: RolloutRules, promises: Promises) -> Iterator[str]:
    """Changes that lead to a verdict within the deadline, each with what it would bring."""
    step = max((step for step in rules.steps if step < 100), default=0)
    if step < 50 and (after := _expected(load, replace(rules, steps=(*rules.steps[:-1], 50, 100)), promises).promoted_after):
        yield f"a last step of 50 % instead of {step} % (a verdict after about {span(after)})"
    if shadowed := _longer_shadow(load, rules, promises):
        yield shadowed
    if times := _replayed(load, rules, promises):
        now, wanted = _number(load.requests * 60), _number(load.requests * 60 * times)
        yield f"replayed load, so that {wanted} requests a minute come instead of {now}"
    patient = replace(rules, deadlines=replace(rules.deadlines, no_verdict=_LONGEST_DEADLINE))
    if after := _expected(load, patient, promises).promoted_after:
        yield f"a longer deadlines.no_verdict (a verdict after about {span(after)})"
    for rate in _TOLERABLE:
        if rate <= max(promises.tolerable_error_rate or 0.0, load.failing):
            continue
        if after := _expected(load, rules, replace(promises, tolerable_error_rate=rate)).promoted_after:
            yield f"a judge.tolerable_error_rate of {rate:g}, if nobody minds so many (a verdict after about {span(after)})"
            break


def _longer_shadow(load: _Load, rules: RolloutRules, promises: Promises) -> str:
    """Copies of half the requests teach more than a small live step does, and no client sees an answer of the candidate."""
    if rules.shadow is None:
        return ""
    lasts = max(rules.shadow_duration, timedelta(hours=1))
    while lasts <= rules.deadlines.no_verdict:
        longer = replace(rules, shadow_mirror=50, shadow_duration=lasts)
        if after := _expected(load, longer, promises).promoted_after:
            return f"a shadow of 50 % for {span(lasts)} (a verdict after about {span(after)})"
        lasts *= 2
    return ""


def _replayed(load: _Load, rules: RolloutRules, promises: Promises) -> int:
    """How many times as many requests would do; 0: none of those that were tried."""
    times = _TIMES
    while times <= _MOST_REPLAYED:
        if _expected(replace(load, requests=load.requests * times), rules, promises).promoted_after:
            return times
        times *= _TIMES
    return 0
