"""Timing two things side by side: alternating runs, medians, and their ratio, so that a noisy machine disturbs both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """One line of the report. `bound` (at most | at least) says how `value` compares with `goal`.

    `ours` and `theirs` tell what was measured, in absolute figures.
    """

    name: str
    value: float
    goal: float
    bound: str
    unit: str
    ours: str
    theirs: str

    @property
    def met(self) -> bool:
        return self.value <= self.goal if self.bound == "at most" else self.value >= self.goal


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def alternate(ours: Callable[[], object], theirs: Callable[[], object], *, runs: int) -> tuple[list[float], list[float]]:
    """Time both, in turns, `runs` times each, after one unmeasured run of each; the seconds of ours and of theirs."""
    ours(), theirs()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        taken[0].append(seconds(ours))
        taken[1].append(seconds(theirs))
    return taken


def spread(values: list[float], *, scale: float = 1.0, unit: str = "s", digits: int = 3) -> str:
    """`median [min-max] unit` of some seconds."""
    middle, low, high = (statistics.median(values) * scale, min(values) * scale, max(values) * scale)
    return f"{middle:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}] {unit}"
