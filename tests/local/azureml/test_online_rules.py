"""What online endpoints and deployments refuse: names, references, traffic, writes while something is under way, quotas."""

from __future__ import annotations

import pytest

from tests.local.azureml.online import PACE
from tests.local.azureml.scoring_assets import Workspace, family, gone


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


def test_an_endpoint_of_a_kubernetes_cluster_is_refused_by_name(online: Workspace) -> None:
    asked = online.ask("/onlineEndpoints/cluster", {"authMode": "Key", "compute": "computes/k8s"})
    assert (asked.status_code, "Kubernetes" in asked.text) == (501, True)


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
        ({"endpointComputeType": "Kubernetes"}, 501),
        ({"instanceType": "Nonsense"}, 400),
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
    processes = family(online.emulator.serving.pid("line", "shadow") or 0)
    assert online.finished(online.http.delete("/onlineEndpoints/line/deployments/shadow"))["status"] == "Succeeded"
    assert gone(processes)
    assert online.score("line", deployment="shadow").status_code == 404


def test_a_patch_takes_tags_and_identity_or_sku_and_nothing_else(online: Workspace) -> None:
    changed = online.http.patch("/onlineEndpoints/line", json={"tags": {"a": "b"}, "identity": {"type": "SystemAssigned"}})
    assert online.finished(changed)["status"] == "Succeeded"
    shown = online.http.get("/onlineEndpoints/line").json()
    assert (shown["tags"], shown["identity"]["type"]) == ({"a": "b"}, "SystemAssigned")
    assert shown["properties"]["traffic"] == {"blue": 100}
    for path in ("/onlineEndpoints/line", "/onlineEndpoints/line/deployments/blue"):
        assert online.http.patch(path, json={"properties": {"description": "x"}}).status_code == 400
        assert online.http.patch(path + "-nobody", json={"tags": {}}).status_code == 404


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
