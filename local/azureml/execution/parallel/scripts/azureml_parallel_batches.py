"""Mini batches: which files, or which rows of which file, one call of `run` gets."""

from __future__ import annotations

import csv
import importlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_FILES, DEFAULT_BYTES = 10, 1024 * 1024
BY_LINE = ("read_delimited", "read_json_lines")


@dataclass
class MiniBatch:
    """`task` is what a worker is told; `items` how many inputs it holds (files or rows; rows of Parquet count as their file)."""

    number: int
    name: str
    items: int
    task: dict[str, Any]
    errors: list[str] = field(default_factory=list)
    """One per failed attempt."""


def mini_batches(files: list[str], table: dict[str, Any] | None, size: int) -> list[MiniBatch]:
    """`size`: files per mini batch, or bytes when `table` says how to read them; 0 is Azure's default (10 files, 1 MB)."""
    cut = _of_files(files, size or DEFAULT_FILES) if table is None else _of_table(files, table, size or DEFAULT_BYTES)
    return [MiniBatch(number, name, items, task) for number, (name, items, task) in enumerate(cut)]


_Cut = list[tuple[str, int, dict[str, Any]]]


def _of_files(files: list[str], size: int) -> _Cut:
    groups = [files[start : start + size] for start in range(0, len(files), size)]
    return [(", ".join(Path(file).name for file in group), len(group), {"files": group}) for group in groups]


def _of_table(files: list[str], table: dict[str, Any], size: int) -> _Cut:
    cut: _Cut = []
    for file in files:
        name, pieces = Path(file).name, math.ceil(Path(file).stat().st_size / size)
        if table["reader"] not in BY_LINE:  # only a library could look inside: such a file is a mini batch
            cut.append((name, 1, {"table": {**table, "file": file, "first": 0, "rows": None}}))
            continue
        rows = _rows(file, table)
        step = max(1, math.ceil(rows / max(1, pieces)))
        for first in range(0, rows, step):
            count = min(step, rows - first)
            told = {"table": {**table, "file": file, "first": first, "rows": count}}
            cut.append((f"{name} rows {first} to {first + count - 1}", count, told))
    return cut


def _rows(file: str, table: dict[str, Any]) -> int:
    with Path(file).open(encoding=table["encoding"], newline="") as text:
        if table["reader"] == "read_json_lines":
            return sum(1 for line in text if line.strip())
        found = sum(1 for row in csv.reader(text, delimiter=table["delimiter"]) if row)
    return found - 1 if table["header"] and found else found


def read_rows(table: dict[str, Any]) -> Any:
    """The pandas DataFrame of a tabular mini batch."""
    pandas = importlib.import_module("pandas")  # in the worker, and only for tables
    first, rows = table["first"], table["rows"]
    if table["reader"] == "read_delimited":
        header = 0 if table["header"] else None
        skipped = range(1, first + 1) if table["header"] else range(first)
        return pandas.read_csv(
            table["file"], sep=table["delimiter"], encoding=table["encoding"], header=header, skiprows=skipped, nrows=rows
        )
    if table["reader"] == "read_json_lines":
        whole = pandas.read_json(table["file"], lines=True, encoding=table["encoding"], nrows=first + rows)
        return whole.iloc[first:].reset_index(drop=True)
    return pandas.read_parquet(table["file"])
