"""Which rows are trained on, which stop the training, and which only judge it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

TRAIN, VALIDATION, TEST = 0, 1, 2
# Of the rows that are not held out; they choose the number of trees.
VALIDATION_FRACTION = 0.2


Id = tuple[str | None, ...]


def split(labels: np.ndarray, *, seed: int, test_fraction: float, ids: Sequence[Id] | None = None) -> np.ndarray:
    """An int8 array of TRAIN, VALIDATION or TEST per row, the same for the same rows and seed.

    With `ids`, all rows of one id fall together, and an id keeps its place in later data versions (its place is a hash).
    Without, rows are shuffled within each class, so that every part has the same share of positives.
    """
    draws = _by_id(ids, seed) if ids is not None else _by_class(labels, seed)
    parts = np.full(len(labels), TRAIN, dtype=np.int8)
    parts[draws < test_fraction + (1 - test_fraction) * VALIDATION_FRACTION] = VALIDATION
    parts[draws < test_fraction] = TEST
    return parts


def _by_id(ids: Sequence[Id], seed: int) -> np.ndarray:
    """A draw from [0, 1) per row, equal for equal ids."""
    draws: dict[Id, float] = {}
    for key in ids:
        if key not in draws:
            digest = hashlib.blake2b(repr((seed, key)).encode(), digest_size=8).digest()
            draws[key] = int.from_bytes(digest, "big") / 2**64
    return np.array([draws[key] for key in ids])


def _by_class(labels: np.ndarray, seed: int) -> np.ndarray:
    """A draw from [0, 1) per row, evenly spread within each class."""
    generator = np.random.default_rng(seed)
    draws = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        draws[generator.permutation(rows)] = (np.arange(len(rows)) + 0.5) / len(rows)
    return draws
