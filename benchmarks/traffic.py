"""Simulated traffic for rollouts: minutes of requests that every rule sees alike, whatever share it gives the candidate.

Each minute's requests lie on a line from 0 to 1, where the endpoint's split cuts: a candidate with 10 % answers those below 0.1.
For each bin of that line a story holds how many requests came, and how many of them fail or are slow if the candidate answers
and if the stable deployment does. So the rules are compared on the same requests, not only on the same distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

WEIGHTS = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 100)
"""The shares in percent that some rule gives the candidate."""


@dataclass(frozen=True)
class Rates:
    """One deployment's behaviour: the probabilities that a request fails, is slower than 250 ms, and slower than 500 ms."""

    errors: float
    slow: float = 0.05
    very_slow: float = 0.002


@dataclass(frozen=True)
class Scenario:
    """A kind of rollout. `kind` says what should become of it; `Rates` are those of a minute in which nothing special happens."""

    name: str
    kind: Literal["good", "worse", "unjudgeable"]
    stable: Rates
    candidate: Rates
    per_second: float = 10.0
    watched: Literal["errors", "latency"] = "errors"
    """What the rivals watch. The product always watches both."""

    outage: tuple[int, int, float] | None = None
    """Minutes [from, to) in which both deployments fail with this probability: something behind both is down."""

    cold: Rates | None = None
    """The candidate's first minute with traffic."""

    begins_at: int = 0
    """The minute from which on the candidate is as `candidate` says; before, it is as the stable deployment."""

    swing: float = 1.0
    """Traffic swings between `per_second` divided and multiplied by this within an hour; error rates, by its root, against it."""

    bursts_per_hour: float = 0.0
    """A client whose requests fail everywhere, and that repeats them at once over one connection: one deployment has them all."""

    percentiles: bool = False
    """Latency is known by Azure Monitor's percentiles only, which bracket how many were slow. Otherwise requests are counted."""

    patience: int = 360
    """So many minutes a step may last, six hours by default. Less where nothing but that is to be waited for."""

    routed: float = 1.0
    """The part of the candidate's share that really reaches it."""

    @property
    def edges(self) -> list[float]:
        """Where the line of requests is cut into bins."""
        return sorted({0.0, 1.0} | {weight / 100 * self.routed for weight in WEIGHTS})

    def column(self, weight: int) -> int:
        """How many bins from the left are the candidate's at this weight."""
        return self.edges.index(weight / 100 * self.routed) if weight else 0


RETRIES = 30
"""So many requests has a burst."""


@dataclass(frozen=True)
class Stories:
    """Cumulated counts, [story, minute, bins from the left]: what a rule sees at any weight is one look into them.

    `c_*` if the candidate answers, `b_*` if the stable deployment does.
    """

    requests: Counts
    c_errors: Counts
    b_errors: Counts
    c_slow: Counts
    b_slow: Counts
    c_very_slow: Counts
    b_very_slow: Counts


def simulate(scenario: Scenario, seed: Sequence[int], stories: int, minutes: range) -> Stories:
    """Poisson arrivals, independent requests (but for the bursts). The same arguments give the same stories."""
    random = np.random.default_rng(seed)
    widths = np.diff(scenario.edges)
    at = np.arange(minutes.start, minutes.stop)
    phase = random.uniform(0, 2 * np.pi, size=(stories, 1)) if scenario.swing != 1 else np.zeros((stories, 1))
    swing = scenario.swing ** np.sin(2 * np.pi * at[None, :] / 60 + phase)
    requests = random.poisson(60 * scenario.per_second * swing[:, :, None] * widths)
    candidate, stable = _rates(scenario, at, swing)
    drawn = [requests]
    for name in ("errors", "slow", "very_slow"):
        drawn += [random.binomial(requests, rates[name][:, :, None]) for rates in (candidate, stable)]
    if scenario.bursts_per_hour:
        bursts = RETRIES * random.poisson(scenario.bursts_per_hour / 60 * widths, size=requests.shape)
        for counts in drawn[:3]:
            counts += bursts
    return Stories(*(_cumulated(counts) for counts in drawn))


def history(scenario: Scenario, seed: Sequence[int], hours: int = 24) -> tuple[int, int]:
    """Requests and errors of the stable deployment's recent past, when nothing special happened."""
    random = np.random.default_rng(seed)
    requests = int(random.poisson(scenario.per_second * 3600 * hours))
    return requests, int(random.binomial(requests, scenario.stable.errors))


