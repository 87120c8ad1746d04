"""The register step through the unmodified SDK against the emulator of Azure ML's REST API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import jobs

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

pytestmark = pytest.mark.train_environment


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    metrics = {"auc": 0.81, "average_precision": 0.5, "log_loss": 0.4, "calibration_error": 0.02, "brier": 0.1}
    report = {"model": "churn", "data_version": "v1", "rows": 100, "metrics": metrics, "failed_gates": []}
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def variables(env: dict[str, str], job: str) -> dict[str, str]:
    """The environment of a step of `job`."""
    return {
        "AZUREML_ROOT_RUN_ID": job,
        "AZUREML_ARM_SUBSCRIPTION": env["TIDEGATE_SUBSCRIPTION_ID"],
        "AZUREML_ARM_RESOURCEGROUP": env["TIDEGATE_RESOURCE_GROUP"],
        "AZUREML_ARM_WORKSPACE_NAME": env["TIDEGATE_WORKSPACE"],
    }


def register(folder: Path, evaluation: Path, env: dict[str, str], job: str, **changed: str) -> jobs.Done:
    values = {
        "evaluation": evaluation,
        "model_name": "churn",
        "data_asset": "customers",
        "data_version": "v1",
        "git_commit": "abc123",
        "correlation_id": "customers-20260301T120000Z-0a1b2c",
    }
    return jobs.run("register", values | changed, folder, env={**env, **variables(env, job)})


def test_a_job_registers_one_version_however_often_it_runs(
    tmp_path: Path, evaluation: Path, azure_environment: dict[str, str], ml_client: MLClient
) -> None:
    for job, expected in (("train-churn-a", "1"), ("train-churn-a", "1"), ("train-churn-b", "2")):
        done = register(tmp_path, evaluation, azure_environment, job)
        assert done.returncode == 0, done.stdout
        assert f"registered churn:{expected}\n" in done.stdout
    assert sorted(model.version for model in ml_client.models.list(name="churn")) == ["1", "2"]
    model = ml_client.models.get("churn", "2")
    assert model.type == "mlflow_model"
    assert model.path.endswith("azureml://jobs/train-churn-b/outputs/model")
    expected = {"data_asset": "customers", "data_version": "v1", "job": "train-churn-b", "git_commit": "abc123", "cause": "data"}
    assert dict(model.tags) == expected | {
        "correlation_id": "customers-20260301T120000Z-0a1b2c",
        "auc": "0.810000",
        "average_precision": "0.500000",
        "log_loss": "0.400000",
        "calibration_error": "0.020000",
    }


RACE = """
import os, sys
import register
from azure.ai.ml.entities import Model
name, moment, path = sys.argv[1:]
client = register.workspace(os.environ)
ordinary = getattr(register, moment)
def with_a_rival(*arguments):
    setattr(register, moment, ordinary)
    client.models.create_or_update(Model(name=name, version="1", type="mlflow_model", path=path, tags={"job": "rival"}))
    return ordinary(*arguments)
setattr(register, moment, with_a_rival)
print(register.register(client, name, "train-mine", {"job": "train-mine"}))
"""


@pytest.mark.parametrize(
    ("moment", "path"),
    [
        ("put", "azureml://jobs/rival/outputs/model"),  # between our look and our writing: Azure refuses ours
        ("owner_of", "azureml://jobs/train-mine/outputs/model"),  # over what we wrote
    ],
)
def test_a_rival_that_takes_the_same_number_leaves_us_the_next(
    moment: str, path: str, azure_environment: dict[str, str], ml_client: MLClient
) -> None:
    name = f"raced-{moment.replace('_', '-')}"
    env = {**azure_environment, **variables(azure_environment, "train-mine")}
    told = jobs.script(RACE, name, moment, path, env=env).splitlines()
    assert told[-1] == "2"
    assert f"attempt 1 of 6: {name}:1 is of the job rival" in told
    assert {model.version: model.tags["job"] for model in ml_client.models.list(name=name)} == {"1": "rival", "2": "train-mine"}


def test_a_refusal_for_good_is_told_at_once(azure_environment: dict[str, str]) -> None:
    env = {**azure_environment, **variables(azure_environment, "train-mine")}
    refused = 'import os, register; register.register(register.workspace(os.environ), "_name", "train-mine", {"job": "x"})'
    with pytest.raises(AssertionError, match="StepFailedError: _name:1 cannot be registered") as told:
        jobs.script(refused, env=env)
    assert "attempt 1" not in str(told.value)


def test_a_report_on_other_data_is_not_registered(tmp_path: Path, evaluation: Path, azure_environment: dict[str, str]) -> None:
    done = register(tmp_path, evaluation, azure_environment, "train-churn-c", data_version="v2")
    assert done.returncode == 1
    assert "expected a report on data version v2, found v1" in jobs.last_line(done)


def test_outside_of_a_job_it_says_what_is_missing(tmp_path: Path, evaluation: Path, azure_environment: dict[str, str]) -> None:
    done = register(tmp_path, evaluation, azure_environment, "")
    assert done.returncode == 1
    assert "AZUREML_ROOT_RUN_ID is not set" in jobs.last_line(done)
