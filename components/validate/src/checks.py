"""What a data version must be before anything is trained on it. Every problem says file, column, expected and found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tables import TableError, kind, labels, read_table


@dataclass
class Findings:
    """`problems` are sentences, empty when all is well; `report` is JSON."""

    problems: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)


def check(files: Sequence[tuple[str, Path]], target: str, positive_value: str, id_columns: Sequence[str]) -> Findings:
    """Check (name shown, local path) pairs against each other and against what training needs."""
    findings = Findings()
    tables: list[tuple[str, pa.Table]] = []
    for name, path in files:
        try:
            table = read_table(path)
        except TableError as error:
            findings.problems.append(f"{name}: {error}")
            continue
        if table.num_rows == 0:
            findings.problems.append(f"{name}: expected rows, found only a header")
        tables.append((name, table))
    kinds = _columns(tables, findings.problems)
    if tables:
        _needed(tables[0], target, id_columns, findings.problems)
    if not findings.problems:
        _target(tables, target, positive_value, findings)
    findings.report |= {
        "files": [{"name": name, "rows": table.num_rows} for name, table in tables],
        "rows": sum(table.num_rows for _, table in tables),
        "columns": kinds,
        "problems": findings.problems,
    }
    return findings


def _columns(tables: Sequence[tuple[str, pa.Table]], problems: list[str]) -> dict[str, str]:
    """Compare every file's columns and kinds with those of the files before it; return the kinds."""
    expected: dict[str, tuple[str, str]] = {}
    for position, (name, table) in enumerate(tables):
        if position:
            first = tables[0][1].column_names
            problems += [
                f"{name}: column {c}: expected (as in {tables[0][0]}), found none" for c in first if c not in table.column_names
            ]
            problems += [
                f"{name}: column {c}: not expected (not in {tables[0][0]})" for c in table.column_names if c not in first
            ]
        for column in table.column_names:
            found = kind(table.schema.field(column).type)
            if found is None:
                problems.append(
                    f"{name}: column {column}: expected numbers, text, booleans or times, found {table.schema.field(column).type}"
                )
                continue
            if found == "numeric":
                problems += _infinite(name, column, table[column])
            before, where = expected.get(column, ("empty", ""))
            if before == "empty":
                expected[column] = (found, name)
            elif found not in ("empty", before):
                problems.append(
                    f"{name}: column {column}: expected {before} (as in {where}), found {found}{_example(found, table[column])}"
                )
    return {column: found for column, (found, _) in expected.items()}


def _infinite(name: str, column: str, values: pa.ChunkedArray) -> list[str]:
    if not pa.types.is_floating(values.type):
        return []
    # XGBoost works in 32 bits; a larger number would become infinite there.
    largest = pc.min_max(pc.abs(values))["max"].as_py()
    if largest is not None and not math.isnan(largest) and largest > float(np.finfo(np.float32).max):
        return [f"{name}: column {column}: expected finite numbers below 3.4e38, found {largest}"]
    return []


def _example(found: str, values: pa.ChunkedArray) -> str:
    if found != "categorical":
        return ""
    for text in pc.drop_null(values).to_pylist():
        try:
            float(text)
        except ValueError:
            return f" {text[:40]!r}"
    return ""


def _needed(first: tuple[str, pa.Table], target: str, id_columns: Sequence[str], problems: list[str]) -> None:
    name, table = first
    for role, column in (("target", target), *(("id", column) for column in id_columns)):
        if column not in table.column_names:
            problems.append(f"{name}: column {column}: expected ({role} column), found only {', '.join(table.column_names)}")
    if target in id_columns:
        problems.append(f"column {target}: expected to be the target or an id column, found both")


def _target(tables: Sequence[tuple[str, pa.Table]], target: str, positive_value: str, findings: Findings) -> None:
    parts = [table[target] for _, table in tables]
    known = np.concatenate([labels(part, positive_value) for part in parts])
    missing = int(np.isnan(known).sum())
    positives, negatives = int((known == 1).sum()), int((known == 0).sum())
    findings.report |= {"rows_without_target": missing, "positives": positives, "negatives": negatives}
    if positives == 0:
        seen = sorted({str(value) for part in parts for value in pc.unique(part).to_pylist() if value is not None})
        shown = ", ".join(repr(value) for value in seen[:5]) or "no value at all"
        findings.problems.append(f"column {target}: expected the positive value {positive_value!r} in some row, found {shown}")
    elif negatives == 0:
        findings.problems.append(f"column {target}: expected at least two classes, found only {positive_value!r}")
