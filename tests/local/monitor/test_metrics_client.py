"""The metrics as Microsoft's own client reads them, with the laptop's credential."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.mgmt.monitor import MonitorManagementClient

from local.azureml.emulator import Emulator
from local.azureml.serving.counts import CountLog


@pytest.fixture(scope="module")
def monitor(azure_environment: dict[str, str]) -> Iterator[MonitorManagementClient]:
    manager = azure_environment["TIDEGATE_RESOURCE_MANAGER"]
    with MonitorManagementClient(
        DefaultAzureCredential(),
        azure_environment["TIDEGATE_SUBSCRIPTION_ID"],
        base_url=manager,
        credential_scopes=[f"{manager}.default"],
    ) as client:
        yield client


@pytest.fixture(scope="module")
def endpoint(emulator: Emulator, make_endpoint: Callable[[str], None]) -> str:
    """The ARM id of an endpoint whose deployments have answered: blue eight good and two bad requests, green three."""
    make_endpoint("watched")
    make_endpoint("silent")
    log = CountLog(emulator.serving.counts_file)
    for number in range(10):
        log.add("watched", "blue", 200 if number < 8 else 424, 200 if number < 8 else 500, 0.020)
    for _ in range(3):
        log.add("watched", "green", 200, 200, 0.040)
    log.close()
    return f"{emulator.workspace_id}/onlineEndpoints/watched"


def timespan() -> str:
    now = datetime.now(UTC)
    return f"{(now - timedelta(minutes=10)).isoformat()}/{(now + timedelta(minutes=1)).isoformat()}".replace("+00:00", "Z")


def ask(monitor: MonitorManagementClient, uri: str, **query: Any) -> Any:
    asked = {"metricnames": "RequestsPerMinute", "interval": "PT1M", "aggregation": "Average", "timespan": timespan(), **query}
    return monitor.metrics.list(uri, **asked)


def requests(series: Any) -> float:
    """The sum of a rate over minutes."""
    return sum(point.average or 0.0 for point in series.data)


def test_requests_are_counted_by_deployment_and_status_class(monitor: MonitorManagementClient, endpoint: str) -> None:
    answer = ask(monitor, endpoint, filter="deployment eq '*' and statusCodeClass eq '*'")
    [metric] = answer.value
    assert (metric.name.value, metric.unit, answer.interval) == (
        "RequestsPerMinute",
        "Count",
        timedelta(minutes=1),
    ) or answer.interval == "PT1M"
    found = {tuple(one.value for one in series.metadatavalues): requests(series) for series in metric.timeseries}
    assert found == {("blue", "2xx"): 8.0, ("blue", "4xx"): 2.0, ("green", "2xx"): 3.0}
    assert [one.name.value for one in metric.timeseries[0].metadatavalues] == ["deployment", "statuscodeclass"]


def test_latencies_are_read_by_deployment(monitor: MonitorManagementClient, endpoint: str) -> None:
    answer = ask(monitor, endpoint, metricnames="RequestLatency_P50,RequestLatency_P99", filter="deployment eq '*'")
    assert [metric.name.value for metric in answer.value] == ["RequestLatency_P50", "RequestLatency_P99"]
    for metric in answer.value:
        by_deployment = {
            series.metadatavalues[0].value: max(point.average or 0.0 for point in series.data) for series in metric.timeseries
        }
        assert by_deployment == {"blue": pytest.approx(20, rel=0.03), "green": pytest.approx(40, rel=0.03)}


def test_an_endpoint_without_requests_has_no_series(monitor: MonitorManagementClient, endpoint: str) -> None:
    [metric] = ask(monitor, endpoint.replace("watched", "silent")).value
    assert metric.timeseries == []


def test_an_unknown_metric_is_refused_with_the_valid_ones(monitor: MonitorManagementClient, endpoint: str) -> None:
    with pytest.raises(HttpResponseError, match="Valid metrics: RequestsPerMinute") as refused:
        ask(monitor, endpoint, metricnames="Cpu")
    assert refused.value.status_code == 400


def test_an_unknown_endpoint_is_not_found(monitor: MonitorManagementClient, endpoint: str) -> None:
    with pytest.raises(ResourceNotFoundError):
        ask(monitor, endpoint.replace("watched", "nobody"))


def test_a_token_for_something_else_is_refused(emulator: Emulator, endpoint: str) -> None:
    import ssl

    import httpx

    token, _ = emulator.tokens.issue("https://storage.azure.com")
    url = f"{emulator.base_url}{endpoint}/providers/microsoft.insights/metrics?api-version=2023-10-01"
    answer = httpx.get(
        url, headers={"Authorization": f"Bearer {token}"}, verify=ssl.create_default_context(cafile=emulator.certificates.bundle)
    )
    assert answer.status_code == 401
