"""The real mlflow server and the runs that jobs get in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.azureml.mlflow import MlflowServer
from local.certificates import Certificates
from local.storage.azurite import Azurite
from tests.local.azureml.job_lab import Lab, node
from tests.local.azureml.pipelines import unique

pytestmark = pytest.mark.train_environment

TRACK = """
import mlflow, os, pathlib
with mlflow.start_run() as run:
    mlflow.log_metric("auc", 0.75)
    pathlib.Path("note.txt").write_text("kept")
    mlflow.log_artifact("note.txt")
print("RUN", run.info.run_id)
"""


@pytest.fixture(scope="module")
def server(mlflow_server: MlflowServer) -> MlflowServer:
    return mlflow_server


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory, state: Path, certificates: Certificates, azurite: Azurite, server: MlflowServer
) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"), state / "certificates", azurite.blob_url, mlflow_url=server.url, serve=True)
    yield lab
    lab.close()


def runs_of(server: MlflowServer, job: str) -> dict[str, dict[str, Any]]:
    """MLflow's runs of a job and its steps, by the run id that Azure ML knows."""
    api = f"{server.url}/api/2.0/mlflow"
    experiment = httpx.get(f"{api}/experiments/get-by-name", params={"experiment_name": "lab"}).json()["experiment"][
        "experiment_id"
    ]
    found = httpx.post(f"{api}/runs/search", json={"experiment_ids": [experiment], "max_results": 1000}).json()["runs"]
    tagged = {tag["value"]: run for run in found for tag in run["data"]["tags"] if tag["key"] == "azureml.runId"}
    assert job in tagged
    return tagged


def test_a_step_that_starts_a_run_continues_its_own_below_the_jobs_run(lab: Lab, server: MlflowServer) -> None:
    job = unique("tracked")
    track = lab.component("track", TRACK)
    # Twice: the second step is forked from a parent that has imported mlflow already.
    nodes = {"first": node(track), "second": node(track)}
    run = lab.run(job, lab.pipeline(nodes))
    assert run["status"] == "Completed", run["error"]
    runs = runs_of(server, job)
    root = runs[job]
    for name, step in lab.steps(job).items():
        mine = runs[step["runId"]]
        assert f"RUN {mine['info']['run_id']}" in lab.log(job, name)
        assert {"key": "mlflow.parentRunId", "value": root["info"]["run_id"]} in mine["data"]["tags"]
        assert [(metric["key"], metric["value"]) for metric in mine["data"]["metrics"]] == [("auc", 0.75)]
        assert mine["info"]["status"] == "FINISHED"
        assert (
            httpx.get(f"{server.url}/get-artifact", params={"path": "note.txt", "run_id": mine["info"]["run_id"]}).text == "kept"
        )
    assert root["info"]["status"] == "FINISHED"


def test_a_failed_step_fails_its_mlflow_run(lab: Lab, server: MlflowServer) -> None:
    job = unique("tracked-failed")
    lab.run(job, lab.pipeline({"s": node(lab.component("fails", "raise SystemExit(1)"))}))
    runs = runs_of(server, job)
    assert {runs[run_id]["info"]["status"] for run_id in (job, lab.steps(job)["s"]["runId"])} == {"FAILED"}


def test_a_job_runs_without_a_tracking_server_and_its_log_says_so(
    tmp_path: Path, state: Path, certificates: Certificates, azurite: Azurite
) -> None:
    lab = Lab(tmp_path / "state", state / "certificates", azurite.blob_url)
    job = unique("untracked")
    run = lab.run(job, lab.pipeline({"s": node(lab.component("plain", "print('done')"))}))
    assert run["status"] == "Completed"
    assert "no MLflow run: The mlflow server at" in lab.log(job, "s")
    lab.close()
