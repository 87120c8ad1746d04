"""Whether the emulator's memory grows with the jobs that it has run: three hundred pipelines of three steps, one after the other.

Memory is the resident set of the process that the emulator lives in, after a garbage collection, and of those that it started:
the router, the warmed parents that steps are forked from, and whatever a job left running. Azurite, which is not part of the
emulator and keeps an index of all blobs in memory, is not counted. The first jobs only warm what later ones share.
"""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import psutil

from benchmarks.laboratory import emulator
from benchmarks.measure import Comparison
from benchmarks.steps import COMMANDS, pipeline, register

GOAL = 1.1
WARMING, JOBS = 50, 300
_MEBIBYTE = 1024 * 1024


def run() -> list[Comparison]:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name, emulator(Path(name) / "state", mlflow=False) as running:
        register(running, "many", COMMANDS["forked from the warmed parent"])
        for _ in range(WARMING):
            pipeline(running, "many")
        before, parents = _own(), _children()
        for _ in range(JOBS):
            pipeline(running, "many")
        return [
            _grown("memory of the emulator", before, _own()),
            _grown("memory of the processes that it started", parents, _children()),
        ]


def _grown(name: str, before: float, after: float) -> Comparison:
    return Comparison(
        f"{name} after {JOBS} more jobs", after / before, GOAL, "at most", "x", f"{after:.1f} MiB", f"before: {before:.1f} MiB"
    )


def _own() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / _MEBIBYTE


def _children() -> float:
    """Of all processes below this one but Azurite."""
    below = [
        child for child in psutil.Process().children(recursive=True) if not any("azurite" in word for word in child.cmdline()[:2])
    ]
    return sum(child.memory_info().rss for child in below) / _MEBIBYTE
