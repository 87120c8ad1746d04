"""The traffic log as the query API answers it: what is understood, what is refused, what the router's files hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.monitor.query import LogsQueryClient
from hypothesis import given, settings
from hypothesis import strategies as st

from local.azureml.serving import request_log
from local.azureml.serving.request_log import Line, RequestLog, answered_between
from local.monitor.kql import Bins, NotUnderstood, parse
from local.monitor.traffic_log import WORKSPACE_ID, answer
from ml_core.adapters.log_analytics import literal

CONDITIONS = """AmlOnlineEndpointTrafficLog
| where TimeGenerated >= datetime(2026-03-01T12:00:00.000000Z) and TimeGenerated < datetime(2026-03-01T12:01:00.000000Z)
| where _ResourceId =~ '/w' or _ResourceId startswith '/w/'
| where EndpointName =~ 'churn' and DeploymentName in~ ('blue', 'green')
| where UserAgent !startswith 'tidegate'
"""
BY = "DeploymentName = tolower(DeploymentName), ResponseCode = toint(ResponseCode), ModelStatusCode = toint(ModelStatusCode)"
BINNED = (
    "| summarize Requests = count(), Slow = countif(todouble(TotalDurationMs) > 12.500) "
    f"by Start = bin_at(TimeGenerated, 15000ms, datetime(2026-03-01T12:00:00.000000Z)), {BY}"
)
WHOLE = f"| summarize Requests = count(), P95 = percentile(TotalDurationMs, 95) by {BY}"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def line(second: float, ms: float, *, status: int = 200, agent: str = "") -> Line:
    return Line("churn", "blue", ms / 1000, b"POST", b"/score", status, status, b"", False, NOON.timestamp() + second, agent)


def test_the_apps_queries_are_read() -> None:
    found = parse(CONDITIONS + BINNED)
    assert (found.start, found.end) == (NOON, NOON + timedelta(minutes=1))
    assert (found.resource, found.endpoint, found.deployments, found.not_by) == ("/w", "churn", ("blue", "green"), "tidegate")
    assert found.bins == Bins(NOON, timedelta(seconds=15), 12.5)
    assert parse(CONDITIONS + WHOLE).bins is None


@pytest.mark.parametrize(
    ("query", "clause"),
    [
        ("AmlOnlineEndpointConsoleLog", "AmlOnlineEndpointConsoleLog|^the clause ''"),
        (CONDITIONS + WHOLE + " | take 10", "stands where the summary is expected"),
        (CONDITIONS + "| take 10", "take 10"),
        (CONDITIONS.replace("| where UserAgent !startswith 'tidegate'\n", "") + WHOLE, "the user agent is expected"),
        (CONDITIONS.replace("'/w/'", "'/v/'") + WHOLE, "differ"),
        (CONDITIONS.replace("2026-03-01T12:01", "2026-03-01T99:01") + WHOLE, "no time"),
        ("", "the table is expected"),
    ],
)
def test_any_other_query_is_refused_by_its_first_clause_that_is_not_understood(query: str, clause: str) -> None:
    with pytest.raises(NotUnderstood, match=clause):
        parse(query)


@given(st.text(st.characters(min_codepoint=32, exclude_characters="\x7f"), max_size=30))
@settings(max_examples=50)
def test_whatever_a_name_holds_it_stays_one_string(name: str) -> None:
    found = parse(CONDITIONS.replace("'churn'", literal(name)) + WHOLE)
    assert (found.endpoint, found.deployments) == (name, ("blue", "green"))


def test_requests_are_counted_by_bin_and_answer_without_those_of_the_user_agent() -> None:
    lines = [
        {"status": 200, "model_status": 200, "latency_ms": ms, "answered_at": NOON.timestamp() + at, "user_agent": agent}
        for at, ms, agent in ((0, 10, "curl"), (14.9, 20, ""), (15, 20, ""), (1, 20, "Tidegate/1"))
    ]
    (table,) = answer(parse(CONDITIONS + BINNED), {"blue": lines})["tables"]
    assert [column["name"] for column in table["columns"]] == [
        *("Start", "DeploymentName", "ResponseCode", "ModelStatusCode"),
        *("Requests", "Slow"),
    ]
    first, second = "2026-03-01T12:00:00Z", "2026-03-01T12:00:15Z"
    assert table["rows"] == [[first, "blue", 200, 200, 2, 1], [second, "blue", 200, 200, 1, 1]]


def test_a_log_is_read_from_its_end_over_blocks_and_into_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "_BLOCK", 100)
    monkeypatch.setattr(request_log, "LIMIT", 4000)
    log = RequestLog(tmp_path)
    for second in range(40):
        log.add(line(second, 5.0))
        log.flush()
    file = request_log.log_file(tmp_path, "churn", "blue")
    with file.open("ab") as stream:
        stream.write(b'{"time": "half a li')
    assert file.with_name(file.name + ".1").exists()
    noon = NOON.timestamp()

    def seconds(start: float, end: float) -> list[int]:
        return [round(one["answered_at"] - noon) for one in answered_between(tmp_path, "churn", "blue", noon + start, noon + end)]

    assert seconds(30, 35) == [34, 33, 32, 31, 30]
    assert seconds(10, 40) == list(range(39, 9, -1))
    assert seconds(50, 60) == []
    assert not list(answered_between(tmp_path, "churn", "green", noon, noon + 60))


@pytest.fixture(scope="module")
def client(azure_environment: dict[str, str]) -> LogsQueryClient:
    return LogsQueryClient(DefaultAzureCredential(), endpoint=azure_environment["TIDEGATE_RESOURCE_MANAGER"].rstrip("/"))


def test_a_query_that_is_not_understood_is_told_what_would_be(client: LogsQueryClient) -> None:
    with pytest.raises(HttpResponseError, match=r"take 10.*It understands: AmlOnlineEndpointTrafficLog") as refused:
        client.query_workspace(WORKSPACE_ID, CONDITIONS + "| take 10", timespan=None)
    assert refused.value.status_code == 501


def test_there_is_one_log_workspace(client: LogsQueryClient) -> None:
    with pytest.raises(HttpResponseError, match=WORKSPACE_ID) as refused:
        client.query_workspace("11111111-1111-1111-1111-111111111111", CONDITIONS + WHOLE, timespan=None)
    assert refused.value.status_code == 403


def test_names_that_are_none_lead_to_no_file(client: LogsQueryClient, make_endpoint: Callable[[str], None]) -> None:
    make_endpoint("logged")
    elsewhere = CONDITIONS.replace("'churn'", "'../logs/churn'")
    found = client.query_workspace(WORKSPACE_ID, elsewhere + WHOLE, timespan=None)
    assert [table.rows for table in found] == [[]]
