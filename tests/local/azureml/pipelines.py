"""Small pipelines for the tests of jobs: components from YAML as people write them, submitted through the unmodified client."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Component, Job

TERMINAL = {"Completed", "Failed", "Canceled"}
WORKSPACE_ENVIRONMENT = "azureml:plain:1"
# Logs as `mlflow.log_metric` does, without importing it.
LOG_SCORE = """
import json, os, sys, urllib.request
metric = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": "score", "value": float(sys.argv[1]), "timestamp": 1}
url = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric"
urllib.request.urlopen(urllib.request.Request(url, json.dumps(metric).encode(), {"Content-Type": "application/json"}))
"""
"""A script that logs its first argument as `score`."""


def unique(prefix: str) -> str:
    """A job name that no other test of the session uses."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def newest_jobs(client: MLClient, **view: Any) -> list[str]:
    """Names of the newest ten jobs: the SDK takes long over each, and a session has hundreds."""
    return [job.name for job in islice(client.jobs.list(**view), 10)]


def component(
    folder: Path,
    name: str,
    script: str,
    *,
    command: str = "python run.py",
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
) -> Component:
    """A command component as a folder with `component.yaml` and `src/run.py`."""
    from azure.ai.ml import load_component

    place = folder / name
    (place / "src").mkdir(parents=True)
    (place / "src" / "run.py").write_text(script)
    spec = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json",
        "type": "command",
        "name": name,
        "version": "1",
        "inputs": dict(inputs or {}),
        "outputs": dict(outputs or {}),
        "code": "./src",
        "environment": WORKSPACE_ENVIRONMENT,
        "command": command,
    }
    (place / "component.yaml").write_text(yaml.safe_dump(spec))
    return load_component(place / "component.yaml")


def submit(client: MLClient, job: Job, name: str | None = None) -> Job:
    """Submit under a fresh name."""
    job.name = name or unique("job")
    return client.jobs.create_or_update(job)


def until_ended(client: MLClient, name: str, *, seconds: float = 60.0) -> Job:
    """The job once it has ended."""
    with deadline(seconds, f"{name} did not end") as check:
        while True:
            job = client.jobs.get(name)
            if job.status in TERMINAL:
                return job
            check()


@contextmanager
def deadline(seconds: float, message: str) -> Iterator[Any]:
    """Gives a function to be called between two looks: it waits a little, and fails the test when the time is over."""
    end = time.monotonic() + seconds

    def check() -> None:
        assert time.monotonic() < end, message
        time.sleep(0.02)

    yield check
