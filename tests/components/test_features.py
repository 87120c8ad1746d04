"""From raw values to numbers: the same for numpy columns in training and for JSON lists in serving."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import conftest  # noqa: F401  puts the components on the import path

from features import NULL_TEXTS, Encoder, FeatureError, encode, feature_names, feature_types  # isort: skip

DESCRIPTION = {
    "version": 1,
    "columns": [
        {"name": "distance", "kind": "numeric"},
        {"name": "carrier", "kind": "categorical", "levels": ["AA", "UA"]},
        {"name": "booked", "kind": "boolean"},
        {"name": "due_at", "kind": "datetime"},
    ],
}
ROW = {"distance": [12.5], "carrier": ["UA"], "booked": [True], "due_at": ["2013-02-28T23:30:00"]}


def row(**changed: object) -> list[float]:
    return encode({**ROW, **{name: [value] for name, value in changed.items()}}, DESCRIPTION)[0].tolist()


def test_a_row_becomes_numbers_in_the_described_order() -> None:
    assert feature_names(DESCRIPTION) == [
        "distance",
        "carrier",
        "booked",
        "due_at.month",
        "due_at.day",
        "due_at.weekday",
        "due_at.hour",
    ]
    assert feature_types(DESCRIPTION) == ["q", "c", "q", "q", "q", "q", "q"]
    assert row() == [12.5, 1.0, 1.0, 2.0, 28.0, 3.0, 23.0]  # 28 February 2013 was a Thursday


def test_a_level_that_training_did_not_see_is_other() -> None:
    assert row(carrier="ZZ")[1] == 2.0


@pytest.mark.parametrize("null", [None, float("nan"), *sorted(NULL_TEXTS)])
def test_a_missing_value_is_nan_in_every_kind_of_column(null: object) -> None:
    assert all(math.isnan(value) for value in row(distance=null, carrier=null, booked=null, due_at=null))


def test_times_with_a_zone_are_taken_as_utc() -> None:
    assert row(due_at="2013-03-01T01:30:00+02:00")[3:] == row()[3:]
    assert row(due_at="2013-02-28T23:30:00Z")[3:] == row()[3:]
    assert row(due_at=datetime(2013, 2, 28, 23, 30, tzinfo=UTC))[3:] == row()[3:]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("distance", "far", "column distance, row 0: expected a number, found 'far'"),
        ("distance", [1], "column distance, row 0: expected a number, found [1]"),
        ("distance", 1e39, "column distance, row 0: expected a finite number"),
        ("distance", 10**400, "column distance, row 0: expected a finite number"),
        ("carrier", {"a": 1}, "column carrier, row 0: expected text, found {'a': 1}"),
        ("booked", "perhaps", "column booked, row 0: expected true or false, found 'perhaps'"),
        ("due_at", "soon", "column due_at, row 0: expected an ISO 8601 date or time, found 'soon'"),
        ("due_at", 7, "column due_at, row 0: expected an ISO 8601 date or time, found 7"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(column: str, value: object, expected: str) -> None:
    with pytest.raises(FeatureError) as error:
        row(**{column: value})
    assert str(error.value).startswith(expected)


def test_missing_columns_are_named_and_unknown_ones_ignored() -> None:
    with pytest.raises(FeatureError, match="missing columns: distance, due_at"):
        encode({"carrier": ["AA"], "booked": [True]}, DESCRIPTION)
    assert encode({**ROW, "id": ["c1"]}, DESCRIPTION).shape == (1, 7)


def test_a_description_of_another_version_is_refused() -> None:
    with pytest.raises(FeatureError, match="expected version 1, found 2"):
        Encoder({**DESCRIPTION, "version": 2})


seconds = st.integers(-(2**31), 2**33)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(-1e30, 1e30)),
            st.one_of(st.none(), st.sampled_from(["AA", "UA", "new", "", "NA"])),
            st.one_of(st.none(), st.booleans()),
            st.one_of(st.none(), seconds),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_json_rows_and_numpy_columns_give_the_same_numbers(rows: list[tuple]) -> None:
    numbers, texts, flags, times = zip(*rows, strict=True)
    stamps = np.array([np.datetime64("NaT") if time is None else time for time in times], dtype="datetime64[s]")
    trained = {
        "distance": np.array(numbers, dtype=np.float64),
        "carrier": np.array(texts, dtype=object),
        "booked": np.array(flags, dtype=object),
        "due_at": stamps,
    }
    served = json.loads(
        json.dumps(
            {
                "distance": numbers,
                "carrier": texts,
                "booked": flags,
                "due_at": [None if np.isnat(stamp) else str(stamp) for stamp in stamps],
            }
        )
    )
    np.testing.assert_array_equal(encode(trained, DESCRIPTION), encode(served, DESCRIPTION))
