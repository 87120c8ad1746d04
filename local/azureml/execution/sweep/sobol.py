"""Sobol's low-discrepancy sequence: points that fill a cube more evenly than independent draws (Sobol 1967).

Direction numbers by S. Joe and F. Y. Kuo, "Constructing Sobol sequences with better two-dimensional projections", 2008.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

_BITS = 32
# (degree, coefficients of the primitive polynomial, first direction numbers) of the dimensions after the first.
_POLYNOMIALS = (
    (1, 0, (1,)),
    (2, 1, (1, 3)),
    (3, 1, (1, 3, 1)),
    (3, 2, (1, 1, 1)),
    (4, 1, (1, 1, 3, 3)),
    (4, 4, (1, 3, 5, 13)),
    (5, 2, (1, 1, 5, 5, 17)),
    (5, 4, (1, 1, 5, 5, 5)),
    (5, 7, (1, 1, 7, 11, 19)),
)
MOST_DIMENSIONS = len(_POLYNOMIALS) + 1


def sobol_points(dimensions: int, seed: int | None) -> Iterator[tuple[float, ...]]:
    """Points of the open unit cube; a seed shifts them all alike (digitally), so that they stay as even as they were."""
    drawn = random.Random(seed)  # noqa: S311 - not for secrets
    directions = [_first(), *(_directions(*polynomial) for polynomial in _POLYNOMIALS)][:dimensions]
    state = [drawn.getrandbits(_BITS) for _ in directions]
    number = 0
    while True:
        yield tuple((value + 0.5) / 2**_BITS for value in state)
        changed = (~number & (number + 1)).bit_length() - 1  # the lowest zero bit: the next number in Gray code differs there
        state = [value ^ direction[changed] for value, direction in zip(state, directions, strict=True)]
        number += 1


def _first() -> list[int]:
    return [1 << (_BITS - 1 - bit) for bit in range(_BITS)]


def _directions(degree: int, coefficients: int, first: tuple[int, ...]) -> list[int]:
    found = [number << (_BITS - 1 - bit) for bit, number in enumerate(first)]
    for bit in range(degree, _BITS):
        value = found[bit - degree] ^ (found[bit - degree] >> degree)
        for back in range(1, degree):
            if coefficients >> (degree - 1 - back) & 1:
                value ^= found[bit - back]
        found.append(value)
    return found
