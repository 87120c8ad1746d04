"""What online endpoints and deployments refuse, what they survive, and what their processes leave behind: nothing.

The REST API is called directly, on an emulator of this module whose pace the tests hold in their hand.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from local.azureml.emulator import Emulator, EmulatorSettings
from local.azureml.server import Server
from local.azureml.serving.records import with_state
from local.azureml.serving.service import serving_of
from local.certificates import Certificates
from local.processes import Child, free_port
from local.storage.azurite import Azurite
from tests.local.azureml.scoring_assets import Gated, Workspace, family, gone, wait_until

PACE = Gated()


def settings(state: Path, azurite: Azurite) -> EmulatorSettings:
    return EmulatorSettings(
        state=state,
        port=free_port(),
        router_port=free_port(),
        blob_url=azurite.blob_url,
        mlflow_url="http://127.0.0.1:1",
        identity_header="the header of the online tests",
        pace=PACE,
        check_answers=True,
        # Nobody listens there: the events stay in the outbox, where a test can read them.
        event_topic_url="https://127.0.0.1:1/api/events",
    )


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, azurite: Azurite) -> Iterator[Workspace]:
    """An emulator beside the session's, with the same certificates so that it trusts Azurite; assets and the endpoint `line`."""
    own = tmp_path_factory.mktemp("online")
    shutil.copytree(certificates.bundle.parent, own / "certificates")
    PACE.gate.set()
    server = Server(Emulator(settings(own, azurite)))
    server.start()
    workspace = Workspace(server.emulator)
    workspace.make_assets()
    assert workspace.endpoint("line")["status"] == "Succeeded"
    assert workspace.deploy("line", "blue", version="2", environmentVariables={"TAG": "b"})["status"] == "Succeeded"
    assert workspace.endpoint("line", traffic={"blue": 100})["status"] == "Succeeded"
    yield workspace
    workspace.http.close()
    server.stop()
    assert not server.emulator.checks.deviating


def test_a_deployment_scores_with_its_model_and_its_variables_and_knows_no_secret(online: Workspace) -> None:
    answer = online.score("line", {"x": 21})
    assert answer.status_code == 200
    assert {key: answer.json()[key] for key in ("y", "tag", "secret")} == {"y": 42, "tag": "b", "secret": None}
    assert answer.headers["azureml-model-deployment"] == "blue"


def test_both_keys_open_the_endpoint_and_a_regenerated_one_no_longer_does(online: Workspace) -> None:
    keys = online.http.post("/onlineEndpoints/line/listKeys").json()
    assert online.score("line", key=keys["secondaryKey"]).status_code == 200
    answer = online.http.post("/onlineEndpoints/line/regenerateKeys", json={"keyType": "Secondary"})
    assert online.finished(answer)["status"] == "Succeeded"
    assert online.score("line", key=keys["secondaryKey"]).status_code == 401
    assert online.score("line", key=keys["primaryKey"]).status_code == 200


def test_a_script_that_raises_is_a_424(online: Workspace) -> None:
    answer = online.score("line", {"fail": True})
    assert answer.status_code == 424
    assert answer.headers["ms-azureml-model-error-statuscode"] == "500"


@pytest.mark.parametrize(
    ("traffic", "mirror", "says"),
    [
        ({"purple": 100}, {}, "does not exist"),
        ({"blue": 90}, {}, "sum to 90"),
        ({"blue": 100.0}, {}, "must be an integer"),
        ({"blue": 101}, {}, "must be an integer from 0 to 100"),
        ({"blue": 100}, {"blue": 10}, "takes live traffic"),
        ({"blue": 0}, {"blue": 51}, "At most 50 percent"),
        ({"blue": 100}, {"purple": 10}, "does not exist"),
    ],
)
def test_traffic_that_breaks_a_rule_is_refused(
    online: Workspace, traffic: dict[str, int], mirror: dict[str, int], says: str
) -> None:
    answer = online.ask("/onlineEndpoints/line", {"authMode": "Key", "traffic": traffic, "mirrorTraffic": mirror})
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert online.properties("/onlineEndpoints/line")["traffic"] == {"blue": 100}


