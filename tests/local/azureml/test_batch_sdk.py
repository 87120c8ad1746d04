"""Batch endpoints with the unmodified MLClient: deployments of models, of MLflow models without a script, of pipelines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from azure.ai.ml import Input, MLClient, Output, load_component
from azure.ai.ml.entities import (
    BatchEndpoint,
    BatchRetrySettings,
    Environment,
    PipelineComponentBatchDeployment,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from local.azureml.emulator import Emulator
from tests.local.azureml.batch_lab import Batch
from tests.local.azureml.pipelines import component, unique, until_ended
from tests.waiting import wait_until

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.train_environment

ENDPOINT = "sdk-batch"
SHOUT = """
import pathlib, sys
(pathlib.Path(sys.argv[2]) / "out.txt").write_text(pathlib.Path(sys.argv[1]).read_text().upper() * int(sys.argv[3]))
"""
SHOUTING = {
    "type": "pipeline",
    "name": "shouting",
    "version": "1",
    "inputs": {"text": {"type": "uri_file"}, "times": {"type": "integer", "default": 2}},
    "outputs": {"loud": {"type": "uri_folder"}},
    "jobs": {
        "step": {
            "type": "command",
            "component": "./shout/component.yaml",
            "inputs": {"text": "${{parent.inputs.text}}", "times": "${{parent.inputs.times}}"},
            "outputs": {"loud": "${{parent.outputs.loud}}"},
        }
    },
}


@pytest.fixture(scope="module")
def batch(ml_client: MLClient, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batch]:
    made = Batch(ml_client, tmp_path_factory.mktemp("batch"), ENDPOINT)
    endpoint = ml_client.batch_endpoints.begin_create_or_update(BatchEndpoint(name=ENDPOINT, tags={"team": "risk"})).result()
    assert (endpoint.provisioning_state, endpoint.auth_mode) == ("Succeeded", "aad_token")
    assert endpoint.scoring_uri == f"{emulator.base_url}/batch/{ENDPOINT}/jobs"
    yield made
    ml_client.batch_endpoints.begin_delete(ENDPOINT).result()
    with pytest.raises(ResourceNotFoundError):
        ml_client.batch_endpoints.get(ENDPOINT)


def test_the_default_deployment_scores_a_folder_into_one_file(batch: Batch) -> None:
    client = batch.client
    retries = BatchRetrySettings(max_retries=1, timeout=40)
    made = batch.deploy("scripted", output_file_name="scores.csv", retry_settings=retries, error_threshold=0)
    assert (made.mini_batch_size, made.output_action, made.retry_settings.timeout) == (1, "append_row", 40)
    endpoint = client.batch_endpoints.get(ENDPOINT)
    endpoint.defaults = {"deployment_name": "scripted"}
    endpoint = client.batch_endpoints.begin_create_or_update(endpoint).result()
    assert endpoint.defaults.deployment_name == "scripted"
    job = batch.invoke(input=Input(type="uri_folder", path=batch.data(a_csv="x\n1\n2\n", b_csv="x\n5\n")))
    ended = until_ended(client, job.name)
    assert ended.status == "Completed"
    assert (ended.experiment_name, ended.tags["azureml.batchrun"]) == (ENDPOINT, "true")
    assert ended.properties["azureml.endpointname"] == ENDPOINT
    assert [child.display_name for child in client.jobs.list(parent_job_name=job.name)] == ["batchscoring"]
    client.jobs.download(job.name, output_name="score", download_path=batch.folder / "got")
    scored = batch.folder / "got" / "named-outputs" / "score"
    assert (scored / "scores.csv").read_text() == "1 3.0 a.csv\n2 6.0 a.csv\n5 15.0 b.csv\n"
    assert {file.read_text() for file in scored.glob("own-*.txt")} == {"scripted"}
    for listed in (client.batch_endpoints.list_jobs(ENDPOINT), client.batch_deployments.list_jobs(ENDPOINT, name="scripted")):
        assert (job.name, "Completed") in [(one.name, one.status) for one in listed]


def test_deployments_are_read_back_and_the_default_one_is_kept(batch: Batch) -> None:
    client = batch.client
    batch.deploy("other")
    assert "other" in [one.name for one in client.batch_deployments.list(ENDPOINT)]
    read = client.batch_deployments.get("other", ENDPOINT)
    assert (read.output_file_name, read.error_threshold, read.retry_settings.max_retries) == ("predictions.csv", -1, 3)
    endpoint = client.batch_endpoints.get(ENDPOINT)
    assert ENDPOINT in [one.name for one in client.batch_endpoints.list()]
    before = endpoint.defaults
    endpoint.defaults = {"deployment_name": "other"}
    client.batch_endpoints.begin_create_or_update(endpoint).result()
    with pytest.raises(HttpResponseError, match="is the default of batch endpoint"):
        client.batch_deployments.begin_delete("other", ENDPOINT).result()
    endpoint.defaults = before
    client.batch_endpoints.begin_create_or_update(endpoint).result()
    client.batch_deployments.begin_delete("other", ENDPOINT).result()
    with pytest.raises(ResourceNotFoundError, match="'other' was not found"):
        client.batch_deployments.get("other", ENDPOINT)


def test_a_deployment_of_a_pipeline_component_runs_its_steps(batch: Batch) -> None:
    client = batch.client
    client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    component(
        batch.folder, "shout", SHOUT, command="python run.py ${{inputs.text}} ${{outputs.loud}} ${{inputs.times}}",
        inputs={"text": {"type": "uri_file"}, "times": {"type": "integer"}}, outputs={"loud": {"type": "uri_folder"}},
    )  # fmt: skip
    (batch.folder / "pipeline.yaml").write_text(yaml.safe_dump(SHOUTING))
    registered = client.components.create_or_update(load_component(batch.folder / "pipeline.yaml"))
    deployment = PipelineComponentBatchDeployment(
        name="pipeline", endpoint_name=ENDPOINT, component=registered, settings={"default_compute": "cpu-cluster"}
    )
    client.batch_deployments.begin_create_or_update(deployment).result()
    text = Input(type="uri_file", path=batch.data(a_txt="hey ") + "/a.txt")
    place = "azureml://datastores/workspaceblobstore/paths/shouted/${{name}}/"
    job = batch.invoke("pipeline", inputs={"text": text}, outputs={"loud": Output(type="uri_folder", path=place)})
    thrice = Input(type="integer", default=3)
    other = batch.invoke("pipeline", inputs={"text": text, "times": thrice}, job_name=unique("named"), experiment_name="loud")
    for one, words, experiment in ((job, "HEY HEY ", ENDPOINT), (other, "HEY HEY HEY ", "loud")):
        ended = until_ended(client, one.name)
        assert (ended.status, ended.experiment_name) == ("Completed", experiment)
        assert ended.tags["azureml.jobtype"] == "azureml.pipelinejob"
        client.jobs.download(one.name, output_name="loud", download_path=batch.folder / one.name)
        assert (batch.folder / one.name / "named-outputs" / "loud" / "out.txt").read_text() == words
    with pytest.raises(HttpResponseError, match="required input 'text' has no value"):
        batch.invoke("pipeline", inputs={"times": thrice})


def test_one_file_is_scored_where_the_invocation_says_and_a_summary_has_no_rows(batch: Batch) -> None:
    client = batch.client
    batch.deploy("summary", output_action="summary_only")
    batch.deploy("rows")
    file = Input(type="uri_file", path=batch.data(a_csv="x\n7\n") + "/a.csv")
    # By the datastore's id, as Microsoft's examples have it.
    place = Output(type="uri_file", path=f"{client.datastores.get_default().id}/paths/chosen/mine.csv")
    appended = batch.invoke("rows", inputs={"one": file}, outputs={"score": place})
    summary = batch.invoke("summary", input=file, params_override=[{"mini_batch_size": 4}])
    assert until_ended(client, appended.name).status == until_ended(client, summary.name).status == "Completed"
    again = batch.invoke("rows", inputs={"one": file}, outputs={"score": place})
    assert "the output file 'chosen/mine.csv' exists already" in batch.failure(again.name)
    client.jobs.download(appended.name, output_name="score", download_path=batch.folder / "one")
    assert [found.read_text() for found in (batch.folder / "one").rglob("*.csv")] == ["7 21.0 a.csv\n"]
    client.jobs.download(summary.name, output_name="score", download_path=batch.folder / "summary")
    assert {found.name[:4] for found in (batch.folder / "summary").rglob("*.*")} == {"own-"}
    assert [job.name for job in client.batch_deployments.list_jobs(ENDPOINT, name="summary")] == [summary.name]


def test_files_that_cannot_be_scored_fail_the_job_when_they_are_too_many(batch: Batch) -> None:
    settings = {"error_threshold": 0, "retry_settings": BatchRetrySettings(max_retries=0, timeout=60)}
    batch.deploy("strict", **settings)
    job = batch.invoke("strict", input=Input(type="uri_folder", path=batch.data(a_csv="x\n1\n", b_csv="x\nno number\n")))
    message = batch.failure(job.name)
    assert "1 of 2 mini batches failed, and with them 1 items, more than the error_threshold of 0" in message
    assert "Mini batch 1 (b.csv)" in message
    assert "ValueError: invalid literal for int()" in message
    nowhere = "azureml://datastores/workspaceblobstore/paths/there/is/nothing/"
    empty = batch.invoke("strict", input=Input(type="uri_folder", path=nowhere))
    assert "There is no blob at or below 'azureml-blobstore/there/is/nothing'" in batch.failure(empty.name)


def test_invocations_that_cannot_work_are_refused(batch: Batch, http: httpx.Client, emulator: Emulator) -> None:
    client, bare = batch.client, unique("bare")[:32]
    batch.deploy("refusing")
    client.batch_endpoints.begin_create_or_update(BatchEndpoint(name=bare)).result()
    folder = {"jobInputType": "UriFolder", "uri": "azureml://datastores/workspaceblobstore/paths/x/"}

    def ask(inputs: dict[str, Any], endpoint: str = ENDPOINT, deployment: str = "refusing", **more: Any) -> tuple[int, str]:
        headers = {"azureml-model-deployment": deployment} if deployment else {}
        url = f"{emulator.base_url}/batch/{endpoint}/jobs"
        answer = http.post(url, json={"properties": {"inputData": inputs, **more}}, headers=headers)
        return answer.status_code, answer.json()["error"]["message"]

    assert ask({"UriFolder": folder}, bare, "") == (400, f"Batch endpoint '{bare}' has no default deployment: set "
        "defaults.deployment_name, or name one in the header azureml-model-deployment.")  # fmt: skip
    assert ask({"a": folder}, deployment="nobody") == (404, f"Deployment 'nobody' was not found on batch endpoint '{ENDPOINT}'.")
    assert ask({"a": folder}, "nowhere")[0] == 404
    assert "takes one input" in ask({"a": folder, "b": folder})[1]
    assert "takes one input" in ask({})[1]
    assert "is of type literal" in ask({"a": {"jobInputType": "Literal", "value": 3}})[1]
    assert "must have a jobInputType out of" in ask({"a": {"jobInputType": "Table", "uri": "x"}})[1]
    assert "has no output other" in ask({"a": folder}, outputData={"other": {"jobOutputType": "UriFolder"}})[1]
    assert "miniBatchSize must be an integer of at least 1" in ask({"a": folder}, miniBatchSize=0)[1]
    assert "outputFileName must be the name of a file" in ask({"a": folder}, outputFileName="../x")[1]
    assert ask({"a": folder}, dataset="x") == (501, "The emulator does not support dataset in an invocation.")
    name = unique("twice")
    assert http.post(
        f"{emulator.base_url}/batch/{ENDPOINT}/jobs", headers={"azureml-model-deployment": "refusing"},
        json={"properties": {"name": name, "inputData": {"a": folder}}},
    ).status_code == 201  # fmt: skip
    assert ask({"a": folder}, name=name) == (409, f"A job with the name '{name}' exists already.")
    client.batch_endpoints.begin_delete(bare).result()


def test_an_invocation_that_is_sent_twice_is_one_job(batch: Batch, http: httpx.Client, emulator: Emulator) -> None:
    batch.deploy("repeated")
    headers = {"azureml-model-deployment": "repeated", "repeatability_request-id": unique("request")}
    file = {"jobInputType": "UriFolder", "uri": "azureml://datastores/workspaceblobstore/paths/x/"}
    body, url = {"properties": {"inputData": {"a": file}}}, f"{emulator.base_url}/batch/{ENDPOINT}/jobs"
    first, second = (http.post(url, json=body, headers=headers).json()["name"] for _ in range(2))
    assert first == second
    assert [job.name for job in batch.client.batch_deployments.list_jobs(ENDPOINT, name="repeated")] == [first]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"compute": None}, "needs a compute"),
        ({"compute": "nowhere"}, "Unknown compute target 'nowhere'"),
        ({"codeConfiguration": None}, "needs a model of type mlflow_model"),
        ({"model": {"assetId": "{workspace}/models/slope/versions/77", "referenceType": "Id"}}, "models/slope/versions/77"),
        ({"model": {"path": "x", "referenceType": "DataPath"}}, "register it first"),
        ({"environmentId": None}, "names no version of environments"),
        ({"errorThreshold": -2}, "errorThreshold must be an integer of at least -1"),
        ({"retrySettings": {"timeout": "PT0S"}}, "a timeout of at least PT1S"),
    ],
)
def test_deployments_that_cannot_work_are_refused(
    batch: Batch, http: httpx.Client, emulator: Emulator, asked: dict[str, Any], why: str
) -> None:
    if "whole" not in [one.name for one in batch.client.batch_deployments.list(ENDPOINT)]:
        batch.deploy("whole")
    path = f"/batchEndpoints/{ENDPOINT}/deployments/"
    whole = http.get(path + "whole").json()
    asked = {key: json.loads(json.dumps(value).replace("{workspace}", emulator.workspace_id)) for key, value in asked.items()}
    properties = {key: value for key, value in whole["properties"].items() if key != "provisioningState"}
    answer = http.put(path + "broken", json={"location": "local", "properties": {**properties, **asked}})
    assert answer.status_code in (400, 404, 501)
    assert why in answer.json()["error"]["message"]


def test_endpoints_that_cannot_be_are_refused(batch: Batch, http: httpx.Client) -> None:
    def put(name: str, **properties: Any) -> tuple[int, str]:
        answer = http.put(f"/batchEndpoints/{name}", json={"location": "local", "properties": properties})
        return answer.status_code, answer.json()["error"]["message"]

    assert "is not a valid endpoint name" in put("x", authMode="AADToken")[1]
    assert "batch endpoints take Microsoft Entra tokens" in put("keyed", authMode="Key")[1]
    status, message = put(ENDPOINT, authMode="AADToken", defaults={"deploymentName": "nobody"})
    assert (status, message) == (400, f"The default deployment 'nobody' does not exist on batch endpoint '{ENDPOINT}'.")
    assert http.delete("/batchEndpoints/nowhere").status_code == 204
    assert http.patch(f"/batchEndpoints/{ENDPOINT}", json={"tags": {"team": "fraud"}}).json()["tags"] == {"team": "fraud"}
    # Nobody may delete it before the change has ended.
    wait_until(lambda: http.get(f"/batchEndpoints/{ENDPOINT}").json()["properties"]["provisioningState"] == "Succeeded")