def _rates(scenario: Scenario, at: Counts, swing: NDArray[np.float64]) -> tuple[dict[str, NDArray[np.float64]], ...]:
    """Of candidate and stable deployment, by name, [story, minute]."""
    shared = np.ones_like(swing)
    both = (scenario.candidate, scenario.stable)
    candidate, stable = ({name: value * shared for name, value in vars(rates).items()} for rates in both)
    for name in candidate:
        candidate[name][:, at < scenario.begins_at] = getattr(scenario.stable, name)
        if scenario.cold is not None:
            candidate[name][:, at == 0] = getattr(scenario.cold, name)
        candidate[name] /= np.sqrt(swing) if name == "errors" else 1
        stable[name] /= np.sqrt(swing) if name == "errors" else 1
    if scenario.outage is not None:
        first, end, rate = scenario.outage
        down = (at >= first) & (at < end)
        candidate["errors"][:, down] = stable["errors"][:, down] = rate
    return candidate, stable


def _cumulated(counts: Counts) -> Counts:
    return np.concatenate([np.zeros((*counts.shape[:2], 1), dtype=np.int64), np.cumsum(counts, axis=2)], axis=2)


def as_good(name: str, errors: float, **more: object) -> Scenario:
    """A candidate that is exactly as the stable deployment is."""
    return Scenario(name, "good", Rates(errors), Rates(errors), **more)  # type: ignore[arg-type]


def worse(name: str, errors: float, candidate: float, **more: object) -> Scenario:
    """A candidate that fails more often."""
    return Scenario(name, "worse", Rates(errors), Rates(candidate), **more)  # type: ignore[arg-type]


SLOWER = Rates(0.005, slow=0.18, very_slow=0.0154)
"""Latency is log-normal with a median of 100 ms and a 95th percentile of 250 ms; this is what half as long again makes of it."""

SLOW = Rates(0.005, slow=0.628, very_slow=0.179)
"""And this what three times as long does."""

SCENARIOS = (
    as_good("as good: 0.5 % errors, 10 rps", 0.005),
    as_good("as good: 0.5 % errors, 1 rps", 0.005, per_second=1.0),
    as_good("as good: 0.5 % errors, 0.4 rps", 0.005, per_second=0.4),
    as_good("as good, and both are down for 4 minutes", 0.005, outage=(14, 18, 0.3)),
    as_good("as good: both at 1.5 % errors", 0.015),
    as_good("as good: neither ever errs", 0.0),
    as_good("as good: both at 0.01 % errors", 0.0001),
    as_good("as good, a client that retries in bursts", 0.005, bursts_per_hour=1.0),
    replace(as_good("as good, with a cold first minute", 0.005), cold=Rates(0.05, slow=0.6, very_slow=0.2)),
    as_good("as good, day and night within an hour", 0.005, per_second=4.0, swing=5.0),
    replace(as_good("as good, rivals watch latency", 0.005), watched="latency"),
    worse("3 times worse inside the objective: 0.2 to 0.6 %", 0.002, 0.006),
    worse("4 times worse: 0.5 to 2 %", 0.005, 0.02),
    worse("20 times worse: 0.5 to 10 %", 0.005, 0.1),
    worse("10 times worse from minute 25 on", 0.005, 0.05, begins_at=25),
    worse("3 times worse at 1 rps: 0.5 to 1.5 %", 0.005, 0.015, per_second=1.0),
    worse("4 times worse at 0.4 rps: 0.5 to 2 %", 0.005, 0.02, per_second=0.4),
    Scenario("half as slow again: 18 % beyond the p95", "worse", Rates(0.005), SLOWER, watched="latency"),
    replace(as_good("as good, slowness known by percentiles", 0.005), watched="latency", percentiles=True),
    Scenario(
        "half as slow again, by percentiles", "worse", Rates(0.005), SLOWER, watched="latency", percentiles=True, patience=60
    ),
    Scenario("three times as slow, by percentiles", "worse", Rates(0.005), SLOW, watched="latency", percentiles=True),
    worse("at the tolerable rate: 0 to 0.1 %", 0.0, 0.001),
    worse("3 times worse below it: 0.01 to 0.03 %", 0.0001, 0.0003),
    worse("every request fails", 0.005, 1.0),
    replace(as_good("a third of its share reaches it", 0.005), kind="unjudgeable", routed=1 / 3, patience=60),
)
