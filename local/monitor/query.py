"""What a caller of the metrics API asks for: names, time span, interval, filter. What is wrong is named with what is valid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

INTERVALS = {"PT1M": 60, "PT5M": 300, "PT15M": 900, "PT30M": 1800, "PT1H": 3600, "PT6H": 21600, "PT12H": 43200, "P1D": 86400}
"""Azure Monitor's time grains in seconds."""
SHORT_INTERVALS = {"PT1S": 1, "PT2S": 2, "PT5S": 5, "PT10S": 10, "PT15S": 15, "PT30S": 30}
"""An extension of the emulator, for demonstrations. For the last hour only: older counts are kept by the minute."""
_MAX_POINTS = 11_000
_CLAUSE = re.compile(r"\s*(\w+)\s+eq\s+'([^']*)'\s*", re.IGNORECASE)
ANY = "*"

_REQUEST_DIMENSIONS = ("deployment", "statusCode", "statusCodeClass", "modelStatusCode")


@dataclass(frozen=True)
class Metric:
    """One metric of an online endpoint as Azure lists it. `percentile` is None for anything but a latency percentile."""

    name: str
    display: str
    unit: str
    dimensions: tuple[str, ...]
    percentile: float | None = None


METRICS = {
    metric.name.lower(): metric
    for metric in (
        Metric("RequestsPerMinute", "Request Per Minute", "Count", _REQUEST_DIMENSIONS),
        Metric("RequestLatency", "Request Latency", "MilliSeconds", ("deployment",)),
        Metric("RequestLatency_P50", "Request Latency P50", "MilliSeconds", ("deployment",), 0.50),
        Metric("RequestLatency_P90", "Request Latency P90", "MilliSeconds", ("deployment",), 0.90),
        Metric("RequestLatency_P95", "Request Latency P95", "MilliSeconds", ("deployment",), 0.95),
        Metric("RequestLatency_P99", "Request Latency P99", "MilliSeconds", ("deployment",), 0.99),
    )
}


class BadQuery(ValueError):
    """The request cannot be answered; the message says what would be valid."""


@dataclass(frozen=True)
class Query:
    """Times are aware, in UTC; `start` is on a boundary of the interval. `wanted`: dimension -> values (ANY: each one)."""

    metrics: tuple[Metric, ...]
    start: datetime
    end: datetime
    interval: str
    seconds: int
    wanted: Mapping[str, frozenset[str]]


def parse(query: Mapping[str, str], now: datetime) -> Query:
    """From the query string's parameters (their names in any case). BadQuery when one is not valid."""
    given = {name.lower(): value for name, value in query.items()}
    metrics = _metrics(given.get("metricnames", ""))
    interval = given.get("interval", "PT1M").upper()
    seconds = (INTERVALS | SHORT_INTERVALS).get(interval)
    if seconds is None:
        raise BadQuery(f"Invalid time grain '{interval}'. Valid: {', '.join([*INTERVALS, *SHORT_INTERVALS])}.")
    start, end = _timespan(given.get("timespan"), now)
    if (end - start).total_seconds() / seconds > _MAX_POINTS:
        raise BadQuery(f"The time span holds more than {_MAX_POINTS} intervals of {interval}.")
    for aggregation in given.get("aggregation", "Average").split(","):
        if aggregation.strip().lower() != "average":
            raise BadQuery(f"Aggregation '{aggregation}' is not supported by these metrics. Valid aggregations: Average.")
    aligned = datetime.fromtimestamp(start.timestamp() // seconds * seconds, UTC)
    return Query(metrics, aligned, end, interval, seconds, _filter(given.get("$filter", ""), metrics))


def _metrics(names: str) -> tuple[Metric, ...]:
    valid = ", ".join(metric.name for metric in METRICS.values())
    found = []
    for name in names.split(","):
        metric = METRICS.get(name.strip().lower())
        if metric is None:
            raise BadQuery(
                f"Failed to find metric configuration for provider: Microsoft.MachineLearningServices, resource Type: "
                f"workspaces/onlineEndpoints, metric: {name.strip()[:100]}, Valid metrics: {valid}"
            )
        found.append(metric)
    return tuple(found)


def _timespan(text: str | None, now: datetime) -> tuple[datetime, datetime]:
    if text is None:
        return now - timedelta(hours=1), now
    first, separator, last = text.partition("/")
    try:
        start, end = _time(first), _time(last)
    except ValueError:
        separator = ""
    if not separator or end <= start:
        raise BadQuery(
            f"Detected invalid time span input '{text[:100]}'. Valid: two ISO 8601 times, the earlier first: "
            "2026-01-31T12:00:00Z/2026-01-31T13:00:00Z."
        )
    return start, end


def _time(text: str) -> datetime:
    # A "+" of an offset that was not percent-encoded arrives as a space.
    parsed = datetime.fromisoformat(text.strip().replace(" ", "+"))
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _filter(text: str, metrics: tuple[Metric, ...]) -> dict[str, frozenset[str]]:
    """`a eq 'x' and (b eq 'y' or b eq '*')`: alternatives of one dimension, joined by `and`."""
    wanted: dict[str, frozenset[str]] = {}
    if not text.strip():
        return wanted
    for group in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE):
        clauses = [_clause(clause, metrics) for clause in re.split(r"\s+or\s+", group.strip("() "), flags=re.IGNORECASE)]
        dimensions = {dimension for dimension, _ in clauses}
        if len(dimensions) > 1 or dimensions & set(wanted):
            raise BadQuery(f"Invalid filter '{text[:200]}': 'or' joins values of one dimension, 'and' joins dimensions.")
        wanted[dimensions.pop()] = frozenset(value.lower() for _, value in clauses)
    return wanted


def _clause(text: str, metrics: tuple[Metric, ...]) -> tuple[str, str]:
    match = _CLAUSE.fullmatch(text)
    if match is None:
        raise BadQuery(f"Invalid filter clause '{text[:100]}'. Valid: <dimension> eq '<value>' or <dimension> eq '*'.")
    shared = set.intersection(*(set(metric.dimensions) for metric in metrics))
    dimension = next((name for name in shared if name.lower() == match[1].lower()), None)
    if dimension is None:
        raise BadQuery(f"Metric has no dimension '{match[1][:100]}'. Valid dimensions: {', '.join(sorted(shared))}.")
    return dimension, match[2]
