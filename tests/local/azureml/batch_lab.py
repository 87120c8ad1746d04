"""A batch endpoint as its tests use it: deployments with a scoring script, invocations, and why a job failed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import (
    CodeConfiguration,
    Environment,
    Model,
    ModelBatchDeployment,
    ModelBatchDeploymentSettings,
)

from tests.local.azureml.pipelines import unique, until_ended

if TYPE_CHECKING:
    from azure.ai.ml.entities import BatchJob


SCORE = """
import csv, os
from pathlib import Path
def init():
    global slope
    [model] = Path(os.environ["AZUREML_MODEL_DIR"]).rglob("slope.txt")
    slope = float(model.read_text())
    Path(os.environ["AZUREML_BI_OUTPUT_PATH"], f"own-{os.getpid()}.txt").write_text(os.environ["TAG"])
def run(mini_batch):
    rows = []
    for file in mini_batch:
        with open(file) as text:
            rows += [f"{row['x']} {slope * int(row['x'])} {Path(file).name}" for row in csv.DictReader(text)]
    return rows
"""


@dataclass
class Batch:
    """A batch endpoint; its deployments are made by the tests."""

    client: MLClient
    folder: Path
    endpoint: str

    def deploy(self, name: str, **asked: Any) -> ModelBatchDeployment:
        """A deployment of the model `slope`, whose value is 3, with a scoring script."""
        model, code = self.folder / "slope", self.folder / "code"
        for folder in (model, code):
            folder.mkdir(exist_ok=True)
        (model / "slope.txt").write_text("3")
        (code / "score.py").write_text(SCORE)
        settings = {"mini_batch_size": 1, "max_concurrency_per_instance": 2, "environment_variables": {"TAG": name}, **asked}
        return self.client.batch_deployments.begin_create_or_update(
            ModelBatchDeployment(
                name=name,
                endpoint_name=self.endpoint,
                model=Model(name="slope", path=str(model), type=AssetTypes.CUSTOM_MODEL, version="1"),
                environment=Environment(name="batch-plain", version="1", image="python:3.11"),
                code_configuration=CodeConfiguration(code=str(code), scoring_script="score.py"),
                compute="cpu-cluster",
                settings=ModelBatchDeploymentSettings(**settings),
            )
        ).result()

    def data(self, **texts: str) -> str:
        folder = self.folder / unique("data")
        folder.mkdir()
        for name, text in texts.items():
            (folder / name.replace("_", ".")).write_text(text)
        return str(folder)

    def invoke(self, deployment: str | None = None, **asked: Any) -> BatchJob:
        return self.client.batch_endpoints.invoke(self.endpoint, deployment_name=deployment, **asked)

    def failure(self, name: str) -> str:
        """The message with which a job failed."""
        assert until_ended(self.client, name).status == "Failed"
        with pytest.raises(Exception, match="Exception") as failed:
            self.client.jobs.stream(name)
        return str(failed.value)
