"""Jobs through the unmodified MLClient: every operation that people use, from component YAML to downloaded outputs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from local.azureml.emulator import Emulator
from tests.local.azureml.pipelines import component, deadline, newest_jobs, submit, unique, until_ended

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

pytestmark = pytest.mark.train_environment

PREPARE = """
import pathlib, sys
source, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
print("preparing", source.name)
(target / "clean.txt").write_text(source.read_text().upper())
"""
TRAIN = """
import pathlib, sys
data, model, rate = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), float(sys.argv[3])
(model / "model.txt").write_text(f"{(data / 'clean.txt').read_text()} at {rate}")
"""


@pytest.fixture(scope="module")
def client(ml_client: MLClient) -> MLClient:
    from azure.ai.ml.entities import Environment

    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    return ml_client


@pytest.fixture
def two_steps(tmp_path: Path) -> Any:
    """A pipeline from YAML files, as `az ml job create` would take it."""
    from azure.ai.ml import load_job

    component(
        tmp_path, "prepare", PREPARE,
        command="python run.py ${{inputs.raw}} ${{outputs.clean}}",
        inputs={"raw": {"type": "uri_file"}},
        outputs={"clean": {"type": "uri_folder"}},
    )  # fmt: skip
    component(
        tmp_path, "train", TRAIN,
        command="python run.py ${{inputs.data}} ${{outputs.model}} ${{inputs.rate}}",
        inputs={"data": {"type": "uri_folder"}, "rate": {"type": "number"}},
        outputs={"model": {"type": "custom_model"}},
    )  # fmt: skip
    (tmp_path / "raw.csv").write_text("rows")
    job = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json",
        "type": "pipeline",
        "experiment_name": "sdk",
        "display_name": "two steps",
        "settings": {"default_compute": "azureml:serverless"},
        "tags": {"model": "churn"},
        "inputs": {"raw": {"type": "uri_file", "path": "./raw.csv"}, "rate": 0.5},
        "outputs": {"model": {"type": "custom_model"}},
        "jobs": {
            "prepare": {
                "type": "command",
                "component": "./prepare/component.yaml",
                "inputs": {"raw": "${{parent.inputs.raw}}"},
            },
            "train": {
                "type": "command",
                "component": "./train/component.yaml",
                "inputs": {"data": "${{parent.jobs.prepare.outputs.clean}}", "rate": "${{parent.inputs.rate}}"},
                "outputs": {"model": "${{parent.outputs.model}}"},
            },
        },
    }
    (tmp_path / "pipeline.yml").write_text(yaml.safe_dump(job))
    return load_job(tmp_path / "pipeline.yml")


def sleeper(folder: Path) -> Any:
    """A pipeline of one step that says something and sleeps until it is ended or the file `go` appears in its folder."""
    from azure.ai.ml import dsl

    wait = component(
        folder, "wait",
        "import pathlib, sys, time\nprint('waiting')\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)\n",
        command="python run.py ${{inputs.sign}}",
        inputs={"sign": {"type": "string"}},
    )  # fmt: skip

    @dsl.pipeline(default_compute="serverless", experiment_name="sdk")
    def pipeline() -> None:
        wait(sign=str(folder / "go"))

    return pipeline()


def test_a_pipeline_from_yaml_runs_and_everything_about_it_can_be_read(
    client: MLClient, two_steps: Any, tmp_path: Path, emulator: Emulator
) -> None:
    name = submit(client, two_steps).name
    job = until_ended(client, name)
    assert job.status == "Completed", emulator.store.get("runs", name)
    assert job.experiment_name == "sdk"
    assert job.tags == {"model": "churn"}
    assert name in newest_jobs(client)

    steps = {step.display_name: step for step in client.jobs.list(parent_job_name=name)}
    assert {label: step.status for label, step in steps.items()} == {"prepare": "Completed", "train": "Completed"}
    assert client.jobs.get(steps["train"].name).properties["azureml.moduleName"] == "train"

    client.jobs.download(name, download_path=tmp_path / "all", all=True)
    assert (tmp_path / "all/named-outputs/model/model.txt").read_text() == "ROWS at 0.5"
    assert "step train ended: Completed" in (tmp_path / "all/artifacts/logs/azureml/executionlogs.txt").read_text()
    client.jobs.download(name, download_path=tmp_path / "one", output_name="model")
    assert (tmp_path / "one/named-outputs/model/model.txt").exists()
    client.jobs.download(steps["prepare"].name, download_path=tmp_path / "step", all=True)
    assert "preparing raw.csv" in (tmp_path / "step/artifacts/user_logs/std_log.txt").read_text()


def test_tags_can_be_changed_and_a_job_archived_and_restored(client: MLClient, two_steps: Any) -> None:
    name = submit(client, two_steps).name
    until_ended(client, name)
    job = client.jobs.get(name)
    job.tags["reviewed"] = "yes"
    client.jobs.create_or_update(job)
    assert client.jobs.get(name).tags == {"model": "churn", "reviewed": "yes"}
    client.jobs.archive(name)
    assert name not in newest_jobs(client)
    assert name in newest_jobs(client, list_view_type="ArchivedOnly")
    client.jobs.restore(name)
    assert name in newest_jobs(client)


def test_the_same_pipeline_under_the_same_name_is_one_job(client: MLClient, two_steps: Any) -> None:
    name = submit(client, two_steps, unique("named")).name
    assert client.jobs.create_or_update(two_steps).name == name
    until_ended(client, name)
    assert len(list(client.jobs.list(parent_job_name=name))) == 2


def test_stream_prints_the_jobs_log(client: MLClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = submit(client, sleeper(tmp_path)).name
    with deadline(60, "the step did not start") as check:
        while client.jobs.get(name).status != "Running":
            check()
    (tmp_path / "go").touch()
    client.jobs.stream(name)
    printed = capsys.readouterr().out
    assert f"RunId: {name}" in printed
    assert "Execution Summary" in printed


class Listener(io.StringIO):
    """A standard output that makes a file when it has heard a word."""

    def __init__(self, word: str, sign: Path) -> None:
        super().__init__()
        self._word, self._sign = word, sign

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._word in self.getvalue():
            self._sign.touch()
        return written


def test_stream_prints_what_a_command_says_while_it_runs(
    client: MLClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends when the stream has printed its word: printed only afterwards, it would run into its limit."""
    from azure.ai.ml import command
    from azure.ai.ml.entities import CommandJobLimits

    job = command(
        command=f"echo hello from bash; until [ -e '{tmp_path / 'heard'}' ]; do sleep 0.02; done",
        environment="azureml:plain:1",
        experiment_name="sdk",
    )
    job.limits = CommandJobLimits(timeout=60)
    name = submit(client, job).name
    monkeypatch.setattr("sys.stdout", Listener("hello from bash", tmp_path / "heard"))
    client.jobs.stream(name)
    assert client.jobs.get(name).status == "Completed"


