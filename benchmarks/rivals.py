"""The rules of Flagger, Argo Rollouts, a one-point alarm and Kayenta's Mann-Whitney test, as read in their sources.

Read: fluxcd/flagger 15bd6ad `pkg/controller/scheduler.go`, `pkg/canary/status.go`; argoproj/argo-rollouts 9f8d111
`analysis/analysis.go`; spinnaker/kayenta `NetflixACAJudge`, `MannWhitneyClassifier`; the SageMaker deployment guardrails' page.
Each looks once a minute at the minute before, without delay, and watches one metric, though users often watch several.
Thresholds are those of the products' own examples. This says nothing about installations that were tuned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.traffic import Counts, Scenario, Stories

Flags = NDArray[np.bool_]
Times = NDArray[np.float64]

STEPS = (5, 10, 20, 30, 50)
STEP_MINUTES = 10
MINUTES = 90
"""No rule of a rival looks for longer."""


@dataclass
class Verdicts:
    """What became of each story: rolled back or promoted, in which minute since the first traffic, and the errors that clients
    got from the candidate until then. Neither: it was still undecided at the end."""

    rolled_back: Flags
    promoted: Flags
    minutes: Times
    errors: Counts
    distrusted: Flags = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Where the rule at some time said that the evidence itself cannot be right."""


@dataclass(frozen=True)
class Minute:
    """What both deployments answered in one minute, by story; `bad` are errors, or requests that took over 500 ms."""

    candidate: Counts
    candidate_bad: Counts
    stable: Counts
    stable_bad: Counts

    @property
    def rate(self) -> Times:
        """The candidate's; NaN where it was asked nothing."""
        return _rate(self.candidate_bad, self.candidate)

    @property
    def stable_rate(self) -> Times:
        return _rate(self.stable_bad, self.stable)


def _rate(bad: Counts, requests: Counts) -> Times:
    rates: Times = np.divide(bad, requests, out=np.full(requests.shape, np.nan), where=requests > 0)
    return rates


