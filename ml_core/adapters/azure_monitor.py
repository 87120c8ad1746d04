"""Traffic evidence from Azure Monitor: requests per minute and latency percentiles of an online endpoint, by deployment.

https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-machinelearningservices-workspaces-onlineendpoints-metrics
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ml_core.adapters.failures import told_as
from ml_core.adapters.traffic import MODEL_ERROR, Answer, counts_of, stamp, whole_intervals
from ml_core.errors import PermanentError, TidegateError
from ml_core.ports import Counts, History, Interval, Measured, SourceFailed

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.mgmt.monitor import MonitorManagementClient

REQUESTS = "RequestsPerMinute"
PERCENTILES = {"RequestLatency_P50": 50, "RequestLatency_P90": 90, "RequestLatency_P95": 95, "RequestLatency_P99": 99}
# One series per status code. Azure's default is 10, and the rest would be left out without a word.
_MOST_SERIES = 100
_MINUTE = timedelta(minutes=1)

Place = tuple[str, datetime]
"""A deployment, and the beginning of a bucket."""


class AzureMonitorEvidence:
    """Implements `TrafficEvidence`.

    The metrics count every request that reached a deployment: mirrored copies too, and those of the app's own tests.
    """

    def __init__(
        self, resource_manager: str, subscription_id: str, workspace_id: str, credential: Callable[[], TokenCredential]
    ) -> None:
        self._resource_manager, self._subscription_id = resource_manager, subscription_id
        self._workspace_id, self._credential = workspace_id, credential

    @cached_property
    def _client(self) -> MonitorManagementClient:
        from azure.mgmt.monitor import MonitorManagementClient

        scopes = [f"{self._resource_manager}/.default"]
        return MonitorManagementClient(
            self._credential(), self._subscription_id, self._resource_manager, credential_scopes=scopes
        )

    def intervals(
        self,
        endpoint: str,
        deployments: Sequence[str],
        since: datetime,
        until: datetime,
        granularity: timedelta,
        slower_than_ms: float | None,
    ) -> Measured | SourceFailed:
        starts = whole_intervals(since, until, granularity)
        if not starts:
            return Measured()
        try:
            with told_as(f"read the metrics of {endpoint}"):
                grain = _grain(granularity)
                span = (starts[0], starts[-1] + granularity, grain)
                answers = self._answers(endpoint, deployments, *span)
                latencies = self._latencies(endpoint, deployments, *span) if slower_than_ms is not None else {}
        except TidegateError as error:
            return SourceFailed(str(error))
        found: dict[datetime, dict[str, list[Counts]]] = {start: defaultdict(list) for start in starts}
        for (deployment, at), here in answers.items():
            start = starts[0] + (at - starts[0]) // granularity * granularity
            slow = bracket(sum(here.values()), latencies.get((deployment, at), {}), slower_than_ms)
            if start in found:
                found[start][deployment].append(_with_slow(counts_of(here), *slow))
        return Measured(
            tuple(
                Interval(start, start + granularity, {name: sum(counts, Counts()) for name, counts in by_name.items()})
                for start, by_name in found.items()
            )
        )

    def history(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> History | SourceFailed:
        # From the beginning of the first minute: its counts cannot be had in parts.
        start = since.astimezone(UTC).replace(second=0, microsecond=0)
        try:
            with told_as(f"read the metrics of {endpoint}"):
                answers = self._answers(endpoint, (deployment,), start, until, _MINUTE)
                latencies = self._latencies(endpoint, (deployment,), start, until, _MINUTE)
        except TidegateError as error:
            return SourceFailed(str(error))
        counts = sum((counts_of(here) for here in answers.values()), Counts())
        weighed = [(latencies[place].get(95), sum(here.values())) for place, here in answers.items() if place in latencies]
        p95 = weighted_median([(value, weight) for value, weight in weighed if value is not None])
        return History(counts.requests, counts.errors, (until - start).total_seconds(), p95)

    def _answers(
        self, endpoint: str, deployments: Sequence[str], start: datetime, end: datetime, grain: timedelta
    ) -> dict[Place, Counter[Answer]]:
        """Requests by answer, in every bucket that has any."""
        found: dict[Place, Counter[Answer]] = defaultdict(Counter)
        span = (start, end, grain)
        for names, place, rate in self._points(endpoint, REQUESTS, deployments, ("statusCode eq '*'",), *span):
            found[place][_code(names["statuscode"]), 0] += _requests(rate, grain)
        if any(here[MODEL_ERROR, 0] for here in found.values()):
            # Asked for apart: a request that never reached the model has no model status, and must not be lost for that.
            of_model = (f"statusCode eq '{MODEL_ERROR}'", "modelStatusCode eq '*'")
            for names, place, rate in self._points(endpoint, REQUESTS, deployments, of_model, *span):
                count, here = _requests(rate, grain), found[place]
                if behind := _code(names["modelstatuscode"]):
                    here[MODEL_ERROR, behind] += count
                    here[MODEL_ERROR, 0] = max(0, here[MODEL_ERROR, 0] - count)
        return {place: +here for place, here in found.items() if here.total()}

    def _latencies(
        self, endpoint: str, deployments: Sequence[str], start: datetime, end: datetime, grain: timedelta
    ) -> dict[Place, dict[int, float]]:
        """Latency in milliseconds by percentile, in every bucket that has any."""
        found: dict[Place, dict[int, float]] = defaultdict(dict)
        for names, place, value in self._points(endpoint, ",".join(PERCENTILES), deployments, (), start, end, grain):
            found[place][PERCENTILES[names["metric"]]] = value
        return found

    def _points(
        self,
        endpoint: str,
        metrics: str,
        deployments: Sequence[str],
        others: Sequence[str],
        start: datetime,
        end: datetime,
        grain: timedelta,
    ) -> Iterator[tuple[dict[str, str], Place, float]]:
        """All values: the names of their series (dimensions in lower case, and `metric`), where they belong, what they are."""
        # Azure's own way to write it: `or` binds the values of one dimension, without parentheses.
        either = " or ".join(f"deployment eq '{name}'" for name in deployments)
        answer: Any = self._client.metrics.list(
            f"{self._workspace_id}/onlineEndpoints/{endpoint}".lstrip("/"),
            metricnames=metrics,
            aggregation="Average",
            filter=" and ".join((either, *others)),
            top=_MOST_SERIES,
            timespan=f"{stamp(start)}/{stamp(end)}",
            interval=_iso(grain),
        )
        asked = {name.lower(): name for name in deployments}
        for metric in answer.value:
            for series in metric.timeseries:
                names = {value.name.value.lower(): str(value.value) for value in series.metadatavalues}
                names["metric"] = metric.name.value
                deployment = asked[names["deployment"].lower()]
                for point in series.data:
                    if point.average is not None:
                        yield names, (deployment, point.time_stamp.astimezone(UTC)), point.average


def bracket(requests: int, percentiles: Mapping[int, float], threshold: float | None) -> tuple[int, int]:
    """The least and the most of `requests` that took longer than the threshold, from percentiles (milliseconds by percent).

    When the q-th percentile lies above the threshold, at least floor(n (100 - q) / 100) requests do; when it does not, at most
    ceil(n (100 - q) / 100) do. Both hold for the nearest rank and for every interpolation between ranks, and Azure does not say
    which it uses.
    """
    if threshold is None:
        return 0, 0
    above = [percent for percent, value in percentiles.items() if value > threshold]
    below = [percent for percent, value in percentiles.items() if value <= threshold]
    least = requests * (100 - min(above)) // 100 if above else 0
    most = -(-requests * (100 - max(below)) // 100) if below else requests
    return least, max(least, most)


def weighted_median(values: Sequence[tuple[float, int]]) -> float | None:
    """The median of values with weights: that of the requests' own minutes. None: there is no value."""
    rest = sum(weight for _, weight in values) / 2
    for value, weight in sorted(values):
        rest -= weight
        if rest <= 0:
            return value
    return None


def _with_slow(counts: Counts, least: int, most: int) -> Counts:
    """The percentiles are of all requests, the refused ones among them: any of those may have been the slow ones, or none."""
    return Counts(counts.requests, counts.errors, counts.refused, max(0, least - counts.refused), min(most, counts.requests))


def _grain(granularity: timedelta) -> timedelta:
    """Buckets are never wider than a minute, whatever the interval: the mean of two minutes' percentiles is no percentile, and a
    mean of rates leaves out the minutes in which nothing was asked."""
    if granularity > _MINUTE and granularity % _MINUTE:
        expected = "a whole number of minutes, or 1s, 2s, 5s, 10s, 15s or 30s on a laptop"
        raise PermanentError(f"evidence_granularity is {granularity}; expected {expected}. Correct it in tidegate.yaml.")
    return min(granularity, _MINUTE)


def _requests(rate: float, grain: timedelta) -> int:
    """The metric is a rate by the minute."""
    return round(rate * (grain / _MINUTE))


def _code(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _iso(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    return f"PT{seconds // 60}M" if seconds % 60 == 0 else f"PT{seconds}S"
