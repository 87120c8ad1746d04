"""Chooses the features and fits what must be fitted (category levels), on the training split alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from features import VERSION
from tables import kind, texts

# A level that is rarer than this is learnt as part of "other", so that "other" means something when an unknown level comes.
RAREST_LEVEL = 10
MOST_LEVELS = 200
# Text that is nearly always different (names, free text, forgotten ids) can only be learnt by heart.
DISTINCT_SHARE = 0.5


def describe(train: pa.Table, target: str, positive_value: str, id_columns: Sequence[str]) -> dict[str, Any]:
    """The description (see `features`) for a table that holds the training split only."""
    columns: list[dict[str, Any]] = []
    dropped: dict[str, str] = {}
    for name in train.column_names:
        if name == target or name in id_columns:
            continue
        column, reason = _column(name, train[name])
        if column is not None:
            columns.append(column)
        else:
            dropped[name] = reason
    return {
        "version": VERSION,
        "target": target,
        "positive_value": positive_value,
        "id_columns": list(id_columns),
        "columns": columns,
        "dropped": dropped,
    }


def _column(name: str, values: pa.ChunkedArray) -> tuple[dict[str, Any] | None, str]:
    """(the column's part of the description or None, the reason for None)."""
    of = kind(values.type)
    known = pc.drop_null(values)
    distinct = len(pc.unique(known))
    if of == "empty" or distinct == 0:
        return None, "no value in the training split"
    if distinct == 1 and len(known) == len(values):
        return None, "the same value in every row of the training split"
    if of != "categorical":
        return {"name": name, "kind": of}, ""
    if distinct > max(DISTINCT_SHARE * len(known), 20):
        return None, f"{distinct} different texts in {len(known)} rows: a name or free text, not a category"
    return {"name": name, "kind": of, "levels": _levels(known)}, ""


def _levels(known: pa.ChunkedArray) -> list[str]:
    """The frequent levels, sorted by name, so that equal data gives equal codes."""
    counts: dict[str, int] = {}
    for text in texts(known):
        if text is not None:
            counts[text] = counts.get(text, 0) + 1
    # In a small table every level is rare: keep those that make up half a percent of it.
    rarest = min(RAREST_LEVEL, max(1, len(known) // 200))
    frequent = sorted((level for level, count in counts.items() if count >= rarest), key=lambda level: (-counts[level], level))
    return sorted(frequent[:MOST_LEVELS])