class Rule(ABC):
    """A rule with its state for all stories at once."""

    def __init__(self, stories: int) -> None:
        self.weights = np.full(stories, STEPS[0])

    @abstractmethod
    def look(self, minute: int, seen: Minute) -> tuple[Flags, Flags]:
        """Who is rolled back and who is promoted after this minute; `weights` then holds those of the next.

        `minute` counts from 1. `seen` is what the rule sees of it.
        """

    def _next_step(self, minute: int) -> Flags:
        """Fixed steps of ten minutes; who is through."""
        self.weights[:] = STEPS[min(minute // STEP_MINUTES, len(STEPS) - 1)]
        return np.full(len(self.weights), minute >= STEP_MINUTES * len(STEPS))


class Flagger(Rule):
    """5 % more with each passed check up to 50 %, then promotion. `failedChecks` never goes down, and no value is a failed check.

    A rollback is looked for before the metrics are: it comes one look after the check that made it due.
    """

    def __init__(self, stories: int, allowed: float, threshold: int = 5) -> None:
        super().__init__(stories)
        self.allowed, self.threshold = allowed, threshold
        self.failed_checks = np.zeros(stories, dtype=int)

    def look(self, minute: int, seen: Minute) -> tuple[Flags, Flags]:  # noqa: ARG002 - its steps need no clock
        due = self.failed_checks >= self.threshold
        passed = seen.rate <= self.allowed  # NaN is not: "no values found"
        self.failed_checks += ~passed
        through = passed & (self.weights >= 50) & ~due
        self.weights = np.where(passed, np.minimum(self.weights + 5, 50), self.weights)
        return due, through


class Argo(Rule):
    """A background analysis beside fixed steps: `failureLimit: 3` fails on the fourth failed measurement, five errors in a row
    (no value) end it as well. Errors are counted one a minute here, though Argo tries again after 10 s: that favours it."""

    def __init__(self, stories: int, allowed: float, failure_limit: int = 3, consecutive_error_limit: int = 4) -> None:
        super().__init__(stories)
        self.allowed, self.failure_limit, self.error_limit = allowed, failure_limit, consecutive_error_limit
        self.failed = np.zeros(stories, dtype=int)
        self.errors = np.zeros(stories, dtype=int)

    def look(self, minute: int, seen: Minute) -> tuple[Flags, Flags]:
        unknown = np.isnan(seen.rate)
        self.errors = np.where(unknown, self.errors + 1, 0)
        self.failed += seen.rate > self.allowed
        aborted = (self.failed > self.failure_limit) | (self.errors > self.error_limit)
        return aborted, self._next_step(minute) & ~aborted


class Alarm(Rule):
    """An alarm on one data point beside fixed steps, as SageMaker's guardrails would use it. A missing point is no alarm."""

    def __init__(self, stories: int, allowed: float) -> None:
        super().__init__(stories)
        self.allowed = allowed

    def look(self, minute: int, seen: Minute) -> tuple[Flags, Flags]:
        alarmed = seen.rate > self.allowed
        return alarmed, self._next_step(minute) & ~alarmed


class Kayenta(Rule):
    """Mann-Whitney on the minutes' rates of both arms, judged every minute over all minutes so far, beside fixed steps.

    High, hence rolled back, when the lower bound of the 98 % confidence interval of the Hodges-Lehmann shift is above a quarter
    of the shift's size. The interval is that of the normal approximation: an order statistic of all pairwise differences.
    """

    Z = 2.3263478740408408
    TOLERANCE = 0.25

    def __init__(self, stories: int) -> None:
        super().__init__(stories)
        self.candidate: list[Times] = []
        self.stable: list[Times] = []
        self.not_higher, self.pairs, self.values = (np.zeros(stories, dtype=int) for _ in range(3))

    def look(self, minute: int, seen: Minute) -> tuple[Flags, Flags]:
        for mine, stable in [(seen.rate, seen.stable_rate), *((seen.rate, before) for before in self.stable)]:
            self._count(mine, stable)
        for before in self.candidate:
            self._count(before, seen.stable_rate)
        for rates, arm in ((seen.rate, self.candidate), (seen.stable_rate, self.stable)):
            arm.append(rates)
            self.values += ~np.isnan(rates)
        high = np.zeros(len(self.weights), dtype=bool)
        # A lower bound of 0 or less needs no sorting: most stories end here.
        for story in np.flatnonzero(self.not_higher < self._rank()):
            high[story] = is_high(*(np.array([rates[story] for rates in arm]) for arm in (self.candidate, self.stable)))
        return high, self._next_step(minute) & ~high

    def _count(self, candidate: Times, stable: Times) -> None:
        self.pairs += ~np.isnan(candidate) & ~np.isnan(stable)
        self.not_higher += candidate <= stable

    def _rank(self) -> Times:
        rank: Times = self.pairs / 2 - self.Z * np.sqrt(self.pairs * (self.values + 1) / 12)
        return rank


def is_high(candidate: Times, stable: Times) -> bool:
    """Kayenta's classification of one metric. Minutes without a value are left out, as its default strategy does."""
    x, y = candidate[~np.isnan(candidate)], stable[~np.isnan(stable)]
    pairs = len(x) * len(y)
    rank = int(pairs / 2 - Kayenta.Z * np.sqrt(pairs * (len(x) + len(y) + 1) / 12))
    if rank < 1:
        return False
    differences = np.sort(np.subtract.outer(x, y), axis=None)
    return bool(differences[rank - 1] > Kayenta.TOLERANCE * abs(np.median(differences)))


RIVALS: dict[str, Callable[[int], Rule]] = {
    # 99 %: Flagger's own example; for latency its example bounds the 99th percentile, of which 1 % may be beyond.
    "Flagger 99 %": lambda stories: Flagger(stories, 0.01),
    "Argo 99 %": lambda stories: Argo(stories, 0.01),
    # 95 %: Argo's own example; for latency the 95th percentile instead.
    "Flagger 95 %": lambda stories: Flagger(stories, 0.05),
    "Argo 95 %": lambda stories: Argo(stories, 0.05),
    "alarm 99 %": lambda stories: Alarm(stories, 0.01),
    "Mann-Whitney": Kayenta,
}


def play(rule: Rule, stories: Stories, scenario: Scenario) -> Verdicts:
    """All stories under one rule, minute by minute, until each has its verdict."""
    count, minutes = stories.requests.shape[:2]
    verdicts = Verdicts(*(np.zeros(count, dtype=kind) for kind in (bool, bool, float, np.int64, bool)))
    columns = {weight: scenario.column(weight) for weight in (*range(5, 51, 5), 100)}
    under_way, who = np.ones(count, dtype=bool), np.arange(count)
    for minute in range(1, minutes + 1):
        column = np.array([columns[weight] for weight in rule.weights])
        verdicts.errors += np.where(under_way, stories.c_errors[who, minute - 1, column], 0)
        back, through = rule.look(minute, seen(stories, scenario, minute - 1, column))
        verdicts.rolled_back |= under_way & back
        verdicts.promoted |= under_way & through & ~back
        ended = under_way & (back | through)
        verdicts.minutes[ended] = minute
        under_way &= ~ended
        if not under_way.any():
            break
    return verdicts


def seen(stories: Stories, scenario: Scenario, minute: int, column: Counts) -> Minute:
    """What a rule sees of a minute, where the candidate had the bins left of `column`."""
    who = np.arange(len(column))
    latency = scenario.watched == "latency"
    candidate, stable = (stories.c_very_slow, stories.b_very_slow) if latency else (stories.c_errors, stories.b_errors)
    return Minute(
        candidate=stories.requests[who, minute, column],
        candidate_bad=candidate[who, minute, column],
        stable=stories.requests[:, minute, -1] - stories.requests[who, minute, column],
        stable_bad=stable[:, minute, -1] - stable[who, minute, column],
    )
