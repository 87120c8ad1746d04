"""The distributions of hyperparameters, as Microsoft's "Hyperparameter tuning a model (v2)" defines them; logs are natural."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from local.azureml.errors import bad_request, not_emulated

Setting = str | int | float | bool
"""What a hyperparameter can be in one trial."""
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "choice": ("values",),
    "randint": ("upper",),
    "uniform": ("min_value", "max_value"),
    "loguniform": ("min_value", "max_value"),
    "quniform": ("min_value", "max_value", "q"),
    "qloguniform": ("min_value", "max_value", "q"),
    "normal": ("mu", "sigma"),
    "lognormal": ("mu", "sigma"),
    "qnormal": ("mu", "sigma", "q"),
    "qlognormal": ("mu", "sigma", "q"),
}  # fmt: skip


@dataclass(frozen=True)
class Distribution:
    """`arguments` in the order of the service: choice the options, randint (upper,), the others as in `_PARAMETERS`."""

    kind: str
    arguments: tuple[Any, ...]

    @property
    def size(self) -> int | None:
        """How many values there are; None: infinitely many."""
        if self.kind == "choice":
            return len(self.arguments)
        return int(self.arguments[0]) if self.kind == "randint" else None

    def at(self, quantile: float) -> Setting:
        """The value at a quantile, 0 < quantile < 1: draws of uniform quantiles make draws of this distribution."""
        if self.size is not None:
            return self.option(min(int(quantile * self.size), self.size - 1))
        *shape, step = self.arguments if self.kind.startswith("q") else (*self.arguments, None)
        value = _inverse(self.kind.removeprefix("q"))(quantile, *shape)
        return value if step is None else rounded(value, step)

    def option(self, index: int) -> Setting:
        """One of the `size` values of a discrete distribution."""
        value: Setting = self.arguments[index] if self.kind == "choice" else index
        return value


def rounded(value: float, step: float) -> float:
    """To the next multiple of `step`: a whole number where the step is one."""
    multiple = round(value / step) * step
    return int(multiple) if float(step).is_integer() else multiple


def read_search_space(given: object) -> dict[str, Distribution]:
    """From the body of a sweep job ({name: [kind, arguments]}) or of a pipeline's node ({name: {"type": kind, ...}})."""
    if not isinstance(given, Mapping) or not given:
        raise bad_request("A sweep needs a search space with at least one hyperparameter.")
    return {str(name): _read(str(name), value) for name, value in given.items()}


def _read(name: str, given: object) -> Distribution:
    if isinstance(given, Mapping):
        kind, found = str(given.get("type", "")), dict(given)
        arguments: list[Any] = [found.get(key) for key in _PARAMETERS.get(kind, ())]
    elif isinstance(given, list) and len(given) == 2 and isinstance(given[1], list):
        kind, arguments = str(given[0]), given[1]
    else:
        raise bad_request(f"Hyperparameter '{name}': {given!r} is no distribution.")
    if kind not in _PARAMETERS:
        raise bad_request(f"Hyperparameter '{name}': '{kind}' is no distribution; there are {', '.join(_PARAMETERS)}.")
    if len(arguments) != len(_PARAMETERS[kind]) or any(argument is None for argument in arguments):
        raise bad_request(f"Hyperparameter '{name}': {kind} needs {', '.join(_PARAMETERS[kind])}.")
    if kind == "choice":
        return Distribution(kind, _options(name, arguments[0]))
    _check_numbers(name, kind, dict(zip(_PARAMETERS[kind], arguments, strict=True)))
    return Distribution(kind, tuple(arguments))


def _options(name: str, values: object) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise bad_request(f"Hyperparameter '{name}': choice needs at least one value.")
    if any(isinstance(value, Mapping | Sequence) and not isinstance(value, str) for value in values):
        raise not_emulated(f"Hyperparameter '{name}': the emulator does not do nested choices.")
    return tuple({repr(value): value for value in values}.values())


def _check_numbers(name: str, kind: str, given: Mapping[str, Any]) -> None:
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise bad_request(f"Hyperparameter '{name}': {key} of {kind} must be a number, not {value!r}.")
    problem = ""
    if "min_value" in given and given["min_value"] >= given["max_value"]:
        problem = f"min_value ({given['min_value']}) must be less than max_value ({given['max_value']})"
    elif given.get("sigma", 1) <= 0:
        problem = f"sigma must be greater than 0, not {given['sigma']}"
    elif given.get("q", 1) <= 0:
        problem = f"q must be greater than 0, not {given['q']}"
    elif "upper" in given and (not isinstance(given["upper"], int) or given["upper"] < 1):
        problem = f"upper must be a whole number of at least 1, not {given['upper']}"
    if problem:
        raise bad_request(f"Hyperparameter '{name}': {problem}.")


def _inverse(kind: str) -> Callable[..., float]:
    """The quantile function: of (quantile, low, high) or of (quantile, mean, deviation)."""
    if kind == "uniform":
        return _uniform
    if kind == "loguniform":
        return lambda quantile, low, high: math.exp(_uniform(quantile, low, high))
    if kind == "normal":
        return _normal
    return lambda quantile, mu, sigma: math.exp(_normal(quantile, mu, sigma))


def _uniform(quantile: float, low: float, high: float) -> float:
    return low + quantile * (high - low)


def _normal(quantile: float, mu: float, sigma: float) -> float:
    return NormalDist(mu, sigma).inv_cdf(quantile)
