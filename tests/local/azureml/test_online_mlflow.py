"""MLflow models deployed without a script, opened by Entra ID tokens, with everything collected: through the unmodified SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.ai.ml import Input, MLClient, command
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import (
    DataCollector,
    DeploymentCollection,
    Environment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    ProbeSettings,
)
from azure.ai.ml.exceptions import ValidationException
from azure.core.exceptions import HttpResponseError

from local.azureml.emulator import Emulator
from local.azureml.mlflow import MlflowServer
from tests.local.azureml.pipelines import unique, until_ended
from tests.local.azureml.scoring_assets import trust
from tests.waiting import wait_until

ENDPOINT = "sdk-mlflow"
COLLECTIONS = ("model_inputs", "model_outputs", "request", "response")
LOADER = """
class Sum:
    def predict(self, frame, params=None):
        return (frame["a"] + 10 * frame["b"]).to_numpy()

def _load_pyfunc(path):
    return Sum()
"""
MLMODEL = {
    "flavors": {"python_function": {"loader_module": "sum_of_two", "code": "code", "env": {"conda": "conda.yaml"}}},
    "signature": {"inputs": json.dumps([{"name": "a", "type": "long"}, {"name": "b", "type": "double"}]), "outputs": None},
}
CONDA = "name: nobody-has-made-this\ndependencies: [python=3.11, {pip: [mlflow, nothing-else==4.7.11]}]\n"


@dataclass
class Scored:
    """The endpoint with its deployment `blue` of a model that was registered from `runs:/...`: y = a + 10 b."""

    client: MLClient
    emulator: Emulator

    def deployment(self, name: str, model: Model, **settings: Any) -> ManagedOnlineDeployment:
        kind = "Standard_DS3_v2"
        return ManagedOnlineDeployment(
            name=name, endpoint_name=ENDPOINT, model=model, instance_type=kind, instance_count=1, **settings
        )

    def ask(self, document: Any, **headers: str) -> httpx.Response:
        endpoint = self.client.online_endpoints.get(ENDPOINT)
        token = self.client.online_endpoints.get_keys(ENDPOINT).access_token
        sent = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return httpx.post(endpoint.scoring_uri, json=document, headers=sent, verify=trust(self.emulator), timeout=30)


@pytest.fixture(scope="module")
def run(emulator: Emulator, mlflow_server: MlflowServer) -> str:
    """A run of MLflow's that has logged the model; its id."""
    api = f"{emulator.settings.mlflow_url}/api/2.0"
    made = httpx.post(f"{api}/mlflow/runs/create", json={"experiment_id": "0"}).raise_for_status().json()
    run = str(made["run"]["info"]["run_id"])
    files = {"MLmodel": json.dumps(MLMODEL), "conda.yaml": CONDA, "code/sum_of_two.py": LOADER}
    for name, text in files.items():
        httpx.put(f"{api}/mlflow-artifacts/artifacts/0/{run}/artifacts/model/{name}", content=text).raise_for_status()
    return run


@pytest.fixture(scope="module")
def scored(ml_client: MLClient, emulator: Emulator, run: str) -> Iterator[Scored]:
    ml_client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=ENDPOINT, auth_mode="aad_token")).result()
    made = Scored(ml_client, emulator)
    asked = made.deployment(
        "blue",
        Model(name="sdk-sum", version="1", path=f"runs:/{run}/model", type=AssetTypes.MLFLOW_MODEL),
        data_collector=DataCollector({name: DeploymentCollection(enabled="true") for name in COLLECTIONS}, rolling_rate="day"),
        liveness_probe=ProbeSettings(initial_delay=60, period=10, timeout=2, success_threshold=1, failure_threshold=3),
        egress_public_network_access="enabled",
        app_insights_enabled=False,
        description="a sum",
        tags={"team": "risk"},
    )
    ml_client.online_deployments.begin_create_or_update(asked).result()
    endpoint = ml_client.online_endpoints.get(ENDPOINT)
    endpoint.traffic = {"blue": 100}
    ml_client.online_endpoints.begin_create_or_update(endpoint).result()
    yield made
    ml_client.online_endpoints.begin_delete(ENDPOINT).result()


@pytest.mark.train_environment
@pytest.mark.parametrize(
    "document",
    [
        {"input_data": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]}},
        {"input_data": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
        {"input_data": [[1, 2.0], [3, 4.0]]},
        {"input_data": {"a": [1, 3], "b": [2, 4]}},
        {"inputs": {"a": [1, 3], "b": [2, 4]}},
    ],
    ids=["split", "records", "rows", "named", "tf-serving"],
)
def test_an_mlflow_model_without_a_script_answers_every_form_of_input(scored: Scored, document: dict[str, Any]) -> None:
    answer = scored.ask(document)
    assert (answer.status_code, answer.json()) == (200, [21.0, 43.0]), answer.text


@pytest.mark.train_environment
@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"input_data": [{"a": 1}]}, "b"),
        ({"input_data": [[1, 2, 3]]}, "2 values: a, b"),
        ({"input_data": [{"a": "one", "b": 2}]}, "a"),
        ({"data": [[1, 2]]}, "'input_data'"),
    ],
    ids=["column missing", "too many columns", "wrong type", "no input_data"],
)
def test_a_request_that_does_not_fit_the_signature_is_a_424_that_says_so(
    scored: Scored, document: dict[str, Any], says: str
) -> None:
    answer = scored.ask(document)
    assert (answer.status_code, answer.headers["ms-azureml-model-error-statuscode"]) == (424, "400")
    assert says in answer.json()["message"]


