"""Slices: groups of rows that are looked at apart, by a column's values. Pure.

A slice's name reaches the ledger and people, rows do not. So a value names a slice only when many rows share it, and numbers are
told by quarters.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ml_core.rollout.smoke import Rows

FEWEST_ROWS = 20
"""A value that fewer rows have is among the others."""
MOST_VALUES = 12
"""Of a column; the most frequent ones."""
_LONGEST = 40
_QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")


def slices_of(rows: Rows, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """For each row the slices that it belongs to: one for each of the columns that the rows have."""
    known = [name for name in columns if name in rows.columns]
    by_column = [_of_a_column(name, [row[rows.columns.index(name)] for row in rows.rows]) for name in known]
    return [tuple(one[number] for one in by_column) for number in range(len(rows.rows))]


def _of_a_column(name: str, values: Sequence[Any]) -> list[str]:
    numbers = sorted(value for value in values if _is_number(value))
    if len(set(numbers)) > MOST_VALUES:
        bounds = [numbers[len(numbers) * quarter // 4] for quarter in (1, 2, 3)]
        kinds = [_QUARTERS[bisect_right(bounds, value)] if _is_number(value) else _word(value) for value in values]
    else:
        kinds = [_word(value) for value in values]
    counts = Counter(kinds).most_common(MOST_VALUES)
    named = {kind for kind, rows in counts if rows >= FEWEST_ROWS}
    return [f"{name} = {kind}" if kind in named else f"{name}: others" for kind in kinds]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _word(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    printable = "".join(one if one.isprintable() else "?" for one in text)
    return printable if len(printable) <= _LONGEST else f"{printable[:_LONGEST]}…"
