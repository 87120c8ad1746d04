"""The shadow's judge: the same request, answered by both deployments. Paired and sequential. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PairsPromises:
    """What the shadow allows. A candidate may differ; it must not fail, be slow, or flip more decisions than that."""

    decision_threshold: float = 0.5
    """A score of at least this is a yes."""

    max_flip_rate: float = 0.1
    max_flip_rate_in_slice: float | None = None
    max_times_slower: float = 2.0
    alpha: float = 0.0015
    beta: float = 0.05


@dataclass(frozen=True)
class SliceTally:
    """One slice's rows."""

    rows: int = 0
    flips: int = 0
    sum_of_differences: float = 0.0


@dataclass(frozen=True)
class Pairs:
    """A chunk of pairs, in the order in which they were asked; `last` when no more are there.

    `outcomes` holds for each pair a short code of who failed; `slower` whether the candidate took more than the allowed multiple.
    """

    first: int
    rows: int
    flips: int
    candidate_failed: int
    stable_failed: int
    both_failed: int
    slower: int
    timed: int
    last: bool
    sum_of_differences: float = 0.0
    slices: Mapping[str, SliceTally] = field(default_factory=dict)
    error: str = ""
    """Why there are none although there should be some."""


@dataclass(frozen=True)
class PairsTally:
    """All chunks so far, and what they say against the candidate."""

    asked: int = 0
    over: bool = False
