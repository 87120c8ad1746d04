"""From counts of requests to the time series of a metric. Pure: counts in, the API's JSON out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from local.azureml.serving.counts import Count, bucket_milliseconds
from local.monitor.query import ANY, Metric, Query

Histogram = dict[int, int]
"""Requests by latency bucket."""


def metric_values(query: Query, counts: Iterable[Count], resource_id: str) -> list[dict[str, Any]]:
    """The `value` array of the answer. A metric that nothing was measured for has no series: that is not zero."""
    groups = _grouped(query, counts)
    return [_value(metric, query, groups, resource_id) for metric in query.metrics]


def _grouped(query: Query, counts: Iterable[Count]) -> dict[tuple[str, ...], dict[int, Histogram]]:
    """By the values of the filter's dimensions, then by the start of the interval (epoch seconds)."""
    groups: dict[tuple[str, ...], dict[int, Histogram]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    for count in counts:
        values = {name: dimension_value(count, name) for name in query.wanted}
        if all(ANY in wanted or values[name].lower() in wanted for name, wanted in query.wanted.items()):
            groups[tuple(values.values())][count.at // query.seconds * query.seconds][count.latency] += count.requests
    return groups


def dimension_value(count: Count, dimension: str) -> str:
    """A count's value of one of Azure's dimensions; `statusCodeClass` is "2xx", "4xx", "5xx"."""
    if dimension == "deployment":
        return count.deployment
    if dimension == "statusCode":
        return str(count.status)
    if dimension == "statusCodeClass":
        return f"{count.status // 100}xx"
    return str(count.model_status) if count.model_status else ""


def _value(metric: Metric, query: Query, groups: dict[tuple[str, ...], dict[int, Histogram]], resource_id: str) -> dict[str, Any]:
    return {
        "id": f"{resource_id}/providers/Microsoft.Insights/metrics/{metric.name}",
        "type": "Microsoft.Insights/metrics",
        "name": {"value": metric.name, "localizedValue": metric.display},
        "displayDescription": metric.display,
        "unit": metric.unit,
        "timeseries": [
            {"metadatavalues": _metadata(query, values), "data": _data(metric, query, buckets)}
            for values, buckets in sorted(groups.items())
        ],
        "errorCode": "Success",
    }


def _metadata(query: Query, values: tuple[str, ...]) -> list[dict[str, Any]]:
    # Azure Monitor answers with the names of dimensions in lower case, however they were asked for.
    names = [name.lower() for name in query.wanted]
    return [{"name": {"value": name, "localizedValue": name}, "value": value} for name, value in zip(names, values, strict=True)]


def _data(metric: Metric, query: Query, buckets: dict[int, Histogram]) -> list[dict[str, Any]]:
    """One point per interval; a point without requests carries no `average`."""
    data = []
    at = query.start
    while at < query.end:
        point: dict[str, Any] = {"timeStamp": _stamp(at)}
        if histogram := buckets.get(int(at.timestamp())):
            point["average"] = _average(metric, query, histogram)
        data.append(point)
        at += timedelta(seconds=query.seconds)
    return data


def _average(metric: Metric, query: Query, histogram: Histogram) -> float:
    requests = sum(histogram.values())
    if metric.unit == "Count":
        return requests * 60 / query.seconds
    if metric.percentile is None:
        return sum(bucket_milliseconds(bucket) * number for bucket, number in histogram.items()) / requests
    return _percentile(histogram, metric.percentile)


def _percentile(histogram: Histogram, fraction: float) -> float:
    """Nearest rank: the smallest duration (ms) that at least `fraction` of the requests did not exceed."""
    rank = fraction * sum(histogram.values())
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= rank:
            break
    return bucket_milliseconds(bucket)


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
