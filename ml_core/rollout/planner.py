"""How long will a verdict take? Said before the first step, from recent traffic and the stable deployment's errors. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Plan:
    """What is to be expected of a rollout. Spans are medians; None: not within the deadline."""

    requests_per_minute: float
    error_rate: float | None
    """Of the stable deployment; None when nothing is known of it."""

    promoted_after: timedelta | None
    """A candidate that is as good."""

    caught_after: timedelta | None
    """One that is psi times worse."""

    advice: tuple[str, ...] = ()
    """What to change when there will be no verdict within the deadline; empty otherwise."""
