"""Azure Monitor's metrics of online endpoints, served where Azure serves them: below the endpoint's ARM id."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from local.azureml.call import Answer, Call, Route
from local.azureml.errors import bad_request
from local.azureml.online_endpoints import endpoint_record
from local.azureml.serving.counts import read_counts
from local.monitor.query import BadQuery, parse
from local.monitor.series import metric_values

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

NAMESPACE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"


def routes(emulator: Emulator) -> list[Route]:
    """`GET .../onlineEndpoints/{endpoint}/providers/microsoft.insights/metrics`."""

    def metrics(call: Call) -> Answer:
        endpoint = endpoint_record(emulator, call.path_params["endpoint"]).name
        try:
            query = parse(call.query, datetime.now(UTC))
        except BadQuery as error:
            raise bad_request(str(error), "BadRequest") from error
        counts = read_counts(emulator.serving.counts_file, endpoint, query.start.timestamp(), query.end.timestamp())
        values = metric_values(query, counts, f"{emulator.workspace_id}/onlineEndpoints/{endpoint}")
        top = call.query.get("top")
        if top is not None:
            if not top.isdecimal() or int(top) < 1:
                raise bad_request(f"top must be a positive integer, not '{top[:64]}'.", "BadRequest")
            values = [{**metric, "timeseries": metric["timeseries"][: int(top)]} for metric in values]
        body = {
            "cost": 0,
            "timespan": f"{query.start.isoformat()}/{query.end.isoformat()}".replace("+00:00", "Z"),
            "interval": query.interval,
            "value": values,
            "namespace": NAMESPACE,
            "resourceregion": "local",
        }
        return Answer(body)

    differences = (
        "RequestsPerMinute and RequestLatency* only, within a second instead of minutes; intervals below PT1M are an extension; "
        "mirrored copies count for the deployment that got them; "
        "requests refused before a deployment was chosen (401, 404) are not counted"
    )
    path = "/onlineEndpoints/{endpoint}/providers/microsoft.insights/metrics"
    honoured = ("metricnames", "timespan", "interval", "aggregation", "$filter", "top")
    return [Route("GET", path, metrics, sdk="azure-mgmt-monitor metrics.list", differences=differences, query=honoured)]
