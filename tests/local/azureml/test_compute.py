"""Compute clusters through the unmodified MLClient, and the jobs that name them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from azure.ai.ml.entities import AmlCompute, IdentityConfiguration
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from local.azureml import computes
from local.azureml.emulator import Emulator
from local.azureml.faults import Match, OperationFault, Rule

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

Name = Callable[[str], str]
CLUSTER = {
    "computeType": "AmlCompute",
    "properties": {"vmSize": "Standard_DS3_v2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2}},
}


def error(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()["error"]
    return response.status_code, body["code"], body["message"]


def cluster(name: str, **more: Any) -> AmlCompute:
    return AmlCompute(name=name, size="Standard_DS3_v2", min_instances=0, max_instances=2, **more)


def test_a_cluster_is_created_scaled_listed_and_deleted(ml_client: MLClient, name: Name) -> None:
    own = name("cpu")
    created = ml_client.compute.begin_create_or_update(cluster(own, idle_time_before_scale_down=300)).result()
    assert (created.name, created.size, created.max_instances) == (own, "Standard_DS3_v2", 2)
    assert created.provisioning_state == "Succeeded"
    created.max_instances = 8
    assert ml_client.compute.begin_update(created).result().max_instances == 8
    read = ml_client.compute.get(own.upper())
    assert (read.name, read.type, read.max_instances, read.idle_time_before_scale_down) == (own, "amlcompute", 8, 300)
    assert own in [found.name for found in ml_client.compute.list()]
    assert own in [found.name for found in ml_client.compute.list(compute_type="amlcompute")]
    ml_client.compute.begin_delete(own).result()
    with pytest.raises(ResourceNotFoundError):
        ml_client.compute.get(own)
    assert own not in [found.name for found in ml_client.compute.list()]


def test_a_cluster_has_the_identity_that_was_asked_for_however_the_sdk_spells_it(ml_client: MLClient, name: Name) -> None:
    own, asked = name("cpu"), IdentityConfiguration(type="SystemAssigned")
    created = ml_client.compute.begin_create_or_update(cluster(own, identity=asked)).result()
    assert (created.identity.type, bool(created.identity.principal_id)) == ("system_assigned", True)
    with pytest.raises(HttpResponseError, match="'big' is no size of a virtual machine"):
        ml_client.compute.begin_create_or_update(AmlCompute(name=name("cpu"), size="big")).result()


def test_the_cluster_of_the_examples_is_there_from_the_first_start(ml_client: MLClient) -> None:
    assert ml_client.compute.get("cpu-cluster").provisioning_state == "Succeeded"


def test_who_deletes_the_first_cluster_does_not_get_it_back_at_the_next_start(emulator: Emulator) -> None:
    kept = emulator.store.get(computes.KIND, computes.DEFAULT_CLUSTER)
    assert kept is not None
    emulator.store.delete(computes.KIND, computes.DEFAULT_CLUSTER)
    try:
        computes.create_default(emulator)
        assert emulator.store.get(computes.KIND, computes.DEFAULT_CLUSTER) is None
    finally:
        emulator.store.put(computes.KIND, computes.DEFAULT_CLUSTER, "", kept)


def test_a_clusters_machines_cannot_be_changed(ml_client: MLClient, name: Name) -> None:
    own = name("fixed")
    ml_client.compute.begin_create_or_update(cluster(own)).result()
    other = AmlCompute(name=own, size="Standard_NC6", max_instances=2)
    with pytest.raises(HttpResponseError, match="vmSize of compute"):
        ml_client.compute.begin_create_or_update(other)
    assert ml_client.compute.get(own).size == "Standard_DS3_v2"


def test_a_cluster_that_fails_to_be_made_says_why_and_can_be_made_again(
    ml_client: MLClient, emulator: Emulator, name: Name
) -> None:
    own = name("quota")
    failure = OperationFault(code="QuotaExceeded", message="no cores left")
    rule = Rule(id=own, match=Match(operation="compute create", name=own), operation=failure)
    emulator.faults.add([rule])
    try:
        with pytest.raises(HttpResponseError, match=r"QuotaExceeded.*no cores left"):
            ml_client.compute.begin_create_or_update(cluster(own)).result()
    finally:
        emulator.faults.remove(rule.id)
    assert ml_client.compute.get(own).provisioning_state == "Failed"
    assert ml_client.compute.begin_create_or_update(cluster(own)).result().provisioning_state == "Succeeded"


def test_a_password_is_not_kept(http: httpx.Client, emulator: Emulator, name: Name) -> None:
    own = name("secret")
    account = {"adminUserName": "me", "adminUserPassword": "hunter2"}
    properties = {**CLUSTER, "properties": {**CLUSTER["properties"], "userAccountCredentials": account}}  # type: ignore[dict-item]
    assert http.put(f"/computes/{own}", json={"properties": properties}).status_code == 201
    assert "hunter2" not in str(emulator.store.get(computes.KIND, own))
    assert "me" in http.get(f"/computes/{own}").text


@pytest.mark.parametrize(
    ("properties", "expected", "named"),
    [
        ({"computeType": "ComputeInstance", "properties": {"vmSize": "x"}}, (501, "NotSupportedByEmulator"), "ComputeInstance"),
        ({"computeType": "AmlCompute", "properties": {}}, (400, "ValidationError"), "vmSize"),
        ({"computeType": "AmlCompute", "properties": {"vmSize": "Standard_DS3_v2"}}, (400, "ValidationError"), "maxNodeCount"),
        (
            {
                "computeType": "AmlCompute",
                "properties": {"vmSize": "Standard_DS3_v2", "scaleSettings": {"minNodeCount": 3, "maxNodeCount": 2}},
            },
            (400, "ValidationError"),
            "3 and 2",
        ),
    ],
)
def test_a_compute_that_azure_or_the_emulator_does_not_take_is_refused(
    http: httpx.Client, name: Name, properties: dict[str, Any], expected: tuple[int, str], named: str
) -> None:
    own = name("no")
    status, code, message = error(http.put(f"/computes/{own}", json={"properties": properties}))
    assert (status, code) == expected
    assert named in message
    assert http.get(f"/computes/{own}").status_code == 404


@pytest.mark.parametrize("bad", ["1cpu", "cpu-", "a" * 33, "a_b"])
def test_a_compute_name_with_other_characters_is_refused(http: httpx.Client, bad: str) -> None:
    assert error(http.put(f"/computes/{bad}", json={"properties": CLUSTER}))[:2] == (400, "ValidationError")


def test_deleting_what_is_not_there_is_no_error_and_a_cluster_cannot_be_detached(http: httpx.Client, name: Name) -> None:
    assert http.delete(f"/computes/{name('none')}").status_code == 204
    response = http.delete("/computes/cpu-cluster", params={"underlyingResourceAction": "Detach"})
    assert error(response)[:2] == (400, "UserError")


# jobs


@pytest.mark.parametrize(
    "job",
    [
        {"jobType": "Command", "command": "true", "environmentId": "e", "computeId": "WS/computes/nowhere"},
        {"jobType": "Command", "command": "true", "environmentId": "e", "computeId": "azureml:nowhere"},
        {"jobType": "Pipeline", "jobs": {"a": {"type": "command"}}, "settings": {"default_compute": "WS/computes/nowhere"}},
        {"jobType": "Pipeline", "jobs": {"a": {"type": "command", "computeId": "nowhere"}}},
    ],
)
def test_a_job_on_a_compute_that_does_not_exist_is_refused_in_azures_words(
    http: httpx.Client, emulator: Emulator, name: Name, job: dict[str, Any]
) -> None:
    asked = json.loads(json.dumps(job).replace("WS/", f"{emulator.workspace_id}/"))
    response = http.put(f"/jobs/{name('job')}", json={"properties": asked})
    assert error(response) == (400, "UserError", "Unknown compute target 'nowhere'.")


@pytest.mark.parametrize(
    "compute", ["cpu-cluster", "CPU-Cluster", "serverless", "azureml:cpu-cluster", "WS/computes/cpu-cluster", ""]
)
def test_a_job_may_name_a_compute_that_exists_in_any_case_or_serverless_or_none(emulator: Emulator, compute: str) -> None:
    computes.refuse_unknown(emulator, {"computeId": compute.replace("WS", emulator.workspace_id)})


def test_a_compute_of_another_workspace_is_not_this_workspaces(http: httpx.Client, emulator: Emulator, name: Name) -> None:
    elsewhere = emulator.workspace_id.replace("workspaces/", "workspaces/not-") + "/computes/cpu-cluster"
    job = {"jobType": "Command", "command": "true", "computeId": elsewhere}
    assert error(http.put(f"/jobs/{name('job')}", json={"properties": job}))[0] == 400
