"""The metrics' query and series without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from local.azureml.serving.counts import Count, CountLog, bucket_milliseconds, latency_bucket, read_counts
from local.monitor.query import BadQuery, parse
from local.monitor.series import metric_values

NOW = datetime(2026, 5, 4, 12, 0, 30, tzinfo=UTC)
SPAN = "2026-05-04T12:00:00Z/2026-05-04T12:02:00Z"
AT = int(datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC).timestamp())


def series(counts: list[Count], **query: str) -> list[tuple[dict[str, str], list[float | None]]]:
    """(dimension values, averages) of the only metric asked for."""
    asked = {
        "metricnames": "RequestsPerMinute",
        "timespan": SPAN,
        **{name.replace("filter", "$filter"): text for name, text in query.items()},
    }
    [value] = metric_values(parse(asked, NOW), counts, "/endpoint")
    return [
        ({one["name"]["value"]: one["value"] for one in line["metadatavalues"]}, [point.get("average") for point in line["data"]])
        for line in value["timeseries"]
    ]


def count(second: int = 0, deployment: str = "blue", status: int = 200, milliseconds: float = 10.0, requests: int = 1) -> Count:
    return Count(AT + second, deployment, status, 200 if status == 200 else 0, latency_bucket(milliseconds / 1000), requests)


def test_a_rate_times_the_length_of_its_interval_is_the_number_of_requests() -> None:
    counts = [count(0, requests=30), count(59, requests=30), count(60, requests=6)]
    assert series(counts) == [({}, [60.0, 6.0])]
    assert series(counts, interval="PT30S") == [({}, [60.0, 60.0, 12.0, None])]
    assert series(counts, interval="PT5M") == [({}, [66 / 5])]


def test_no_requests_is_no_series_and_a_quiet_minute_has_no_average() -> None:
    assert series([]) == []
    assert series([count(70)]) == [({}, [None, 1.0])]


def test_a_filter_splits_by_its_dimensions() -> None:
    counts = [
        count(requests=8),
        count(status=424, requests=2),
        count(deployment="green", requests=3),
        count(deployment="green", status=503),
    ]
    split = series(counts, filter="deployment eq '*' and statusCodeClass eq '*'")
    assert [(names, values[0]) for names, values in split] == [
        ({"deployment": "blue", "statuscodeclass": "2xx"}, 8.0),
        ({"deployment": "blue", "statuscodeclass": "4xx"}, 2.0),
        ({"deployment": "green", "statuscodeclass": "2xx"}, 3.0),
        ({"deployment": "green", "statuscodeclass": "5xx"}, 1.0),
    ]
    assert series(counts, filter="deployment eq 'green'") == [({"deployment": "green"}, [4.0, None])]
    assert series(counts, filter="statusCode eq '424' or statusCode eq '503'") == [
        ({"statuscode": "424"}, [2.0, None]),
        ({"statuscode": "503"}, [1.0, None]),
    ]
    assert series(counts, filter="deployment eq 'purple'") == []


def test_percentiles_are_within_the_width_of_a_bucket() -> None:
    counts = [count(milliseconds=float(one)) for one in range(1, 101)]
    for fraction, expected in (("50", 50.0), ("90", 90.0), ("95", 95.0), ("99", 99.0)):
        [(_, [value, _])] = series(counts, metricnames=f"RequestLatency_P{fraction}")
        assert value == pytest.approx(expected, rel=0.045)
    [(_, [mean, _])] = series(counts, metricnames="RequestLatency")
    assert mean == pytest.approx(50.5, rel=0.03)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"metricnames": "Requests"}, "Valid metrics: RequestsPerMinute"),
        ({"timespan": "yesterday"}, "Valid: two ISO 8601 times"),
        ({"timespan": "2026-05-04T12:02:00Z/2026-05-04T12:00:00Z"}, "the earlier first"),
        ({"interval": "PT7M"}, "Valid: PT1M"),
        ({"aggregation": "Total"}, "Valid aggregations: Average"),
        ({"$filter": "colour eq 'red'"}, "Valid dimensions: deployment"),
        ({"$filter": "deployment = 'blue'"}, "Valid: <dimension> eq"),
        ({"$filter": "deployment eq 'a' or statusCode eq '200'"}, "'or' joins values of one dimension"),
        ({"metricnames": "RequestLatency_P50", "$filter": "statusCode eq '*'"}, "Valid dimensions: deployment"),
        ({"timespan": "2020-01-01T00:00:00Z/2026-01-01T00:00:00Z"}, "more than"),
    ],
)
def test_what_is_not_valid_is_refused_and_the_valid_is_named(query: dict[str, str], says: str) -> None:
    with pytest.raises(BadQuery, match=says.replace("(", r"\(")):
        parse({"metricnames": "RequestsPerMinute", "timespan": SPAN, **query}, NOW)


def test_an_offset_and_the_default_time_span_are_understood() -> None:
    query = parse({"metricnames": "requestsperminute", "timespan": "2026-05-04T14:00:10 02:00/2026-05-04T12:02:00"}, NOW)
    assert (query.start, query.end) == (NOW.replace(second=0), NOW.replace(minute=2, second=0))
    assert parse({"metricnames": "RequestsPerMinute"}, NOW).start == NOW.replace(second=0) - timedelta(hours=1)


def test_counts_are_kept_by_the_second_then_by_the_minute_then_not_at_all(tmp_path, monkeypatch) -> None:
    clock = 1_800_000_000.0  # on a full minute
    monkeypatch.setattr("time.time", lambda: clock)
    log = CountLog(tmp_path / "counts.sqlite")
    for _ in range(90):
        log.add("line", "blue", 200, 200, 0.010)
        clock += 1
    log.flush()
    first = list(read_counts(tmp_path / "counts.sqlite", "line", 0, 2**40))
    assert [one.requests for one in first] == [1] * 90
    clock += 3 * 3600
    log.flush()
    folded = list(read_counts(tmp_path / "counts.sqlite", "line", 0, 2**40))
    assert [(one.at, one.requests) for one in folded] == [(1_800_000_000, 60), (1_800_000_060, 30)]
    clock += 24 * 3600
    log.flush()
    assert list(read_counts(tmp_path / "counts.sqlite", "line", 0, 2**40)) == []
    log.close()


def test_a_latency_bucket_is_narrow() -> None:
    for seconds in (0.0002, 0.001, 0.0123, 0.5, 4.0):
        assert bucket_milliseconds(latency_bucket(seconds)) == pytest.approx(seconds * 1000, rel=0.023)