@pytest.mark.parametrize("name", ["ab", "1line", "line-", "li_ne", "a" * 33, "li%20ne"])
def test_a_name_that_azure_refuses_is_refused(online: Workspace, name: str) -> None:
    assert online.ask(f"/onlineEndpoints/{name}", {"authMode": "Key"}).status_code == 400
    assert online.ask(f"/onlineEndpoints/line/deployments/{name}", online.deployment()).status_code == 400


def test_what_does_not_exist_is_404(online: Workspace) -> None:
    for path in ("/onlineEndpoints/nobody", "/onlineEndpoints/line/deployments/nobody"):
        assert online.http.get(path).status_code == 404
        assert online.http.delete(path).status_code == 204
    assert online.ask("/onlineEndpoints/nobody/deployments/blue", online.deployment()).status_code == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": "models/line/versions/9"}, 400),
        ({"environmentId": "environments/serve/versions/9"}, 400),
        ({"codeConfiguration": {"codeId": "codes/score/versions/9", "scoringScript": "score.py"}}, 400),
        ({"codeConfiguration": {"codeId": "codes/score/versions/1", "scoringScript": "../../score.py"}}, 400),
        ({"codeConfiguration": None}, 400),
        ({"dataCollector": {"collections": {"model_inputs": {"samplingRate": 1.5}}}}, 400),
        ({"dataCollector": {"collections": {"in": {"dataCollectionMode": "Enabled", "dataId": "data/none/versions/1"}}}}, 400),
        ({"dataCollector": {"collections": {"in": {}}, "requestLogging": {"captureHeaders": ["x-a"]}}}, 501),
        ({"livenessProbe": {"period": "PT0.1S"}}, 400),
        ({"readinessProbe": {"failureThreshold": 0}}, 400),
        ({"modelMountPath": "/var/model"}, 501),
        ({"scaleSettings": {"scaleType": "TargetUtilization", "minInstances": 3, "maxInstances": 2}}, 400),
        ({"egressPublicNetworkAccess": "Sometimes"}, 400),
        ({"requestSettings": {"requestTimeout": "5 seconds"}}, 400),
        ({"requestSettings": {"maxConcurrentRequestsPerInstance": 0}}, 400),
    ],
)
def test_a_deployment_is_checked_before_anything_starts(online: Workspace, change: dict[str, object], status: int) -> None:
    base = online.emulator.workspace_id
    asked = online.deployment(**change)
    for holder, field in ((asked, "model"), (asked, "environmentId"), (asked["codeConfiguration"] or {}, "codeId")):
        if field in holder and not holder[field].startswith("/"):
            holder[field] = f"{base}/{holder[field]}"
    answer = online.ask("/onlineEndpoints/line/deployments/checked", asked)
    assert answer.status_code == status
    assert online.http.get("/onlineEndpoints/line/deployments/checked").status_code == 404


def test_every_write_is_409_while_the_endpoint_is_updated(online: Workspace) -> None:
    with PACE.shut():
        update = online.ask("/onlineEndpoints/line", {"authMode": "Key", "traffic": {"blue": 100}})
        assert update.json()["properties"]["provisioningState"] == "Updating"
        refused = [
            online.ask("/onlineEndpoints/line", {"authMode": "Key", "traffic": {"blue": 100}}),
            online.http.patch("/onlineEndpoints/line", json={"tags": {"a": "b"}}),
            online.http.delete("/onlineEndpoints/line"),
            online.ask("/onlineEndpoints/line/deployments/blue", online.deployment()),
            online.ask("/onlineEndpoints/line/deployments/green", online.deployment()),
            online.http.delete("/onlineEndpoints/line/deployments/blue"),
        ]
        assert [(answer.status_code, answer.json()["error"]["code"]) for answer in refused] == [(409, "Conflict")] * 6
        assert online.score("line").status_code == 200
    assert online.finished(update)["status"] == "Succeeded"


