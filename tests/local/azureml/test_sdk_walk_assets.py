"""A walk over the asset operations of the unmodified MLClient, against the emulator and Azurite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import MLClient, load_component
from azure.ai.ml.constants import ListViewType
from azure.ai.ml.entities import Data, Environment, Model
from azure.core.exceptions import ResourceNotFoundError

from local.azureml.emulator import Emulator

Name = Callable[[str], str]
REMOTE = "azureml://datastores/workspaceblobstore/paths/somewhere/"

COMPONENT = """
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: {name}
version: "{version}"
inputs:
  raw: {{type: uri_file}}
  fraction: {{type: number, default: 0.5}}
  note: {{type: string, optional: true}}
outputs:
  out: {{type: uri_folder}}
code: ./src
environment: azureml:{environment}:1
command: >-
  {command} --raw ${{{{inputs.raw}}}} --fraction ${{{{inputs.fraction}}}}
  $[[--note ${{{{inputs.note}}}}]] --out ${{{{outputs.out}}}}
"""


def write_component(folder: Path, name: str, environment: str, *, version: str = "1", command: str = "python prep.py") -> Path:
    source = folder / "src"
    source.mkdir(exist_ok=True)
    (source / "prep.py").write_text(f"print({name!r})\n")
    file = folder / "component.yaml"
    file.write_text(COMPONENT.format(name=name, version=version, environment=environment, command=command))
    return file


# workspace and datastores


def test_the_workspace_says_where_its_services_are(ml_client: MLClient, emulator: Emulator) -> None:
    workspace = ml_client.workspaces.get()
    assert workspace.id == emulator.workspace_id
    assert workspace.mlflow_tracking_uri == emulator.settings.mlflow_url
    assert workspace.discovery_url.startswith(emulator.base_url)


@pytest.mark.parametrize("scope", ["resource_group", "subscription"])
def test_the_workspace_is_listed(ml_client: MLClient, emulator: Emulator, scope: str) -> None:
    assert [one.name for one in ml_client.workspaces.list(scope=scope)] == [emulator.settings.workspace]


def test_the_default_datastore_is_the_blob_store(ml_client: MLClient) -> None:
    assert ml_client.datastores.get_default().name == "workspaceblobstore"
    assert [one.name for one in ml_client.datastores.list()] == ["workspaceblobstore", "workspaceartifactstore"]


def test_a_datastores_secret_opens_its_container(ml_client: MLClient, emulator: Emulator) -> None:
    from azure.storage.blob import ContainerClient

    datastore = ml_client.datastores.get("workspaceblobstore", include_secrets=True)
    url = emulator.storage.container_url(datastore.container_name)
    with ContainerClient.from_container_url(f"{url}?{datastore.credentials.sas_token}") as container:
        container.upload_blob("secrets/hello.txt", b"hello", overwrite=True)
    assert emulator.storage.read(datastore.container_name, "secrets/hello.txt") == b"hello"


def test_an_unknown_datastore_is_not_found(ml_client: MLClient) -> None:
    with pytest.raises(ResourceNotFoundError, match="nowhere"):
        ml_client.datastores.get("nowhere")


# data


@pytest.mark.parametrize("kind", ["uri_file", "uri_folder", "mltable"])
def test_remote_data_of_every_type_is_created_and_read_back(ml_client: MLClient, name: Name, kind: str) -> None:
    asset = name("data")
    created = ml_client.data.create_or_update(
        Data(name=asset, version="1", path=REMOTE, type=kind, tags={"k": "v"}, properties={"p": "1"}, description="text")
    )
    read = ml_client.data.get(asset, "1")
    assert (created.id, created.path) == (read.id, read.path)
    assert (read.type, read.tags, read.properties, read.description) == (kind, {"k": "v"}, {"p": "1"}, "text")
    assert REMOTE.removeprefix("azureml:/") in read.path


def test_a_local_file_and_a_local_folder_are_uploaded(
    ml_client: MLClient, emulator: Emulator, name: Name, tmp_path: Path
) -> None:
    (tmp_path / "nested").mkdir()
    for file, text in (("a.csv", name("a")), ("nested/b.csv", name("b"))):
        (tmp_path / file).write_text(text)
    one = ml_client.data.create_or_update(Data(name=name("file"), path=str(tmp_path / "a.csv"), type="uri_file"))
    many = ml_client.data.create_or_update(Data(name=name("folder"), path=str(tmp_path), type="uri_folder"))

    assert emulator.storage.read(*emulator.storage.resolve(one.path)) == (tmp_path / "a.csv").read_bytes()
    container, path = emulator.storage.resolve(many.path)
    assert [blob.removeprefix(path + "/") for blob in emulator.storage.list(container, path)] == ["a.csv", "nested/b.csv"]


def test_a_local_mltable_is_uploaded(ml_client: MLClient, emulator: Emulator, name: Name, tmp_path: Path) -> None:
    (tmp_path / "MLTable").write_text("paths:\n  - file: ./a.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n")
    (tmp_path / "a.csv").write_text(name("a,b"))
    asset = ml_client.data.create_or_update(Data(name=name("table"), version="v1", path=str(tmp_path), type="mltable"))
    container, path = emulator.storage.resolve(asset.id)
    assert f"{path}/MLTable" in emulator.storage.list(container, path)


def test_versions_count_up_and_the_latest_label_follows(ml_client: MLClient, name: Name) -> None:
    asset = name("data")
    versions = [ml_client.data.create_or_update(Data(name=asset, path=f"{REMOTE}{i}", type="uri_file")).version for i in range(3)]
    assert versions == ["1", "2", "3"]
    assert ml_client.data.get(asset, label="latest").version == "3"


def test_versions_are_listed_newest_first_and_names_once(ml_client: MLClient, name: Name) -> None:
    asset = name("data")
    for version in ("v1", "v2"):
        ml_client.data.create_or_update(Data(name=asset, version=version, path=REMOTE, type="uri_folder"))
    assert [one.version for one in ml_client.data.list(asset)] == ["v2", "v1"]
    assert [one.name for one in ml_client.data.list()].count(asset) == 1


def test_an_archived_version_leaves_the_list_and_can_be_restored(ml_client: MLClient, name: Name) -> None:
    asset = name("data")
    for version in ("1", "2"):
        ml_client.data.create_or_update(Data(name=asset, version=version, path=REMOTE, type="uri_folder"))
    ml_client.data.archive(asset, version="2")
    assert [one.version for one in ml_client.data.list(asset)] == ["1"]
    assert [one.version for one in ml_client.data.list(asset, list_view_type=ListViewType.ARCHIVED_ONLY)] == ["2"]
    assert ml_client.data.get(asset, label="latest").version == "1"
    assert ml_client.data.get(asset, "2").version == "2"
    ml_client.data.restore(asset, version="2")
    assert [one.version for one in ml_client.data.list(asset)] == ["2", "1"]


def test_an_archived_name_leaves_the_list_of_names(ml_client: MLClient, name: Name) -> None:
    asset = name("data")
    ml_client.data.create_or_update(Data(name=asset, version="1", path=REMOTE, type="uri_folder"))
    ml_client.data.archive(asset)
    assert asset not in [one.name for one in ml_client.data.list()]
    ml_client.data.restore(asset)
    assert asset in [one.name for one in ml_client.data.list()]


def test_a_list_longer_than_a_page_is_followed_to_its_end(ml_client: MLClient, emulator: Emulator, name: Name) -> None:
    asset = name("data")
    properties = {"dataUri": REMOTE, "dataType": "uri_folder", "isArchived": False}
    for number in range(230):
        emulator.store.put("data", asset, str(number), {"properties": properties})
    assert [one.version for one in ml_client.data.list(asset)] == [str(number) for number in reversed(range(230))]


# environments


def test_an_environment_is_created_listed_and_found_by_label(ml_client: MLClient, name: Name) -> None:
    asset = name("env")
    conda = {"name": "e", "dependencies": ["python=3.11"]}
    ml_client.environments.create_or_update(Environment(name=asset, version="1", image="python:3.11", conda_file=conda))
    read = ml_client.environments.get(asset, "1")
    assert (read.image, read.conda_file) == ("python:3.11", conda)
    assert ml_client.environments.get(asset, label="latest").version == "1"
    assert [one.version for one in ml_client.environments.list(asset)] == ["1"]
    assert asset in [one.name for one in ml_client.environments.list()]


def test_an_environment_without_a_version_gets_a_new_one_only_when_it_changed(ml_client: MLClient, name: Name) -> None:
    asset = name("env")
    images = ["python:3.11", "python:3.11", "python:3.12"]
    versions = [ml_client.environments.create_or_update(Environment(name=asset, image=image)).version for image in images]
    assert versions == ["1", "1", "2"]


# components and their code


def test_a_component_is_created_read_back_and_listed(ml_client: MLClient, name: Name, tmp_path: Path) -> None:
    environment, asset = name("env"), name("component").replace("-", "_")
    ml_client.environments.create_or_update(Environment(name=environment, version="1", image="python:3.11"))
    created = ml_client.components.create_or_update(load_component(write_component(tmp_path, asset, environment)))
    read: Any = ml_client.components.get(asset, "1")
    assert read.id == created.id
    assert read.command.startswith("python prep.py --raw ${{inputs.raw}}")
    assert read.inputs["note"]["optional"] is True
    assert ml_client.components.get(asset, label="latest").version == "1"
    assert [one.version for one in ml_client.components.list(asset)] == ["1"]
    assert asset in [one.name for one in ml_client.components.list()]


def test_a_components_code_is_uploaded_once_and_lies_whole_in_storage(
    ml_client: MLClient, emulator: Emulator, name: Name, tmp_path: Path
) -> None:
    environment, asset = name("env"), name("component").replace("-", "_")
    ml_client.environments.create_or_update(Environment(name=environment, version="1", image="python:3.11"))
    file = write_component(tmp_path, asset, environment)
    first: Any = ml_client.components.create_or_update(load_component(file))
    again: Any = ml_client.components.create_or_update(load_component(file))
    assert first.code == again.code
    code = emulator.store.get("codes", *first.code.split("/codes/")[1].split("/versions/"))
    assert code is not None
    container, path = emulator.storage.resolve(code["properties"]["codeUri"])
    assert emulator.storage.list(container, path) == [f"{path}/prep.py"]
    assert emulator.storage.read(container, f"{path}/prep.py") == (tmp_path / "src" / "prep.py").read_bytes()


# models


def test_a_model_of_a_jobs_output_keeps_its_uri(ml_client: MLClient, name: Name) -> None:
    asset, uri = name("model"), "azureml://jobs/train-churn-v1/outputs/model"
    created = ml_client.models.create_or_update(
        Model(name=asset, version="7", path=uri, type="mlflow_model", tags={"auc": "0.9"}, properties={"p": "1"})
    )
    read = ml_client.models.get(asset, "7")
    assert (read.id, read.path, read.type, read.tags) == (created.id, uri, "mlflow_model", {"auc": "0.9"})


def test_models_without_a_version_count_up(ml_client: MLClient, name: Name) -> None:
    asset = name("model")
    versions = [
        ml_client.models.create_or_update(Model(name=asset, path=f"azureml://jobs/j{i}/outputs/m")).version for i in range(2)
    ]
    assert versions == ["1", "2"]
    assert ml_client.models.get(asset, label="latest").version == "2"
    assert [one.version for one in ml_client.models.list(asset)] == ["2", "1"]
    assert asset in [one.name for one in ml_client.models.list()]


def test_a_models_tags_and_description_change_in_place(ml_client: MLClient, name: Name) -> None:
    model = ml_client.models.create_or_update(Model(name=name("model"), version="1", path=REMOTE, tags={"stage": "candidate"}))
    model.tags, model.description = {"stage": "production"}, "now live"
    ml_client.models.create_or_update(model)
    read = ml_client.models.get(model.name, "1")
    assert (read.tags, read.description) == ({"stage": "production"}, "now live")


def test_an_archived_model_leaves_the_list(ml_client: MLClient, name: Name) -> None:
    asset = name("model")
    for version in ("1", "2"):
        ml_client.models.create_or_update(Model(name=asset, version=version, path=REMOTE))
    ml_client.models.archive(asset, version="2")
    assert [one.version for one in ml_client.models.list(asset)] == ["1"]
    assert ml_client.models.get(asset, label="latest").version == "1"


def test_a_local_model_is_uploaded_and_downloaded(ml_client: MLClient, name: Name, tmp_path: Path) -> None:
    folder, target = tmp_path / "model", tmp_path / "down"
    folder.mkdir()
    (folder / "model.json").write_text(name("weights"))
    asset = name("model")
    ml_client.models.create_or_update(Model(name=asset, version="1", path=str(folder), type="custom_model"))
    ml_client.models.download(asset, "1", download_path=str(target))
    assert [file.read_text() for file in target.rglob("model.json")] == [(folder / "model.json").read_text()]
