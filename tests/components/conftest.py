"""The training pipeline's steps, run for real in the training environment.

Real here: the components' own command lines, code folders and environment, Azurite over TLS with tokens, MLflow (sqlite).
Not real: Azure ML's job runner, whose part `jobs.run` plays.
"""

from __future__ import annotations

import csv
import io
import json
import random
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.storage.azurite import Azurite
from ml_core import naming

from . import jobs

# The pure modules are imported as the steps import them: by their plain names.
sys.path[:0] = [str(folder) for folder in jobs.FOLDERS]


def customers(rows: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """Made-up customers: every kind of column, nulls, a rare level, an id that comes more than once, and a signal to find."""
    draw = random.Random(seed)
    found = []
    for row in range(rows):
        tenure, plan = draw.randint(0, 72), draw.choice(["basic", "plus", "gold"])
        risk = 0.9 - tenure / 80 + (0.2 if plan == "basic" else 0.0)
        found.append(
            {
                "customer": f"c{row // 2:05d}",
                "tenure": tenure,
                "charge": "" if draw.random() < 0.1 else f"{draw.uniform(10, 99):.2f}",
                "plan": "rare" if row == 7 else "" if draw.random() < 0.05 else plan,
                "paperless": draw.choice(["true", "false"]),
                "joined_at": f"2024-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d} {draw.randint(0, 23):02d}:30:00",
                "country": "DE",
                "remark": f"note {row} {draw.random()}",
                "churn": "Yes" if draw.random() < risk else "No",
            }
        )
    return found


def to_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


@dataclass(frozen=True)
class Lake:
    """A container of the test's own in Azurite."""

    client: Any
    url: str

    def put(self, name: str, content: bytes) -> dict[str, Any]:
        """Upload a blob; return its entry of a manifest."""
        blob = self.client.get_blob_client(name)
        etag = blob.upload_blob(content, overwrite=True)["etag"]
        return {"url": blob.url, "etag": str(etag).strip('"'), "size": len(content)}


@pytest.fixture
def lake(azurite: Azurite, azure_environment: dict[str, str]) -> Lake:
    return _lake(azurite)


def _lake(azurite: Azurite) -> Lake:
    from azure.identity import DefaultAzureCredential
    from azure.storage.blob import ContainerClient

    client = ContainerClient(azurite.blob_url, f"lake-{uuid.uuid4().hex[:8]}", credential=DefaultAzureCredential())
    client.create_container()
    return Lake(client, client.url)


def named(entries: Sequence[Mapping[str, Any]]) -> str:
    """The name of the data version that these entries of a manifest make."""
    return naming.data_version((entry["url"], entry["etag"], entry["size"]) for entry in entries)


def data_version(folder: Path, entries: Sequence[Mapping[str, Any]], version: str = "") -> Path:
    """Write a data version's folder, as the app does; `version` is what the manifest says of itself when that is not its name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MLTable").write_text("type: mltable\npaths:\n" + "".join(f"  - file: {entry['url']}\n" for entry in entries))
    manifest = {"data_asset": "customers", "version": version or named(entries), "blobs": list(entries)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


NEW_RUN = """
import sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
print(client.create_run(client.create_experiment("steps", artifact_location=sys.argv[2])).info.run_id)
"""


@pytest.fixture(scope="session")
def mlflow_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """MLFLOW_TRACKING_URI and MLFLOW_RUN_ID of a fresh run, as a job has them."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    run_id = jobs.script(NEW_RUN, uri, folder / "artifacts").split()[-1]
    return {"MLFLOW_TRACKING_URI": uri, "MLFLOW_RUN_ID": run_id}


@dataclass(frozen=True)
class Pipeline:
    """The outputs of validate, prepare, train and evaluate on made-up customers; `rows` are what was uploaded."""

    folder: Path
    rows: list[dict[str, Any]]
    logs: dict[str, str]
    values: dict[str, Any]


@pytest.fixture(scope="session")
def pipeline(
    tmp_path_factory: pytest.TempPathFactory, azurite: Azurite, azure_environment: dict[str, str], mlflow_run: dict[str, str]
) -> Pipeline:
    folder, lake, rows = tmp_path_factory.mktemp("pipeline"), _lake(azurite), customers(1200)
    # The same name in two folders, and a name that would leave the folder.
    entries = [lake.put("a/day.csv", to_csv(rows[:500])), lake.put("b/day.csv", to_csv(rows[500:]))]
    values = {
        "data": data_version(folder / "data", entries),
        "data_asset": "customers", "data_version": named(entries), "model_name": "churn",
        "data_account_url": azurite.blob_url,
        "target_column": "churn", "positive_value": "Yes",
        "id_columns": "customer", "min_auc": 0.6, "max_log_loss": 0.9,
        **{name: folder / name for name in ("validated", "prepared", "model", "evaluation")},
    }  # fmt: skip
    logs = {}
    for step in ("validate", "prepare", "train", "evaluate"):
        done = jobs.run(step, values, folder, env=mlflow_run)
        assert done.returncode == 0, done.stdout
        logs[step] = done.stdout
    return Pipeline(folder, rows, logs, values)


Validate = Callable[..., Any]


@pytest.fixture
def validate(tmp_path: Path, azurite: Azurite) -> Validate:
    """Run the validate step on manifest entries; keyword arguments replace inputs."""

    def run(entries: Sequence[Mapping[str, Any]], **changed: Any) -> Any:
        values = {
            "data": data_version(tmp_path / "data", entries), "data_version": named(entries), "validated": tmp_path / "validated",
            "data_account_url": azurite.blob_url, "target_column": "churn", "positive_value": "Yes", "id_columns": "customer",
        } | changed  # fmt: skip
        return jobs.run("validate", values, tmp_path)

    return run
