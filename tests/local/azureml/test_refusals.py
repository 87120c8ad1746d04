"""What Azure refuses, the emulator refuses: an emulator that accepts more than Azure hides bugs until the first deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import Data
from azure.core.exceptions import HttpResponseError

from local.azureml.emulator import Emulator

Name = Callable[[str], str]

DATA = {"dataUri": "azureml://datastores/workspaceblobstore/paths/x/", "dataType": "uri_folder"}
MODEL = {"modelUri": "azureml://jobs/j/outputs/model", "modelType": "custom_model", "properties": {"p": "1"}}
ENVIRONMENT = {"image": "python:3.11", "condaFile": "name: e\n"}
COMPONENT = {"componentSpec": {"type": "command", "command": "python a.py", "description": "first"}}
ASSETS = {"data": DATA, "models": MODEL, "environments": ENVIRONMENT, "components": COMPONENT}


def put(http: httpx.Client, path: str, properties: dict[str, Any]) -> httpx.Response:
    return http.put(path, json={"properties": properties})


def error(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()["error"]
    return response.status_code, body["code"], body["message"]


# versions are immutable


@pytest.mark.parametrize(
    ("segment", "change", "named"),
    [
        ("data", {"dataUri": "azureml://datastores/workspaceblobstore/paths/y/"}, "dataUri"),
        ("data", {"dataType": "uri_file"}, "dataType"),
        ("models", {"modelUri": "azureml://jobs/other/outputs/model"}, "modelUri"),
        ("models", {"properties": {"p": "2"}}, "property p"),
        ("environments", {"image": "python:3.12"}, "image"),
        ("environments", {"condaFile": "name: other\n"}, "condaFile"),
        ("components", {"componentSpec": {"type": "command", "command": "python b.py"}}, "command"),
    ],
)
def test_what_a_version_stands_for_cannot_be_changed(
    http: httpx.Client, name: Name, segment: str, change: dict[str, Any], named: str
) -> None:
    path = f"/{segment}/{name('a')}/versions/1"
    created = put(http, path, ASSETS[segment])
    assert created.status_code == 201
    status, _, message = error(put(http, path, {**ASSETS[segment], **change}))
    assert status == 409
    assert named in message
    assert http.get(path).json() == created.json()


def test_a_changed_data_path_is_refused_with_azures_own_words(ml_client: MLClient, name: Name) -> None:
    asset = name("data")
    ml_client.data.create_or_update(Data(name=asset, version="1", path=DATA["dataUri"], type="uri_folder"))
    with pytest.raises(HttpResponseError, match=r"^\(UserError\) Asset paths cannot be updated\."):
        ml_client.data.create_or_update(Data(name=asset, version="1", path=DATA["dataUri"] + "other/", type="uri_folder"))


@pytest.mark.parametrize("segment", ASSETS)
def test_tags_description_and_archive_state_of_a_version_may_change(http: httpx.Client, name: Name, segment: str) -> None:
    path = f"/{segment}/{name('a')}/versions/1"
    put(http, path, ASSETS[segment])
    change = {"tags": {"a": "b"}, "description": "d", "isArchived": True}
    assert put(http, path, {**ASSETS[segment], **change}).status_code == 200
    stored = http.get(path).json()["properties"]
    assert {key: stored[key] for key in change} == change


def test_a_components_description_may_change_but_an_anonymous_component_is_as_immutable(http: httpx.Client, name: Name) -> None:
    path = f"/components/azureml_anonymous/versions/{name('guid')}"
    assert put(http, path, COMPONENT).status_code == 201
    other_text = {"componentSpec": {**COMPONENT["componentSpec"], "description": "second"}}
    assert put(http, path, other_text).status_code == 200
    other_command = {"componentSpec": {**COMPONENT["componentSpec"], "command": "rm -r /"}}
    assert put(http, path, other_command).status_code == 409


def test_all_versions_of_a_data_asset_have_one_type(http: httpx.Client, name: Name) -> None:
    asset = name("data")
    put(http, f"/data/{asset}/versions/1", DATA)
    status, _, message = error(put(http, f"/data/{asset}/versions/2", {**DATA, "dataType": "mltable"}))
    assert status == 400
    assert "uri_folder" in message
    assert "mltable" in message


# names, versions, bodies


@pytest.mark.parametrize("bad", ["-front", "with blank", "a" * 256, "dot.ted", "ümlaut"])
def test_a_data_name_that_azures_pattern_refuses_is_refused(http: httpx.Client, bad: str) -> None:
    assert error(put(http, f"/data/{bad}/versions/1", DATA))[:2] == (400, "ValidationError")


@pytest.mark.parametrize("bad", ["-1", "a b", "1" * 256])
def test_a_version_with_other_characters_is_refused(http: httpx.Client, name: Name, bad: str) -> None:
    asset = name("data")
    assert error(put(http, f"/data/{asset}/versions/{bad}", DATA))[:2] == (400, "ValidationError")
    assert http.get(f"/data/{asset}").status_code == 404


@pytest.mark.parametrize(
    ("segment", "properties", "named"),
    [
        ("data", {"dataType": "uri_file"}, "dataUri"),
        ("data", {"dataUri": " ", "dataType": "uri_file"}, "dataUri"),
        ("data", {**DATA, "dataType": "parquet"}, "parquet"),
        ("models", {"modelType": "custom_model"}, "modelUri"),
        ("models", {**MODEL, "modelType": "pickle"}, "pickle"),
        ("environments", {"condaFile": "name: e\n"}, "image"),
        ("components", {}, "componentSpec"),
        ("codes", {"codeUri": "https://example.org/stolen"}, "example.org"),
    ],
)
def test_a_body_that_lacks_what_the_asset_needs_is_refused_and_stores_nothing(
    http: httpx.Client, name: Name, segment: str, properties: dict[str, Any], named: str
) -> None:
    path = f"/{segment}/{name('a')}/versions/1"
    status, _, message = error(put(http, path, properties))
    assert status == 400
    assert named in message
    assert http.get(path).status_code == 404


@pytest.mark.parametrize("content", [b"{", b"[]", b"", b'{"properties": 1}', b"\xff"])
def test_a_body_that_is_no_arm_resource_is_refused(http: httpx.Client, name: Name, content: bytes) -> None:
    response = http.put(f"/data/{name('data')}/versions/1", content=content, headers={"Content-Type": "application/json"})
    assert error(response)[:2] == (400, "InvalidRequestContent")


@pytest.mark.parametrize(
    "query", [{"$top": "0"}, {"$top": "x"}, {"$skip": "bm9wZQ=="}, {"listViewType": "Some"}, {"$orderBy": "size"}]
)
def test_a_list_option_that_makes_no_sense_is_refused(http: httpx.Client, query: dict[str, str]) -> None:
    assert http.get("/data/any/versions", params=query).status_code == 400


def test_a_secret_is_not_given_for_ever(http: httpx.Client) -> None:
    response = http.post("/datastores/workspaceblobstore/listSecrets", json={"expireAfterHours": 100_000})
    assert response.status_code == 400


# routes


def test_an_unknown_route_answers_501_and_names_itself(http: httpx.Client, emulator: Emulator) -> None:
    status, code, message = error(http.put("/featuresets/nightly", json={"properties": {}}))
    assert (status, code) == (501, "NotSupportedByEmulator")
    assert f"PUT {emulator.workspace_id}/featuresets/nightly" in message


@pytest.mark.parametrize(
    ("old", "code"),
    [
        ("workspaces/", "ResourceNotFound"),
        ("resourceGroups/", "ResourceGroupNotFound"),
        ("/subscriptions/", "SubscriptionNotFound"),
    ],
)
def test_a_resource_of_another_workspace_group_or_subscription_is_not_found(
    http: httpx.Client, emulator: Emulator, old: str, code: str
) -> None:
    path = emulator.workspace_id.replace(old, old + "not-")
    assert error(http.get(f"{emulator.base_url}{path}/data/x"))[:2] == (404, code)


def test_a_missing_api_version_is_refused(http: httpx.Client, emulator: Emulator) -> None:
    http.params = httpx.QueryParams()
    assert error(http.get("/data"))[:2] == (400, "MissingApiVersionParameter")


def test_paths_are_compared_without_regard_to_case_and_names_keep_theirs(
    http: httpx.Client, emulator: Emulator, name: Name
) -> None:
    asset = name("Data").upper()
    base = emulator.base_url + emulator.workspace_id.upper()
    assert put(http, f"{base}/DATA/{asset}/VERSIONS/v1", DATA).status_code == 201
    assert http.get(f"/data/{asset}/versions/v1").json()["id"] == f"{emulator.workspace_id}/data/{asset}/versions/v1"


def test_a_fault_of_the_emulator_is_a_500_in_azures_shape_and_in_the_log(
    http: httpx.Client, emulator: Emulator, name: Name, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(*_: object) -> None:
        raise ConnectionError("Azurite is not there")

    monkeypatch.setattr(emulator.storage, "create_container", unreachable)
    status, code, message = error(http.post(f"/codes/{name('c')}/versions/1/startPendingUpload", json={}))
    assert (status, code) == (500, "InternalServerError")
    assert "Azurite is not there" in message
    assert "Azurite is not there" in caplog.text
