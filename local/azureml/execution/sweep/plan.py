"""What a sweep asks for, without any JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from local.azureml.execution.plan import Command, Work
from local.azureml.execution.sweep.search_space import Distribution
from local.azureml.execution.sweep.termination import Policy

Goal = Literal["minimize", "maximize"]
LARGEST_TOTAL, LARGEST_CONCURRENT = 1000, 100
"""Azure's limits of trials in a sweep, and of those at the same time."""


@dataclass(frozen=True)
class Sampling:
    """`seed` None: another order every time; `rule` of random sampling: random or sobol."""

    kind: Literal["random", "grid", "bayesian"]
    seed: int | None = None
    rule: Literal["random", "sobol"] = "random"


@dataclass(frozen=True)
class Limits:
    """`timeout` is for the whole sweep, `trial_timeout` for each trial; None: no limit."""

    total: int
    concurrent: int
    timeout: timedelta | None = None
    trial_timeout: timedelta | None = None


@dataclass(frozen=True)
class Sweep(Work):
    """`trial` has `${{inputs.search_space.x}}` where the job said `${{search_space.x}}`: bindings know inputs only."""

    trial: Command
    space: Mapping[str, Distribution]
    sampling: Sampling
    metric: str
    goal: Goal
    limits: Limits
    policy: Policy | None = None
    direct: tuple[str, ...] = ()
    """Hyperparameters that are inputs of the trial's component too."""
