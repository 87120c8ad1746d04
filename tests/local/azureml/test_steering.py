"""Time and faults, steered from outside: the routes, who may use them, the pace, the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from azure.ai.ml import MLClient, dsl
from azure.ai.ml.entities import Environment, ManagedOnlineEndpoint

from local.azureml.emulator import Emulator
from local.azureml.pace import Pace, Transitions
from local.azureml.steering import InvalidRules, parse_rules, read_rules
from local.certificates import Certificates
from local.processes import Child, free_port, port_answers
from local.storage.azurite import Azurite
from tests.local.azureml.conftest import Name
from tests.local.azureml.pipelines import TERMINAL, component, submit
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
ROUTES = [
    ("GET", "/pace"), ("PUT", "/pace"), ("GET", "/faults"), ("POST", "/faults"), ("DELETE", "/faults"), ("DELETE", "/faults/x"),
]  # fmt: skip
RULE = {"match": {"name": "nobody"}, "request": {"status": 429}}


@pytest.fixture
def control(emulator: Emulator, stranger: httpx.Client) -> Iterator[Callable[..., httpx.Response]]:
    """Asks a route below /_emulator with the token endpoint's secret; pace and rules are as before afterwards."""

    def ask(method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"X-IDENTITY-HEADER": emulator.settings.identity_header}
        return stranger.request(method, f"/_emulator{path}", json=body, headers=headers)

    yield ask
    ask("PUT", "/pace", {}).raise_for_status()
    ask("DELETE", "/faults").raise_for_status()


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("headers", [{}, {"X-IDENTITY-HEADER": "wrong"}, {"Authorization": "Bearer nonsense"}])
def test_nobody_steers_without_a_secret_or_a_token(
    stranger: httpx.Client, emulator: Emulator, method: str, path: str, headers: dict[str, str]
) -> None:
    assert stranger.request(method, f"/_emulator{path}", json=RULE, headers=headers).status_code == 401
    assert emulator.faults.rules() == []


def test_a_token_for_something_else_does_not_steer(stranger: httpx.Client, emulator: Emulator) -> None:
    token, _ = emulator.tokens.issue("https://storage.azure.com/")
    assert stranger.get("/_emulator/pace", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    token, _ = emulator.tokens.issue("https://management.azure.com/")
    assert stranger.get("/_emulator/pace", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_rules_are_added_listed_and_removed(control: Callable[..., httpx.Response], emulator: Emulator) -> None:
    added = control("POST", "/faults", [{"id": "first", **RULE}, RULE])
    assert added.status_code == 201
    first, second = control("GET", "/faults").json()["value"]
    assert [first, second] == added.json()["value"]
    assert (first["id"], first["request"]["status"], first["struck"]) == ("first", 429, 0)
    assert control("DELETE", "/faults/first").status_code == 204
    assert [rule["id"] for rule in control("GET", "/faults").json()["value"]] == [second["id"]]
    gone = control("DELETE", "/faults/first")
    assert (gone.status_code, gone.json()["error"]["message"]) == (404, "There is no fault rule 'first'.")
    assert control("DELETE", "/faults").status_code == 204
    assert emulator.faults.rules() == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (None, "0"),
        ("words", "0"),
        ({}, "exactly one of request, operation and scoring"),
        ({**RULE, "scoring": {"delay": 1}}, "exactly one of request, operation and scoring"),
        ({**RULE, "time": 3}, "0.time"),
        ({**RULE, "match": {"nam": "x"}}, "0.match.nam"),
        ({"request": {"status": "429"}}, "0.request.status"),
        ({"request": {"status": 200}}, "status must be"),
        ({"request": {"status": 499}}, "status must be"),
        ({"request": {}}, "status or delay"),
        ({"request": {"delay": -1}}, "delay"),
        ({"request": {"delay": 1, "retry_after": 1}}, "retry_after"),
        ({"scoring": {"status": 500, "retry_after": 1}}, "0.scoring.retry_after"),
        ({"operation": {"hang": True, "code": "X"}}, "hang and code"),
        ({"operation": {}}, "hang and code"),
        ({**RULE, "probability": 0}, "probability"),
        ({**RULE, "times": 0}, "times"),
        ({**RULE, "after": -1}, "after"),
        ({**RULE, "seed": "x"}, "0.seed"),
        ({**RULE, "id": "../x"}, "id must be"),
        ({"match": {"method": "GET"}, "scoring": {"delay": 1}}, "match.method"),
        ({"match": {"operation": "x"}, **{"request": {"status": 500}}}, "match.operation"),
        ([RULE, {**RULE, "times": "2"}], "1.times"),
    ],
)
def test_a_wrong_rule_is_a_400_that_names_the_field_and_adds_nothing(
    control: Callable[..., httpx.Response], emulator: Emulator, body: Any, named: str
) -> None:
    answer = control("POST", "/faults", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestContent")
    assert named in answer.json()["error"]["message"]
    assert emulator.faults.rules() == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (None, "body"),
        ({"scale": -1}, "scale"),
        ({"scale": 1, "reads": 1}, "only one of scale and reads"),
        ({"reads": 1.5}, "reads"),
        ({"speed": 1}, "speed"),
        ({"scale": 1, "durations": {"deployment.make": 1}}, "deployment.make"),
        ({"scale": 1, "durations": {"deployment.create": -1}}, "deployment.create"),
    ],
)
def test_a_wrong_pace_is_a_400_that_names_the_field_and_changes_nothing(
    control: Callable[..., httpx.Response], emulator: Emulator, body: Any, named: str
) -> None:
    before = emulator.transitions.pace
    answer = control("PUT", "/pace", body)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]
    assert emulator.transitions.pace == before


