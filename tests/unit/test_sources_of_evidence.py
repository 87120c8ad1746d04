"""What percentiles can say about how many requests were slow, what a log's answer is worth, which source is chosen.

Faked, in one test: the client of Log Analytics.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from azure.monitor.query import LogsQueryError, LogsQueryPartialResult
from hypothesis import given
from hypothesis import strategies as st

from ml_core.adapters.azure_monitor import PERCENTILES, AzureMonitorEvidence, bracket, weighted_median
from ml_core.adapters.log_analytics import LogAnalyticsEvidence
from ml_core.adapters.traffic import whole_intervals
from ml_core.bootstrap import connect
from ml_core.errors import SettingError
from ml_core.ports import SourceFailed
from ml_core.settings import Settings
from tests.unit.test_names_and_settings import GOOD

LATENCIES = st.lists(st.integers(1, 50).map(float), min_size=1, max_size=60).map(sorted)
WORKSPACE = "01234567-89ab-cdef-0123-456789abcdef"


def nearest_rank(values: list[float], percent: int) -> float:
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


def interpolated(values: list[float], percent: int) -> float:
    rank = (len(values) - 1) * percent / 100
    low, high = values[math.floor(rank)], values[math.ceil(rank)]
    return low + (high - low) * (rank - math.floor(rank))


@given(LATENCIES, st.integers(0, 51).map(float), st.sampled_from([nearest_rank, interpolated]))
def test_the_bracket_holds_the_truth_however_a_percentile_is_computed(
    values: list[float], threshold: float, percentile: object
) -> None:
    known = {percent: percentile(values, percent) for percent in PERCENTILES.values()}  # type: ignore[operator]
    least, most = bracket(len(values), known, threshold)
    assert 0 <= least <= sum(value > threshold for value in values) <= most <= len(values)


def test_without_percentiles_all_or_none_may_have_been_slow_and_without_a_threshold_none_is() -> None:
    assert bracket(7, {}, 10.0) == (0, 7)
    assert bracket(7, {50: 100.0}, None) == (0, 0)


def test_a_minute_weighs_as_much_as_it_has_requests() -> None:
    assert weighted_median([(900.0, 1), (20.0, 5), (30.0, 5)]) == 30.0
    assert weighted_median([(900.0, 1), (20.0, 6), (30.0, 4)]) == 20.0
    assert weighted_median([]) is None


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    st.integers(0, 10_000).map(lambda seconds: timedelta(seconds=seconds)),
    st.sampled_from([1, 15, 60, 300]).map(lambda seconds: timedelta(seconds=seconds)),
)
def test_two_looks_one_after_the_other_see_each_interval_once(since: datetime, span: timedelta, width: timedelta) -> None:
    until, middle = since + span, since + span / 3
    whole = whole_intervals(since, until, width)
    first = whole_intervals(since, middle, width)
    assert first + whole_intervals(first[-1] + width if first else since, until, width) == whole
    assert all(since <= start and start + width <= until for start in whole)


def test_a_width_that_is_no_number_of_minutes_is_no_question_for_the_metrics() -> None:
    since = datetime(2026, 3, 1, tzinfo=UTC)
    source = AzureMonitorEvidence("https://127.0.0.1:1", "s", "/w", lambda: pytest.fail("nobody is asked"))
    found = source.intervals("e", ("blue",), since, since + timedelta(minutes=3), timedelta(seconds=90), None)
    assert isinstance(found, SourceFailed)
    assert "evidence_granularity" in found.reason


def test_an_answer_in_part_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def query_workspace(self, *_: object, **__: object) -> LogsQueryPartialResult:
            return LogsQueryPartialResult(partial_data=[], partial_error=LogsQueryError(code="PartialError", message="too much"))

    monkeypatch.setattr(LogAnalyticsEvidence, "_client", Client())
    source = LogAnalyticsEvidence("https://127.0.0.1:1", WORKSPACE, "/w", lambda: pytest.fail("nobody is asked"))
    since, minute = datetime(2026, 3, 1, tzinfo=UTC), timedelta(minutes=1)
    for found in (
        source.intervals("e", ("blue",), since, since + minute, minute, None),
        source.history("e", "blue", since, since + minute),
    ):
        assert isinstance(found, SourceFailed)
        assert "answered in part" in found.reason


def test_the_log_is_the_source_where_a_log_analytics_workspace_is_named() -> None:
    assert isinstance(connect(GOOD).evidence, AzureMonitorEvidence)
    assert isinstance(connect({**GOOD, "TIDEGATE_LOG_ANALYTICS_WORKSPACE": WORKSPACE}).evidence, LogAnalyticsEvidence)


@pytest.mark.parametrize("value", ["my-workspace", f"{WORKSPACE}/../x", f"/subscriptions/s/workspaces/{WORKSPACE}"])
def test_a_log_analytics_workspace_is_named_by_its_id(value: str) -> None:
    with pytest.raises(SettingError, match=r"TIDEGATE_LOG_ANALYTICS_WORKSPACE.*a GUID"):
        Settings.from_mapping({**GOOD, "TIDEGATE_LOG_ANALYTICS_WORKSPACE": value})
