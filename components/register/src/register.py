"""Step 5: register the job's model output as the next version, once, with tags that say where it comes from."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from azure.ai.ml import MLClient
from azure.ai.ml.constants import ListViewType
from azure.ai.ml.entities import Model
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from step import StepFailedError, run
from versions import next_version, registered_by

ATTEMPTS = 6
METRICS = ("auc", "average_precision", "log_loss", "calibration_error")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--evaluation", type=Path, required=True, help="output folder of evaluate")
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--data_asset", required=True)
    parser.add_argument("--data_version", required=True)
    parser.add_argument("--cause", default="data")
    parser.add_argument("--git_commit", default="unknown")
    arguments = parser.parse_args()
    job = pipeline_job(os.environ)
    tags = {
        "data_asset": arguments.data_asset,
        "data_version": arguments.data_version,
        "job": job,
        "git_commit": arguments.git_commit,
        "cause": arguments.cause,
        **measured(arguments.evaluation, arguments.data_version),
    }
    version = register(workspace(os.environ), arguments.model_name, job, tags)
    print(f"registered {arguments.model_name}:{version}", flush=True)


def measured(evaluation: Path, data_version: str) -> dict[str, str]:
    """The metrics as tags; StepFailedError when a gate failed or the report is about other data than the job was asked for."""
    report = json.loads((evaluation / "report.json").read_text())
    if report["failed_gates"]:
        raise StepFailedError(f"not registered: {'; '.join(report['failed_gates'])}")
    if report["data_version"] != data_version:
        raise StepFailedError(f"not registered: expected a report on data version {data_version}, found {report['data_version']}")
    return {name: f"{report['metrics'][name]:.6f}" for name in METRICS}


def pipeline_job(environment: Mapping[str, str]) -> str:
    """The name of the pipeline job that this step belongs to."""
    job = environment.get("AZUREML_ROOT_RUN_ID")
    if not job:
        raise StepFailedError("AZUREML_ROOT_RUN_ID is not set: this step registers the output of an Azure ML pipeline job")
    return job


def workspace(environment: Mapping[str, str]) -> MLClient:
    """A client of the workspace that runs this job, with the job's own identity."""
    names = ("AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME")
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise StepFailedError(f"{', '.join(missing)} not set: this step must run in an Azure ML job")
    credential = DefaultAzureCredential(managed_identity_client_id=environment.get("DEFAULT_IDENTITY_CLIENT_ID"))
    return MLClient(credential, *(environment[name] for name in names))


def register(client: MLClient, name: str, job: str, tags: dict[str, str]) -> str:
    """Return the version that belongs to `job`; another job that takes the same number first only costs another attempt."""
    for attempt in range(1, ATTEMPTS + 1):
        taken = existing(client, name)
        mine = registered_by(job, taken.items())
        if mine is not None:
            print(f"{name}:{mine} was registered by this job before")
            return mine
        version = next_version(taken)
        path = f"azureml://jobs/{job}/outputs/model"
        try:
            client.models.create_or_update(Model(name=name, version=version, type="mlflow_model", path=path, tags=tags))
        except HttpResponseError as error:
            conflict = error.status_code in (409, 412)
            if not (conflict or (error.status_code or 500) >= 500) or attempt == ATTEMPTS:
                raise StepFailedError(f"cannot register {name}:{version}: {error.status_code} {error.message}") from error
            print(f"attempt {attempt}: {name}:{version}: HTTP {error.status_code}", flush=True)
            time.sleep(0.2 * 2**attempt)
            continue
        # Models can be updated in place, so a rival that wrote the same number at the same time shows only by its tag.
        if client.models.get(name, version).tags.get("job") == job:
            return version
    raise StepFailedError(f"cannot register {name}: other jobs took {ATTEMPTS} versions first")


def existing(client: MLClient, name: str) -> dict[str, dict[str, str]]:
    """Tags by version, archived versions included: their numbers are taken too."""
    try:
        return {
            str(model.version): dict(model.tags or {}) for model in client.models.list(name=name, list_view_type=ListViewType.ALL)
        }
    except ResourceNotFoundError:
        return {}


if __name__ == "__main__":
    run("register", main)
