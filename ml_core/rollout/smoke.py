"""The smoke test: does a candidate at 0 % answer its golden requests as the model did offline? Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SmokeTest:
    """`outcome`: passed; failed; none (the model brings no golden requests); error (nothing could be asked, try again)."""

    outcome: Literal["passed", "failed", "none", "error"]
    reason: str
    requests: int = 0
    largest_difference: float = 0.0
    slowest_seconds: float = 0.0
