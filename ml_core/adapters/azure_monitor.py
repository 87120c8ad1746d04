"""Traffic evidence from Azure Monitor: RequestsPerMinute of an online endpoint, by deployment and status codes.

https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-machinelearningservices-workspaces-onlineendpoints-metrics
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
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
# The endpoint's answer when the model's container answered anything but 200; the container's own is the model status.
# https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
MODEL_ERROR = 424
# 4xx by name, and yet the deployment's fault: it took too long, or had no room for the request.
DEPLOYMENT_LIMITS = (408, 429)
# One series per status code. Azure's default is 10, and the rest would be left out without a word.
_MOST_SERIES = 100


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
        span = {"timespan": f"{_stamp(start)}/{_stamp(until)}", "interval": _iso(granularity)}
        minutes = granularity / timedelta(minutes=1)
        try:
            with told_as(f"read the metrics of {endpoint}"):
                of_endpoint = self._requests(endpoint, f"deployment eq '{deployment}' and statusCode eq '*'", span, minutes)
                # Asked for apart: a request that never reached the model has no model status, and must not be lost for that.
                asked = f"deployment eq '{deployment}' and statusCode eq '{MODEL_ERROR}' and modelStatusCode eq '*'"
                of_model = self._requests(endpoint, asked, span, minutes) if of_endpoint[MODEL_ERROR] else Counter[int]()
        except TidegateError as error:
            return SourceFailed(str(error))
        if not of_endpoint.total():
            return NoData()
        refused = _callers_fault(of_endpoint) + _callers_fault(of_model)
        failed = sum(count for status, count in of_endpoint.items() if status >= 400) - refused
        return Answered(of_endpoint.total() - refused, failed, refused=refused)

    def _requests(self, endpoint: str, asked: str, span: Mapping[str, Any], minutes: float) -> Counter[int]:
        """Requests by the filter's last dimension. The metric is a rate: requests are the rate times a bucket's minutes."""
        answer: Any = self._client.metrics.list(
            f"{self._workspace_id}/onlineEndpoints/{endpoint}".lstrip("/"),
            metricnames=METRIC,
            aggregation="Average",
            filter=asked,
            top=_MOST_SERIES,
            **span,
        )
        found = Counter[int]()
        for metric in answer.value:
            for series in metric.timeseries:
                names = {value.name.value.lower(): value.value for value in series.metadatavalues}
                status = names.get("modelstatuscode", names["statuscode"])
                total = sum(point.average or 0 for point in series.data) * minutes
                found[int(status) if status.isdecimal() else 0] += round(total)
        return found


def _callers_fault(requests: Counter[int]) -> int:
    """How many of these requests, by status code, say nothing about the deployment; `Answered` says why."""
    not_theirs = (MODEL_ERROR, *DEPLOYMENT_LIMITS)
    return sum(count for status, count in requests.items() if 400 <= status < 500 and status not in not_theirs)


def _next_boundary(moment: datetime, granularity: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + -((epoch - moment) // granularity) * granularity


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _iso(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    return f"PT{seconds // 60}M" if seconds % 60 == 0 else f"PT{seconds}S"