def test_a_deployment_that_is_being_made_takes_no_traffic_and_no_second_write(online: Workspace) -> None:
    with PACE.shut():
        create = online.ask("/onlineEndpoints/line/deployments/slow", online.deployment())
        assert create.status_code == 201
        assert online.ask("/onlineEndpoints/line/deployments/slow", online.deployment()).status_code == 409
        assert online.http.delete("/onlineEndpoints/line").status_code == 409
        answer = online.ask("/onlineEndpoints/line", {"authMode": "Key", "traffic": {"blue": 50, "slow": 50}})
        assert (answer.status_code, "Creating" in answer.text) == (400, True)
        assert online.score("line", deployment="slow").status_code == 404
    assert online.finished(create)["status"] == "Succeeded"
    assert online.finished(online.http.delete("/onlineEndpoints/line/deployments/slow"))["status"] == "Succeeded"


def test_a_deployment_with_traffic_or_a_mirror_is_not_deleted(online: Workspace) -> None:
    assert online.deploy("line", "shadow", version="3")["status"] == "Succeeded"
    assert online.endpoint("line", traffic={"blue": 100}, mirrorTraffic={"shadow": 10})["status"] == "Succeeded"
    for name in ("blue", "shadow"):
        answer = online.http.delete(f"/onlineEndpoints/line/deployments/{name}")
        assert (answer.status_code, "has traffic" in answer.text) == (400, True)
    # A client that does not know of mirrors removes one by its update, as on Azure.
    assert online.endpoint("line", traffic={"blue": 100})["status"] == "Succeeded"
    processes = family(serving_of(online.emulator).pid("line", "shadow") or 0)
    assert online.finished(online.http.delete("/onlineEndpoints/line/deployments/shadow"))["status"] == "Succeeded"
    assert gone(processes)
    assert online.score("line", deployment="shadow").status_code == 404


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
    before = family(serving_of(online.emulator).pid("line", "swap") or 0)
    assert online.deploy("line", "swap", version="3")["status"] == "Succeeded"
    assert online.score("line", deployment="swap").json()["y"] == 3
    wait_until(lambda: gone(before))
    assert online.finished(online.http.delete("/onlineEndpoints/line/deployments/swap"))["status"] == "Succeeded"


def test_a_process_that_dies_is_started_again_with_all_its_workers(online: Workspace) -> None:
    serving = serving_of(online.emulator)
    before = family(serving.pid("line", "blue") or 0)
    assert len(before) == 2
    os.kill(before[0].pid, signal.SIGKILL)
    wait_until(lambda: gone(before))
    wait_until(lambda: online.score("line").status_code == 200)
    assert online.score("line").json()["y"] == 2


def test_a_router_that_dies_is_started_again(online: Workspace) -> None:
    serving = serving_of(online.emulator)
    before = serving.router_pid() or 0
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: serving.router_pid() != before)

    def scores() -> bool:
        try:
            return online.score("line").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(scores)


def test_two_instances_are_two_workers(online: Workspace) -> None:
    path = "/onlineEndpoints/line/deployments/pair"
    answer = online.ask(path, online.deployment(), sku={"name": "Default", "capacity": 2})
    assert online.finished(answer)["status"] == "Succeeded"
    assert len(family(serving_of(online.emulator).pid("line", "pair") or 0)) == 3
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
    before = serving_of(online.emulator).pid("line", "blue")
    assert online.score("line").status_code == 200
    patched = online.http.patch(path, json={"tags": {"team": "risk"}})
    assert patched.json()["properties"]["provisioningState"] == "Updating"
    assert online.finished(patched)["status"] == "Succeeded"
    scale = {"scaleType": "TargetUtilization", "minInstances": 1, "maxInstances": 3}
    limits = {"requestSettings": {"maxConcurrentRequestsPerInstance": 9}, "scaleSettings": scale}
    more = {"environmentVariables": {"TAG": "b"}, **limits}
    assert online.deploy("line", "blue", version="2", **more)["status"] == "Succeeded"
    assert serving_of(online.emulator).pid("line", "blue") == before
    shown = online.properties(path)
    assert shown["requestSettings"]["maxConcurrentRequestsPerInstance"] == 9
    assert shown["scaleSettings"] == {**scale, "pollingInterval": "PT1S", "targetUtilizationPercentage": 70}
    assert online.deploy("line", "blue", version="2", environmentVariables={"TAG": "c"})["status"] == "Succeeded"
    assert serving_of(online.emulator).pid("line", "blue") != before
    assert online.score("line").json()["tag"] == "c"


