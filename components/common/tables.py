"""Raw files as Arrow tables: reading CSV and Parquet with one set of rules, and the values of a column for `features`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from features import FALSE_TEXTS, NULL_TEXTS, TRUE_TEXTS

SUFFIXES = (".csv", ".parquet")


class TableError(ValueError):
    """A file that cannot be read as a table; the message says why, without the file's name."""


def read_table(path: Path) -> pa.Table:
    """Read a .csv (header line, comma, UTF-8) or .parquet file. TableError when it cannot be read or names a column twice."""
    if path.suffix.lower() not in SUFFIXES:
        raise TableError(f"expected a file that ends in {' or '.join(SUFFIXES)}, found {path.name!r}")
    if path.stat().st_size == 0:
        raise TableError("the file is empty (0 bytes)")
    try:
        table = _read_csv(path) if path.suffix.lower() == ".csv" else pa.parquet.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        raise TableError(f"cannot be read as {path.suffix.lower()}: {str(error).splitlines()[0][:300]}") from None
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(f"column {twice[0]}: expected once, found {names.count(twice[0])} times")
    return table


def read_tables(paths: Sequence[Path]) -> pa.Table:
    """Read files with the same columns into one table; whole numbers here and decimals there become decimals."""
    tables = [read_table(path) for path in paths]
    order = tables[0].column_names
    return pa.concat_tables([table.select(order) for table in tables], promote_options="permissive").combine_chunks()


def kind(data_type: pa.DataType) -> str | None:
    """The feature kind of an Arrow type, `empty` for a column without any value, None for a type that is not supported."""
    if pa.types.is_dictionary(data_type):
        data_type = data_type.value_type
    checks = {
        "empty": (pa.types.is_null,),
        "boolean": (pa.types.is_boolean,),
        "numeric": (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal),
        "categorical": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        "datetime": (pa.types.is_timestamp, pa.types.is_date),
    }
    return next((name for name, tests in checks.items() if any(test(data_type) for test in tests)), None)


def values(column: pa.ChunkedArray) -> np.ndarray:
    """A column as `features.Encoder` takes it: float64, datetime64[s] (UTC), or objects with None for a missing value."""
    of = kind(column.type)
    if of == "numeric":
        return pc.cast(column, pa.float64(), safe=False).to_numpy()
    if of == "datetime":
        return column.to_numpy().astype("datetime64[s]")
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    return np.array(column.to_pylist(), dtype=object)


def columns(table: pa.Table, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named columns of a table as `features.Encoder.encode` takes them."""
    return {name: values(table[name]) for name in names}


def texts(column: pa.ChunkedArray) -> list[str | None]:
    """A column's values as text: 1 and 1.0 are both `1`, true is `true`. Used for targets and ids."""
    if kind(column.type) == "numeric":
        return [None if value is None else _number_text(value) for value in column.to_pylist()]
    return pc.cast(column, pa.string()).to_pylist()


def _number_text(value: float) -> str:
    # The same id or class is 1 in one file and 1.0 in another as soon as one value is missing.
    return str(int(value)) if value == value and float(value).is_integer() else str(value)


def labels(target: pa.ChunkedArray, positive_value: str) -> np.ndarray:
    """float32 array: 1 where the target is the positive value, 0 where it is another, NaN where it is missing."""
    wanted = positive_value.lower() if kind(target.type) == "boolean" else positive_value
    return np.array([np.nan if text is None else float(text == wanted) for text in texts(target)], dtype=np.float32)


def _read_csv(path: Path) -> pa.Table:
    table = _parse(path, {})
    # A time of day is text to a JSON client; keep it as it stands in the file.
    times = {field.name: pa.string() for field in table.schema if pa.types.is_time(field.type)}
    return _parse(path, times) if times else table


def _parse(path: Path, types: dict[str, pa.DataType]) -> pa.Table:
    options = pa.csv.ConvertOptions(
        column_types=types,
        null_values=sorted(NULL_TEXTS),
        true_values=sorted(TRUE_TEXTS),
        false_values=sorted(FALSE_TEXTS),
        strings_can_be_null=True,
    )
    return pa.csv.read_csv(path, convert_options=options)
