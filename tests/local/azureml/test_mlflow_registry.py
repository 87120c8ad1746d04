"""MLflow's registry operations, answered from the workspace's models by the gateway. Nothing here needs the mlflow server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import AzureMLOnlineInferencingServer, Model, ModelPackage
from azure.core.exceptions import HttpResponseError

from local.azureml.emulator import Emulator
from local.certificates import Certificates
from local.processes import free_port
from local.storage.azurite import Azurite
from tests.local.azureml.job_lab import Lab
from tests.waiting import wait_until

Name = Callable[[str], str]
MLMODEL = "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    python_version: 3.11.7\n  sklearn: {code: null}\n"


class Api:
    """MLflow's REST API of a gateway, as its client calls it."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=f"{url}/api/2.0/mlflow", trust_env=False)

    def get(self, path: str, **query: Any) -> Any:
        return self._checked(self.http.get(path, params=query))

    def post(self, path: str, **body: Any) -> Any:
        return self._checked(self.http.post(path, json=body))

    def patch(self, path: str, **body: Any) -> Any:
        return self._checked(self.http.patch(path, json=body))

    def delete(self, path: str, **body: Any) -> Any:
        return self._checked(self.http.request("DELETE", path, json=body))

    def refused(self, method: str, path: str, **body: Any) -> tuple[int, str]:
        """Status and error_code."""
        asked = {"params": body} if method == "GET" else {"json": body}
        answer = self.http.request(method, path, **asked)  # type: ignore[arg-type]
        return answer.status_code, answer.json()["error_code"]

    def version(self, name: str, version: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get("model-versions/get", name=name, version=version)["model_version"]
        return found

    @staticmethod
    def _checked(answer: httpx.Response) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def api(emulator: Emulator) -> Iterator[Api]:
    api = Api(emulator.settings.mlflow_url)
    yield api
    api.http.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An MLflow model's folder; nobody loads it here."""
    model = tmp_path / "model"
    (model / "data").mkdir(parents=True)
    (model / "MLmodel").write_text(MLMODEL)
    (model / "data" / "weights.bin").write_bytes(bytes(range(256)) * 40_000)
    return model


def test_a_model_of_the_sdk_is_a_registered_model_of_mlflow(
    ml_client: MLClient, api: Api, emulator: Emulator, name: Name, folder: Path
) -> None:
    asset = name("model")
    made = ml_client.models.create_or_update(
        Model(name=asset, path=str(folder), type="mlflow_model", tags={"auc": "0.9"}, description="first", stage="Staging")
    )
    assert made.flavors == {
        "python_function": {"loader_module": "mlflow.sklearn", "python_version": "3.11.7"},
        "sklearn": {"code": None},
    }
    shown = api.version(asset, "1")
    assert (shown["description"], shown["tags"]) == ("first", [{"key": "auc", "value": "0.9"}])
    assert (shown["current_stage"], shown["status"], shown["source"]) == ("Staging", "READY", made.path)
    registered = api.get("registered-models/get", name=asset)["registered_model"]
    assert [one["version"] for one in registered["latest_versions"]] == ["1"]
    uri = api.get("model-versions/get-download-uri", name=asset, version="1")["artifact_uri"]
    root = uri.removeprefix("mlflow-artifacts:/")
    artifacts = f"{emulator.settings.mlflow_url}/api/2.0/mlflow-artifacts/artifacts"
    listed = httpx.get(artifacts, params={"path": root}).json()["files"]
    assert [(one["path"], one["is_dir"]) for one in listed] == [("MLmodel", False), ("data", True)]
    below = httpx.get(artifacts, params={"path": f"{root}/data"}).json()["files"]
    content = (folder / "data" / "weights.bin").read_bytes()
    assert below == [{"path": "weights.bin", "is_dir": False, "file_size": len(content)}]
    assert httpx.get(f"{artifacts}/{root}/data/weights.bin").content == content
    page = f"{emulator.settings.mlflow_url}/model-versions/get-artifact"
    assert httpx.get(page, params={"name": asset, "version": "1", "path": "MLmodel"}).text == MLMODEL
    assert httpx.get(f"{artifacts}/{root}/nothing").status_code == 404
    assert httpx.get(f"{artifacts}/{root}/../../secret").status_code == 400
    assert httpx.put(f"{artifacts}/{root}/MLmodel", content=b"other").json()["error_code"] == "NOT_IMPLEMENTED"


def test_a_model_that_is_one_file_lies_in_a_folder_of_its_own(
    ml_client: MLClient, emulator: Emulator, name: Name, tmp_path: Path
) -> None:
    asset, file = name("model"), tmp_path / "weights.txt"
    file.write_text(asset)
    ml_client.models.create_or_update(Model(name=asset, path=str(file)))
    artifacts, root = f"{emulator.settings.mlflow_url}/api/2.0/mlflow-artifacts/artifacts", f"azureml-models/{asset}/1"
    listed = httpx.get(artifacts, params={"path": root}).json()["files"]
    assert listed == [{"path": "weights.txt", "is_dir": False, "file_size": len(asset)}]
    assert httpx.get(f"{artifacts}/{root}/weights.txt").text == asset


def test_versions_of_both_ways_count_together_and_change_together(
    ml_client: MLClient, api: Api, name: Name, folder: Path
) -> None:
    asset = name("model")
    made = api.post("registered-models/create", name=asset, description="both ways", tags=[{"key": "team", "value": "a"}])
    assert made["registered_model"]["tags"] == [{"key": "team", "value": "a"}]
    assert api.refused("POST", "registered-models/create", name=asset) == (400, "RESOURCE_ALREADY_EXISTS")
    first = ml_client.models.create_or_update(Model(name=asset, path=str(folder), type="mlflow_model"))
    second = api.post("model-versions/create", name=asset, source=f"models:/{asset}/1", tags=[{"key": "by", "value": "mlflow"}])
    third = ml_client.models.create_or_update(Model(name=asset, path=str(folder), type="mlflow_model"))
    assert [first.version, second["model_version"]["version"], third.version] == ["1", "2", "3"]
    read = ml_client.models.get(asset, "2")
    assert (read.path, read.type, read.tags, read.flavors) == (first.path, "mlflow_model", {"by": "mlflow"}, first.flavors)
    assert read.properties["mlflow.modelSourceUri"] == f"models:/{asset}/1"

    read.tags["seen"], read.description = "sdk", "told by the SDK"
    ml_client.models.create_or_update(read)
    api.post("model-versions/set-tag", name=asset, version="2", key="seen by", value="mlflow")
    api.delete("model-versions/delete-tag", name=asset, version="2", key="by")
    api.patch("model-versions/update", name=asset, version="3", description="told by MLflow")
    assert ml_client.models.get(asset, "2").tags == {"seen": "sdk", "seen by": "mlflow"}
    assert api.version(asset, "2")["description"] == "told by the SDK"
    assert ml_client.models.get(asset, "3").description == "told by MLflow"

    ml_client.models.archive(asset, version="3")
    assert [one["version"] for one in api.get("registered-models/get-latest-versions", name=asset)["model_versions"]] == ["2"]
    ml_client.models.restore(asset, version="3")
    assert [one["version"] for one in api.get("registered-models/get-latest-versions", name=asset)["model_versions"]] == ["3"]
    api.delete("model-versions/delete", name=asset, version="3")
    assert [one.version for one in ml_client.models.list(asset)] == ["2", "1"]


def test_a_stage_is_the_same_for_mlflow_and_the_sdk(ml_client: MLClient, api: Api, name: Name, folder: Path) -> None:
    asset = name("model")
    for _ in range(2):
        ml_client.models.create_or_update(Model(name=asset, path=str(folder), type="mlflow_model"))
    move = {"name": asset, "stage": "production", "archive_existing_versions": True}
    for version in ("1", "2"):
        api.post("model-versions/transition-stage", version=version, **move)
    assert [one.version for one in ml_client.models.list(asset, stage="Production")] == ["2"]
    assert ml_client.models.get(asset, "1").stage == "Archived"
    latest = api.get("registered-models/get-latest-versions", name=asset, stages=["Production"])["model_versions"]
    assert [one["version"] for one in latest] == ["2"]
    wrong = {"name": asset, "version": "1", "stage": "Shelf"}
    assert api.refused("POST", "model-versions/transition-stage", **wrong) == (400, "INVALID_PARAMETER_VALUE")
    api.post("model-versions/transition-stage", name=asset, version="2", stage="None")
    assert api.version(asset, "2")["current_stage"] == "None"


def test_aliases_name_versions_and_go_with_them(ml_client: MLClient, api: Api, name: Name, folder: Path) -> None:
    asset = name("model")
    ml_client.models.create_or_update(Model(name=asset, path=str(folder), type="mlflow_model"))
    api.post("registered-models/alias", name=asset, alias="champion", version="1")
    assert api.get("registered-models/alias", name=asset, alias="champion")["model_version"]["aliases"] == ["champion"]
    registered = api.get("registered-models/get", name=asset)["registered_model"]
    assert registered["aliases"] == [{"alias": "champion", "version": "1"}]
    for wrong in ("latest", "v1", "a/b"):
        refused = api.refused("POST", "registered-models/alias", name=asset, alias=wrong, version="1")
        assert refused == (400, "INVALID_PARAMETER_VALUE")
    api.delete("model-versions/delete", name=asset, version="1")
    assert api.refused("GET", "registered-models/alias", name=asset, alias="champion") == (400, "INVALID_PARAMETER_VALUE")
    assert api.get("registered-models/get", name=asset)["registered_model"]["aliases"] == []


def test_searches_filter_order_and_page(ml_client: MLClient, api: Api, name: Name, folder: Path) -> None:
    asset = name("model")
    for auc in ("0.7", "0.8", "0.9"):
        ml_client.models.create_or_update(Model(name=asset, path=str(folder), type="mlflow_model", tags={"auc": auc}))

    def found(filter_string: str, **more: Any) -> list[str]:
        answer = api.get("model-versions/search", filter=f"name = '{asset}'{filter_string}", **more)
        return [one["version"] for one in answer["model_versions"]]

    assert found("", order_by=["version_number ASC"]) == ["1", "2", "3"]
    assert found(" AND tags.auc = '0.8'") == ["2"]
    assert found(" and tag.`auc` != '0.8'", order_by=["version_number DESC"]) == ["3", "1"]
    assert found(" AND version_number >= 2", order_by="version_number") == ["2", "3"]
    first = api.get("model-versions/search", filter=f"name='{asset}'", max_results=2, order_by=["version_number ASC"])
    more = {"max_results": 2, "page_token": first["next_page_token"]}
    assert found("", order_by=["version_number ASC"], **more) == ["3"]
    wanted = f"name ILIKE '{asset.upper()[:-1]}%' AND tag.`mlflow.prompt.is_prompt` != 'true'"
    names = api.get("registered-models/search", filter=wanted)
    assert [one["name"] for one in names["registered_models"]] == [asset]
    for wrong in ("colour = 'red'", "name = 3", "name = 'a' OR name = 'b'", "name > 'a'", "name = 'a' AND"):
        assert api.refused("GET", "model-versions/search", filter=wrong) == (400, "INVALID_PARAMETER_VALUE")
    assert api.refused("GET", "model-versions/search", max_results="0") == (400, "INVALID_PARAMETER_VALUE")


def test_what_azure_has_no_place_for_is_refused_by_name(api: Api, emulator: Emulator, name: Name) -> None:
    asset = name("model")
    api.post("registered-models/create", name=asset)
    assert api.refused("POST", "registered-models/rename", name=asset, new_name="other") == (501, "NOT_IMPLEMENTED")
    assert api.refused("DELETE", "registered-models/delete", name=asset) == (501, "NOT_IMPLEMENTED")
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    assert api.refused("POST", "registered-models/create", name=f"{asset}-p", tags=prompt) == (501, "NOT_IMPLEMENTED")
    assert api.refused("GET", "webhooks") == (501, "NOT_IMPLEMENTED")
    assert api.refused("GET", "registered-models/get", name="nobody") == (404, "RESOURCE_DOES_NOT_EXIST")
    assert api.refused("GET", "model-versions/get", name=asset, version="9") == (404, "RESOURCE_DOES_NOT_EXIST")
    assert api.refused("POST", "registered-models/create", name="a b/c") == (400, "INVALID_PARAMETER_VALUE")
    assert api.refused("POST", "registered-models/create") == (400, "INVALID_PARAMETER_VALUE")
    for source in ("/tmp/model", "file:///tmp/model", "s3://bucket/model"):
        assert api.refused("POST", "model-versions/create", name=asset, source=source) == (400, "INVALID_PARAMETER_VALUE")
    unknown = {"name": "nobody", "source": f"models:/{asset}/1"}
    assert api.refused("POST", "model-versions/create", **unknown) == (404, "RESOURCE_DOES_NOT_EXIST")
    for stranger in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        answer = httpx.get(f"{emulator.settings.mlflow_url}/api/2.0/mlflow/registered-models/search", headers=stranger)
        assert answer.status_code == 403


def test_an_mlflow_model_must_have_its_mlmodel_file_and_packaging_is_not_there(
    ml_client: MLClient, name: Name, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_text(name("weights"))
    asset = name("model")
    with pytest.raises(HttpResponseError, match="has no file MLmodel"):
        ml_client.models.create_or_update(Model(name=asset, path=str(tmp_path / "model"), type="mlflow_model"))
    for kind in ("custom_model", "triton_model"):
        made = ml_client.models.create_or_update(Model(name=asset, path=str(tmp_path / "model"), type=kind))
        assert (made.type, made.flavors) == (kind, None)
    server = AzureMLOnlineInferencingServer()
    with pytest.raises(HttpResponseError, match=r"does not support POST .*/package"):
        ml_client.models.package(asset, "1", ModelPackage(target_environment="packed", inferencing_server=server))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, state: Path, certificates: Certificates, azurite: Azurite) -> Iterator[Lab]:
    """An emulator whose mlflow server is not there, and whose events are caught."""
    absent = f"http://127.0.0.1:{free_port()}"
    lab = Lab(tmp_path_factory.mktemp("lab"), state / "certificates", azurite.blob_url, mlflow_server=absent, serve=True)
    yield lab
    lab.close()


def test_every_version_raises_model_registered_once_whichever_way_it_came(lab: Lab) -> None:
    api = Api(lab.settings.mlflow_url)
    token, _ = lab.emulator.tokens.issue("https://management.azure.com/")
    arm = f"{lab.emulator.base_url}{lab.emulator.workspace_id}/models/churn/versions/1?api-version=2024-04-01"
    body = {"properties": {"modelUri": "azureml://datastores/workspaceblobstore/paths/none/", "modelType": "mlflow_model"}}
    headers, trust = {"Authorization": f"Bearer {token}"}, lab.emulator.certificates.ssl_context()
    assert [httpx.put(arm, json=body, headers=headers, verify=trust).status_code for _ in range(2)] == [201, 200]
    api.post("model-versions/create", name="churn", source="models:/churn/1", tags=[{"key": "a", "value": "b"}])
    api.post("model-versions/set-tag", name="churn", version="2", key="c", value="d")
    api.delete("model-versions/delete", name="churn", version="1")
    api.post("model-versions/create", name="churn", source="models:/churn/2")
    wait_until(lambda: len(lab.topic.events) >= 3, what="three events")
    told = [(event["eventType"].rpartition(".")[2], event["subject"]) for event in lab.topic.events]
    assert told == [("ModelRegistered", f"models/churn:{version}") for version in (1, 2, 3)]
    assert lab.topic.events[1]["data"]["ModelTags"] == {"a": "b"}
    api.http.close()


def test_without_its_server_the_gateway_says_so_and_keeps_the_registry(lab: Lab) -> None:
    api = Api(lab.settings.mlflow_url)
    answer = api.http.get("experiments/get", params={"experiment_id": "0"})
    assert (answer.status_code, answer.json()["error_code"]) == (502, "TEMPORARILY_UNAVAILABLE")
    assert lab.settings.mlflow_server_url in answer.json()["message"]
    api.post("registered-models/create", name="alone")
    lost = {"name": "alone", "source": "runs:/0123456789abcdef0123456789abcdef/model"}
    assert api.refused("POST", "model-versions/create", **lost) == (502, "TEMPORARILY_UNAVAILABLE")
    assert api.get("model-versions/search", filter="name = 'alone'")["model_versions"] == []
    api.http.close()


def test_a_version_that_a_deployment_serves_is_not_deleted(lab: Lab) -> None:
    api = Api(lab.settings.mlflow_url)
    place = {"modelUri": "azureml://datastores/workspaceblobstore/paths/none/"}
    lab.emulator.store.put("models.containers", "served", "", {"properties": {}})
    lab.emulator.store.put("models", "served", "1", {"properties": place})
    identity = lab.id("models", "served")
    deployments = {"onlineDeployments": identity, "batchDeployments": {"referenceType": "Id", "assetId": identity}}
    for kind, model in deployments.items():
        lab.emulator.store.put(kind, "e", "blue", {"properties": {"model": model}})
        assert api.refused("DELETE", "model-versions/delete", name="served", version="1") == (409, "RESOURCE_CONFLICT")
        lab.emulator.store.delete(kind, "e", "blue")
    api.delete("model-versions/delete", name="served", version="1")
    api.http.close()
