"""The benchmarks' own logic. What they measure is measured by `make bench`: no test asserts a time."""

from __future__ import annotations

import importlib
import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.__main__ import BENCHMARKS, _table
from benchmarks.laboratory import pointed_at, span, until
from benchmarks.measure import Comparison, alternate, spread
from benchmarks.scoring import CLIENTS, Rates

PAGE = Path(__file__).parents[2] / "docs/reference/benchmarks.md"


def comparison(value: float, bound: str) -> Comparison:
    return Comparison("something", value, 1.5, bound, "x", "ours", "theirs")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_can_be_imported_and_run_and_is_documented(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
    assert callable(module.run)
    assert f"`{name}`" in PAGE.read_text()


@pytest.mark.parametrize(
    ("value", "bound", "met"),
    [(1.5, "at most", True), (1.51, "at most", False), (1.5, "at least", True), (1.49, "at least", False)],
)
def test_a_goal_is_met_on_its_own_side_of_the_bound(value: float, bound: str, met: bool) -> None:
    assert comparison(value, bound).met is met


def test_the_table_shows_value_goal_and_what_was_measured() -> None:
    shown = io.StringIO()
    Console(file=shown, width=200).print(_table([comparison(1.234, "at most")]))
    assert all(text in shown.getvalue() for text in ("something", "1.23 x", "at most 1.5 x", "ours", "theirs"))


def test_both_sides_run_in_turns_after_one_unmeasured_run_of_each() -> None:
    order: list[str] = []
    ours, theirs = alternate(lambda: order.append("ours"), lambda: order.append("theirs"), runs=3)
    assert order == ["ours", "theirs"] * 4
    assert (len(ours), len(theirs)) == (3, 3)


def test_a_spread_tells_median_and_extremes_in_its_unit() -> None:
    assert spread([0.003, 0.001, 0.002], scale=1000.0, unit="ms", digits=1) == "2.0 [1.0-3.0] ms"


def test_rates_tell_the_median_rate_and_the_latencies() -> None:
    assert str(Rates([900.0, 1000.0, 1100.0], [0.001] * 100)) == "1000/s, p50 1.00 ms, p99 1.00 ms"
    assert CLIENTS == (1, 8)


def test_a_jobs_seconds_are_those_of_its_run_document() -> None:
    assert span({"startTimeUtc": "2026-01-01T00:00:00.250000Z", "endTimeUtc": "2026-01-01T00:00:02.000000Z"}) == 1.75


def test_the_environment_is_put_back_after_a_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "left behind")
    before = dict(os.environ)
    with pointed_at({"TIDEGATE_WORKSPACE": "bench"}):
        assert os.environ["TIDEGATE_WORKSPACE"] == "bench"
        assert "AZUREML_CURRENT_CLOUD" not in os.environ
    assert dict(os.environ) == before


def test_waiting_ends_with_what_happened_or_names_what_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert until(lambda: "found", "it") == "found"
    monkeypatch.setattr("benchmarks.laboratory.WAIT_SECONDS", 0.0)
    with pytest.raises(TimeoutError, match="the end of the world did not happen"):
        until(lambda: None, "the end of the world")
