"""The canary's judge: errors and slow answers against a concurrent control, with promises that hold at any look. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tally:
    """All that the judge remembers of the intervals so far. `Tally()` is the beginning."""

    intervals: int = 0
