"""Absolute quality gates: a measure on the wrong side of its threshold fails the job, and nothing is registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """`name` is a measure of the report; exactly one of `at_least` and `at_most` is set."""

    name: str
    at_least: float | None = None
    at_most: float | None = None


def failures(gates: list[Gate], measures: Mapping[str, float], *, rows: int, data_version: str) -> list[str]:
    """A sentence for every gate that is not passed; a measure that is not a number passes no gate."""
    sentences = []
    for gate in gates:
        value = measures[gate.name]
        where = f"(test rows {rows}, data version {data_version})"
        if gate.at_least is not None and not value >= gate.at_least:
            sentences.append(f"gate failed: {gate.name} {value:.4f} is below the required {gate.at_least:g} {where}")
        if gate.at_most is not None and not value <= gate.at_most:
            sentences.append(f"gate failed: {gate.name} {value:.4f} is above the allowed {gate.at_most:g} {where}")
    return sentences
