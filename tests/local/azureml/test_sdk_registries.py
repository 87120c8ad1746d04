"""Registries through the unmodified MLClient: its own, with `registry_name=`, and the workspace's, which uses what is in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.ai.ml import Input, MLClient, Output, command, dsl
from azure.ai.ml.entities import (
    BuildContext,
    CodeConfiguration,
    Data,
    Environment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    Registry,
)
from azure.ai.ml.entities._registry.registry_support_classes import RegistryRegionDetails
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import ContainerClient

from local.azureml.emulator import Emulator
from tests.local.azureml.scoring_assets import CONDA_FILE, SCRIPT, link_environment

Name = Callable[[str], str]


@pytest.fixture(scope="module")
def registry(ml_client: MLClient) -> str:
    """The name of a registry that was made through the SDK."""
    region = RegistryRegionDetails(location="local")
    return str(
        ml_client.registries.begin_create(
            Registry(name="Shared-Things", location="local", tags={"team": "a"}, replication_locations=[region])
        )
        .result()
        .name
    )


@pytest.fixture(scope="module")
def registry_client(registry: str) -> MLClient:
    return MLClient(DefaultAzureCredential(), registry_name=registry)


def test_a_registry_is_created_listed_read_and_deleted(ml_client: MLClient, registry: str, emulator: Emulator) -> None:
    read = ml_client.registries.get(registry)
    assert (read.name, read.tags, read.location) == ("shared-things", {"team": "a"}, "local")
    for scope in ("resource_group", "subscription"):
        assert "shared-things" in [one.name for one in ml_client.registries.list(scope=scope)]
    other = Registry(name="short-lived", location="local", replication_locations=[RegistryRegionDetails(location="local")])
    ml_client.registries.begin_create(other).result()
    emulator.store.put("registries/short-lived/models", "m", "1", {"properties": {}})
    ml_client.registries.begin_delete(name="short-lived").result()
    assert emulator.store.get("registries/short-lived/models", "m", "1") is None
    with pytest.raises(ResourceNotFoundError, match="short-lived"):
        ml_client.registries.get("short-lived")


def test_a_client_of_a_registry_that_does_not_exist_cannot_be_made(ml_client: MLClient) -> None:
    with pytest.raises(ResourceNotFoundError):
        MLClient(DefaultAzureCredential(), registry_name="nowhere")


def test_a_registrys_model_is_uploaded_listed_labelled_and_never_moved(
    registry_client: MLClient, emulator: Emulator, name: Name, tmp_path: Path
) -> None:
    asset = name("model")
    (tmp_path / "model.txt").write_text(name("weights"))
    for version in ("1", "2"):
        registry_client.models.create_or_update(Model(name=asset, version=version, path=str(tmp_path), type="custom_model"))
    read = registry_client.models.get(asset, label="latest")
    assert read.id == f"azureml://registries/shared-things/models/{asset}/versions/2"
    assert emulator.storage.read(*emulator.storage.resolve(f"{read.path}/model.txt")) == (tmp_path / "model.txt").read_bytes()
    registry_client.models.download(asset, "2", download_path=str(tmp_path / "down"))
    assert [file.read_text() for file in (tmp_path / "down").rglob("model.txt")] == [(tmp_path / "model.txt").read_text()]
    assert [one.version for one in registry_client.models.list(asset)] == ["2", "1"]
    registry_client.models.archive(asset, version="2")
    assert [one.version for one in registry_client.models.list(asset)] == ["1"]
    registry_client.models.restore(asset, version="2")
    assert registry_client.models.get(asset, label="latest").version == "2"
    with pytest.raises(HttpResponseError, match="create a new version"):
        registry_client.models.create_or_update(Model(name=asset, version="2", path="azureml://jobs/j/outputs/m"))
    assert asset in [one.name for one in registry_client.models.list()]


def test_a_registrys_data_and_environments_are_created_and_read(
    registry_client: MLClient, emulator: Emulator, name: Name, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(name("a"))
    asset = name("data")
    made = registry_client.data.create_or_update(Data(name=asset, version="1", path=str(tmp_path / "a.csv"), type="uri_file"))
    assert emulator.storage.read(*emulator.storage.resolve(made.path)) == (tmp_path / "a.csv").read_bytes()
    assert registry_client.data.get(asset, version="1").id == f"azureml://registries/shared-things/data/{asset}/versions/1"

    environment = name("env")
    for image in ("python:3.11", "python:3.12"):
        registry_client.environments.create_or_update(Environment(name=environment, image=image))
    assert registry_client.environments.get(environment, label="latest").image == "python:3.12"
    assert [one.version for one in registry_client.environments.list(environment)] == ["2", "1"]
    context = Environment(name=environment, version="built", build=BuildContext(path=str(tmp_path), dockerfile_path="a.csv"))
    built = registry_client.environments.create_or_update(context).build
    assert emulator.storage.read(*emulator.storage.resolve(f"{built.path}a.csv")) == (tmp_path / "a.csv").read_bytes()


def test_a_version_of_the_workspace_is_shared_with_its_files_once(
    ml_client: MLClient, registry: str, registry_client: MLClient, emulator: Emulator, name: Name, tmp_path: Path
) -> None:
    asset = name("asset")
    (tmp_path / "Dockerfile").write_text(f"FROM python:3.11\n# {asset}\n")
    ml_client.models.create_or_update(Model(name=asset, version="3", path=str(tmp_path), tags={"auc": "0.9"}))
    ml_client.environments.create_or_update(Environment(name=asset, version="3", build=BuildContext(path=str(tmp_path))))
    ml_client.data.create_or_update(Data(name=asset, version="3", path=str(tmp_path / "Dockerfile"), type="uri_file"))
    where: Any = {"share_with_name": f"{asset}-shared", "share_with_version": "1", "registry_name": registry}
    model = ml_client.models.share(asset, "3", **where)
    environment = ml_client.environments.share(asset, "3", **where)
    data = ml_client.data.share(asset, "3", **where)

    assert (model.name, model.version, model.tags) == (f"{asset}-shared", "1", {"auc": "0.9"})
    for uri in (f"{model.path}/Dockerfile", f"{environment.build.path}Dockerfile", data.path):
        assert emulator.storage.read(*emulator.storage.resolve(uri)) == (tmp_path / "Dockerfile").read_bytes()
    assert model.path != ml_client.models.get(asset, "3").path
    assert registry_client.models.get(f"{asset}-shared", "1").path == model.path
    registry_client.models.download(f"{asset}-shared", "1", download_path=str(tmp_path / "down"))
    assert [file.read_bytes() for file in (tmp_path / "down").rglob("Dockerfile")] == [(tmp_path / "Dockerfile").read_bytes()]
    with pytest.raises(Exception, match="already exists"):
        ml_client.models.share(asset, "3", **where)


def test_any_curated_environment_is_in_microsofts_registry_which_nobody_writes_to(ml_client: MLClient) -> None:
    curated = MLClient(DefaultAzureCredential(), registry_name="azureml")
    found = curated.environments.get("sklearn-1.5", label="latest")
    assert found.id == "azureml://registries/azureml/environments/sklearn-1.5/versions/1"
    assert "sklearn-1.5" in str(found.image)
    assert curated.environments.get("AzureML-ACPT-pytorch-1.13-py38-cuda11.7-gpu", version="20").version == "20"
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        curated.environments.create_or_update(Environment(name="mine", version="1", image="python:3.11"))


def test_curated_environments_have_short_names_in_the_workspace(ml_client: MLClient) -> None:
    short = "AzureML-sklearn-1.5-ubuntu20.04-py38-cpu"
    assert ml_client.environments.get(short, label="latest").name == short
    assert ml_client.environments.get(short, version="7").version == "7"
    with pytest.raises(HttpResponseError, match="AzureML-mine"):
        ml_client.environments.create_or_update(Environment(name="AzureML-mine", version="1", image="python:3.11"))


def test_a_job_of_the_workspace_runs_what_is_in_registries(
    ml_client: MLClient, registry_client: MLClient, emulator: Emulator, name: Name, tmp_path: Path
) -> None:
    shared, folder = name("shared").replace("-", "_"), tmp_path / "src"
    folder.mkdir()
    (folder / "run.py").write_text("import sys, shutil; shutil.copy(sys.argv[1], sys.argv[2] + '/copy.txt')\n")
    (tmp_path / "in.txt").write_text(shared)
    registry_client.data.create_or_update(Data(name=shared, version="1", path=str(tmp_path / "in.txt"), type="uri_file"))
    registry_client.components.create_or_update(
        command(
            name=shared,
            version="1",
            code=str(folder),
            environment="azureml://registries/azureml/environments/sklearn-1.5/labels/latest",
            command="python run.py ${{inputs.data}} ${{outputs.out}}",
            inputs={"data": Input(type="uri_file")},
            outputs={"out": Output(type="uri_folder")},
        ).component
    )
    assert [one.version for one in registry_client.components.list(shared)] == ["1"]
    component = registry_client.components.get(shared, label="latest")
    assert component.id == f"azureml://registries/shared-things/components/{shared}/versions/1"

    def pipeline():  # type: ignore[no-untyped-def]
        step = component(data=Input(type="uri_file", path=f"azureml://registries/shared-things/data/{shared}/versions/1"))
        return {"out": step.outputs.out}

    job = dsl.pipeline(pipeline, name=shared, default_compute="serverless")()
    job.name = shared
    ml_client.jobs.create_or_update(job)
    plain = command(
        name=f"{shared}-short",
        code=str(folder),
        command="python run.py run.py ${{outputs.out}}",
        environment="AzureML-sklearn-1.5-ubuntu20.04-py38-cpu@latest",
        outputs={"out": Output(type="uri_folder")},
    )
    ml_client.jobs.create_or_update(plain)
    for job_name in (shared, f"{shared}-short"):
        assert emulator.jobs.wait(job_name, 60)
        assert emulator.jobs.runs.get(job_name)["status"] == "Completed", emulator.jobs.runs.get(job_name)["error"]
    copied = emulator.storage.resolve(f"azureml://jobs/{shared}/outputs/out")
    assert emulator.storage.read(copied.container, f"{copied.path}/copy.txt") == shared.encode()


def test_a_registry_gives_leave_to_write_to_a_place_of_its_own_and_to_read_an_assets_files(
    emulator: Emulator, stranger: httpx.Client, registry: str, name: Name
) -> None:
    asset, token = name("asset"), emulator.tokens.issue("https://ml.azure.local")[0]
    group = emulator.workspace_id.split("/providers/")[0]
    root = f"/mferp/managementfrontend{group}/providers/Microsoft.MachineLearningServices/registries/{registry}"
    asset_id, headers = f"azureml://registries/{registry}/models/{asset}/versions/1", {"Authorization": f"Bearer {token}"}
    started = stranger.post(f"{root}/models/{asset}/versions/1/startPendingUpload", json={}, headers=headers).json()
    place = started["blobReferenceForConsumption"]
    with ContainerClient.from_container_url(place["credential"]["sasUri"]) as container:
        container.upload_blob("m.txt", b"weights")
    body = {"properties": {"modelUri": f"{place['blobUri']}/m.txt", "modelType": "custom_model"}}
    assert stranger.put(f"{root}/models/{asset}/versions/1", json=body, headers=headers).status_code == 201
    taken = stranger.put(f"{root}/tempdatarefs/{asset}/versions/1", json={"assetId": asset_id}, headers=headers)
    assert taken.status_code == 409

    def read(uri: str) -> httpx.Response:
        return stranger.post(f"{root}/datarefs/{asset}/versions/1", json={"assetId": asset_id, "blobUri": uri}, headers=headers)

    sas = read(body["properties"]["modelUri"]).json()["blobReferenceForConsumption"]["credential"]["sasUri"]
    with ContainerClient.from_container_url(sas) as container:
        assert container.download_blob("m.txt").readall() == b"weights"
        with pytest.raises(HttpResponseError):
            container.upload_blob("other.txt", b"")
    assert read("https://elsewhere/m.txt").status_code == 400
    unknown = stranger.put(
        f"{root}/models/{asset}/versions/2", json={"properties": {"modelUri": "x", "speed": 1}}, headers=headers
    )
    assert (unknown.status_code, "speed" in unknown.text) == (400, True)
    ignored = stranger.get(f"{root}/models", params={"stage": "live"}, headers=headers)
    assert (ignored.status_code, "stage" in ignored.text) == (501, True)
    assert stranger.get(f"{root}/models/{asset}").status_code == 401
    assert stranger.get(f"{root}/indexes/{asset}", headers=headers).status_code == 501
    assert stranger.get(f"{root}/models/none", headers=headers).status_code == 404


def test_a_deployment_of_the_workspace_serves_a_registrys_model_in_its_environment(
    ml_client: MLClient, registry_client: MLClient, name: Name, tmp_path: Path
) -> None:
    link_environment()
    asset, code = name("line"), tmp_path / "code"
    code.mkdir()
    (code / "score.py").write_text(SCRIPT)
    (tmp_path / "model.json").write_text('{"slope": 7}')
    model = registry_client.models.create_or_update(Model(name=asset, version="1", path=str(tmp_path / "model.json")))
    environment = registry_client.environments.create_or_update(
        Environment(name=asset, version="1", image="python:3.11", conda_file=str(CONDA_FILE))
    )
    endpoint = ManagedOnlineEndpoint(name=asset, auth_mode="key")
    ml_client.online_endpoints.begin_create_or_update(endpoint).result()
    deployment = ManagedOnlineDeployment(
        name="blue",
        endpoint_name=asset,
        model=model.id,
        environment=environment.id,
        code_configuration=CodeConfiguration(code=str(code), scoring_script="score.py"),
        instance_type="Standard_DS3_v2",
        instance_count=1,
    )
    made = ml_client.online_deployments.begin_create_or_update(deployment).result()
    assert (made.model, made.environment) == (model.id, environment.id)
    (tmp_path / "request.json").write_text('{"x": 6}')
    answer = ml_client.online_endpoints.invoke(asset, request_file=str(tmp_path / "request.json"), deployment_name="blue")
    assert json.loads(answer)["y"] == 42
    ml_client.online_endpoints.begin_delete(asset).result()
