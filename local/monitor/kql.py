"""The two queries of AmlOnlineEndpointTrafficLog that are answered here: counts by answer, in bins of time or in one.

No KQL beyond that: a query is read clause by clause, and the first one that is none of these is refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

TABLE = "AmlOnlineEndpointTrafficLog"
_TEXT = r"'((?:[^'\\]|\\.)*)'"
_TIME = r"datetime\(([0-9T:.Z+-]+)\)"
_NUMBER = r"(\d+(?:\.\d+)?)"
_CODES = r"ResponseCode = toint\(ResponseCode\), ModelStatusCode = toint\(ModelStatusCode\)"
_BY = rf"DeploymentName = tolower\(DeploymentName\), {_CODES}"

# In this order: the table, four conditions, a summary.
_CLAUSES = (
    ("the table", re.compile(TABLE)),
    ("a time span", re.compile(rf"where TimeGenerated >= {_TIME} and TimeGenerated < {_TIME}")),
    ("the workspace", re.compile(rf"where _ResourceId =~ {_TEXT} or _ResourceId startswith {_TEXT}")),
    ("the deployments", re.compile(rf"where EndpointName =~ {_TEXT} and DeploymentName in~ \(({_TEXT}(?:, {_TEXT})*)\)")),
    ("the user agent", re.compile(rf"where UserAgent !startswith {_TEXT}")),
)
_BINNED = re.compile(
    rf"summarize Requests = count\(\), Slow = countif\((?:false|todouble\(TotalDurationMs\) > {_NUMBER})\) "
    rf"by Start = bin_at\(TimeGenerated, {_NUMBER}ms, {_TIME}\), {_BY}"
)
_WHOLE = re.compile(rf"summarize Requests = count\(\), P95 = percentile\(TotalDurationMs, 95\) by {_BY}")
UNDERSTOOD = (
    f"{TABLE} | where TimeGenerated >= datetime(…) and TimeGenerated < datetime(…) "
    "| where _ResourceId =~ '…' or _ResourceId startswith '…' | where EndpointName =~ '…' and DeploymentName in~ ('…') "
    "| where UserAgent !startswith '…' | summarize Requests = count(), (Slow = countif(…) by Start = bin_at(…), … "
    "or P95 = percentile(TotalDurationMs, 95) by …) DeploymentName = tolower(DeploymentName), "
    "ResponseCode = toint(ResponseCode), ModelStatusCode = toint(ModelStatusCode)"
)


class NotUnderstood(ValueError):
    """The query is none that is answered here; the message names the clause."""


@dataclass(frozen=True)
class Bins:
    """Intervals of `width`, one of which begins at `origin`. `slower_than_ms`: what counts as slow, None for nothing."""

    origin: datetime
    width: timedelta
    slower_than_ms: float | None


@dataclass(frozen=True)
class LogQuery:
    """Requests of an endpoint's deployments in [start, end), counted by answer; `bins` None: in one, with a percentile."""

    start: datetime
    end: datetime
    resource: str
    """The id that rows carry; those below it are meant too."""
    endpoint: str
    deployments: tuple[str, ...]
    not_by: str
    """How the user agents begin whose requests are left out."""
    bins: Bins | None


def parse(text: str) -> LogQuery:
    """The query as it is asked for. NotUnderstood names the first clause that is something else."""
    *conditions, summary = [clause.strip() for clause in _split(text)]
    found = []
    for number, (what, pattern) in enumerate(_CLAUSES):
        clause = conditions[number] if number < len(conditions) else ""
        match = pattern.fullmatch(clause)
        if match is None:
            raise NotUnderstood(f"the clause {clause[:200]!r} stands where {what} is expected")
        found.append(match)
    if len(conditions) > len(_CLAUSES):
        raise NotUnderstood(f"the clause {conditions[len(_CLAUSES)][:200]!r} stands where the summary is expected")
    _, span, workspace, deployments, agent = found
    names = tuple(_unescaped(name) for name in re.findall(_TEXT, deployments[2]))
    resource = _unescaped(workspace[1])
    if _unescaped(workspace[2]) != resource + "/":
        raise NotUnderstood("the workspace's id and the beginning of the ids below it differ")
    endpoint, not_by = _unescaped(deployments[1]), _unescaped(agent[1])
    return LogQuery(_time(span[1]), _time(span[2]), resource, endpoint, names, not_by, _bins(summary))


def _bins(summary: str) -> Bins | None:
    if _WHOLE.fullmatch(summary):
        return None
    match = _BINNED.fullmatch(summary)
    if match is None or not float(match[2]):
        raise NotUnderstood(f"the clause {summary[:300]!r} stands where the summary is expected")
    slower = float(match[1]) if match[1] else None
    return Bins(_time(match[3]), timedelta(milliseconds=float(match[2])), slower)


def _split(text: str) -> list[str]:
    """The clauses between bars that stand in no string."""
    pieces = re.findall(r"'(?:[^'\\]|\\.)*'|[^'|]+|\||'", text)
    clauses = [""]
    for piece in pieces:
        if piece == "|":
            clauses.append("")
        else:
            clauses[-1] += piece
    return clauses


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise NotUnderstood(f"datetime({text[:60]}) is no time in ISO 8601") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
