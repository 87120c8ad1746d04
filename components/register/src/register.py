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
from azure.ai.ml.exceptions import AssetPathException
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
    parser.add_argument("--cause", default="data", help="what asked for the training; several are joined by commas")
    parser.add_argument("--correlation_id", default="unknown", help="what the trail of this training's data is found by")
    parser.add_argument("--git_commit", default="unknown")
    arguments = parser.parse_args()
    job = pipeline_job(os.environ)
    tags = {
        "data_asset": arguments.data_asset,
        "data_version": arguments.data_version,
        "job": job,
        "git_commit": arguments.git_commit,
        "cause": arguments.cause,
        "correlation_id": arguments.correlation_id,
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
    """Return the version that belongs to `job`; StepFailedError when none can be had.

    Azure ML has no "create only if absent" for models, so two jobs may choose the same number. Azure refuses a second path for a
    version, and each job's path is its own; all the same, a version counts as ours only when it was read back with our tag.
    What remains: a rival that was let through after that reading would take the version's tags, and this job would seem to have
    registered nothing.
    """
    for attempt in range(1, ATTEMPTS + 1):
        taken = existing(client, name)
        mine = registered_by(job, taken.items())
        if mine is not None:
            print(f"{name}:{mine} was registered by this job before")
            return mine
        version = next_version(taken)
        refusal = put(client, name, version, job, tags)
        owner = owner_of(client, name, version)
        if owner == job:
            return version
        why = f"is of the job {owner}" if owner is not None else f"cannot be registered: {refusal or 'it is not there'}"
        if owner is None and refusal is not None and not _may_pass(refusal):
            raise StepFailedError(f"{name}:{version} {why}") from refusal
        print(f"attempt {attempt} of {ATTEMPTS}: {name}:{version} {why}", flush=True)
        time.sleep(0.2 * 2**attempt)
    raise StepFailedError(f"{name} was not registered in {ATTEMPTS} attempts: {name}:{version} {why}")


def put(client: MLClient, name: str, version: str, job: str, tags: dict[str, str]) -> Exception | None:
    """Ask for the version; what Azure said when it refused. It may be there all the same: an answer can get lost."""
    model = Model(name=name, version=version, type="mlflow_model", path=f"azureml://jobs/{job}/outputs/model", tags=tags)
    try:
        client.models.create_or_update(model)
    # The SDK has an exception of its own for "this version has another path", beside the service's.
    except (AssetPathException, HttpResponseError) as error:
        return error
    return None


def _may_pass(refusal: Exception) -> bool:
    """Whether another attempt may succeed: somebody else was writing, or the service failed."""
    status = getattr(refusal, "status_code", None) or 409
    return status in (408, 409, 412, 429) or status >= 500


def owner_of(client: MLClient, name: str, version: str) -> str | None:
    """The job that registered the version ("" when it has no such tag), None when there is no such version."""
    try:
        return str((client.models.get(name, version).tags or {}).get("job", ""))
    except ResourceNotFoundError:
        return None


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
