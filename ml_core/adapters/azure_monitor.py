"""Traffic evidence from Azure Monitor: RequestsPerMinute of an online endpoint, by deployment and status code.

https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-machinelearningservices-workspaces-onlineendpoints-metrics
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ml_core.adapters.failures import told_as
from ml_core.errors import TidegateError
from ml_core.ports import Answered, Evidence, NoData, SourceFailed

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.mgmt.monitor import MonitorManagementClient

METRIC = "RequestsPerMinute"
# What an endpoint answers when its container answered anything but 200.
# https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
MODEL_ERROR = 424


class AzureMonitorEvidence:
    """Implements `TrafficEvidence`."""

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

    def read(self, endpoint: str, deployment: str, since: datetime, until: datetime, granularity: timedelta) -> Evidence:
        # Only whole buckets: the one in which the step began holds requests of the step before.
        start = _next_boundary(since, granularity)
        if start >= until:
            return NoData()
        try:
            with told_as(f"read the metrics of {endpoint}"):
                answer = self._client.metrics.list(
                    f"{self._workspace_id}/onlineEndpoints/{endpoint}".lstrip("/"),
                    timespan=f"{_stamp(start)}/{_stamp(until)}",
                    interval=_iso(granularity),
                    metricnames=METRIC,
                    aggregation="Average",
                    filter=f"deployment eq '{deployment}' and statusCode eq '*'",
                )
                counts = list(_counts(answer, granularity))
        except TidegateError as error:
            return SourceFailed(str(error))
        requests = round(sum(count for _, count in counts))
        if requests == 0:
            return NoData()
        return Answered(requests, round(sum(count for status, count in counts if _is_error(status))))


def _counts(answer: Any, granularity: timedelta) -> Iterator[tuple[int, float]]:
    """(status code, requests) of every bucket. The metric is a rate: requests are the rate times the bucket's minutes."""
    minutes = granularity / timedelta(minutes=1)
    for metric in answer.value:
        for series in metric.timeseries:
            names = {value.name.value.lower(): value.value for value in series.metadatavalues}
            for point in series.data:
                yield int(names["statuscode"]), (point.average or 0) * minutes


def _is_error(status: int) -> bool:
    """The deployment's own failures. Other 4xx are the caller's (a wrong key, a malformed request)."""
    return status >= 500 or status == MODEL_ERROR


def _next_boundary(moment: datetime, granularity: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + -((epoch - moment) // granularity) * granularity


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _iso(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    return f"PT{seconds // 60}M" if seconds % 60 == 0 else f"PT{seconds}S"
