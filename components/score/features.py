"""From raw columns to the model's numbers: the one description used by training, evaluation and serving.

A description is plain JSON (`features.json`):

    {"version": 1, "target": "late", "positive_value": "yes", "id_columns": [...], "dropped": {column: reason},
     "columns": [{"name": "distance", "kind": "numeric"}, {"name": "carrier", "kind": "categorical", "levels": ["AA", ...]},
                 {"name": "booked", "kind": "boolean"}, {"name": "due_at", "kind": "datetime"}]}

Raw values come as numpy arrays (training) or as lists of JSON values (serving); both go through the same functions here, so
that the same row gives the same numbers. Only numpy and the standard library are imported: a pandas frame per request would
cost more than the model does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

VERSION = 1
KINDS = ("numeric", "categorical", "boolean", "datetime")
# What counts as "no value", in files and in requests alike. Anything else in a text column is a value.
NULL_TEXTS = frozenset({"", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None"})
TRUE_TEXTS, FALSE_TEXTS = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
# Cyclic parts only: a year or a day count never repeats, so that a tree could only learn the past from it.
DATETIME_PARTS = ("month", "day", "weekday", "hour")

Description = Mapping[str, Any]
Values = Sequence[Any] | np.ndarray


class FeatureError(ValueError):
    """A raw value or column that cannot be used. The message names the column, the row (counted from 0), and what was found."""


def raw_columns(description: Description) -> list[str]:
    """The columns that a row must have, in the description's order."""
    return [column["name"] for column in description["columns"]]


def feature_names(description: Description) -> list[str]:
    """The names of the matrix' columns; a datetime column gives one per part, `due_at.hour`."""
    names: list[str] = []
    for column in description["columns"]:
        parts = [f".{part}" for part in DATETIME_PARTS] if column["kind"] == "datetime" else [""]
        names += [column["name"] + part for part in parts]
    return names


def feature_types(description: Description) -> list[str]:
    """XGBoost's feature types of the matrix' columns: `c` for categories, `q` for quantities."""
    types: list[str] = []
    for column in description["columns"]:
        types += {"categorical": ["c"], "datetime": ["q"] * len(DATETIME_PARTS)}.get(column["kind"], ["q"])
    return types


class Encoder:
    """Turns columns into a float32 matrix of shape (rows, features); a missing value is NaN. Holds what can be computed once."""

    def __init__(self, description: Description) -> None:
        if description.get("version") != VERSION:
            raise FeatureError(f"features.json: expected version {VERSION}, found {description.get('version')!r}")
        self.columns = raw_columns(description)
        self.features = feature_names(description)
        self._kinds = [column["kind"] for column in description["columns"]]
        self._codes = [_codes(column) for column in description["columns"]]

    def encode(self, columns: Mapping[str, Values]) -> np.ndarray:
        """Columns of equal length by name -> matrix. Ignores unknown columns; FeatureError for missing ones, unusable values."""
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise FeatureError(f"missing columns: {', '.join(missing)}")
        rows = len(columns[self.columns[0]])
        matrix = np.empty((rows, len(self.features)), dtype=np.float32)
        at = 0
        for name, kind, codes in zip(self.columns, self._kinds, self._codes, strict=True):
            values = columns[name]
            if kind == "numeric":
                matrix[:, at] = _numbers(name, values)
            elif kind == "categorical":
                matrix[:, at] = _categories(name, values, codes)
            elif kind == "boolean":
                matrix[:, at] = _booleans(name, values)
            else:
                matrix[:, at : at + len(DATETIME_PARTS)] = _datetime_parts(name, values)
                at += len(DATETIME_PARTS) - 1
            at += 1
        return matrix


def encode(columns: Mapping[str, Values], description: Description) -> np.ndarray:
    """`Encoder(description).encode(columns)`, for one-time use."""
    return Encoder(description).encode(columns)


def _codes(column: Mapping[str, Any]) -> dict[str, int]:
    """Level -> code, from 0. The code after the last stands for levels that the training split did not have, or had rarely."""
    return {level: code for code, level in enumerate(column.get("levels", ()))}


def _numbers(name: str, values: Values) -> np.ndarray:
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        numbers = values.astype(np.float64)
    else:
        numbers = np.array([_number(name, row, value) for row, value in enumerate(values)], dtype=np.float64)
    largest = np.finfo(np.float32).max
    too_large = np.abs(numbers) > largest
    if too_large.any():
        row = int(np.flatnonzero(too_large)[0])
        raise FeatureError(f"column {name}, row {row}: expected a finite number of at most {largest:.1e}, found {numbers[row]}")
    return numbers


def _number(name: str, row: int, value: Any) -> float:
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    if _is_null(value):
        return float("nan")
    raise _unusable(name, row, "a number", value)


def _categories(name: str, values: Values, codes: Mapping[str, int]) -> list[float]:
    other = float(len(codes))
    encoded = []
    for row, value in enumerate(values):
        if isinstance(value, str):
            code = codes.get(value)
            encoded.append(float(code) if code is not None else float("nan") if value in NULL_TEXTS else other)
        elif _is_null(value):
            encoded.append(float("nan"))
        elif isinstance(value, int | float):
            # A JSON client may send 7 for the text "7".
            encoded.append(float(codes.get(str(value), other)))
        else:
            raise _unusable(name, row, "text", value)
    return encoded


def _booleans(name: str, values: Values) -> np.ndarray:
    encoded = np.empty(len(values), dtype=np.float64)
    for row, value in enumerate(values):
        if isinstance(value, bool | np.bool_) or (isinstance(value, int | float) and value in (0, 1)):
            encoded[row] = float(value)
        elif _is_null(value):
            encoded[row] = np.nan
        elif isinstance(value, str) and value in TRUE_TEXTS | FALSE_TEXTS:
            encoded[row] = float(value in TRUE_TEXTS)
        else:
            raise _unusable(name, row, "true or false", value)
    return encoded


def _datetime_parts(name: str, values: Values) -> np.ndarray:
    """(rows, parts) of UTC times; a text without a zone is taken as UTC."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        seconds = values.astype("datetime64[s]")
    else:
        seconds = np.array([_second(name, row, value) for row, value in enumerate(values)], dtype="datetime64[s]")
    days, months = seconds.astype("datetime64[D]"), seconds.astype("datetime64[M]")
    parts = np.stack(
        [
            months.astype(np.int64) % 12 + 1,
            (days - months).astype(np.int64) + 1,
            (days.astype(np.int64) + 3) % 7,  # 1970-01-01 was a Thursday; Monday is 0
            (seconds - days).astype(np.int64) // 3600,
        ],
        axis=1,
    ).astype(np.float64)
    parts[np.isnat(seconds)] = np.nan
    return parts


def _second(name: str, row: int, value: Any) -> np.datetime64:
    if _is_null(value):
        return np.datetime64("NaT", "s")
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _unusable(name, row, "an ISO 8601 date or time", value) from None
    if isinstance(value, datetime):
        return np.datetime64(value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value, "s")
    if isinstance(value, date | np.datetime64):
        return np.datetime64(value, "s")
    raise _unusable(name, row, "an ISO 8601 date or time", value)


def _is_null(value: Any) -> bool:
    if isinstance(value, str):
        return value in NULL_TEXTS
    # NaN and NaT (numpy's and pandas') are the values that differ from themselves.
    return value is None or (not isinstance(value, list | dict) and value != value)


def _unusable(name: str, row: int, expected: str, found: Any) -> FeatureError:
    return FeatureError(f"column {name}, row {row}: expected {expected}, found {repr(found)[:80]}")
