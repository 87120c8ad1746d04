"""From logged requests to the table that answers a query of the traffic log. Pure: lines in, the API's JSON out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from local.monitor.kql import Bins, LogQuery

WORKSPACE_ID = "00000000-0000-0000-0000-000000000003"
"""The id of the Log Analytics workspace that the endpoints log to."""

Lines = dict[str, Iterable[dict[str, Any]]]
"""By deployment; of each line its `status`, `model_status`, `latency_ms`, `answered_at` and `user_agent`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def answer(query: LogQuery, lines: Lines) -> dict[str, Any]:
    """`{"tables": [...]}`, rows in the order of their groups."""
    groups: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for deployment, of_deployment in lines.items():
        for line in of_deployment:
            if line.get("user_agent", "").lower().startswith(query.not_by.lower()):
                continue
            at = _EPOCH + timedelta(seconds=line["answered_at"])
            start = (_bin(query.bins, at),) if query.bins else ()
            groups[(*start, deployment.lower(), line["status"], line["model_status"])].append(line["latency_ms"])
    by = [("DeploymentName", "string"), ("ResponseCode", "int"), ("ModelStatusCode", "int")]
    if query.bins is not None:
        columns = [("Start", "datetime"), *by, ("Requests", "long"), ("Slow", "long")]
        limit = query.bins.slower_than_ms
        rows = [[*key, len(took), sum(limit is not None and ms > limit for ms in took)] for key, took in sorted(groups.items())]
    else:
        columns = [*by, ("Requests", "long"), ("P95", "real")]
        rows = [[*key, len(took), _percentile(took, 95)] for key, took in sorted(groups.items())]
    named = [{"name": name, "type": kind} for name, kind in columns]
    return {"tables": [{"name": "PrimaryResult", "columns": named, "rows": rows}]}


def _bin(bins: Bins, at: datetime) -> str:
    start = bins.origin + (at - bins.origin) // bins.width * bins.width
    return start.isoformat().replace("+00:00", "Z")


def _percentile(values: list[float], percent: int) -> float:
    """Nearest rank."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]
