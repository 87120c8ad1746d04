"""What the judge is given and what it says."""

from __future__ import annotations

import math
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
class Ruling:
    """What the judge says at one look, and the numbers behind it: e-values and what they are held against, by name."""

    verdict: Verdict
    finding: Finding
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Promises:
    """What the judge keeps to, at any look and however often it looks.

    P(roll back a candidate that is as good) <= alpha;  P(promote one that is `psi` times worse) <= beta.
    """

    alpha: float = 0.01
    beta: float = 0.05
    psi: float = 3.0
    """How many times as often a candidate fails that must not be promoted, but with probability beta. Smaller regressions are
    found as well, later."""

    budget: Mapping[str, float] = field(default_factory=lambda: {"errors": 0.7, "slow": 0.15, "pairs": 0.15})
    """How alpha is divided: live and mirrored requests that fail or are slow, and the paired comparison of the shadow. Only the
    proportions matter."""

    tripwire: int = 20
    """When the first so many requests to the candidate all fail, it is rolled back at once, also within the grace. 0: never."""

    grace: timedelta = timedelta(0)
    """So long after the candidate's first traffic is not judged (in both arms): cold caches are no regression."""

    tolerable_error_rate: float | None = None
    """The promotion's second road: a candidate whose own error rate is shown to be below this may be promoted although the
    comparison with the stable deployment says nothing, since neither errs. None: this road is closed."""

    most_per_interval: float = 1.5
    """How far one interval may bring the evidence at most, as a part of the way to a rollback. The interval that says most is
    left out (a burst of retries by one client is one event, not hundreds), so two can decide, and one cannot."""

    tolerated_slowness: float = 1.5
    """A candidate is as good if slow answers are at most so many times as frequent as the stable deployment's."""

    def alpha_for(self, metric: str) -> float:
        """The part of alpha that the budget gives to `errors`, `slow` or `pairs`, after the tripwire's."""
        return (self.alpha - self.tripwire_alpha) * self.budget[metric] / sum(self.budget.values())

    @property
    def tripwire_at(self) -> int:
        """How many requests the tripwire waits for: with too few, it alone would use up more than a tenth of alpha."""
        least = math.ceil(math.log(self.alpha / 10) / math.log(_ALL_AND_HALF))
        return max(self.tripwire, least) if self.tripwire else 0

    @property
    def tripwire_alpha(self) -> float:
        """The most that the tripwire adds to the probability of rolling back a candidate that is as good.

        That n of n requests fail here and at most m/2 of m there, m >= n, has a probability of at most
        max over p of p^n (4p(1-p))^(m/2) (Chernoff), which is largest at m = n and p = 3/4: (3 sqrt(3) / 8)^n.
        """
        return _ALL_AND_HALF**self.tripwire_at if self.tripwire else 0.0


_ALL_AND_HALF = 3 * math.sqrt(3) / 8
