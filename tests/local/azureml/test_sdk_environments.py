"""Environments through the unmodified MLClient: images, conda files, build contexts; versions that count themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from azure.ai.ml import MLClient, load_environment
from azure.ai.ml.constants import ListViewType
from azure.ai.ml.entities import BuildContext, Environment
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

from local.azureml.emulator import Emulator

Name = Callable[[str], str]
CONDA = "name: e\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip:\n      - xgboost\n"


def test_a_conda_file_is_sent_with_its_environment_and_read_back(ml_client: MLClient, name: Name, tmp_path: Path) -> None:
    asset = name("env")
    (tmp_path / "conda.yaml").write_text(CONDA)
    (tmp_path / "env.yaml").write_text(
        f"name: {asset}\nversion: v1\nimage: python:3.11\nconda_file: ./conda.yaml\ndescription: text\ntags: {{a: b}}\n"
    )
    ml_client.environments.create_or_update(load_environment(tmp_path / "env.yaml"))
    read = ml_client.environments.get(asset, "v1")
    assert read.conda_file["dependencies"] == ["python=3.11", {"pip": ["xgboost"]}]
    assert (read.image, read.description, read.tags) == ("python:3.11", "text", {"a": "b"})


def test_a_build_context_is_uploaded_and_kept_with_its_dockerfile(
    ml_client: MLClient, emulator: Emulator, name: Name, tmp_path: Path
) -> None:
    asset = name("env")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Dockerfile.cpu").write_text(f"FROM python:3.11\n# {asset}\n")
    context = BuildContext(path=str(tmp_path), dockerfile_path="docker/Dockerfile.cpu")
    ml_client.environments.create_or_update(Environment(name=asset, version="1", build=context))
    read = ml_client.environments.get(asset, "1").build
    assert read.dockerfile_path == "docker/Dockerfile.cpu"
    stored = emulator.storage.read(*emulator.storage.resolve(f"{read.path}docker/Dockerfile.cpu"))
    assert stored == (tmp_path / "docker" / "Dockerfile.cpu").read_bytes()


def test_an_environment_is_an_image_or_a_build_context(http: httpx.Client, name: Name) -> None:
    refused = http.put(f"/environments/{name('env')}/versions/1", json={"properties": {"condaFile": CONDA}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "ValidationError")
    assert "image or a build context" in refused.json()["error"]["message"]


def test_what_an_environment_is_made_of_does_not_change(ml_client: MLClient, name: Name) -> None:
    asset = name("env")
    ml_client.environments.create_or_update(Environment(name=asset, version="1", image="python:3.11"))
    with pytest.raises(ResourceExistsError, match="image cannot be changed"):
        ml_client.environments.create_or_update(Environment(name=asset, version="1", image="python:3.12"))
    ml_client.environments.create_or_update(
        Environment(name=asset, version="1", image="python:3.11", description="said later", tags={"a": "b"})
    )
    read = ml_client.environments.get(asset, "1")
    assert (read.image, read.description, read.tags) == ("python:3.11", "said later", {"a": "b"})


def test_environments_are_archived_by_version_and_by_name(ml_client: MLClient, name: Name) -> None:
    asset = name("env")
    for version in ("1", "2"):
        ml_client.environments.create_or_update(Environment(name=asset, version=version, image=f"python:3.1{version}"))
    ml_client.environments.archive(asset, version="2")
    assert [one.version for one in ml_client.environments.list(asset)] == ["1"]
    assert ml_client.environments.get(asset, label="latest").version == "1"
    ml_client.environments.restore(asset, version="2")
    assert ml_client.environments.get(asset, label="latest").version == "2"
    ml_client.environments.archive(asset)
    assert asset not in [one.name for one in ml_client.environments.list()]
    assert asset in [one.name for one in ml_client.environments.list(list_view_type=ListViewType.ARCHIVED_ONLY)]
    ml_client.environments.restore(asset)
    assert asset in [one.name for one in ml_client.environments.list()]
    with pytest.raises(ResourceNotFoundError):
        ml_client.environments.get(asset, "3")


def test_an_environment_without_a_name_is_anonymous_and_the_same_for_the_same_content(ml_client: MLClient) -> None:
    made = [ml_client.environments.create_or_update(Environment(image=image)) for image in ("busybox", "busybox", "alpine")]
    assert made[0].id == made[1].id != made[2].id
    assert made[0].name == "CliV2AnonymousEnvironment"