@pytest.mark.train_environment
def test_what_a_deployment_was_asked_for_is_read_back_and_its_logs_say_what_runs_it(scored: Scored) -> None:
    blue = scored.client.online_deployments.get("blue", ENDPOINT)
    assert (blue.description, blue.tags, blue.egress_public_network_access.lower()) == ("a sum", {"team": "risk"}, "enabled")
    assert (blue.liveness_probe.initial_delay, blue.liveness_probe.failure_threshold) == (60, 3)
    assert set(blue.data_collector.collections) == set(COLLECTIONS)
    assert blue.data_collector.collections["request"].enabled == "true"
    logs = scored.client.online_deployments.get_logs("blue", ENDPOINT, lines=20, container_type="storage-initializer")
    assert "model sdk-sum:1 from azureml://" in logs
    assert "default environment instead of the model's conda.yaml" in logs
    served = scored.client.online_deployments.get_logs("blue", ENDPOINT, 200, container_type="inference-server")
    assert "Listening" in served
    assert "runs with other packages than it asks for: " in served
    assert len(scored.client.online_deployments.get_logs("blue", ENDPOINT, 3).splitlines()) == 3


@pytest.mark.train_environment
def test_an_endpoint_with_entra_id_authentication_is_opened_by_such_tokens_only(scored: Scored) -> None:
    url = scored.client.online_endpoints.get(ENDPOINT).scoring_uri
    for token in (scored.emulator.tokens.issue("https://management.azure.com")[0], "x.y.z"):
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.post(url, json={}, headers=headers, verify=trust(scored.emulator)).status_code == 401
    with pytest.raises(ValidationException, match="does not use keys"):
        scored.client.online_endpoints.begin_regenerate_keys(ENDPOINT, key_type="primary")


@pytest.mark.train_environment
def test_what_is_collected_lands_where_its_data_asset_points(scored: Scored) -> None:
    assert scored.ask({"input_data": [{"a": 5, "b": 6}]}, x_request_id="the-one").status_code == 200

    def lines(collection: str) -> list[dict[str, Any]]:
        data = scored.client.data.get(f"{ENDPOINT}-blue-{collection}", version="1")
        assert f"modelDataCollector/{ENDPOINT}/blue/{collection}" in data.path
        place, storage = scored.emulator.storage.resolve(data.path), scored.emulator.storage
        names = storage.list(place.container, place.path)
        assert all(name.endswith(".jsonl") and len(name[len(place.path) :].split("/")) == 5 for name in names)
        found = [line for name in names for line in storage.read(place.container, name).splitlines()]
        return [json.loads(line) for line in found]

    def caught(collection: str, value: Any) -> dict[str, Any] | None:
        return next((line for line in lines(collection) if line["data"] == value), None)

    wanted = {
        "request": {"input_data": [{"a": 5, "b": 6}]},
        "response": [65.0],
        "model_inputs": [{"a": 5, "b": 6.0}],
        "model_outputs": [65.0],
    }
    wait_until(lambda: all(caught(name, value) for name, value in wanted.items()))
    found = {name: caught(name, value) or {} for name, value in wanted.items()}
    for name, line in found.items():
        assert (line["specversion"], line["type"]) == ("1.0", f"azureml.inference.{name}")
        assert line["source"].endswith(f"/onlineEndpoints/{ENDPOINT}/deployments/blue")
    assert found["request"]["xrequestid"] == found["response"]["correlationid"] == "the-one"
    assert found["model_inputs"]["correlationid"] == found["model_outputs"]["correlationid"]
    assert (found["request"]["path"], found["request"]["method"]) == ("/score", "POST")
    collected = Input(type="uri_folder", path=f"azureml:{ENDPOINT}-blue-request:1")
    assert '"xrequestid":"the-one"' in _printed(scored, "cat $(find ${{inputs.data}} -name '*.jsonl')", collected).replace(
        " ", ""
    )


def _printed(scored: Scored, line: str, data: Input) -> str:
    """The log of a command job that reads `data`."""
    job = command(
        command=line, inputs={"data": data}, environment=Environment(name="collected", version="1", image="python:3.11")
    )
    job.name = unique("reads")
    scored.client.jobs.create_or_update(job)
    assert until_ended(scored.client, job.name).status == "Completed"
    return scored.emulator.jobs.log_file(scored.emulator.jobs.runs.get(job.name)).read_text()


@pytest.mark.train_environment
def test_every_scored_request_has_a_line_in_the_deployments_log(scored: Scored) -> None:
    scored.ask({"input_data": [{"a": 1}]}, x_request_id="logged")
    log = scored.emulator.serving.logs / ENDPOINT / "blue.requests.jsonl"

    def line() -> dict[str, Any] | None:
        found = [json.loads(one) for one in log.read_text().splitlines()] if log.exists() else []
        return next((one for one in found if one["request_id"] == "logged"), None)

    wait_until(line)
    logged = line() or {}
    assert set(logged) == {
        "time",
        "method",
        "path",
        "status",
        "model_status",
        "latency_ms",
        "request_id",
        "mirrored",
        "user_agent",
    }
    assert (logged["status"], logged["model_status"], logged["method"], logged["mirrored"]) == (424, 400, "POST", False)


def test_a_deployment_without_a_script_needs_an_mlflow_model(ml_client: MLClient, scored: Scored, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    custom = Model(name="sdk-no-mlflow", version="1", path=str(tmp_path), type=AssetTypes.CUSTOM_MODEL)
    with pytest.raises(HttpResponseError, match="needs a model of type mlflow_model"):
        ml_client.online_deployments.begin_create_or_update(scored.deployment("custom", custom))
    pretended = Model(name="sdk-pretended", version="1", path=str(tmp_path), type=AssetTypes.MLFLOW_MODEL)
    with pytest.raises(HttpResponseError, match="no file MLmodel"):
        ml_client.online_deployments.begin_create_or_update(scored.deployment("empty", pretended)).result()
