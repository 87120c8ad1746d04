"""More jobs than there is room for: who waits can be cancelled, and steps that are made of processes hold up nobody for ever."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.azureml.mlflow import MlflowServer
from tests.local.azureml.pipelines import LOG_SCORE, component, submit, until_ended
from tests.waiting import wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

pytestmark = pytest.mark.train_environment

NAMES = "import os\ndef run(mini_batch):\n    return [os.path.basename(file) for file in mini_batch]\n"
ROOMS = 2
"""Steps at once of the emulator, of all jobs together."""


@pytest.fixture(scope="module")
def client(ml_client: MLClient, mlflow_server: MlflowServer) -> MLClient:
    from azure.ai.ml.entities import Environment

    assert mlflow_server.url
    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    return ml_client


def command_of(line: str) -> Any:
    from azure.ai.ml import command

    return command(command=line, environment="azureml:plain:1", experiment_name="crowded")


def test_a_job_that_waits_for_others_is_cancelled_at_once_and_they_go_on(client: MLClient, tmp_path: Path) -> None:
    from azure.ai.ml import dsl

    go = tmp_path / "go"
    busy = [submit(client, command_of(f"until [ -e '{go}' ]; do sleep 0.02; done")).name for _ in range(ROOMS)]
    wait_until(lambda: all(client.jobs.get(name).status == "Running" for name in busy))
    quick = component(tmp_path, "quick", "")

    @dsl.pipeline(default_compute="serverless", experiment_name="crowded")
    def pipeline() -> None:
        for _ in range(3):
            quick()

    for waiting in (submit(client, command_of("true")).name, submit(client, pipeline()).name):
        client.jobs.begin_cancel(waiting).result()
        assert until_ended(client, waiting).status == "Canceled"
        assert {step.status for step in client.jobs.list(parent_job_name=waiting)} <= {"Canceled"}
    assert [client.jobs.get(name).status for name in busy] == ["Running"] * ROOMS, "the rooms were never free"
    go.touch()
    assert {until_ended(client, name).status for name in busy} == {"Completed"}


def test_sweeps_and_parallel_steps_of_two_jobs_come_to_their_ends_in_two_rooms(client: MLClient, tmp_path: Path) -> None:
    """A sweep holds a room while its trials run: needed they rooms of their own, four sweeps would wait for ever."""
    from azure.ai.ml import Input, Output, dsl
    from azure.ai.ml.parallel import RunFunction, parallel_run_function
    from azure.ai.ml.sweep import Choice

    trial = component(tmp_path, "trial", LOG_SCORE, command="python run.py ${{inputs.rate}}", inputs={"rate": {"type": "number"}})
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "entry.py").write_text(NAMES)
    (tmp_path / "data").mkdir()
    for name in "ab":
        (tmp_path / "data" / name).touch()
    names = parallel_run_function(
        name="names", inputs={"data": Input(type="uri_folder")}, outputs={"rows": Output(type="uri_file")},
        input_data="${{inputs.data}}", mini_batch_size="1", max_concurrency_per_instance=2,
        task=RunFunction(
            code=str(tmp_path / "code"), entry_script="entry.py", environment="azureml:plain:1",
            append_row_to="${{outputs.rows}}",
        ),
    )  # fmt: skip

    @dsl.pipeline(default_compute="serverless", experiment_name="crowded", force_rerun=True)
    def pipeline() -> Any:
        for _ in range(ROOMS):
            swept = trial(rate=Choice([0.1, 0.2])).sweep(primary_metric="score", goal="maximize", sampling_algorithm="grid")
            swept.set_limits(max_total_trials=2, max_concurrent_trials=2)
        return {"rows": names(data=Input(type="uri_folder", path=str(tmp_path / "data"))).outputs.rows}

    jobs = [submit(client, pipeline()).name for _ in range(2)]
    for name in jobs:
        assert until_ended(client, name).status == "Completed"
        steps = list(client.jobs.list(parent_job_name=name))
        assert [step.status for step in steps] == ["Completed"] * (ROOMS + 1)
        trials = [trial for step in steps for trial in client.jobs.list(parent_job_name=step.name)]
        assert [trial.status for trial in trials] == ["Completed"] * 2 * ROOMS
        client.jobs.download(name, download_path=tmp_path / name, all=True)
        assert sorted((tmp_path / name / "named-outputs/rows/rows").read_text().split()) == ["a", "b"]
