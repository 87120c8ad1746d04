"""Traffic evidence from a Log Analytics workspace: one row of AmlOnlineEndpointTrafficLog per request, so the counts are exact.

https://learn.microsoft.com/azure/azure-monitor/reference/tables/amlonlineendpointtrafficlog
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ml_core.adapters.failures import told_as
from ml_core.adapters.scoring import USER_AGENT
from ml_core.adapters.traffic import Answer, callers_fault, counts_of, stamp, whole_intervals
from ml_core.errors import PermanentError, TemporaryError, TidegateError
from ml_core.ports import Counts, History, Interval, Measured, SourceFailed

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.monitor.query import LogsQueryClient

_SUCCESS = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class LogAnalyticsEvidence:
    """Implements `TrafficEvidence`.

    `log_workspace`: the id (a GUID) of the Log Analytics workspace. `workspace_id`: the ARM id of the Azure ML workspace, for
    several may log to the same place.
    """

    def __init__(self, address: str, log_workspace: str, workspace_id: str, credential: Callable[[], TokenCredential]) -> None:
        self._address, self._log_workspace = address, log_workspace
        self._workspace_id, self._credential = workspace_id, credential

    @cached_property
    def _client(self) -> LogsQueryClient:
        from azure.monitor.query import LogsQueryClient

        return LogsQueryClient(self._credential(), endpoint=self._address)

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
        end = starts[-1] + granularity
        slow = "false" if slower_than_ms is None else f"todouble(TotalDurationMs) > {slower_than_ms:.3f}"
        bins = f"Start = bin_at(TimeGenerated, {granularity / timedelta(milliseconds=1):.0f}ms, datetime({stamp(starts[0])}))"
        try:
            requests = self._requests(endpoint, deployments, starts[0], end)
            rows = self._rows(endpoint, starts[0], end, (*requests, _summary(f"Slow = countif({slow})", bins)))
        except TidegateError as error:
            return SourceFailed(str(error))
        asked = {name.lower(): name for name in deployments}
        answers: dict[tuple[datetime, str], Counter[Answer]] = defaultdict(Counter)
        slower: Counter[tuple[datetime, str]] = Counter()
        for row in rows:
            place = (row["Start"].astimezone(UTC), asked[str(row["DeploymentName"]).lower()])
            answers[place][_answer(row)] += int(row["Requests"])
            slower[place] += 0 if callers_fault(_answer(row)) else int(row["Slow"])
        counts: dict[datetime, dict[str, Counts]] = {start: {} for start in starts}
        for (start, name), here in answers.items():
            counts[start][name] = replace(counts_of(here), slow=slower[start, name], slow_at_most=slower[start, name])
        return Measured(tuple(Interval(start, start + granularity, by_name) for start, by_name in counts.items()))

    def history(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> History | SourceFailed:
        try:
            requests = self._requests(endpoint, (deployment,), since, until)
            rows = self._rows(endpoint, since, until, (*requests, _summary("P95 = percentile(TotalDurationMs, 95)")))
        except TidegateError as error:
            return SourceFailed(str(error))
        answers = Counter[Answer]()
        p95: float | None = None
        for row in rows:
            answers[_answer(row)] += int(row["Requests"])
            # Of the requests that succeeded: what is refused at once would make the others look slow.
            if _answer(row)[0] == _SUCCESS and row["P95"] is not None:
                p95 = max(p95 or 0.0, float(row["P95"]))
        counts = counts_of(answers)
        return History(counts.requests, counts.errors, (until - since).total_seconds(), p95)

    def _requests(self, endpoint: str, deployments: Sequence[str], start: datetime, end: datetime) -> tuple[str, ...]:
        """The rows that are meant, as lines of KQL."""
        own, names = literal(self._workspace_id), ", ".join(literal(name) for name in deployments)
        return (
            "AmlOnlineEndpointTrafficLog",
            f"| where TimeGenerated >= datetime({stamp(start)}) and TimeGenerated < datetime({stamp(end)})",
            # The rows carry the id of the endpoint or of its workspace, in some spelling: both begin so.
            f"| where _ResourceId =~ {own} or _ResourceId startswith {literal(self._workspace_id + '/')}",
            f"| where EndpointName =~ {literal(endpoint)} and DeploymentName in~ ({names})",
            # Those of the smoke test and of the shadow are nobody's traffic.
            f"| where UserAgent !startswith {literal(USER_AGENT)}",
        )

    def _rows(self, endpoint: str, start: datetime, end: datetime, query: Sequence[str]) -> list[Any]:
        """The answer's rows. A partial answer is none: counts that leave something out are no evidence."""
        with told_as(f"read the traffic log of {endpoint}"):
            found: Any = self._client.query_workspace(self._log_workspace, "\n".join(query), timespan=(start, end))
        if getattr(found, "partial_error", None) is not None:
            raise TemporaryError(f"The traffic log of {endpoint} was answered in part: {found.partial_error}. It is asked again.")
        return [row for table in found.tables for row in table.rows]


def literal(text: str) -> str:
    """A KQL string. Control characters are in no name of Azure's: a text that has them is refused.

    https://learn.microsoft.com/kusto/query/scalar-data-types/string
    """
    if _CONTROL.search(text):
        raise PermanentError(f"{text!r} is no name: it holds control characters. Correct it where it comes from.")
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _summary(measure: str, *by: str) -> str:
    # `toint`: the documented columns are numbers, and the documented examples compare them with text.
    answer = ("ResponseCode = toint(ResponseCode)", "ModelStatusCode = toint(ModelStatusCode)")
    names = ("DeploymentName = tolower(DeploymentName)", *answer)
    return f"| summarize Requests = count(), {measure} by {', '.join((*by, *names))}"


def _answer(row: Any) -> Answer:
    """A row's answer; a status that is missing is 0."""
    return int(row["ResponseCode"] or 0), int(row["ModelStatusCode"] or 0)
