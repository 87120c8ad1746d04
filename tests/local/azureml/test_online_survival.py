"""What online deployments survive, and what their processes leave behind: nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import psutil

from local.azureml.emulator import Emulator
from local.azureml.server import Server
from local.azureml.writes import with_state
from local.certificates import Certificates
from local.processes import Child, free_port
from local.storage.azurite import Azurite
from tests.local.azureml.online import settings
from tests.local.azureml.scoring_assets import Workspace, family, gone
from tests.waiting import wait_until


def test_a_process_that_dies_is_started_again_with_all_its_workers(online: Workspace) -> None:
    serving = online.emulator.serving
    before = family(serving.pid("line", "blue") or 0)
    assert len(before) == 2
    os.kill(before[0].pid, signal.SIGKILL)
    wait_until(lambda: gone(before))
    wait_until(lambda: online.score("line").status_code == 200)
    assert online.score("line").json()["y"] == 2


def test_a_router_that_dies_is_started_again(online: Workspace) -> None:
    serving = online.emulator.serving
    before = serving.router_pid() or 0
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: serving.router_pid() != before)

    def scores() -> bool:
        try:
            return online.score("line").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(scores)


def test_a_deployment_that_is_not_ready_gets_no_traffic_and_one_that_hangs_is_started_again(online: Workspace) -> None:
    serving, path = online.emulator.serving, "/onlineEndpoints/line/deployments/probed"
    often = {"period": "PT1S", "timeout": "PT1S", "failureThreshold": 1}
    soon = {"initialDelay": "PT2S", "period": "PT1S", "timeout": "PT1S", "failureThreshold": 2}
    assert online.deploy("line", "probed", readinessProbe=often)["status"] == "Succeeded"
    before = family(serving.pid("line", "probed") or 0)

    def status() -> int:
        return online.score("line", deployment="probed").status_code

    def ready() -> bool:
        return bool(json.loads((serving.folder / "table.json").read_text())["endpoints"]["line"]["targets"]["probed"]["ready"])

    os.kill(before[1].pid, signal.SIGSTOP)  # its worker is busy, as far as anybody can see
    wait_until(lambda: not ready())
    wait_until(lambda: status() == 503)  # the router reads the table a moment after it was written
    os.kill(before[1].pid, signal.SIGCONT)
    wait_until(lambda: status() == 200)
    assert serving.pid("line", "probed") == before[0].pid

    assert online.deploy("line", "probed", readinessProbe=often, livenessProbe=soon)["status"] == "Succeeded"
    assert serving.pid("line", "probed") == before[0].pid
    os.kill(before[1].pid, signal.SIGSTOP)
    wait_until(lambda: gone(before))
    wait_until(lambda: status() == 200)
    assert online.finished(online.http.delete(path))["status"] == "Succeeded"


def test_an_init_that_outlasts_the_liveness_probe_fails_the_deployment(online: Workspace) -> None:
    path = "/onlineEndpoints/line/deployments/hasty"
    soon = {"initialDelay": "PT1S", "period": "PT1S", "failureThreshold": 1}
    slow = {"livenessProbe": soon, "environmentVariables": {"INIT_SECONDS": "0.6"}}
    status = online.finished(online.ask(path, online.deployment(**slow)))
    assert (status["status"], status["error"]["code"]) == ("Failed", "ResourceNotReady")
    # A startup probe gives the start its own time.
    assert online.deploy("line", "hasty", startupProbe={**soon, "failureThreshold": 240}, **slow)["status"] == "Succeeded"
    assert online.finished(online.http.delete(path))["status"] == "Succeeded"


def test_scoring_processes_listen_on_the_loopback_only(online: Workspace) -> None:
    master = psutil.Process(online.emulator.serving.pid("line", "blue") or 0)
    assert {one.laddr.ip for one in master.net_connections() if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_an_endpoint_takes_its_deployments_with_it(online: Workspace) -> None:
    assert online.endpoint("brief")["status"] == "Succeeded"
    assert online.deploy("brief", "blue")["status"] == "Succeeded"
    processes = family(online.emulator.serving.pid("brief", "blue") or 0)
    assert online.finished(online.http.delete("/onlineEndpoints/brief"))["status"] == "Succeeded"
    assert gone(processes)
    assert online.http.get("/onlineEndpoints/brief").status_code == 404
    assert not list(online.emulator.serving.folder.glob("deployments/brief/*/*"))


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
    serving = server.emulator.serving
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

    # Perhaps on other ports: addresses are those of now.
    server = Server(Emulator(replace(chosen, router_port=free_port())))
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