def test_instances_are_added_by_a_patch_within_the_quota(online: Workspace) -> None:
    path = "/onlineEndpoints/line/deployments/blue"
    before = serving_of(online.emulator).pid("line", "blue") or 0
    assert online.finished(online.http.patch(path, json={"sku": {"capacity": 3}}))["status"] == "Succeeded"
    assert online.http.get(path).json()["sku"] == {"name": "Default", "capacity": 3}
    assert len(family(before)) == 4
    wait_until(lambda: len({online.score("line").json()["pid"] for _ in range(5)}) > 1)
    [sku] = online.http.get(f"{path}/skus").json()["value"]
    beyond = online.http.patch(path, json={"sku": {"capacity": sku["capacity"]["maximum"] + 1}})
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (400, "OutOfQuota")
    assert online.finished(online.http.patch(path, json={"sku": {"capacity": 1}}))["status"] == "Succeeded"
    assert (len(family(before)), serving_of(online.emulator).pid("line", "blue")) == (2, before)
    assert online.score("line").status_code == 200


def test_a_patch_takes_tags_and_identity_or_sku_and_nothing_else(online: Workspace) -> None:
    changed = online.http.patch("/onlineEndpoints/line", json={"tags": {"a": "b"}, "identity": {"type": "SystemAssigned"}})
    assert online.finished(changed)["status"] == "Succeeded"
    shown = online.http.get("/onlineEndpoints/line").json()
    assert (shown["tags"], shown["identity"]["type"]) == ({"a": "b"}, "SystemAssigned")
    assert shown["properties"]["traffic"] == {"blue": 100}
    for path in ("/onlineEndpoints/line", "/onlineEndpoints/line/deployments/blue"):
        assert online.http.patch(path, json={"properties": {"description": "x"}}).status_code == 400
        assert online.http.patch(path + "-nobody", json={"tags": {}}).status_code == 404


def test_an_endpoint_can_be_given_its_keys_and_never_shows_them(online: Workspace) -> None:
    assert online.endpoint("keyed", keys={"primaryKey": "chosen-by-hand"})["status"] == "Succeeded"
    keys = online.http.post("/onlineEndpoints/keyed/listKeys").json()
    assert (keys["primaryKey"], len(keys["secondaryKey"]) > 20) == ("chosen-by-hand", True)
    assert "chosen-by-hand" not in online.http.get("/onlineEndpoints/keyed").text
    assert online.finished(online.http.delete("/onlineEndpoints/keyed"))["status"] == "Succeeded"


def test_the_quotas_of_endpoints_and_deployments_are_kept(online: Workspace) -> None:
    store = online.emulator.store
    deployment = store.get("onlineDeployments", "line", "blue") or {}
    endpoint = store.get("onlineEndpoints", "line") or {}
    try:
        for number in range(100):
            store.put("onlineDeployments", "line", f"filler{number}", deployment)
            store.put("onlineEndpoints", f"filler{number}", "", endpoint)
        refused = [
            online.ask("/onlineEndpoints/line/deployments/onemore", online.deployment()),
            online.ask("/onlineEndpoints/onemore", {"authMode": "Key"}),
        ]
        assert [(answer.status_code, answer.json()["error"]["code"]) for answer in refused] == [(400, "OutOfQuota")] * 2
    finally:
        for number in range(100):
            store.delete("onlineDeployments", "line", f"filler{number}")
            store.delete("onlineEndpoints", f"filler{number}")