# -- the pace


def test_a_duration_replaces_the_usual_time_and_is_scaled() -> None:
    pace = Pace(0.01, durations={"deployment.create": 480})
    assert pace.seconds("deployment.create") == pytest.approx(4.8)
    assert pace.seconds("deployment.delete") == pytest.approx(0.6)
    assert pace.over("deployment.create", 4.9, 0)
    assert not pace.over("deployment.create", 4.7, 1000)


def test_after_n_reads_the_clock_does_not_matter() -> None:
    assert not Pace(reads=3).over("job.queued", 1e9, 2)
    assert Pace(reads=3).over("job.queued", 0, 3)


def test_what_stops_ends_a_transition() -> None:
    stop = threading.Event()
    stop.set()
    assert Transitions(Pace(reads=1)).wait("job.queued", "/jobs/x", stop)


def test_an_endpoint_is_made_when_it_was_read_often_enough(
    ml_client: MLClient, control: Callable[..., httpx.Response], http: httpx.Client, name: Name
) -> None:
    own = name("ep")
    assert control("PUT", "/pace", {"reads": 3}).json() == {"scale": 0.0, "reads": 3, "durations": {}}
    http.put(f"/onlineEndpoints/{own}", json={"location": "local", "properties": {"authMode": "Key"}}).raise_for_status()
    seen: list[str] = []

    def made() -> bool:
        seen.append(http.get(f"/onlineEndpoints/{own}").json()["properties"]["provisioningState"])
        return seen[-1] == "Succeeded"

    http.get("/onlineEndpoints/another")
    wait_until(made)
    # The answer of a read that ends the transition may still be the old state, or already the new one.
    assert seen[:2] == ["Creating", "Creating"]
    again = ManagedOnlineEndpoint(name=own, auth_mode="key", tags={"a": "b"})
    assert ml_client.online_endpoints.begin_create_or_update(again).result().tags == {"a": "b"}, "polling reads, too"
    ml_client.online_endpoints.begin_delete(own).result()


def test_a_change_of_pace_holds_for_what_waits_already(
    control: Callable[..., httpx.Response], http: httpx.Client, name: Name
) -> None:
    own = name("ep")
    control("PUT", "/pace", {"scale": 1000}).raise_for_status()
    begun = http.put(f"/onlineEndpoints/{own}", json={"location": "local", "properties": {"authMode": "Key"}}).raise_for_status()
    poll = begun.headers["azure-asyncoperation"]
    assert begun.headers["retry-after"] == "1"
    assert http.get(poll).json()["status"] == "InProgress"
    control("PUT", "/pace", {"scale": 0}).raise_for_status()
    wait_until(lambda: http.get(poll).json()["status"] == "Succeeded")
    http.delete(f"/onlineEndpoints/{own}").raise_for_status()


