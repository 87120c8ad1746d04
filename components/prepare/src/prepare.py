"""Step 2: split first, then describe the features from the training split alone.

Writes train.parquet, validation.parquet, test.parquet (raw columns and `label_column`) and features.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from describe import describe
from split import TEST, TRAIN, VALIDATION, split
from step import StepFailedError, run
from tables import labels, read_tables, texts

PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--validated", type=Path, required=True, help="output folder of validate")
    parser.add_argument("--target_column", required=True)
    parser.add_argument("--positive_value", required=True)
    parser.add_argument("--id_columns", default="", help="comma-separated")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--test_fraction", type=float, default=0.2)
    parser.add_argument("--prepared", type=Path, required=True, help="output folder")
    arguments = parser.parse_args()
    id_columns = [name.strip() for name in arguments.id_columns.split(",") if name.strip()]
    table = read_tables(sorted((arguments.validated / "files").iterdir()))
    chosen = {"seed": arguments.seed, "test_fraction": arguments.test_fraction}
    tables, description = prepare(table, arguments.target_column, arguments.positive_value, id_columns, **chosen)
    write(tables, description, arguments.prepared)


def prepare(
    table: pa.Table, target: str, positive_value: str, id_columns: list[str], *, seed: int, test_fraction: float
) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """({part: table}, description). Each part holds the description's columns and one more: the label, float32, 0 or 1."""
    if not 0 < test_fraction < 1:
        raise StepFailedError(f"test_fraction: expected a number between 0 and 1, found {test_fraction}")
    known = labels(table[target], positive_value)
    has_label = ~np.isnan(known)
    table, known = table.filter(pa.array(has_label)), known[has_label]
    ids = list(zip(*(texts(table[name]) for name in id_columns), strict=True)) if id_columns else None
    parts = split(known, seed=seed, test_fraction=test_fraction, ids=ids)
    for name, part in PARTS.items():
        if len(np.unique(known[parts == part])) < 2:
            raise StepFailedError(
                f"the {name} split has {int((parts == part).sum())} rows and not both classes: more rows are needed"
            )
    description = describe(table.filter(pa.array(parts == TRAIN)), target, positive_value, id_columns)
    description["label_column"] = _free_name("label", table.column_names)
    if not description["columns"]:
        raise StepFailedError(f"no column is left to learn from: {description['dropped']}")
    kept = table.select([column["name"] for column in description["columns"]])
    kept = kept.append_column(description["label_column"], pa.array(known))
    print(f"{int((~has_label).sum())} rows without a target left out", flush=True)
    return {name: kept.filter(pa.array(parts == part)) for name, part in PARTS.items()}, description


def _free_name(name: str, taken: list[str]) -> str:
    while name in taken:
        name += "_"
    return name


def write(tables: dict[str, pa.Table], description: dict[str, Any], folder: Path) -> None:
    """Write the output folder and say what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    (folder / "features.json").write_text(json.dumps(description, indent=2))
    kinds = [column["kind"] for column in description["columns"]]
    print(", ".join(f"{name}: {table.num_rows} rows" for name, table in tables.items()))
    print(", ".join(f"{kinds.count(of)} {of}" for of in sorted(set(kinds))) + " columns")
    for name, reason in description["dropped"].items():
        print(f"column {name} left out: {reason}")


if __name__ == "__main__":
    run("prepare", main)