def test_a_deployment_that_is_not_ready_gets_no_traffic_and_one_that_hangs_is_started_again(online: Workspace) -> None:
    serving, path = serving_of(online.emulator), "/onlineEndpoints/line/deployments/probed"
    often = {"period": "PT1S", "timeout": "PT1S", "failureThreshold": 1}
    soon = {"initialDelay": "PT2S", "period": "PT1S", "timeout": "PT1S", "failureThreshold": 2}
    assert online.deploy("line", "probed", readinessProbe=often)["status"] == "Succeeded"

    def ready() -> bool:
        return bool(json.loads((serving.folder / "table.json").read_text())["endpoints"]["line"]["targets"]["probed"]["ready"])

    with ThreadPoolExecutor(1) as elsewhere:
        slow = elsewhere.submit(online.score, "line", {"x": 1, "sleep": 4}, deployment="probed")
        wait_until(lambda: not ready())
        assert online.score("line", deployment="probed").status_code == 503
        assert slow.result().status_code == 200
    wait_until(lambda: online.score("line", deployment="probed").status_code == 200)

    assert online.deploy("line", "probed", readinessProbe=often, livenessProbe=soon)["status"] == "Succeeded"
    before = family(serving.pid("line", "probed") or 0)
    os.kill(before[1].pid, signal.SIGSTOP)
    wait_until(lambda: gone(before))
    wait_until(lambda: online.score("line", deployment="probed").status_code == 200)
    assert online.finished(online.http.delete(path))["status"] == "Succeeded"


def test_an_init_that_outlasts_the_liveness_probe_fails_the_deployment(online: Workspace) -> None:
    path = "/onlineEndpoints/line/deployments/hasty"
    soon = {"initialDelay": "PT1S", "period": "PT1S", "failureThreshold": 1}
    slow = {"livenessProbe": soon, "environmentVariables": {"INIT_SECONDS": "2.5"}}
    status = online.finished(online.ask(path, online.deployment(**slow)))
    assert (status["status"], status["error"]["code"]) == ("Failed", "ResourceNotReady")
    # A startup probe gives the start its own time.
    assert online.deploy("line", "hasty", startupProbe={**soon, "failureThreshold": 60}, **slow)["status"] == "Succeeded"
    assert online.finished(online.http.delete(path))["status"] == "Succeeded"


