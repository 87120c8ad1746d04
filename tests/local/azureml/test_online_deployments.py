"""Online deployments: what they answer, how one takes the place of another, how many processes they are."""

from __future__ import annotations

from tests.local.azureml.scoring_assets import Workspace, family, gone
from tests.waiting import wait_until


def test_a_deployment_scores_with_its_model_and_its_variables_and_knows_no_secret(online: Workspace) -> None:
    answer = online.score("line", {"x": 21})
    assert answer.status_code == 200
    assert {key: answer.json()[key] for key in ("y", "tag", "secret")} == {"y": 42, "tag": "b", "secret": None}
    assert answer.headers["azureml-model-deployment"] == "blue"


def test_a_script_that_raises_is_a_424(online: Workspace) -> None:
    answer = online.score("line", {"fail": True})
    assert answer.status_code == 424
    assert answer.headers["ms-azureml-model-error-statuscode"] == "500"


def test_a_deployed_model_is_announced_and_a_failed_one_is_not(online: Workspace) -> None:
    online.endpoint("events")
    assert online.deploy("events", "bad", model="broken", version="1")["status"] == "Failed"
    assert online.deploy("events", "good", version="3")["status"] == "Succeeded"

    def announced() -> list[dict[str, object]]:
        events = online.emulator.store.list("outbox")
        return [one for one in events if one["subject"] == "endpoints/events" and "ModelDeployed" in one["eventType"]]

    wait_until(announced)
    [event] = announced()
    assert event["eventType"] == "Microsoft.MachineLearningServices.ModelDeployed"
    assert {key: event["data"][key] for key in ("ServiceName", "ModelIds")} == {"ServiceName": "events", "ModelIds": "line:3"}
    assert online.finished(online.http.delete("/onlineEndpoints/events"))["status"] == "Succeeded"


def test_an_init_that_raises_fails_the_deployment_and_the_log_says_why(online: Workspace) -> None:
    status = online.deploy("line", "bad", model="broken", version="1")
    assert (status["status"], status["error"]["code"]) == ("Failed", "ResourceNotReady")
    assert "this model is broken on purpose" in status["error"]["message"]
    path = "/onlineEndpoints/line/deployments/bad"
    assert online.properties(path)["provisioningState"] == "Failed"
    log = online.http.post(f"{path}/getLogs", json={"tail": 200}).json()["content"]
    assert "loading a model with" in log
    assert online.ask("/onlineEndpoints/line", {"authMode": "Key", "traffic": {"blue": 50, "bad": 50}}).status_code == 400
    assert online.finished(online.http.delete(path))["status"] == "Succeeded"


def test_a_failed_update_leaves_the_old_model_serving_and_a_good_one_replaces_it(online: Workspace) -> None:
    assert online.deploy("line", "swap", version="2")["status"] == "Succeeded"
    assert online.deploy("line", "swap", model="broken", version="1")["status"] == "Failed"
    assert online.score("line", deployment="swap").json()["y"] == 2
    before = family(online.emulator.serving.pid("line", "swap") or 0)
    assert online.deploy("line", "swap", version="3")["status"] == "Succeeded"
    assert online.score("line", deployment="swap").json()["y"] == 3
    wait_until(lambda: gone(before))
    assert online.finished(online.http.delete("/onlineEndpoints/line/deployments/swap"))["status"] == "Succeeded"


def test_two_instances_are_two_workers(online: Workspace) -> None:
    path = "/onlineEndpoints/line/deployments/pair"
    answer = online.ask(path, online.deployment(), sku={"name": "Default", "capacity": 2})
    assert online.finished(answer)["status"] == "Succeeded"
    assert len(family(online.emulator.serving.pid("line", "pair") or 0)) == 3
    assert online.http.get(path).json()["sku"]["capacity"] == 2
    assert online.finished(online.http.delete(path))["status"] == "Succeeded"


def test_a_curated_environment_of_the_registry_serves_with_the_default_one(online: Workspace) -> None:
    curated = {"environmentId": "azureml://registries/azureml/environments/minimal-py311-inference/versions/3"}
    assert online.deploy("line", "curated", version="3", **curated)["status"] == "Succeeded"
    assert online.score("line", deployment="curated").json()["y"] == 3
    path = "/onlineEndpoints/line/deployments/curated"
    log = online.http.post(f"{path}/getLogs", json={"tail": 9, "containerType": "StorageInitializer"}).json()["content"]
    assert "the inference server is borrowed from the serving environment" in log
    assert online.http.post(f"{path}/getLogs", json={"containerType": "Sidecar"}).status_code == 400
    assert online.finished(online.http.delete(path))["status"] == "Succeeded"


def test_what_needs_no_new_process_gets_none(online: Workspace) -> None:
    path = "/onlineEndpoints/line/deployments/blue"
    before = online.emulator.serving.pid("line", "blue")
    assert online.score("line").status_code == 200
    patched = online.http.patch(path, json={"tags": {"team": "risk"}})
    assert patched.json()["properties"]["provisioningState"] == "Updating"
    assert online.finished(patched)["status"] == "Succeeded"
    scale = {"scaleType": "TargetUtilization", "minInstances": 1, "maxInstances": 3}
    limits = {"requestSettings": {"maxConcurrentRequestsPerInstance": 9}, "scaleSettings": scale}
    more = {"environmentVariables": {"TAG": "b"}, **limits}
    assert online.deploy("line", "blue", version="2", **more)["status"] == "Succeeded"
    assert online.emulator.serving.pid("line", "blue") == before
    shown = online.properties(path)
    assert shown["requestSettings"]["maxConcurrentRequestsPerInstance"] == 9
    assert shown["scaleSettings"] == {**scale, "pollingInterval": "PT1S", "targetUtilizationPercentage": 70}
    assert online.deploy("line", "blue", version="2", environmentVariables={"TAG": "c"})["status"] == "Succeeded"
    assert online.emulator.serving.pid("line", "blue") != before
    assert online.score("line").json()["tag"] == "c"


def test_instances_are_added_by_a_patch_within_the_quota(online: Workspace) -> None:
    path = "/onlineEndpoints/line/deployments/blue"
    before = online.emulator.serving.pid("line", "blue") or 0
    assert online.finished(online.http.patch(path, json={"sku": {"capacity": 3}}))["status"] == "Succeeded"
    assert online.http.get(path).json()["sku"] == {"name": "Default", "capacity": 3}
    assert len(family(before)) == 4
    wait_until(lambda: len({online.score("line").json()["pid"] for _ in range(5)}) > 1)
    [sku] = online.http.get(f"{path}/skus").json()["value"]
    beyond = online.http.patch(path, json={"sku": {"capacity": sku["capacity"]["maximum"] + 1}})
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (400, "OutOfQuota")
    assert online.finished(online.http.patch(path, json={"sku": {"capacity": 1}}))["status"] == "Succeeded"
    assert (len(family(before)), online.emulator.serving.pid("line", "blue")) == (2, before)
    assert online.score("line").status_code == 200
