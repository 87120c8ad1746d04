"""The whole training pipeline in the emulator, on a month of real flights, against one plain script that does the same work.

The pipeline is components/pipelines/train.yml, submitted through the SDK, from its start to its end by the emulator's record:
five processes, data carried between them through Azurite, the registration. The script is plain_training.py, one process that
imports everything once, from its start to its exit. Both log to the same MLflow server. The first pipeline finds nothing
warmed: it is told apart and not part of the ratio.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import uuid
from pathlib import Path

import httpx

from benchmarks.laboratory import ROOT, emulator, job_seconds, ml_client
from benchmarks.measure import Comparison, seconds, spread
from examples.flights import flights_file
from local.azureml.emulator import Emulator
from local.azureml.execution.environments import default_interpreter

GOAL = 1.25
ROUNDS = 5
MONTH = 1
CONTAINER = "bench"


def run() -> list[Comparison]:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name, emulator(Path(name) / "state") as running:
        folder = Path(name)
        file = folder / f"flights-2013-{MONTH:02d}.csv"
        file.write_bytes(flights_file(MONTH))
        version = register_data(running, file)
        first, script_first = pipeline(running, version), script(running, file, folder)
        ours, theirs = list[float](), list[float]()
        for _ in range(ROUNDS):
            ours.append(pipeline(running, version))
            theirs.append(script(running, file, folder))
    ratio = statistics.median(ours) / statistics.median(theirs)
    note = f"{spread(ours, digits=2)}; the first run, nothing warmed: {first:.2f} s"
    beside = f"one script: {spread(theirs, digits=2)}; the first: {script_first:.2f} s"
    return [Comparison("the training pipeline", ratio, GOAL, "at most", "x", note, beside)]


def register_data(running: Emulator, file: Path) -> str:
    """Upload the file, register a data version of it as the app does; its version."""
    from azure.ai.ml.entities import Data

    from ml_core.ingestion.manifest import version_folder
    from ml_core.naming import data_version
    from ml_core.ports import Blob

    running.storage.create_container(CONTAINER)
    running.storage.write(CONTAINER, file.name, file.read_bytes())
    found = running.storage.container(CONTAINER).get_blob_client(file.name).get_blob_properties()
    url = f"{running.storage.container_url(CONTAINER)}/{file.name}"
    blob = Blob(url, file.name, found.etag.strip('"'), found.size, found.last_modified)
    folder = file.parent / "version"
    folder.mkdir()
    version = data_version([(blob.url, blob.etag, blob.size)])
    for name, text in version_folder("flights", version, [blob]).items():
        (folder / name).write_text(text)
    asset = Data(
        name="flights", version=version, type="mltable", path=str(folder), skip_validation=True, mltable_schema_url="http://["
    )
    ml_client().data.create_or_update(asset)
    return version


def pipeline(running: Emulator, version: str) -> float:
    """Submit, wait; seconds from the job's start to its end."""
    from azure.ai.ml import load_job

    name = f"train-{uuid.uuid4().hex[:8]}"
    changes = {"name": name, "inputs.data.path": f"azureml:flights:{version}", "inputs.data_version": version}
    changes["inputs.data_account_url"] = running.settings.blob_url
    changes["settings.force_rerun"] = "true"  # otherwise the steps of the first would be reused
    job = load_job(ROOT / "components/pipelines/train.yml", params_override=[{key: value} for key, value in changes.items()])
    ml_client().jobs.create_or_update(job)
    return job_seconds(running, name)


def script(running: Emulator, file: Path, folder: Path) -> float:
    """Seconds of the plain script, the whole process."""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": running.settings.mlflow_url,
        "MLFLOW_RUN_ID": new_run(running.settings.mlflow_url),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    out = folder / f"plain-{uuid.uuid4().hex[:8]}"
    command = [str(default_interpreter()), str(ROOT / "benchmarks/plain_training.py"), str(file)]
    command += ["--target", "late", "--positive", "yes", "--out", str(out)]
    with (folder / "script.log").open("w") as log:
        return seconds(lambda: subprocess.run(command, env=environment, stdout=log, stderr=log, check=True))


def new_run(mlflow_url: str) -> str:
    """A run of the default experiment, as a job finds one when it starts."""
    answer = httpx.post(f"{mlflow_url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"})
    answer.raise_for_status()
    return str(answer.json()["run"]["info"]["run_id"])
