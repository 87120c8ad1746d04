"""A walk over online endpoints with the unmodified MLClient: real scoring processes of a tiny model behind the real router."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import (
    CodeConfiguration,
    Environment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from local.azureml.emulator import Emulator
from local.azureml.serving.counts import read_counts
from tests.local.azureml.scoring_assets import CONDA_FILE, SCRIPT, link_environment, trust
from tests.waiting import wait_until

ENDPOINT = "sdk-line"


@dataclass
class Line:
    """Endpoint `sdk-line` with the deployments blue (y = 2x) and green (y = 3x)."""

    client: MLClient
    emulator: Emulator
    folder: Path

    def deployment(self, name: str, slope: int | None, **settings: Any) -> ManagedOnlineDeployment:
        """With local code, a local model and an inline environment, as `az ml` users write it. No slope: it cannot load."""
        code, model = self.folder / "code", self.folder / f"model-{slope}"
        for folder in (code, model):
            folder.mkdir(exist_ok=True)
        (code / "score.py").write_text(SCRIPT)
        (model / "model.json").write_text(json.dumps({"slope": slope} if slope else {"broken": True}))
        return ManagedOnlineDeployment(
            name=name,
            endpoint_name=ENDPOINT,
            model=Model(name=f"sdk-line-{slope}", path=str(model), type=AssetTypes.CUSTOM_MODEL, version="1"),
            environment=Environment(name="sdk-serve", version="1", image="python:3.11", conda_file=str(CONDA_FILE)),
            code_configuration=CodeConfiguration(code=str(code), scoring_script="score.py"),
            instance_type="Standard_DS3_v2",
            instance_count=1,
            **settings,
        )

    def route(self, traffic: dict[str, int], mirror: dict[str, int] | None = None) -> None:
        endpoint = self.client.online_endpoints.get(ENDPOINT)
        endpoint.traffic, endpoint.mirror_traffic = traffic, mirror or {}
        self.client.online_endpoints.begin_create_or_update(endpoint).result()

    def score(self, deployment: str = "") -> httpx.Response:
        key = self.client.online_endpoints.get_keys(ENDPOINT).primary_key
        headers = {"Authorization": f"Bearer {key}"} | ({"azureml-model-deployment": deployment} if deployment else {})
        url = self.client.online_endpoints.get(ENDPOINT).scoring_uri
        return httpx.post(url, json={"x": 10}, headers=headers, verify=trust(self.emulator), timeout=30)


@pytest.fixture(scope="module")
def line(ml_client: MLClient, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    link_environment()
    made = Line(ml_client, emulator, tmp_path_factory.mktemp("line"))
    endpoint = ManagedOnlineEndpoint(name=ENDPOINT, auth_mode="key", tags={"team": "risk"})
    assert ml_client.online_endpoints.begin_create_or_update(endpoint).result().provisioning_state == "Succeeded"
    settings = OnlineRequestSettings(request_timeout_ms=4000, max_concurrent_requests_per_instance=4)
    for name, slope in (("blue", 2), ("green", 3)):
        asked = made.deployment(name, slope, environment_variables={"TAG": name}, request_settings=settings)
        assert ml_client.online_deployments.begin_create_or_update(asked).result().provisioning_state == "Succeeded"
    yield made
    ml_client.online_endpoints.begin_delete(ENDPOINT).result()
    with pytest.raises(ResourceNotFoundError):
        ml_client.online_endpoints.get(ENDPOINT)


def test_endpoints_and_deployments_are_read_back(line: Line) -> None:
    endpoint = line.client.online_endpoints.get(ENDPOINT)
    assert (endpoint.auth_mode, endpoint.tags) == ("key", {"team": "risk"})
    assert endpoint.scoring_uri == f"https://127.0.0.1:{line.emulator.settings.router_port}/endpoints/{ENDPOINT}/score"
    assert ENDPOINT in [one.name for one in line.client.online_endpoints.list()]
    assert sorted(one.name for one in line.client.online_deployments.list(ENDPOINT)) == ["blue", "green"]
    blue = line.client.online_deployments.get("blue", ENDPOINT)
    assert (blue.instance_count, blue.environment_variables) == (1, {"TAG": "blue"})
    assert blue.request_settings.request_timeout_ms == 4000
    assert blue.model.endswith("/models/sdk-line-2/versions/1")


def test_a_deployment_without_traffic_is_reached_by_its_header_only(line: Line) -> None:
    line.route({"blue": 100, "green": 0})
    assert {line.score().json()["tag"] for _ in range(5)} == {"blue"}
    pinned = line.score("green")
    assert (pinned.json()["y"], pinned.json()["tag"]) == (30, "green")


def test_traffic_moves_from_blue_to_green(line: Line) -> None:
    line.route({"blue": 100})
    assert line.score().json()["y"] == 20
    line.route({"blue": 0, "green": 100})
    assert line.score().json()["y"] == 30
    assert line.client.online_endpoints.get(ENDPOINT).traffic == {"blue": 0, "green": 100}


def test_mirrored_traffic_reaches_green_and_answers_come_from_blue(line: Line) -> None:
    line.route({"blue": 100}, mirror={"green": 50})
    assert line.client.online_endpoints.get(ENDPOINT).mirror_traffic == {"green": 50}
    counts = line.emulator.serving.counts_file

    def requests(deployment: str) -> int:
        return sum(one.requests for one in read_counts(counts, ENDPOINT, 0, 2**40) if one.deployment == deployment)

    before = requests("green")
    tags = set()

    def mirrored() -> bool:
        tags.add(line.score().json()["tag"])
        return requests("green") > before

    wait_until(mirrored)
    assert tags == {"blue"}


def test_traffic_that_does_not_sum_is_refused(line: Line) -> None:
    line.route({"blue": 100})
    with pytest.raises(HttpResponseError, match="sum to 90"):
        line.route({"blue": 90})


def test_a_deployment_with_traffic_is_not_deleted(line: Line) -> None:
    line.route({"blue": 100})
    with pytest.raises(HttpResponseError, match="has traffic"):
        line.client.online_deployments.begin_delete("blue", ENDPOINT)


def test_the_logs_show_what_the_script_printed(line: Line) -> None:
    assert "loading a model with {'slope': 2}" in line.client.online_deployments.get_logs("blue", ENDPOINT, lines=500)


def test_a_model_that_cannot_load_fails_with_the_log_in_the_error(line: Line) -> None:
    with pytest.raises(HttpResponseError, match="this model is broken on purpose"):
        line.client.online_deployments.begin_create_or_update(line.deployment("broken", None)).result()
    assert line.client.online_deployments.get("broken", ENDPOINT).provisioning_state == "Failed"
    assert "this model is broken on purpose" in line.client.online_deployments.get_logs("broken", ENDPOINT, lines=100)
    line.client.online_deployments.begin_delete("broken", ENDPOINT).result()
    assert sorted(one.name for one in line.client.online_deployments.list(ENDPOINT)) == ["blue", "green"]


def test_a_deployment_is_scaled_by_an_update(line: Line) -> None:
    green = line.client.online_deployments.get("green", ENDPOINT)
    green.instance_count = 2
    line.client.online_deployments.begin_create_or_update(green).result()
    scaled = line.client.online_deployments.get("green", ENDPOINT)
    assert (scaled.instance_count, scaled.scale_settings.type, scaled.instance_type) == (2, "default", "Standard_DS3_v2")
    assert line.score("green").json()["y"] == 30


def test_a_key_is_regenerated(line: Line) -> None:
    before = line.client.online_endpoints.get_keys(ENDPOINT)
    line.client.online_endpoints.begin_regenerate_keys(ENDPOINT, key_type="secondary").result()
    after = line.client.online_endpoints.get_keys(ENDPOINT)
    assert (after.primary_key, after.secondary_key != before.secondary_key) == (before.primary_key, True)


def test_an_endpoint_with_tokens_is_opened_by_one(line: Line) -> None:
    endpoints = line.client.online_endpoints
    endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="sdk-tokens", auth_mode="aml_token")).result()
    token = endpoints.get_keys("sdk-tokens")
    assert token.expiry_time_utc > token.refresh_after_time_utc
    url = endpoints.get("sdk-tokens").scoring_uri
    # 404: let in, but there is no deployment to route to.
    for value, status in ((token.access_token, 404), ("another", 401)):
        answer = httpx.post(url, json={}, headers={"Authorization": f"Bearer {value}"}, verify=trust(line.emulator))
        assert answer.status_code == status
    endpoints.begin_delete("sdk-tokens")