def test_stream_of_a_failed_job_raises_with_the_steps_last_words(client: MLClient, tmp_path: Path) -> None:
    from azure.ai.ml import dsl
    from azure.ai.ml.exceptions import JobException

    broken = component(tmp_path, "broken", "raise ValueError('column age is missing')")

    @dsl.pipeline(default_compute="serverless", experiment_name="sdk")
    def pipeline() -> None:
        broken()

    name = submit(client, pipeline()).name
    assert until_ended(client, name).status == "Failed"
    with pytest.raises(JobException, match="column age is missing"):
        client.jobs.stream(name)


def test_cancel_through_the_sdk(client: MLClient, tmp_path: Path) -> None:
    name = submit(client, sleeper(tmp_path)).name
    with deadline(60, "the step did not start") as check:
        while client.jobs.get(name).status != "Running":
            check()
    client.jobs.begin_cancel(name).result()
    assert until_ended(client, name).status == "Canceled"


def test_what_the_server_refuses_reaches_the_caller(client: MLClient, two_steps: Any) -> None:
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    with pytest.raises(ResourceNotFoundError):
        client.jobs.get("no-such-job")
    name = submit(client, two_steps, unique("fixed")).name
    until_ended(client, name)
    two_steps.settings.continue_on_step_failure = True
    with pytest.raises(HttpResponseError, match="definition cannot be changed"):
        client.jobs.create_or_update(two_steps)


def test_a_log_can_only_be_read_with_its_signature(client: MLClient, two_steps: Any, stranger: Any) -> None:
    name = submit(client, two_steps).name
    until_ended(client, name)
    details = client.jobs._runs_operations.get_run_details(name)
    url = details.log_files["logs/azureml/executionlogs.txt"]
    assert "ended: Completed" in stranger.get(url).text
    assert stranger.get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 403
    assert stranger.get(url.partition("?")[0]).status_code == 403
