"""Requests for whoever tests a deployment of the model, kept beside it: rows that it has not learned from.

golden_requests.json: a few rows and the model's own scores of them. shadow_requests.json: many rows, for asking two deployments
the same. Neither holds ids or the target.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from features import raw_columns
from score import Scorer
from tables import values

GOLDEN, SHADOW = "golden_requests.json", "shadow_requests.json"
GOLDEN_ROWS = 5


def write(model: Path, test: pa.Table, description: Mapping[str, Any], *, shadow_rows: int, seed: int) -> None:
    """Write both files beside MLmodel in the folder `model`; shadow_requests.json with at most `shadow_rows`, without rows none.

    {"request": a body as score.py takes it, with raw columns, "scores": what score.py answers; golden_requests.json only}
    """
    golden = request(test, np.linspace(0, test.num_rows - 1, min(GOLDEN_ROWS, test.num_rows)).astype(np.int64), description)
    scores = Scorer(model).answer(json.dumps(golden))["scores"]
    (model / GOLDEN).write_text(json.dumps({"request": golden, "scores": scores}, indent=2))
    # In random order: whoever asks the first hundred has asked a sample of all, whatever order the file was in.
    chosen = np.random.default_rng(seed).permutation(test.num_rows)[:shadow_rows]
    if len(chosen):
        (model / SHADOW).write_text(json.dumps({"request": request(test, chosen, description)}))


def request(table: pa.Table, rows: np.ndarray, description: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a scoring request for these rows of a prepared table."""
    names, chosen = raw_columns(description), table.take(rows)
    data = [list(row) for row in zip(*(json_values(chosen[name]) for name in names), strict=True)]
    return {"input_data": {"columns": names, "index": list(range(len(data))), "data": data}}


def json_values(column: pa.ChunkedArray) -> list[Any]:
    """A column as a client would send it: numbers, text, true or false, ISO 8601 times; null for a missing value."""
    found = values(column)
    if found.dtype.kind == "M":
        return [None if np.isnat(value) else str(value) for value in found]
    return [None if value is None or value != value else value for value in found.tolist()]
