"""What the judge is given and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from ml_core.ports import Counts


class Finding(Enum):
    """What the evidence is. `NONE` (nobody asked) and `ERROR` (the source failed, or the counts cannot be trusted) hold a rollout
    and alert; they never count against a candidate."""

    OK = "ok"
    BAD = "bad"
    NONE = "none"
    ERROR = "error"


class Verdict(Enum):
    """What follows from all evidence so far."""

    ROLL_BACK = "roll back"
    PROMOTE = "promote"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Arms:
    """What both deployments answered in one interval. `share` is the candidate's intended part of all counted requests (0 to 1):
    0.1 at 10 % live traffic; 1/11 where a copy of every tenth request is mirrored to it."""

    at: datetime
    candidate: Counts
    stable: Counts
    share: float


@dataclass(frozen=True)
class Promises:
    """What the judge keeps to, at any look and however often it looks.

    P(roll back a candidate that is as good) <= alpha;  P(promote one that is `psi` times worse) <= beta.
    """

    alpha: float = 0.01
    beta: float = 0.05
    psi: float = 3.0
    """How much worse (as an odds ratio) a candidate must never be promoted with probability above beta. Smaller regressions are
    found as well, later."""

    budget: Mapping[str, float] = field(default_factory=lambda: {"errors": 0.7, "slow": 0.15, "pairs": 0.15})
    """How alpha is divided: live and mirrored requests that fail or are slow, and the paired comparison of the shadow."""

    tripwire: int = 20
    """When the first so many requests to the candidate all fail, it is rolled back without arithmetic. 0: no tripwire."""

    grace: timedelta = timedelta(0)
    """So long after the candidate's first traffic is not judged (in both arms): cold caches are no regression."""

    tolerable_error_rate: float | None = None
    """The promotion's second road: a candidate whose own error rate is shown to be below this may be promoted although the
    comparison with the stable deployment says nothing, since neither errs. None: this road is closed."""

    most_per_interval: float = 4.0
    """The most that one interval may add to the logarithm of the evidence against a candidate: a burst of retries by one client
    is one event, not hundreds."""


@dataclass(frozen=True)
class Ruling:
    """What the judge says, why in plain words, and the numbers behind it by name."""

    verdict: Verdict
    finding: Finding
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)
