"""Sweeps through the unmodified MLClient: trials that log to a real MLflow server, the best of them, early ends, pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from local.azureml.emulator import Emulator
from local.azureml.mlflow import MlflowServer
from tests.local.azureml.pipelines import component, submit, unique, until_ended
from tests.waiting import wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Job

pytestmark = pytest.mark.train_environment

# Logs as `mlflow.log_metric` does, without importing it: seconds for every trial.
TRIAL = """
import json, os, pathlib, sys, time, urllib.request

def log(value, step):
    now = int(time.time() * 1000)
    metric = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": "score", "value": value, "step": step, "timestamp": now}
    url = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric"
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(metric).encode(), {"Content-Type": "application/json"}))

rate, mode, out = float(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
(out / "model.txt").write_text(f"rate {rate}")
if mode == "silent":
    sys.exit()
for step in range(2):
    log(1 - abs(rate - 0.5) - 0.01 * step, step)
while mode == "slow" and rate < 0.5:
    time.sleep(0.05)
if rate > 2:
    sys.exit("this rate is too large")
"""


@pytest.fixture(scope="module")
def client(ml_client: MLClient, mlflow_server: MlflowServer) -> MLClient:
    from azure.ai.ml.entities import Environment

    assert mlflow_server.url
    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    return ml_client


def sweep(folder: Path, rates: list[float], *, mode: str = "plain", sampling: Any = "grid", **more: Any) -> Job:
    """A sweep over the rates, as people write it in Python."""
    from azure.ai.ml import Output, command
    from azure.ai.ml.sweep import Choice

    (folder / "src").mkdir(exist_ok=True)
    (folder / "src" / "run.py").write_text(TRIAL)
    job = command(
        code=str(folder / "src"),
        command="python run.py ${{inputs.rate}} ${{inputs.mode}} ${{outputs.model}}",
        environment="azureml:plain:1",
        inputs={"rate": 0.1, "mode": mode},
        outputs={"model": Output(type="uri_folder")},
        compute="serverless",
    )
    limits = {"max_total_trials": 10, "max_concurrent_trials": 1, **more.pop("limits", {})}
    made: Job = job(rate=Choice(rates)).sweep(
        primary_metric="score", goal="Maximize", sampling_algorithm=sampling, **limits, **more
    )
    made.experiment_name = "sweeps"
    return made


def test_a_sweep_tries_every_rate_and_its_best_trial_is_what_is_downloaded(
    client: MLClient, tmp_path: Path, mlflow_server: MlflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    name = submit(client, sweep(tmp_path, [0.1, 0.4, 3.0], limits={"max_concurrent_trials": 3}), unique("sweep")).name
    client.jobs.stream(name)
    assert "the best trial is" in capsys.readouterr().out
    job = client.jobs.get(name)
    assert job.status == "Completed"
    assert (job.type, job.objective.primary_metric, job.search_space["rate"].values) == ("sweep", "score", [0.1, 0.4, 3.0])
    assert job.properties["best_child_run_id"] == f"{name}_1"
    assert float(job.properties["score"]) == pytest.approx(0.9), "the best that it logged, not the last"
    assert job.properties["space_size"] == "3"

    trials = {trial.name: trial for trial in client.jobs.list(parent_job_name=name)}
    assert {key: trial.status for key, trial in trials.items()} == {
        f"{name}_0": "Completed", f"{name}_1": "Completed", f"{name}_2": "Failed",
    }  # fmt: skip
    assert client.jobs.get(f"{name}_1").tags["hyperparameters"] == '{"rate":0.4}'
    client.jobs.download(name, download_path=tmp_path / "best", all=True)
    assert (tmp_path / "best/named-outputs/model/model.txt").read_text() == "rate 0.4"
    assert (tmp_path / "best/artifacts/user_logs/std_log.txt").exists(), "the best trial's log"
    assert "trial 2 ended: Failed" in (tmp_path / "best/hd-artifacts/azureml-logs/hyperdrive.txt").read_text()
    client.jobs.download(f"{name}_0", download_path=tmp_path / "other", output_name="model")
    assert (tmp_path / "other/named-outputs/model/model.txt").read_text() == "rate 0.1"
    assert tracked_parents(mlflow_server)[f"{name}_1"] == name


def tracked_parents(server: MlflowServer) -> dict[str, str]:
    """In MLflow, by the run ids that Azure ML knows: child -> parent."""
    api = f"{server.url}/api/2.0/mlflow"
    found = httpx.get(f"{api}/experiments/get-by-name", params={"experiment_name": "sweeps"}).json()["experiment"]
    runs = httpx.post(f"{api}/runs/search", json={"experiment_ids": [found["experiment_id"]]}).json()["runs"]
    tags = {run["info"]["run_id"]: {tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in runs}
    ids = {run_id: tag["azureml.runId"] for run_id, tag in tags.items()}
    return {ids[run]: ids[tag["mlflow.parentRunId"]] for run, tag in tags.items() if "mlflow.parentRunId" in tag}


def test_a_trial_that_falls_behind_is_ended(client: MLClient, tmp_path: Path) -> None:
    from azure.ai.ml.sweep import BanditPolicy

    policy = BanditPolicy(slack_factor=0.1, evaluation_interval=1)
    job = sweep(tmp_path, [0.6, 0.1], mode="slow", early_termination_policy=policy)
    job.limits.trial_timeout = 600
    name = submit(client, job, unique("behind")).name
    job = until_ended(client, name)
    assert job.status == "Completed"
    assert job.limits.trial_timeout == 600
    assert job.early_termination == policy
    assert job.properties["best_child_run_id"] == f"{name}_0"
    trials = {trial.name: trial.status for trial in client.jobs.list(parent_job_name=name)}
    assert trials == {f"{name}_0": "Completed", f"{name}_1": "Canceled"}
    client.jobs.download(name, download_path=tmp_path / name)
    assert "early termination policy" in (tmp_path / name / "hd-artifacts/azureml-logs/hyperdrive.txt").read_text()


def test_a_sweep_whose_trials_log_no_metric_fails_and_says_so(client: MLClient, tmp_path: Path, emulator: Emulator) -> None:
    from azure.ai.ml.sweep import RandomSamplingAlgorithm

    sampling = RandomSamplingAlgorithm(seed=2, rule="sobol", logbase="e")
    name = submit(client, sweep(tmp_path, [0.1], mode="silent", sampling=sampling), unique("silent")).name
    job = until_ended(client, name)
    assert job.status == "Failed"
    assert (job.sampling_algorithm.seed, str(job.sampling_algorithm.rule).lower()) == (2, "sobol")
    assert (
        "None of the 1 completed trials logged the primary metric 'score'"
        in emulator.jobs.runs.get(name)["error"]["error"]["message"]
    )
    assert "best_child_run_id" not in client.jobs.get(name).properties


def test_a_cancelled_sweep_cancels_its_trials_and_begins_no_more(client: MLClient, tmp_path: Path) -> None:
    name = submit(client, sweep(tmp_path, [0.1, 0.2, 0.3], mode="slow"), unique("cancel")).name
    wait_until(lambda: [trial.status for trial in client.jobs.list(parent_job_name=name)] == ["Running"], what="a trial")
    client.jobs.begin_cancel(name)
    assert until_ended(client, name).status == "Canceled"
    assert [trial.status for trial in client.jobs.list(parent_job_name=name)] == ["Canceled"]


def tuning(folder: Path, mode: str, search_space: dict[str, Any], sampling: Any, limits: dict[str, Any]) -> Job:
    """A pipeline from YAML: a sweep, and a step that copies what its best trial wrote."""
    from azure.ai.ml import load_job

    (folder / "raw.txt").write_text("raw")
    component(
        folder, "trial", TRIAL,
        command=f"python run.py ${{{{inputs.rate}}}} {mode} ${{{{outputs.model}}}}",
        inputs={"rate": {"type": "number"}, "data": {"type": "uri_file"}},
        outputs={"model": {"type": "uri_folder"}},
    )  # fmt: skip
    component(
        folder, "copy", "import shutil, sys\nshutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)",
        command="python run.py ${{inputs.model}} ${{outputs.copy}}",
        inputs={"model": {"type": "uri_folder"}}, outputs={"copy": {"type": "uri_folder"}},
    )  # fmt: skip
    pipeline = {
        "type": "pipeline", "experiment_name": "sweeps", "settings": {"default_compute": "azureml:serverless"},
        "inputs": {"data": {"type": "uri_file", "path": "./raw.txt"}}, "outputs": {"copy": {"type": "uri_folder"}},
        "jobs": {
            "tune": {
                "type": "sweep", "trial": "./trial/component.yaml", "inputs": {"data": "${{parent.inputs.data}}"},
                "search_space": {"rate": search_space}, "sampling_algorithm": sampling, "limits": limits,
                "objective": {"goal": "maximize", "primary_metric": "score"},
            },
            "copy": {
                "type": "command", "component": "./copy/component.yaml",
                "inputs": {"model": "${{parent.jobs.tune.outputs.model}}"}, "outputs": {"copy": "${{parent.outputs.copy}}"},
            },
        },
    }  # fmt: skip
    (folder / "pipeline.yml").write_text(yaml.safe_dump(pipeline))
    job: Job = load_job(folder / "pipeline.yml")
    return job


def test_a_sweep_in_a_pipeline_hands_its_best_output_on(client: MLClient, tmp_path: Path) -> None:
    space = {"type": "uniform", "min_value": 0.4, "max_value": 0.6}
    limits = {"max_total_trials": 2, "max_concurrent_trials": 2, "timeout": 60}
    name = submit(client, tuning(tmp_path, "plain", space, {"type": "random", "seed": 3}, limits)).name
    assert until_ended(client, name).status == "Completed"
    steps = {step.display_name: step for step in client.jobs.list(parent_job_name=name)}
    assert set(steps) == {"tune", "copy"}
    tune = client.jobs.get(steps["tune"].name)
    trials = list(client.jobs.list(parent_job_name=tune.name))
    assert [trial.status for trial in trials] == ["Completed", "Completed"]
    best = next(trial for trial in trials if trial.name == tune.properties["best_child_run_id"])
    rate = client.jobs.get(best.name).tags["hyperparameters"].removeprefix('{"rate":').removesuffix("}")
    client.jobs.download(name, download_path=tmp_path / "out", output_name="copy")
    assert (tmp_path / "out/named-outputs/copy/model.txt").read_text() == f"rate {rate}"
