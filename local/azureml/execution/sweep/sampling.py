"""Which values the next trial gets. No setting is tried twice: a search space that is finite can be exhausted."""

from __future__ import annotations

import itertools
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from local.azureml.execution.sweep.plan import Sweep
from local.azureml.execution.sweep.search_space import Distribution, Setting, rounded
from local.azureml.execution.sweep.sobol import sobol_points

if TYPE_CHECKING:
    import optuna

Settings = dict[str, Setting]
Space = Mapping[str, Distribution]
_DRAWS = 100
"""Attempts at a setting that was not there yet, before the space is searched for one."""


class Sampler(ABC):
    """`ask` for the next trial's settings, `tell` what came of one."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._tried: set[str] = set()

    def ask(self) -> Settings | None:
        """None when every setting there is has been tried."""
        size = space_size(self._space)
        if size is not None and len(self._tried) >= size:
            return None
        for _ in range(_DRAWS):
            settings = self._draw()
            if self._is_new(settings):
                return settings
        return next((settings for settings in grid(self._space) if Sampler._is_new(self, settings)), None) if size else settings

    def tell(self, settings: Settings, score: float | None) -> None:
        """`score` None: the trial gave none. Random and grid sampling learn nothing from it."""
        del settings, score

    @abstractmethod
    def _draw(self) -> Settings: ...

    def _is_new(self, settings: Settings) -> bool:
        key = repr(settings)
        if key in self._tried:
            return False
        self._tried.add(key)
        return True


class RandomSampler(Sampler):
    """Independent draws of every hyperparameter."""

    def __init__(self, space: Space, seed: int | None) -> None:
        super().__init__(space)
        self._random = random.Random(seed)  # noqa: S311 - not for secrets

    def _draw(self) -> Settings:
        return {name: distribution.at(self._quantile()) for name, distribution in self._space.items()}

    def _quantile(self) -> float:
        """From the open interval: a normal distribution has no value at 0."""
        return max(self._random.random(), 2.0**-60)


class SobolSampler(Sampler):
    """Quantiles of the hyperparameters from Sobol's sequence."""

    def __init__(self, space: Space, seed: int | None) -> None:
        super().__init__(space)
        self._points = sobol_points(len(space), seed)

    def _draw(self) -> Settings:
        quantiles = next(self._points)
        return {name: self._space[name].at(quantile) for name, quantile in zip(self._space, quantiles, strict=True)}


class GridSampler(Sampler):
    """All combinations, the last hyperparameter changing fastest."""

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self._grid = grid(space)

    def _draw(self) -> Settings:
        return next(self._grid)


class BayesianSampler(Sampler):
    """Optuna's tree-structured Parzen estimator; which Bayesian method Azure uses is not published."""

    def __init__(self, space: Space, seed: int | None, *, maximize: bool) -> None:
        super().__init__(space)
        import optuna  # half a second, which only sweeps of this kind shall pay

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self._study = optuna.create_study(direction="maximize" if maximize else "minimize", sampler=sampler)
        self._failed = optuna.trial.TrialState.FAIL
        self._open: list[tuple[Settings, optuna.Trial]] = []

    def _draw(self) -> Settings:
        trial = self._study.ask()
        settings = {name: _suggested(trial, name, distribution) for name, distribution in self._space.items()}
        self._open.append((settings, trial))
        return settings

    def _is_new(self, settings: Settings) -> bool:
        if super()._is_new(settings):
            return True
        self._close(self._open.pop()[1], None)  # a setting once more: optuna shall not wait for its score
        return False

    def tell(self, settings: Settings, score: float | None) -> None:
        for entry in [entry for entry in self._open if entry[0] == settings]:
            self._open.remove(entry)
            self._close(entry[1], score)

    def _close(self, trial: optuna.Trial, score: float | None) -> None:
        if score is None:
            self._study.tell(trial, state=self._failed)
        else:
            self._study.tell(trial, score)


def make_sampler(sweep: Sweep) -> Sampler:
    """The sampler that a sweep asks for."""
    if sweep.sampling.kind == "grid":
        return GridSampler(sweep.space)
    if sweep.sampling.kind == "bayesian":
        return BayesianSampler(sweep.space, sweep.sampling.seed, maximize=sweep.goal == "maximize")
    draws = SobolSampler if sweep.sampling.rule == "sobol" else RandomSampler
    return draws(sweep.space, sweep.sampling.seed)


def space_size(space: Space) -> int | None:
    """How many different settings there are; None: infinitely many."""
    sizes = [distribution.size for distribution in space.values()]
    return None if None in sizes else math.prod(size for size in sizes if size)


def grid(space: Space) -> Iterator[Settings]:
    """Every setting of a finite space."""
    options = [[distribution.option(i) for i in range(distribution.size or 0)] for distribution in space.values()]
    return (dict(zip(space, combination, strict=True)) for combination in itertools.product(*options))


def _suggested(trial: optuna.Trial, name: str, distribution: Distribution) -> Setting:
    if distribution.kind == "choice":  # by index: optuna's categories know fewer types than JSON
        return distribution.option(trial.suggest_categorical(name, list(range(len(distribution.arguments)))))
    low, high, *step = distribution.arguments
    value = trial.suggest_float(name, low, high)
    return rounded(value, step[0]) if step else value
