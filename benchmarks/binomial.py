"""How far a share that was counted may be from the true one: Clopper and Pearson's exact interval (Biometrika, 1934)."""

from __future__ import annotations

import math
from collections.abc import Callable


def interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of the probability behind `successes` of `trials`, each missed with at most half of 1 - confidence."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials} is no share; expected 0 <= successes <= trials and at least one trial")
    if 2 * successes > trials:  # fewer terms to sum up
        low, high = interval(trials - successes, trials, confidence)
        return 1 - high, 1 - low
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else _solve(lambda p: 1 - at_most(successes - 1, trials, p) - tail)
    return low, _solve(lambda p: tail - at_most(successes, trials, p))


def at_most(successes: int, trials: int, probability: float) -> float:
    """The probability of so many successes or fewer."""
    if probability <= 0:
        return 1.0
    if probability >= 1:
        return float(successes >= trials)
    yes, no = math.log(probability), math.log1p(-probability)
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * yes + (trials - k) * no)
        for k in range(successes + 1)
    )


def _solve(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
