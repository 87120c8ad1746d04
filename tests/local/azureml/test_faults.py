"""Faults on purpose, as the unmodified SDK and a client of a scoring endpoint meet them. First the rules themselves: pure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import CodeConfiguration, ManagedOnlineDeployment, ManagedOnlineEndpoint
from azure.core.exceptions import HttpResponseError

from local.azureml.emulator import Emulator
from local.azureml.faults import Faults, Match, OperationFault, RequestFault, Rule, ScoringFault, Subject
from tests.local.azureml.conftest import Name
from tests.local.azureml.scoring_assets import SCRIPT, Workspace
from tests.waiting import wait_until

ENDPOINT = "faulty-line"
SLOW = RequestFault(delay=1)
Inject = Callable[..., str]


def strikes(rule: Rule, calls: int, subject: Subject | None = None) -> list[bool]:
    faults = Faults([rule])
    asked = subject or Subject("/models/m", "GET")
    return [faults.strike(rule.target, asked) is not None for _ in range(calls)]


def test_a_rule_lets_the_first_calls_pass_and_strikes_so_often() -> None:
    assert strikes(Rule(request=SLOW, after=2, times=2), 6) == [False, False, True, True, False, False]


def test_a_seed_strikes_the_same_calls_again_and_another_seed_others() -> None:
    first = strikes(Rule(request=SLOW, probability=0.3, seed=1), 200)
    assert first == strikes(Rule(request=SLOW, probability=0.3, seed=1), 200)
    assert first != strikes(Rule(request=SLOW, probability=0.3, seed=2), 200)
    assert 35 <= sum(first) <= 85  # 60 +- 4 standard deviations


@pytest.mark.parametrize(
    ("match", "path", "method", "struck"),
    [
        (Match(), "/models/m/versions/1", "GET", True),
        (Match(), "//msi/token", "GET", False),
        (Match(), "/", "GET", False),
        (Match(path="/"), "/", "GET", True),
        (Match(path="//msi/*"), "//msi/token", "GET", True),
        (Match(method="put"), "/models/m", "PUT", True),
        (Match(method="PUT"), "/models/m", "GET", False),
        (Match(kind="models/versions", name="m/*"), "/models/m/versions/1", "GET", True),
        (Match(kind="models/versions", name="n/*"), "/models/m/versions/1", "GET", False),
        (Match(kind="models"), "/models/m/versions/1", "GET", False),
        (Match(kind="onlineendpoints/listkeys", name="churn"), "/onlineEndpoints/churn/listKeys", "POST", True),
    ],
)
def test_a_rule_strikes_what_it_matches(match: Match, path: str, method: str, struck: bool) -> None:
    assert strikes(Rule(match=match, request=SLOW), 1, Subject(path, method)) == [struck]


def test_an_operation_is_matched_by_what_it_does_and_to_what() -> None:
    rule = Rule(match=Match(operation="online deployment *", name="churn/green"), operation=OperationFault(hang=True))
    green = "/onlineEndpoints/churn/deployments/green"
    assert strikes(rule, 1, Subject(green, operation="online deployment create")) == [True]
    assert strikes(rule, 1, Subject(green, operation="online endpoint create")) == [False]
    assert strikes(rule, 1, Subject(green.replace("green", "blue"), operation="online deployment create")) == [False]


def test_of_two_rules_the_first_that_strikes_wins() -> None:
    faults = Faults([Rule(id="once", request=SLOW, times=1), Rule(id="then", request=SLOW)])
    struck = [faults.strike("request", Subject("/models/m", "GET")) for _ in range(3)]
    assert [rule.id for rule in struck if rule] == ["once", "then", "then"]
    assert (faults.struck("once"), faults.struck("then")) == (1, 2)


def test_a_rule_that_stays_goes_on_counting_and_a_changed_one_begins_anew() -> None:
    rule = Rule(id="x", scoring=ScoringFault(status=500), times=1)
    subject = Subject("/onlineEndpoints/e/deployments/d")
    faults = Faults([rule])
    assert faults.strike("scoring", subject) == rule
    faults.replace([Rule.of_scoring(rule.to_json())])
    assert faults.strike("scoring", subject) is None
    changed = Rule(id="x", scoring=ScoringFault(status=501), times=1)
    faults.replace([changed])
    assert faults.strike("scoring", subject) == changed


def test_without_a_rule_nobody_is_asked() -> None:
    faults = Faults()
    assert (faults.requests, faults.operations, faults.scoring) == (False, False, False)
    faults.add([Rule(id="x", scoring=ScoringFault(delay=1)), Rule(id="y", operation=OperationFault(hang=True))])
    assert (faults.requests, faults.operations, faults.scoring) == (False, True, True)
    assert [rule.id for rule in faults.remove("x")] == ["x"]
    assert (faults.requests, faults.operations, faults.scoring) == (False, True, False)


@pytest.mark.parametrize(("retry_after", "headers"), [(None, {}), (2.0, {"Retry-After": "2"}), (0.05, {"retry-after-ms": "50"})])
def test_retry_after_is_seconds_or_milliseconds(retry_after: float | None, headers: dict[str, str]) -> None:
    fault = RequestFault(status=429, retry_after=retry_after)
    assert (fault.headers, fault.error_code) == (headers, "TooManyRequests")


# -- through the SDK


@pytest.fixture
def inject(emulator: Emulator, http: httpx.Client) -> Iterator[Inject]:
    """Adds a rule and returns its id; all rules are gone after the test."""

    def add(**rule: Any) -> str:
        answer = http.post(f"{emulator.base_url}/_emulator/faults", json=rule).raise_for_status()
        return str(answer.json()["value"][0]["id"])

    yield add
    http.delete(f"{emulator.base_url}/_emulator/faults").raise_for_status()


def remove(emulator: Emulator, http: httpx.Client, rule: str) -> None:
    http.delete(f"{emulator.base_url}/_emulator/faults/{rule}").raise_for_status()


@pytest.fixture
def endpoint(ml_client: MLClient, name: Name) -> Iterator[str]:
    own = name("ep")
    ml_client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=own, auth_mode="key")).result()
    yield own
    ml_client.online_endpoints.begin_delete(own).result()


def test_a_429_is_retried_by_the_sdk_after_the_time_it_was_told(
    ml_client: MLClient, emulator: Emulator, endpoint: str, inject: Inject
) -> None:
    rule = inject(match={"method": "GET", "name": endpoint}, request={"status": 429, "retry_after": 1}, times=2)
    assert ml_client.online_endpoints.get(endpoint).name == endpoint
    assert emulator.faults.struck(rule) == 2


def test_a_500_that_goes_away_is_retried_and_one_that_stays_surfaces_with_its_code(
    ml_client: MLClient, emulator: Emulator, endpoint: str, inject: Inject
) -> None:
    fault = {"status": 500, "code": "InternalServiceError", "message": "the region burns", "retry_after": 0.01}
    rule = inject(match={"method": "GET", "name": endpoint}, request=fault, times=2)
    assert ml_client.online_endpoints.get(endpoint).name == endpoint
    assert emulator.faults.struck(rule) == 2
    inject(match={"method": "GET", "name": endpoint}, request=fault)
    with pytest.raises(HttpResponseError, match="the region burns") as failure:
        ml_client.online_endpoints.get(endpoint)
    assert failure.value.status_code == 500
    assert failure.value.error is not None
    assert failure.value.error.code == "InternalServiceError"


def test_a_409_is_not_retried(ml_client: MLClient, emulator: Emulator, inject: Inject, name: Name) -> None:
    own = name("ep")
    rule = inject(match={"method": "PUT", "kind": "onlineEndpoints", "name": own}, request={"status": 409})
    with pytest.raises(HttpResponseError) as failure:
        ml_client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=own, auth_mode="key"))
    assert failure.value.error is not None
    assert (failure.value.status_code, failure.value.error.code) == (409, "Conflict")
    assert emulator.faults.struck(rule) == 1
    assert own not in [one.name for one in ml_client.online_endpoints.list()]


def test_a_delayed_request_is_answered_after_its_delay_and_holds_nobody_up(
    http: httpx.Client, emulator: Emulator, endpoint: str, inject: Inject
) -> None:
    inject(match={"name": endpoint}, request={"delay": 0.3})
    answer = http.get(f"/onlineEndpoints/{endpoint}").raise_for_status()
    assert answer.elapsed.total_seconds() >= 0.3
    inject(match={"name": "nobody"}, request={"delay": 3000})
    with pytest.raises(httpx.ReadTimeout):
        http.get("/onlineEndpoints/nobody", timeout=0.2)
    assert http.get("/onlineEndpoints").status_code == 200


def test_removing_a_rule_ends_the_delays_that_it_made(http: httpx.Client, emulator: Emulator, inject: Inject) -> None:
    rule = inject(match={"path": "/models"}, request={"delay": 3000})
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(http.get("/models", timeout=60).status_code))
    waiting.start()
    wait_until(lambda: emulator.faults.struck(rule) == 1)
    assert answers == []
    remove(emulator, http, rule)
    waiting.join(60)
    assert answers == [200]


def test_the_fault_routes_are_never_struck(http: httpx.Client, emulator: Emulator, inject: Inject) -> None:
    rule = inject(match={"path": "*"}, request={"status": 500})
    assert http.get("/models").status_code == 500
    remove(emulator, http, rule)
    assert http.get("/models").status_code == 200


def test_a_hanging_operation_is_in_progress_until_it_is_released(
    ml_client: MLClient, http: httpx.Client, emulator: Emulator, inject: Inject, name: Name
) -> None:
    own = name("ep")
    rule = inject(match={"operation": "online endpoint create", "name": own}, operation={"hang": True})
    other = inject(match={"name": "nobody"}, operation={"hang": True})
    poller = ml_client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=own, auth_mode="key"))
    first = http.get(f"/onlineEndpoints/{own}").json()["properties"]["provisioningState"]
    remove(emulator, http, other)
    assert (first, http.get(f"/onlineEndpoints/{own}").json()["properties"]["provisioningState"]) == ("Creating", "Creating")
    assert not poller.done()
    assert http.delete(f"/onlineEndpoints/{own}").status_code == 409, "it is busy"
    remove(emulator, http, rule)
    assert poller.result(60).provisioning_state == "Succeeded"
    ml_client.online_endpoints.begin_delete(own).result()


def test_more_operations_may_hang_than_there_are_threads(
    http: httpx.Client, emulator: Emulator, inject: Inject, name: Name
) -> None:
    rule = inject(match={"name": "hung-*"}, operation={"hang": True})
    hung = [name("hung") for _ in range(10)]
    for one in hung:
        http.put(f"/onlineEndpoints/{one}", json={"location": "local", "properties": {"authMode": "Key"}}).raise_for_status()
    free = name("ep")
    http.put(f"/onlineEndpoints/{free}", json={"location": "local", "properties": {"authMode": "Key"}}).raise_for_status()

    def state(one: str) -> str:
        return str(http.get(f"/onlineEndpoints/{one}").json()["properties"]["provisioningState"])

    wait_until(lambda: state(free) == "Succeeded")
    assert {state(one) for one in hung} == {"Creating"}
    remove(emulator, http, rule)
    wait_until(lambda: {state(one) for one in hung} == {"Succeeded"})
    for one in [*hung, free]:
        http.delete(f"/onlineEndpoints/{one}").raise_for_status()


def test_an_endpoint_that_fails_to_be_made_says_why_and_can_be_made_again(
    ml_client: MLClient, inject: Inject, name: Name
) -> None:
    own = ManagedOnlineEndpoint(name=name("ep"), auth_mode="key")
    failure = {"code": "QuotaExceeded", "message": "no cores left"}
    inject(match={"operation": "online endpoint create", "name": own.name}, operation=failure, times=1)
    with pytest.raises(HttpResponseError, match=r"QuotaExceeded.*no cores left"):
        ml_client.online_endpoints.begin_create_or_update(own).result()
    assert ml_client.online_endpoints.get(own.name).provisioning_state == "Failed"
    assert ml_client.online_endpoints.begin_create_or_update(own).result().provisioning_state == "Succeeded"
    inject(match={"operation": "online endpoint delete", "name": own.name}, operation=failure, times=1)
    with pytest.raises(HttpResponseError, match="no cores left"):
        ml_client.online_endpoints.begin_delete(own.name).result()
    assert ml_client.online_endpoints.get(own.name).provisioning_state == "Failed"
    ml_client.online_endpoints.begin_delete(own.name).result()


# -- deployments that fail, and scoring


@pytest.fixture(scope="module")
def line(emulator: Emulator, ml_client: MLClient) -> Iterator[Workspace]:
    """An endpoint with the deployment blue, whose answers must come within 1.5 s."""
    workspace = Workspace(emulator)
    workspace.make_assets()
    workspace.endpoint(ENDPOINT)
    limits = {"requestTimeout": "PT1.5S", "maxConcurrentRequestsPerInstance": 4}
    assert workspace.deploy(ENDPOINT, "blue", requestSettings=limits)["status"] == "Succeeded"
    workspace.endpoint(ENDPOINT, traffic={"blue": 100})
    yield workspace
    ml_client.online_endpoints.begin_delete(ENDPOINT).result()
    workspace.http.close()


def test_a_deployment_that_fails_to_be_provisioned_ends_failed_with_the_given_error(
    line: Workspace, ml_client: MLClient, inject: Inject, tmp_path: Path
) -> None:
    (tmp_path / "score.py").write_text(SCRIPT)
    green = ManagedOnlineDeployment(
        name="green",
        endpoint_name=ENDPOINT,
        model="azureml:line:3",
        environment="azureml:serve:1",
        code_configuration=CodeConfiguration(code=str(tmp_path), scoring_script="score.py"),
        instance_type="Standard_DS3_v2",
        instance_count=1,
    )
    failure = {"code": "OutOfCapacity", "message": "no Standard_DS3_v2 left"}
    inject(match={"operation": "online deployment create", "name": f"{ENDPOINT}/green"}, operation=failure)
    with pytest.raises(HttpResponseError, match=r"OutOfCapacity.*no Standard_DS3_v2 left"):
        ml_client.online_deployments.begin_create_or_update(green).result()
    assert ml_client.online_deployments.get("green", ENDPOINT).provisioning_state == "Failed"
    assert line.score(ENDPOINT).json()["y"] == 2, "the other deployment does not notice"
    ml_client.online_deployments.begin_delete("green", ENDPOINT).result()


def test_failing_scoring_is_a_424_and_an_error_in_the_metrics(line: Workspace, inject: Inject) -> None:
    before = counted(line)
    inject(match={"name": f"{ENDPOINT}/blue"}, scoring={"status": 500}, times=2)
    answers = [line.score(ENDPOINT) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [424, 424, 200]
    assert answers[0].headers["ms-azureml-model-error-statuscode"] == "500"
    wait_until(lambda: counted(line).get("4xx", 0) == before.get("4xx", 0) + 2)


def test_scoring_that_is_slower_than_its_timeout_is_a_408(line: Workspace, inject: Inject) -> None:
    before = counted(line)
    rule = inject(match={"name": f"{ENDPOINT}/*"}, scoring={"delay": 600})
    answer = line.score(ENDPOINT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (408, "RequestTimeout")
    wait_until(lambda: counted(line).get("4xx", 0) == before.get("4xx", 0) + 1)
    line.http.delete(f"{line.emulator.base_url}/_emulator/faults/{rule}").raise_for_status()
    assert line.score(ENDPOINT).status_code == 200


def test_slow_scoring_is_answered_by_the_model_after_the_delay(line: Workspace, inject: Inject) -> None:
    inject(match={"name": f"{ENDPOINT}/blue"}, scoring={"delay": 0.5}, times=1)
    slow = line.score(ENDPOINT)
    assert (slow.status_code, slow.json()["y"]) == (200, 2)
    assert slow.elapsed.total_seconds() >= 0.5


def test_another_deployments_rule_and_a_dead_router_change_nothing(line: Workspace, inject: Inject) -> None:
    inject(match={"name": f"{ENDPOINT}/green"}, scoring={"status": 503})
    assert line.score(ENDPOINT).status_code == 200
    inject(match={"name": f"{ENDPOINT}/blue"}, scoring={"status": 503})
    old = line.emulator.serving.router_pid()
    assert old is not None
    psutil.Process(old).kill()
    wait_until(lambda: line.emulator.serving.router_pid() != old)
    assert line.score(ENDPOINT).status_code == 424, "the new router has the rules too"


def counted(line: Workspace) -> dict[str, float]:
    """Requests by status code class, as Azure Monitor shows them."""
    query = {
        "metricnames": "RequestsPerMinute",
        "interval": "PT1M",
        "aggregation": "Average",
        "$filter": "statusCodeClass eq '*'",
    }
    answer = line.http.get(f"/onlineEndpoints/{ENDPOINT}/providers/microsoft.insights/metrics", params=query)
    found: dict[str, float] = {}
    for series in answer.raise_for_status().json()["value"][0]["timeseries"]:
        (status,) = [one["value"] for one in series["metadatavalues"] if one["name"]["value"].lower() == "statuscodeclass"]
        found[status] = sum(point.get("average") or 0 for point in series["data"])
    return found
