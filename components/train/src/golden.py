"""Golden requests: a few held-out rows and their offline scores, kept beside the model for whoever tests a deployment of it."""

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

FILE = "golden_requests.json"
ROWS = 5


def write(model: Path, test: pa.Table, description: Mapping[str, Any]) -> None:
    """Write golden_requests.json beside MLmodel in the folder `model`.

    {"request": a body as score.py takes it, with raw columns and neither ids nor target, "scores": what score.py answers}
    """
    chosen = test.take(np.linspace(0, test.num_rows - 1, min(ROWS, test.num_rows)).astype(np.int64))
    names = raw_columns(description)
    rows = [list(row) for row in zip(*(json_values(chosen[name]) for name in names), strict=True)]
    request = {"input_data": {"columns": names, "index": list(range(len(rows))), "data": rows}}
    scores = Scorer(model).answer(json.dumps(request))["scores"]
    (model / FILE).write_text(json.dumps({"request": request, "scores": scores}, indent=2))


def json_values(column: pa.ChunkedArray) -> list[Any]:
    """A column as a client would send it: numbers, text, true or false, ISO 8601 times; null for a missing value."""
    found = values(column)
    if found.dtype.kind == "M":
        return [None if np.isnat(value) else str(value) for value in found]
    return [None if value is None or value != value else value for value in found.tolist()]
