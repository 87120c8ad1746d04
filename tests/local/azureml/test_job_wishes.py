"""What jobs ask for beside their command: several machines, limits, expressions in variables, nodes that do not run here."""

# Without postponed annotations: the decorator `dsl.pipeline` reads those of the functions here.
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.azureml.emulator import Emulator
from tests.local.azureml.pipelines import submit, until_ended

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

pytestmark = pytest.mark.train_environment


@pytest.fixture(scope="module")
def client(ml_client: "MLClient") -> "MLClient":
    from azure.ai.ml.entities import Environment

    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    return ml_client


def job_of(line: str, **more: Any) -> Any:
    from azure.ai.ml import command

    return command(command=line, environment="azureml:plain:1", experiment_name="wishes", **more)


def refusal(client: "MLClient", job: Any) -> str:
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError) as caught:
        submit(client, job)
    return f"{caught.value.status_code} {caught.value.message}"


@pytest.mark.parametrize(
    "distribution",
    [
        {"type": "pytorch", "process_count_per_instance": 2},
        {"type": "mpi", "process_count_per_instance": 2},
        {"type": "tensorflow", "worker_count": 2},
    ],
    ids=lambda distribution: str(distribution["type"]),
)
def test_a_distributed_job_runs_as_one_process_and_says_so(
    client: "MLClient", emulator: Emulator, distribution: dict[str, Any]
) -> None:
    from azure.ai.ml import ManagedIdentityConfiguration

    job = job_of("echo ran", distribution=distribution, instance_count=3, shm_size="1g", identity=ManagedIdentityConfiguration())
    name = submit(client, job).name
    assert until_ended(client, name).status == "Completed"
    log = emulator.jobs.log_file(emulator.jobs.runs.get(name)).read_text()
    assert log.splitlines().count("ran") == 1
    told = [warning["message"] for warning in emulator.jobs.runs.get(name)["warnings"]]
    assert [word in text for text, word in zip(told, ("one process", "instance_count 3"), strict=True)] == [True, True]
    assert all(f"[emulator] warning: {text}" in log for text in told)


def test_a_command_that_runs_longer_than_its_limit_is_canceled_and_says_why(client: "MLClient", emulator: Emulator) -> None:
    name = submit(client, job_of("sleep 300", timeout=1)).name
    assert until_ended(client, name).status == "Canceled"
    assert "longer than its limit of 0:00:01" in emulator.jobs.runs.get(name)["error"]["error"]["message"]


def test_what_would_change_an_outcome_unseen_is_refused_by_name(client: "MLClient") -> None:
    assert "docker_args" in refusal(client, job_of("echo", docker_args="--env A=1"))
    variables = refusal(client, job_of("echo", inputs={"a": "x"}, environment_variables={"A": "${{inputs.a}}"}))
    assert "expressions in environment_variables" in variables
    assert "Unknown compute target 'none-such'" in refusal(client, job_of("echo", compute="none-such"))


def on_spark() -> None:
    from azure.ai.ml import spark
    from azure.ai.ml.entities import SparkResourceConfiguration

    node = spark(
        code=str(Path(__file__).parent), entry={"file": "pipelines.py"}, driver_cores=1, driver_memory="1g",
        executor_cores=1, executor_memory="1g", executor_instances=1,
    )()  # fmt: skip
    node.resources = SparkResourceConfiguration(instance_type="standard_e4s_v3", runtime_version="3.3")


def automatic() -> None:
    from azure.ai.ml import Input, automl

    training_data = Input(type="mltable", path="azureml://datastores/workspaceblobstore/paths/t/")
    automl.classification(training_data=training_data, target_column_name="y", primary_metric="accuracy")


@pytest.mark.parametrize(("kind", "node"), [("spark", on_spark), ("automl", automatic)])
def test_nodes_that_do_not_run_here_are_refused_by_their_type(client: "MLClient", kind: str, node: Callable[[], None]) -> None:
    from azure.ai.ml import dsl

    @dsl.pipeline(default_compute="serverless", experiment_name="wishes")
    def pipeline() -> None:
        node()

    assert f"is of type '{kind}'" in refusal(client, pipeline())
