"""The sections of tidegate.yaml about rollouts: how a version takes over, and when none may."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from ml_core.config_values import (
    Column,
    Duration,
    Moment,
    NonEmpty,
    Probability,
    Section,
    Steps,
    TimeZone,
    Weekly,
    at_least,
)


class Smoke(Section):
    """What a candidate must answer at 0 %: the golden requests that the training pipeline has put beside the model."""

    tolerance: Annotated[float, Field(ge=0)] = 1e-6
    """How far a score may be from the one that the model gave offline."""

    timeout: Annotated[Duration, at_least(timedelta(milliseconds=100), "100ms")] = timedelta(seconds=5)
    """So long may an answer take."""

    required: bool = True
    """Whether a model without golden requests is refused."""


class Shadow(Section):
    """The candidate is asked and nobody sees its answers: copies of live requests, and held-out rows that both are asked."""

    mirror: Annotated[int, Field(ge=0, le=50)] = 25
    """Percent of the live requests that are copied to the candidate. Azure allows 50 at most. 0: none. With a quarter a candidate
    that fails four times as often is mostly found before a client has met it (docs/reference/benchmarks.md)."""

    duration: Duration = timedelta(minutes=10)
    """So long are requests copied."""

    decision_threshold: Probability = 0.5
    """A score of at least this means yes."""

    max_flip_rate: Probability = 0.1
    """The share of decisions that may differ from the stable deployment's."""

    max_flip_rate_in_slice: Probability | None = None
    """The same within each slice. Not given: slices are reported only."""

    slices: tuple[Column, ...] = ()
    """Columns by whose values differences are told apart."""

    max_times_slower: Annotated[float, Field(ge=1)] = 2.0
    """The candidate must not take more than so many times as long for most requests."""

    requests: Annotated[int, Field(ge=0, le=10_000)] = 500
    """So many of the held-out rows are asked of both, at most: fewer when the comparison is decided before. 0: none."""


class Budget(Section):
    """How the risk alpha is divided between what is watched. Only the proportions matter."""

    errors: Annotated[float, Field(gt=0)] = 0.7
    """Requests that fail."""

    slow: Annotated[float, Field(gt=0)] = 0.15
    """Requests that are slower than the stable deployment's 95th percentile was."""

    pairs: Annotated[float, Field(gt=0)] = 0.15
    """The shadow's paired comparison."""


class Judge(Section):
    """Two promises, kept however often and whenever the judge looks (docs/concepts/judge.md)."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """The most that the probability of rolling back a candidate may be that is as good as the stable deployment."""

    beta: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """The most that the probability of promoting a candidate may be that is psi times worse."""

    psi: Annotated[float, Field(gt=1)] = 3.0
    """How many times as often it fails."""

    budget: Budget = Budget()
    """How alpha is divided."""

    tripwire: Annotated[int, Field(ge=0)] = 20
    """When the candidate's first so many requests all fail, it is rolled back at once. 0: no tripwire."""

    grace: Duration = timedelta(0)
    """So long after the candidate's first traffic nothing is judged. The one minute that says most against it is left out in any
    case, which does for cold caches; give more to a model that is slow to warm."""

    tolerable_error_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """An error rate that nobody minds. A candidate that is shown to be below it may be promoted although neither deployment errs
    often enough to be compared. Not given: derived from the stable deployment's history, and 0.001 at least."""


class RolloutDeadlines(Section):
    """After so long people are told, and told again: after `repeat`, twice that, and so on."""

    provisioning: Duration = timedelta(minutes=45)
    """A deployment that is being created."""

    at_zero: Duration = timedelta(hours=2)
    """A candidate that stands and has no live traffic yet, for whatever reason."""

    no_traffic: Duration = timedelta(minutes=30)
    """A step in which nobody asks the candidate anything."""

    source_failed: Duration = timedelta(minutes=15)
    """A source of evidence that cannot be read."""

    no_verdict: Duration = timedelta(hours=6)
    """The last canary step without a verdict. The rollout pauses then and asks a person."""

    paused: Duration = timedelta(hours=4)
    """A rollout that stands still."""

    approval: Duration = timedelta(hours=4)
    """A rollout that asks a person, since the evidence was inconclusive."""

    repeat: Annotated[Duration, at_least(timedelta(seconds=1), "1s")] = timedelta(hours=1)
    """When people are told for the second time."""

    longest_repeat: Annotated[Duration, at_least(timedelta(seconds=1), "1s")] = timedelta(days=1)
    """They are told at least so often."""


class Rollout(Section):
    """How a new model version takes over the traffic."""

    steps: Steps = (10, 25, 50, 100)
    """The candidate's share of the traffic, in percent, one step after the other."""

    interval: Duration = timedelta(minutes=10)
    """So long each step is watched before the next. Azure's metrics lag by some minutes: keep it well above that."""

    min_requests: Annotated[int, Field(ge=1)] = 20
    """So many requests must the candidate have answered in a step; with fewer, the step is held."""

    evidence_granularity: Annotated[Duration, at_least(timedelta(seconds=1), "1s")] = timedelta(minutes=1)
    """The bucket width of the metrics. Azure offers one minute at the finest."""

    evidence_delay: Duration = timedelta(minutes=2)
    """Metrics come late: an interval is read when it has been over for so long, and then once."""

    bake: Duration = timedelta(minutes=10)
    """So long the old deployment stays warm behind a candidate that has all the traffic, before it is archived. Until then there
    is a way back. 0s archives it at once."""

    bake_mirror: Annotated[int, Field(ge=0, le=50)] = 10
    """Percent of the requests that are copied to the old deployment meanwhile, as a control that the new one is compared with."""

    smoke: Smoke = Smoke()
    """The test at 0 %."""

    shadow: Shadow | None = Shadow()
    """The comparison before any live traffic. null: none."""

    judge: Judge = Judge()
    """What the judge promises."""

    deadlines: RolloutDeadlines = RolloutDeadlines()
    """When people are told."""

    supersede: Literal["before traffic", "always", "never"] = "before traffic"
    """When a newer version ends a rollout under way: as long as its candidate has no live traffic, always, or never."""

    return_window: Annotated[int, Field(ge=0, le=10)] = 3
    """Going back to one of the last so many versions that served skips shadow and canary."""


class Freeze(Section):
    """A time in which nothing is promoted. Rolling back is always allowed."""

    starts_at: Moment
    """With its offset: 2026-12-23T18:00:00+01:00."""

    ends_at: Moment
    """With its offset."""

    reason: NonEmpty
    """For those who wait."""


class WeeklyFreeze(Section):
    """A time in every week in which nothing is promoted. Rolling back is always allowed."""

    starts: Weekly
    """The day and the time on the clock there: 'Fri 16:00'."""

    ends: Weekly
    """The same. Before `starts`: in the week after."""

    time_zone: TimeZone = "UTC"
    """Whose clock, by the name in the IANA database: Europe/Berlin."""

    reason: NonEmpty
    """For those who wait."""
