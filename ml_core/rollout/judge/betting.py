"""Bets against a hypothesis. Who holds them gets richer on average only if it is false. Pure arithmetic.

A capital of 1 is divided among bets, and each interval multiplies each bet by a likelihood ratio whose mean is at most 1 under
the hypothesis. So the sum is a non-negative supermartingale (an e-process), and Ville's inequality (1939) bounds the probability
that it ever reaches 1/alpha by alpha: at any look, however many there are. Three things may be done to it without breaking that:
divide it as one likes before an interval is seen, give some of it away, and leave an interval out.
See Ramdas, Gruenwald, Vovk, Shafer, "Game-theoretic statistics and safe anytime-valid inference" (Statistical Science, 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LARGEST = 1e30  # floats stay far from infinity
_LARGEST_LOG = 50.0
_LEAST_IDLE = 1e-6  # a capital never falls to nothing


@dataclass(frozen=True)
class Capital:
    """What the bets have become. `Capital()` is the beginning."""

    bets: tuple[float, ...] = ()
    """What lies on each alternative, in its order."""

    idle: float = 1.0
    """What is not yet bet. It is put on the alternatives bit by bit, so that against a regression that begins late there is money
    that was not lost before (as in the e-detectors of Shin, Ramdas, Rinaldo 2023, but with weights that sum to 1)."""

    surest: float = 0.0
    """The logarithm of the largest factor by which a single interval multiplied the whole."""

    @property
    def log(self) -> float:
        """The logarithm of the whole."""
        return math.log(sum(self.bets) + self.idle)

    @property
    def log_without_the_surest(self) -> float:
        """The same if the interval that said most had not been. It bounds what one arbitrary interval, such as a burst of retries
        by one client, can do: nothing."""
        return self.log - self.surest


def bet(
    capital: Capital,
    logs: Sequence[float],
    weights: Sequence[float],
    *,
    start: float,
    most: float = math.inf,
    largest: float = LARGEST,
) -> Capital:
    """The capital after one more interval.

    `logs`: the logarithms of the likelihood ratios, one for each alternative; -inf: that one is refuted. `weights` (they sum
    to 1) say how money is divided that is bet from now on, which is the part `start` of the idle. `most`: the interval may
    multiply each bet by exp(most) and no more; what is above that is given away. So a burst makes all alternatives rich alike,
    and does not decide which of them is believed. `largest`: what the whole has above that is given away, too. The less a capital
    may hoard, the sooner it tells that times have changed.
    """
    fresh = start * capital.idle if capital.idle > _LEAST_IDLE else 0.0
    idle = capital.idle - fresh
    most = min(most, _LARGEST_LOG)
    bets = tuple(
        [
            (one + weight * fresh) * math.exp(min(log, most))
            for one, weight, log in zip(capital.bets or (0.0,) * len(weights), weights, logs, strict=True)
        ]
    )
    before, after = sum(capital.bets) + capital.idle, sum(bets) + idle
    if after > largest:
        bets = tuple([one * (largest / after) for one in bets])
        after = sum(bets) + idle
    return Capital(bets, idle, max(capital.surest, math.log(after / before)))


def by_ratio(x: int, y: int, q: float, ratio: float, null: float = 1.0) -> float:
    """The logarithm of the likelihood ratio of "x is `ratio` times as frequent as y" against "at most `null` times".

    x and y are counts of events among requests of which the part q (0 < q < 1) is x's. If x's requests have a mean probability of
    at most `null` times that of y's, in whatever way single requests differ, the mean of this ratio is at most 1 (for ratio >
    null; the other way round for ratio < null). With p and q0 the chances that an event is x's, the ratio is
    (p/q0)^x ((1-p)/(1-q0))^y, and over n independent requests

        log of the mean <= n (p - q0) (1 - q)/(1 - q0) (P(x)/null - P(y)),   from log(1 + u) <= u, and p > q0.

    Lindon & Malek (NeurIPS 2022, arXiv 2011.03567) bet so on Poisson counts.
    """
    return x * math.log(ratio / null) - (x + y) * math.log((ratio * q + 1 - q) / (null * q + 1 - q))


def by_rate(x: int, n: int, rate: float, null: float) -> float:
    """The logarithm of the likelihood ratio of "x of n, at `rate`" against `null`. For rate < null its mean is at most 1 under
    every rate of at least `null` (Wald 1945). -inf when the rate is 0 and something happened all the same."""
    if x and not rate:
        return -math.inf
    return (x * math.log(rate / null) if x else 0.0) + (n - x) * math.log((1 - rate) / (1 - null))
