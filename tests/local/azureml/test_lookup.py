"""Every form in which Azure takes the id of an asset's version, and those that it does not take."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from local.azureml import lookup
from local.azureml.emulator import Emulator
from local.azureml.errors import AzureError
from local.azureml.serving.materialise import references

Name = Callable[[str], str]
REGISTRY = "lookups"


@pytest.fixture
def asset(emulator: Emulator, name: Name) -> Iterator[str]:
    """Models 1 and 2, of which 2 is archived, in the workspace and in a registry; a component; each knows where it is."""
    asset, store = name("asset"), emulator.store
    store.put("registries", REGISTRY, "", {"location": "local", "properties": {}})
    for shelf in ("", f"registries/{REGISTRY}/"):
        for version in ("1", "2"):
            store.put(f"{shelf}models", asset, version, {"properties": {"in": shelf, "isArchived": version == "2"}})
        store.put(f"{shelf}components", asset, "1", {"properties": {"in": shelf}})
    yield asset
    store.delete("registries", REGISTRY)


def workspace_guid(emulator: Emulator) -> str:
    body = emulator.store.get("workspaces", emulator.settings.workspace)
    assert body is not None
    return str(body["properties"]["workspaceId"])


def test_a_version_is_found_by_every_form_of_its_id(emulator: Emulator, asset: str) -> None:
    workspace, guid = emulator.workspace_id, workspace_guid(emulator)
    for form, version, shelf in (
        (f"{workspace}/models/{asset}/versions/2", "2", ""),
        (f"azureml:{workspace.upper()}/models/{asset}/versions/2", "2", ""),
        (f"{workspace}/models/{asset}/labels/latest", "1", ""),
        (f"azureml://locations/local/workspaces/{guid}/models/{asset}/versions/2", "2", ""),
        (f"azureml://registries/{REGISTRY}/models/{asset}/versions/2", "2", f"registries/{REGISTRY}/"),
        (f"azureml://registries/{REGISTRY.upper()}/models/{asset}/labels/latest", "1", f"registries/{REGISTRY}/"),
    ):
        found = lookup.find_version(emulator, "models", form)
        assert (found.name, found.version, found.properties["in"]) == (asset, version, shelf)
        assert lookup.find_version(emulator, "models", found.id) == found
    by_label = lookup.find_version(emulator, "components", f"azureml:{workspace}/components/{asset}/labels/default")
    assert by_label.version == "1"


@pytest.mark.parametrize(
    ("form", "name", "version"),
    [
        ("azureml://registries/azureml/environments/sklearn-1.5/versions/12", "sklearn-1.5", "12"),
        ("azureml://registries/azureml/environments/sklearn-1.5/labels/latest", "sklearn-1.5", "1"),
        ("azureml:AzureML-sklearn-1.5-ubuntu20.04-py38-cpu:7", "AzureML-sklearn-1.5-ubuntu20.04-py38-cpu", "7"),
        ("azureml:AzureML-sklearn-1.5-ubuntu20.04-py38-cpu@latest", "AzureML-sklearn-1.5-ubuntu20.04-py38-cpu", "1"),
        ("{workspace}/environments/AzureML-minimal/versions/3", "AzureML-minimal", "3"),
    ],
)
def test_a_curated_environment_is_found_under_any_name_and_has_no_conda_file(
    emulator: Emulator, form: str, name: str, version: str
) -> None:
    found = lookup.find_version(emulator, "environments", form.format(workspace=emulator.workspace_id))
    assert (found.name, found.version) == (name, version)
    assert name.lower() in found.properties["image"]
    assert "condaFile" not in found.properties


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ("{workspace}/models/{asset}/versions/9", 400, "does not exist"),
        ("{workspace}/data/{asset}/versions/1", 400, "not the id of a version in models"),
        ("{workspace}-other/models/{asset}/versions/1", 400, "not this workspace"),
        ("{workspace}/models/{asset}/labels/stable", 501, "the one label is 'latest'"),
        ("azureml://registries/nowhere/models/{asset}/versions/1", 400, "registry 'nowhere' does not exist"),
        ("azureml://registries/azureml/models/{asset}/versions/1", 400, "does not exist"),
        ("azureml://locations/local/workspaces/other/models/{asset}/versions/1", 400, "no workspace 'other'"),
        ("{asset}", 400, "not the id of a version in models"),
        ("../{asset}/versions/1", 400, "not the id of a version in models"),
    ],
)
def test_what_is_no_id_of_a_version_here_is_refused(emulator: Emulator, asset: str, form: str, status: int, says: str) -> None:
    with pytest.raises(AzureError, match=says) as caught:
        lookup.find_version(emulator, "models", form.format(workspace=emulator.workspace_id, asset=asset))
    assert caught.value.status == status


def test_a_deployment_may_name_what_is_in_registries(emulator: Emulator, name: Name) -> None:
    shelf, asset = f"registries/{REGISTRY}/", name("asset")
    emulator.store.put("registries", REGISTRY, "", {"location": "local", "properties": {}})
    for kind, properties in (("models", {"modelUri": "azureml://jobs/j/outputs/m"}), ("codes", {"codeUri": "https://code"})):
        emulator.store.put(f"{shelf}{kind}", asset, "1", {"properties": properties})
    wanted = references(
        emulator,
        {
            "model": f"azureml://registries/{REGISTRY}/models/{asset}/versions/1",
            "codeConfiguration": {
                "codeId": f"azureml://registries/{REGISTRY}/codes/{asset}/versions/1",
                "scoringScript": "score.py",
            },
            "environmentId": "azureml://registries/azureml/environments/sklearn-1.5/labels/latest",
        },
    )
    assert (wanted.model, wanted.model_uri, wanted.code) == (
        (asset, "1"),
        "azureml://jobs/j/outputs/m",
        {"codeUri": "https://code"},
    )
    assert wanted.environment is not None
    assert wanted.environment["environmentType"] == "Curated"
    emulator.store.delete("registries", REGISTRY)
