"""Azure's REST description as facts: how they are derived, what the checks make of them, and what the tables beside them say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.azureml.description import deviations
from local.azureml.description.__main__ import text
from local.azureml.description.check import Description
from local.azureml.description.derive import Facts
from local.azureml.description.newer import FIELDS
from local.azureml.emulator import Emulator
from local.azureml.errors import AzureError

FACTS = json.loads((Path(deviations.__file__).parent / "facts.json").read_text())
WORKSPACE = "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.MachineLearningServices/workspaces/{w}"
JOB = {"jobType": "Command", "command": "echo", "environmentId": "/e"}


# deriving


@pytest.fixture
def derived(tmp_path: Path) -> Facts:
    """Facts of a small description of our own, in the two files and with the constructs that the real one has."""
    common = {"definitions": {"Resource": {"properties": {"id": {"type": "string", "readOnly": True, "description": "An id."}}}}}
    cat = {"x-ms-discriminator-value": "cat", "properties": {"lives": {"type": "integer"}}, "required": ["lives"]}
    definitions = {
        "Animal": {
            "description": "Any animal.",
            "allOf": [{"$ref": "common.json#/definitions/Resource"}],
            "properties": {
                "kind": {"$ref": "#/definitions/Kind"},
                "nick": {"type": "string", "x-nullable": True, "description": "A name."},
                "owner": {"$ref": "#/definitions/Owner", "x-nullable": True},
            },
            "required": ["kind", "id"],
            "discriminator": "kind",
        },
        "Cat": {"allOf": [{"$ref": "#/definitions/Animal"}], **cat},
        "Kind": {"type": "string", "enum": ["cat", "dog"], "x-ms-enum": {"values": [{"description": "Purrs."}]}},
        "Owner": {"properties": {"pets": {"type": "array", "items": {"$ref": "#/definitions/Animal"}}}},
    }
    body = {"name": "body", "in": "body", "schema": {"$ref": "#/definitions/Animal"}}
    query = {"name": "$top", "in": "query", "type": "integer"}
    answers = {"200": {"schema": {"$ref": "#/definitions/Animal"}}, "default": {"description": "An error."}}
    paths = {"/animals/{name}": {"put": {"description": "Makes one.", "parameters": [body, query], "responses": answers}}}
    (tmp_path / "common.json").write_text(json.dumps(common))
    (tmp_path / "api.json").write_text(json.dumps({"paths": paths, "definitions": definitions}))
    return Facts([tmp_path / "api.json"])


def test_an_operation_is_its_method_path_options_body_and_answers(derived: Facts) -> None:
    reference = {"$ref": "#/$defs/Animal"}
    expected = {"method": "PUT", "path": "/animals/{name}", "query": ["$top"], "answers": {"200": reference}, "body": reference}
    assert derived.operations == [expected]


def test_a_family_is_told_by_its_discriminator_and_its_members_are_closed_objects(derived: Facts) -> None:
    animal, cat = derived.definitions["Animal"], derived.definitions["Cat"]
    assert animal["properties"] == {"kind": {"enum": ["cat", "dog"]}}
    assert [case["then"] for case in animal["allOf"]] == [{"$ref": "#/$defs/Cat"}]
    assert set(cat["properties"]) == {"id", "kind", "nick", "owner", "lives"}
    assert cat["additionalProperties"] is False
    assert cat["required"] == ["kind", "lives"], "what only the service writes is required of nobody"
    assert cat["properties"]["nick"] == {"type": ["string", "null"]}
    assert cat["properties"]["owner"] == {"if": {"type": "null"}, "else": {"$ref": "#/$defs/Owner"}}


def test_no_sentence_is_taken_over(derived: Facts) -> None:
    written = text(derived)
    assert not any(sentence in written for sentence in ("Any animal", "An id", "A name", "Makes one", "Purrs", "An error"))
    assert json.loads(written)["$defs"] == derived.definitions


def test_the_facts_say_where_they_come_from_and_hold_no_text() -> None:
    assert "azure-rest-api-specs" in FACTS["source"]
    assert (FACTS["version"], FACTS["licence"][:3]) == ("2024-04-01", "MIT")
    texts = [value for key, value in _leaves(FACTS["$defs"]) if key in ("description", "title", "summary", "example")]
    assert texts == []


def _leaves(value: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [leaf for name, one in value.items() for leaf in _leaves(one, name)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in _leaves(one, key)]
    return [(key, value)] if isinstance(value, str) else []


# checking bodies


@pytest.fixture(scope="module")
def description() -> Description:
    return Description()


def refusal(description: Description, path: str, properties: Any) -> str:
    operation = description.operation("PUT", WORKSPACE + path)
    assert operation is not None
    try:
        description.refuse_body(
            operation, {"location": "x", "properties": properties} if "Endpoints" in path else {"properties": properties}
        )
    except AzureError as error:
        return error.message
    return ""


def test_a_route_is_found_whatever_its_parameters_are_called_and_in_any_case(description: Description) -> None:
    assert description.operation("PUT", f"{WORKSPACE}/JOBS/{{name}}") is not None
    assert description.operation("POST", f"{WORKSPACE}/onlineEndpoints/{{endpoint}}/listkeys") is not None
    assert description.operation("PUT", f"{WORKSPACE}/jobs/{{name}}/nothing") is None


def test_null_is_taken_for_not_said(description: Description) -> None:
    assert refusal(description, "/jobs/{id}", {**JOB, "computeId": None, "resources": None, "outputs": {"a": None}}) == ""
    assert "environmentId" in refusal(description, "/jobs/{id}", {**JOB, "environmentId": None})


def test_what_newer_versions_send_passes_and_its_spelling_too(description: Description) -> None:
    output = {"jobOutputType": "uri_folder", "assetName": "a", "assetVersion": "1"}
    assert refusal(description, "/jobs/{id}", {**JOB, "outputs": {"o": output}}) == ""
    assert "pathOnMoon" in refusal(description, "/jobs/{id}", {**JOB, "outputs": {"o": {**output, "pathOnMoon": "x"}}})
    for mode in ("Key", "key", "aadToken", "AADToken", "aadtoken"):
        assert refusal(description, "/batchEndpoints/{e}", {"authMode": mode}) == ""
    assert "authMode" in refusal(description, "/batchEndpoints/{e}", {"authMode": "Password"})
    assert refusal(description, "/jobs/{id}", {**JOB, "limits": {"jobLimitsType": "Command", "timeout": "PT0.5S"}}) == ""


def test_many_problems_are_told_at_once_and_each_once(description: Description) -> None:
    said = refusal(description, "/jobs/{id}", {**JOB, "command": 1, "tags": {"a": 1}, "inputs": {"x": {"jobInputType": "poem"}}})
    assert said.count("properties.command") == 1
    assert "properties.tags.a" in said
    assert "properties.inputs.x.jobInputType" in said


def test_every_newer_field_belongs_to_a_definition_and_says_what_becomes_of_it(description: Description) -> None:
    for one in FIELDS:
        for definition in one.definition.split():
            known = FACTS["$defs"][definition]["properties"]
            assert (one.name in known) is one.instead, f"{definition}.{one.name}"
        assert one.sdk
        assert one.emulator


# answers


def test_an_answer_that_deviates_is_noticed_with_its_place(emulator: Emulator, http: httpx.Client) -> None:
    operation = Description().operation("GET", f"{WORKSPACE}/data/{{n}}/versions/{{v}}")
    assert operation is not None
    http.put(
        "/data/answered/versions/1", json={"properties": {"dataType": "uri_file", "dataUri": "azureml://x"}}
    ).raise_for_status()
    answer = http.get("/data/answered/versions/1").json()
    check = Description().answer_problems
    assert check(operation, 200, answer) == []
    wrong = {**answer, "properties": {**answer["properties"], "isArchived": "no", "colour": "blue"}}
    found = check(operation, 200, wrong)
    assert {problem.partition(":")[0] for problem in found} == {"/properties", "/properties/isArchived"}
    assert check(operation, 299, answer) == [": the description knows no status 299"]


def test_a_known_deviation_explains_itself_and_nothing_else() -> None:
    step = '/properties: null is not of type "object"'
    assert deviations.unexplained("GET /jobs/{name}", [step]) == []
    assert deviations.unexplained("GET /data/{name}", [step]) == [step]
    assert all(why for _, why in deviations.table())


def test_every_known_deviation_still_occurs(emulator: Emulator, http: httpx.Client, name: Callable[[str], str]) -> None:
    """One that does not is to be struck from the table."""
    runs, step = emulator.jobs.runs, name("step")
    root = runs.create(name("job"), "azureml.PipelineRun", "Default", name="root", displayName="root")
    runs.create(step, "azureml.StepRun", "Default", parent=root, name="s", displayName="s")
    answers = {
        "GET /jobs/{name}": http.get(f"/jobs/{step}"),
        "GET /datastores/{name}": http.get("/datastores/workspaceblobstore"),
        "GET ": http.get(""),
        "POST /listKeys": http.post("/listKeys"),
    }
    occurred, check = set(), Description()
    for operation, answer in answers.items():
        method, _, path = operation.partition(" ")
        described = check.operation(method, WORKSPACE + path)
        assert described is not None
        for problem in check.answer_problems(described, answer.status_code, answer.json()):
            occurred |= {one for one in deviations.DEVIATIONS if one.explains(operation, problem)}
    assert occurred == set(deviations.DEVIATIONS)
    # Gone again: other tests read all jobs of this emulator.
    runs.set_status(step, "Canceled")
    runs.set_status(root["runId"], "Canceled")