@pytest.mark.train_environment
def test_a_job_is_prepared_and_runs_when_it_was_read_often_enough(
    ml_client: MLClient, control: Callable[..., httpx.Response], tmp_path: Path
) -> None:
    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    step = component(tmp_path, "hello", "print('hello')\n")

    @dsl.pipeline(default_compute="serverless", experiment_name="steered")
    def pipeline() -> None:
        step()

    job = pipeline()
    control("PUT", "/pace", {"reads": 2}).raise_for_status()
    job = submit(ml_client, job)
    seen: list[str] = []

    def ended() -> bool:
        seen.append(ml_client.jobs.get(str(job.name)).status)
        return seen[-1] in TERMINAL

    wait_until(ended)
    assert seen[-1] == "Completed"
    # One read is not enough for either transition, so the state before and the state between them are both seen.
    assert seen[0] not in ("Preparing", "Running")
    assert "Preparing" in seen


# -- files and the command line


@pytest.mark.parametrize("text", ["a: [", "request: 2020-01-01", "- 1", "", "request: {delay: .inf}"])
def test_a_file_that_holds_no_rules_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(InvalidRules):
        read_rules(tmp_path / "rules.yaml")


def test_the_example_in_the_docs_is_valid() -> None:
    page = (ROOT / "docs/how-to/steer-the-emulator.md").read_text()
    (example,) = [block.split("```")[0] for block in page.split("```yaml\n")[1:]]
    rules = yaml.safe_load(example)
    assert {rule.target for rule in parse_rules(rules)} == {"request", "operation", "scoring"}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "local.azureml", *arguments]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_line_steers_a_running_emulator(tmp_path: Path, certificates: Certificates, azurite: Azurite) -> None:
    shutil.copytree(certificates.bundle.parent, tmp_path / "certificates")
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump([{"id": "throttle", **RULE}]))
    ports = ["--port", str(free_port()), "--state", str(tmp_path)]
    running = [
        *ports,
        "--router-port",
        str(free_port()),
        "--blob-url",
        azurite.blob_url,
        "--mlflow-url",
        "http://127.0.0.1:1",
        "--mlflow-port",
        str(free_port()),
    ]
    options = ["--faults", str(rules), "--reads", "2", "--print-env"]
    child = Child("azureml", _command(*running, *options), log=tmp_path / "log", cwd=ROOT)
    try:
        child.wait_until(lambda: port_answers(int(ports[1])) and "TIDEGATE_WORKSPACE" in (tmp_path / "log").read_text())
        assert json.loads(_run("faults", "list", *ports).stdout)["id"] == "throttle"
        rules.write_text(yaml.safe_dump({"id": "slow", "scoring": {"delay": 2}}))
        assert json.loads(_run("faults", "add", str(rules), *ports).stdout)["scoring"]["delay"] == 2
        assert _run("faults", "clear", "throttle", *ports).returncode == 0
        assert [json.loads(line)["id"] for line in _run("faults", "list", *ports).stdout.splitlines()] == ["slow"]
        missing = _run("faults", "clear", "throttle", *ports)
        assert (missing.returncode, "There is no fault rule" in missing.stderr) == (1, True)
        assert _run("faults", "clear", *ports).returncode == 0
        assert _run("faults", "list", *ports).stdout == ""
        assert json.loads(_run("pace", *ports).stdout)["reads"] == 2
        assert json.loads(_run("pace", "--scale", "0.5", *ports).stdout) == {"scale": 0.5, "reads": 0, "durations": {}}
    finally:
        child.stop()


def test_a_mistake_in_the_rules_is_said_before_anything_starts(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("request: {statsu: 500}")
    started = _run("--state", str(tmp_path / "state"), "--faults", str(rules))
    assert started.returncode == 2
    assert "statsu" in started.stderr
    added = _run("faults", "add", str(rules), "--port", str(free_port()))
    assert (added.returncode, "statsu" in added.stderr) == (1, True)
    assert not (tmp_path / "state").exists()