def test_scoring_processes_listen_on_the_loopback_only(online: Workspace) -> None:
    master = psutil.Process(serving_of(online.emulator).pid("line", "blue") or 0)
    assert {one.laddr.ip for one in master.net_connections() if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_a_token_opens_an_endpoint_with_token_authentication(online: Workspace) -> None:
    assert online.endpoint("tokens", authMode="AMLToken")["status"] == "Succeeded"
    token = online.http.post("/onlineEndpoints/tokens/token").raise_for_status().json()
    assert token["tokenType"] == "Bearer"
    assert online.http.post("/onlineEndpoints/tokens/token").json()["accessToken"] == token["accessToken"]
    # Most of its life is over: a new one is given, and the old one is good for the rest.
    soon = {"token_expires_at": time.time() + 600}
    online.emulator.store.update("onlineEndpointKeys", "tokens", "", lambda keys: {**keys, **soon})
    fresh = online.http.post("/onlineEndpoints/tokens/token").json()
    assert fresh["accessToken"] != token["accessToken"]
    assert fresh["refreshAfterTimeUtc"] < fresh["expiryTimeUtc"]
    assert online.score("tokens", key=fresh["accessToken"]).status_code == 404
    # 404: let in, but there is no deployment to route to.
    assert online.score("tokens", key=token["accessToken"]).status_code == 404
    assert online.score("tokens", key="no token").status_code == 401
    assert online.http.post("/onlineEndpoints/tokens/listKeys").status_code == 400
    assert online.http.post("/onlineEndpoints/line/token").status_code == 400
    assert online.finished(online.http.delete("/onlineEndpoints/tokens"))["status"] == "Succeeded"


def test_an_endpoint_takes_its_deployments_with_it(online: Workspace) -> None:
    assert online.endpoint("brief")["status"] == "Succeeded"
    assert online.deploy("brief", "blue")["status"] == "Succeeded"
    processes = family(serving_of(online.emulator).pid("brief", "blue") or 0)
    assert online.finished(online.http.delete("/onlineEndpoints/brief"))["status"] == "Succeeded"
    assert gone(processes)
    assert online.http.get("/onlineEndpoints/brief").status_code == 404
    assert not list(serving_of(online.emulator).folder.glob("deployments/brief/*/*"))


def test_endpoints_serve_again_after_a_restart_and_interrupted_work_is_failed(
    tmp_path: Path, certificates: Certificates, azurite: Azurite
) -> None:
    shutil.copytree(certificates.bundle.parent, tmp_path / "certificates")
    chosen = settings(tmp_path, azurite)
    server = Server(Emulator(chosen))
    server.start()
    workspace = Workspace(server.emulator)
    workspace.make_assets()
    workspace.endpoint("line")
    workspace.deploy("line", "blue", version="3")
    workspace.endpoint("line", traffic={"blue": 100})
    serving = serving_of(server.emulator)
    processes = [*family(serving.pid("line", "blue") or 0), *family(serving.router_pid() or 0)]
    # What a kill in the middle of an update leaves in the store.
    server.emulator.store.update("onlineDeployments", "line", "blue", lambda body: with_state(body, "Updating"))
    # And a deployment whose interpreter somebody has removed meanwhile.
    store = server.emulator.store
    spec = {**(store.get("scoringSpecs", "line", "blue") or {}), "deployment": "gone", "interpreter": str(tmp_path / "no-python")}
    store.put("scoringSpecs", "line", "gone", spec)
    store.put("onlineDeployments", "line", "gone", with_state(store.get("onlineDeployments", "line", "blue") or {}, "Succeeded"))
    workspace.http.close()
    server.stop()
    assert gone(processes)

    server = Server(Emulator(chosen))
    server.start()
    workspace = Workspace(server.emulator)
    try:
        wait_until(lambda: workspace.score("line").status_code == 200)
        assert workspace.score("line").json()["y"] == 3
        for name in ("blue", "gone"):
            assert workspace.properties(f"/onlineEndpoints/line/deployments/{name}")["provisioningState"] == "Failed"
    finally:
        workspace.http.close()
        server.stop()


_EMULATOR = """
import sys, threading
from pathlib import Path
from local.azureml.emulator import Emulator, EmulatorSettings
from local.azureml.pace import Pace
from local.azureml.server import Server
state, port, router_port, blob_url = sys.argv[1:]
server = Server(Emulator(EmulatorSettings(
    state=Path(state), port=int(port), router_port=int(router_port), blob_url=blob_url,
    mlflow_url="http://127.0.0.1:1", identity_header="x",
)))
server.start()
print("ready", flush=True)
threading.Event().wait()
"""


def test_a_killed_emulator_leaves_no_orphan(tmp_path: Path, certificates: Certificates, azurite: Azurite) -> None:
    shutil.copytree(certificates.bundle.parent, tmp_path / "certificates")
    port, router_port, log = free_port(), free_port(), tmp_path / "emulator.log"
    command = [sys.executable, "-c", _EMULATOR, str(tmp_path), str(port), str(router_port), azurite.blob_url]
    child = Child("emulator", command, log=log)
    child.wait_until(lambda: "ready" in log.read_text())
    # The same files seen from here: for the token and the addresses only.
    workspace = Workspace(Emulator(replace(settings(tmp_path, azurite), port=port, router_port=router_port)))
    workspace.make_assets()
    workspace.endpoint("line")
    workspace.deploy("line", "blue")
    processes = family(child.pid)
    assert len(processes) >= 4, "the emulator, its router, a scoring server, its worker"
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: gone(processes))
    child.stop()
    workspace.http.close()
    workspace.emulator.store.close()
