"""When a trial is ended early: Microsoft's three policies, on the values of the primary metric in the order they were logged.

Every logged value is one interval. A policy is asked once for each interval of a running trial, by the rules of
"Hyperparameter tuning a model (v2)"; where a page leaves a case open, the comment says what was chosen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

Values = Sequence[float]


@dataclass(frozen=True)
class Policy(ABC):
    """`interval` 0, the service's default, is every interval."""

    interval: int = 0
    delay: int = 0

    def applies_at(self, interval: int) -> bool:
        """Intervals are counted from 1."""
        return interval >= max(self.delay, 1) and interval % max(self.interval, 1) == 0

    def stops(self, mine: Values, others: Sequence[Values], *, maximize: bool) -> bool:
        """Whether the trial that has logged `mine` ends now. `others`: the logged values of all other trials.

        Only what has been logged up to the same interval counts, and only of trials that have come as far.
        """
        reached = [values[: len(mine)] for values in others if len(values) >= len(mine)]
        if not mine or not reached or not self.applies_at(len(mine)):
            return False
        sign = 1.0 if maximize else -1.0
        return self._stops([sign * value for value in mine], [[sign * value for value in values] for values in reached])

    @abstractmethod
    def _stops(self, mine: Values, others: Sequence[Values]) -> bool:
        """With values of which the larger is the better."""


@dataclass(frozen=True)
class Bandit(Policy):
    """Ends what is farther from the best trial than the slack; one of the two is given."""

    slack_factor: float | None = None
    slack_amount: float | None = None

    def _stops(self, mine: Values, others: Sequence[Values]) -> bool:
        best = max(max(values) for values in (mine, *others))
        if self.slack_amount is not None:
            return max(mine) < best - self.slack_amount
        factor = 1 + (self.slack_factor or 0.0)
        # best / factor is below best only for positive values; a negative one (also of a minimized metric) goes the other way.
        return max(mine) < (best / factor if best >= 0 else best * factor)


@dataclass(frozen=True)
class MedianStopping(Policy):
    """Ends what is worse, at its best, than the median of the trials' averages so far."""

    def _stops(self, mine: Values, others: Sequence[Values]) -> bool:
        return max(mine) < median(fmean(values) for values in (mine, *others))


@dataclass(frozen=True)
class TruncationSelection(Policy):
    """Ends a trial that is among the lowest `percentage` % at this interval; the number of those is rounded down."""

    percentage: int = 0

    def _stops(self, mine: Values, others: Sequence[Values]) -> bool:
        count = (len(others) + 1) * self.percentage // 100
        better = sum(values[-1] >= mine[-1] for values in others)
        return better >= len(others) + 1 - count


class Watch:
    """Asks the policy for each trial and interval once, however often and in what portions values arrive."""

    def __init__(self, policy: Policy, *, maximize: bool) -> None:
        self._policy, self._maximize = policy, maximize
        self._judged: dict[int, int] = {}

    def to_stop(self, logged: Mapping[int, Values], running: Sequence[int]) -> list[int]:
        """The running trials (by number) that end now. `logged`: all trials' values so far."""
        return [trial for trial in running if self._judge(trial, logged)]

    def _judge(self, trial: int, logged: Mapping[int, Values]) -> bool:
        mine, others = logged.get(trial, ()), [values for number, values in logged.items() if number != trial]
        for interval in range(self._judged.get(trial, 0) + 1, len(mine) + 1):
            self._judged[trial] = interval
            if self._policy.stops(mine[:interval], others, maximize=self._maximize):
                return True
        return False
