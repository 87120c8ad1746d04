"""kill -9 of the emulator while everything is under way: the next life says honestly what became of it, and goes on.

Real here: the emulator as a process of its own, its children, Azurite, MLflow's server. The signal is the only fault.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from local.azureml.emulator import Emulator, EmulatorSettings
from local.azureml.mlflow import MlflowServer
from local.azureml.store import Store
from local.certificates import Certificates
from local.processes import Child, free_port
from local.storage.azurite import Azurite
from tests.local.azureml.job_lab import node
from tests.local.azureml.scoring_assets import Workspace, family, gone
from tests.waiting import wait_until

pytestmark = pytest.mark.train_environment

_EMULATOR = """
import json, sys, threading
from pathlib import Path
from local.azureml.emulator import Emulator, EmulatorSettings
from local.azureml.server import Server
settings = json.loads(sys.argv[1])
Server(Emulator(EmulatorSettings(**{**settings, "state": Path(settings["state"])}))).start()
print("ready", flush=True)
threading.Event().wait()
"""
_JOB, _LATER = "cut-off", "afterwards"
_BIG = 60_000_000
"""Bytes of the output whose upload the signal may hit."""


@dataclass
class Lives:
    """One state folder; each `begin` is another process on it."""

    settings: EmulatorSettings
    child: Child | None = None
    family: list[psutil.Process] = field(default_factory=list)

    def begin(self) -> Child:
        shown = ("port", "router_port", "blob_url", "mlflow_url", "identity_header")
        given = {"state": str(self.settings.state), **{name: getattr(self.settings, name) for name in shown}}
        log = self.settings.state / f"life-{free_port()}.log"
        self.child = Child("emulator", [sys.executable, "-c", _EMULATOR, json.dumps(given)], log=log)
        self.child.wait_until(lambda: "ready" in log.read_text())
        return self.child

    def kill(self) -> None:
        assert self.child is not None
        self.family = family(self.child.pid)
        os.kill(self.child.pid, signal.SIGKILL)
        self.child.poll()
        wait_until(lambda: gone(self.family))


@pytest.fixture
def lives(
    tmp_path: Path, certificates: Certificates, azurite: Azurite, mlflow_server: MlflowServer
) -> Iterator[tuple[Lives, Workspace]]:
    shutil.copytree(certificates.bundle.parent, tmp_path / "certificates")
    settings = EmulatorSettings.on_free_ports(tmp_path, azurite.blob_url, mlflow_url=mlflow_server.url)
    lives = Lives(settings)
    lives.begin()
    # The same files seen from here: for the token and the addresses only.
    beside = Emulator(replace(settings))
    workspace = Workspace(beside)
    yield lives, workspace
    workspace.http.close()
    beside.store.close()
    if lives.child is not None:
        lives.child.stop()


def test_after_a_kill_everything_that_was_under_way_is_told_and_everything_else_goes_on(
    lives: tuple[Lives, Workspace], mlflow_server: MlflowServer
) -> None:
    own, workspace = lives
    workspace.make_assets()
    workspace.endpoint("line")
    assert workspace.deploy("line", "blue")["status"] == "Succeeded"
    grandchild, cut_off = _submit_and_wait_until_it_runs(own, workspace)
    operation = _begin_a_deployment(workspace)
    own.kill()
    assert len(own.family) >= 5, "the emulator, its router, a scoring server, its worker, the steps"
    wait_until(lambda: not psutil.pid_exists(grandchild))  # what a step started goes with it
    _leave_what_no_kill_can_be_aimed_at(own.settings.state)

    own.begin()
    steps = _told_as_failed(workspace, cut_off)
    assert workspace.http.get(operation).json()["error"]["code"] == "OperationInterrupted"
    assert workspace.properties("/onlineEndpoints/line/deployments/green")["provisioningState"] == "Failed"
    assert workspace.properties("/computes/half-made")["provisioningState"] == "Failed"
    assert workspace.http.get("/jobs/never-told").status_code == 404
    wait_until(lambda: not _running_in_mlflow(mlflow_server, {cut_off, *steps}))
    _nothing_is_left_lying(own.settings.state)
    wait_until(lambda: workspace.score("line", deployment="blue").status_code == 200)
    assert workspace.score("line", {"x": 4}, deployment="blue").json()["y"] == 8
    assert workspace.deploy("line", "green", version="3")["status"] == "Succeeded"
    _submit(workspace, _LATER, {"s": node(_component(workspace, "later", "echo done"))})
    wait_until(lambda: workspace.properties(f"/jobs/{_LATER}")["status"] == "Completed")


def _submit_and_wait_until_it_runs(own: Lives, workspace: Workspace) -> tuple[int, str]:
    """A pipeline of a step that waits, with a child of its own, and one that has just written a large output; (child, job)."""
    notes = own.settings.state / "notes"
    notes.mkdir()
    waits = f"sleep 600 & echo $! > {notes}/pid; wait"
    writes = f"truncate -s {_BIG} ${{{{outputs.big}}}}/zeros; touch {notes}/written"
    nodes = {
        "waits": node(_component(workspace, "waits", waits)),
        "writes": node(_component(workspace, "writes", writes, outputs={"big": {"type": "uri_folder"}})),
    }
    _submit(workspace, _JOB, nodes)
    wait_until(lambda: (notes / "written").exists() and (notes / "pid").exists() and (notes / "pid").read_text().strip())
    return int((notes / "pid").read_text()), _JOB


def _component(workspace: Workspace, name: str, command: str, **more: Any) -> str:
    environment = f"azureml:{workspace.emulator.workspace_id}/environments/plain/versions/1"
    workspace.put("/environments/plain/versions/1", {"image": "python:3.11"})
    spec = {"type": "command", "command": command, "environment": environment, **more}
    workspace.put(f"/components/{name}/versions/1", {"componentSpec": spec})
    return f"{workspace.emulator.workspace_id}/components/{name}/versions/1"


def _submit(workspace: Workspace, name: str, nodes: dict[str, Any]) -> None:
    workspace.put(f"/jobs/{name}", {"jobType": "Pipeline", "experimentName": "killed", "jobs": nodes})


def _begin_a_deployment(workspace: Workspace) -> str:
    """Green, whose init() takes long; the address of its operation."""
    properties = workspace.deployment(version="3", environmentVariables={"INIT_SECONDS": "100"})
    answer = workspace.ask("/onlineEndpoints/line/deployments/green", properties)
    assert answer.is_success, answer.text
    made = workspace.emulator.folder / "serving/deployments/line/green"
    wait_until(lambda: list(made.glob("*")))
    return answer.headers["azure-asyncoperation"]


def _leave_what_no_kill_can_be_aimed_at(state: Path) -> None:
    """Moments of microseconds, written as a process killed in them leaves them. And the store is whole."""
    with sqlite3.connect(state / "azureml/emulator.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store = Store(state / "azureml/emulator.sqlite")
    store.put("computes", "half-made", "", {"properties": {"computeType": "AmlCompute", "provisioningState": "Creating"}})
    # A schedule's job of which the run is not written yet.
    store.put("jobs", "never-told", "", {"properties": {"jobType": "Pipeline", "jobs": {}}, "submitted": {}})
    store.close()
    (state / "azureml/materials/code/0123456789abcdef.01234567").mkdir(parents=True)


def _told_as_failed(workspace: Workspace, job: str) -> list[str]:
    """The job and its steps have failed, for a reason that says why; the steps' run ids."""
    assert workspace.properties(f"/jobs/{job}")["status"] == "Failed"
    history = f"{workspace.emulator.base_url}/history/v1.0{workspace.emulator.workspace_id}/runs/{job}"
    root = workspace.http.get(history).json()
    steps = workspace.http.get(f"{history}/children").json()["value"]
    assert {step["name"]: step["status"] for step in steps}["waits"] == "Failed"
    assert all(run["status"] in ("Failed", "Completed") for run in steps)
    assert "emulator was stopped" in root["error"]["error"]["message"]
    return [step["runId"] for step in steps]


def _running_in_mlflow(server: MlflowServer, wanted: set[str]) -> set[str]:
    """Of the job's runs those that MLflow takes for running."""
    api = f"{server.url}/api/2.0/mlflow"
    experiment = httpx.get(f"{api}/experiments/get-by-name", params={"experiment_name": "killed"}).json()["experiment"]
    body = {"experiment_ids": [experiment["experiment_id"]], "max_results": 1000}
    runs = httpx.post(f"{api}/runs/search", json=body).json()["runs"]
    tagged = {tag["value"]: run["info"]["status"] for run in runs for tag in run["data"]["tags"] if tag["key"] == "azureml.runId"}
    assert wanted <= set(tagged)
    return {run for run in wanted if tagged[run] == "RUNNING"}


def _nothing_is_left_lying(state: Path) -> None:
    assert not list((state / "azureml/serving/deployments/line/green").glob("*"))
    assert not list((state / "azureml/materials/code").glob("*.*"))
    assert not list((state / f"azureml/jobs/{_JOB}").glob("steps/*/outputs"))
    assert list((state / f"azureml/jobs/{_JOB}").rglob("*.txt")), "logs stay"
