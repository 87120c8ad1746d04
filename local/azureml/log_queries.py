"""The query API of Log Analytics, for what the endpoints have logged of their requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, bad_request, not_emulated
from local.azureml.serving.request_log import answered_between
from local.monitor.kql import UNDERSTOOD, LogQuery, NotUnderstood, parse
from local.monitor.traffic_log import WORKSPACE_ID, Lines, answer

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


def routes(emulator: Emulator) -> list[Route]:
    """`POST //v1/workspaces/{workspace}/query`."""

    def query(call: Call) -> Answer:
        if call.path_params["workspace"].lower() != WORKSPACE_ID:
            told = f"There is one Log Analytics workspace, {WORKSPACE_ID}; the credentials have no access to another."
            raise AzureError(403, "InsufficientAccessError", told)
        text = call.field("query")
        if not isinstance(text, str):
            raise bad_request("The field 'query' must be a string.", "BadArgumentError")
        try:
            asked = parse(text)
        except NotUnderstood as error:
            raise not_emulated(f"The Azure ML emulator answers no such query: {error}. It understands: {UNDERSTOOD}") from error
        return Answer(answer(asked, _lines(emulator, asked)))

    differences = (
        "two queries of AmlOnlineEndpointTrafficLog only, those that the app asks; rows are there within a second "
        "instead of minutes, carry the time of the answer, and go with their deployment; mirrored copies have rows of their own"
    )
    return [
        Route(
            "POST",
            "//v1/workspaces/{workspace}/query",
            query,
            sdk="azure-monitor-query query_workspace",
            differences=differences,
            auth="data",
        )
    ]


def _lines(emulator: Emulator, asked: LogQuery) -> Lines:
    """What the wanted deployments have logged. Rows of another workspace are none of ours."""
    # Names lead to files: only those that Azure gives to endpoints and deployments do.
    names = (asked.endpoint, *asked.deployments)
    if asked.resource.lower() != emulator.workspace_id.lower() or not all(_NAME.fullmatch(name) for name in names):
        return {}
    span = (asked.start.timestamp(), asked.end.timestamp())
    return {name: list(answered_between(emulator.serving.logs, asked.endpoint, name, *span)) for name in asked.deployments}
