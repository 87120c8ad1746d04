"""Batch endpoints with MLflow models that come without a script, through the unmodified MLClient."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Iterator

import pytest
import yaml
from azure.ai.ml import Input, MLClient
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import (
    BatchEndpoint,
    BatchRetrySettings,
    Model,
    ModelBatchDeployment,
    ModelBatchDeploymentSettings,
)

from tests.local.azureml.batch_lab import Batch
from tests.local.azureml.pipelines import until_ended

pytestmark = pytest.mark.train_environment

ENDPOINT = "sdk-batch-mlflow"
PYFUNC = """
import mlflow
class Twice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        assert str(model_input["code"].dtype) != "int64"
        return model_input["x"] * 2
mlflow.models.set_model(Twice())
"""
BRIGHTNESS = """
import mlflow
class Brightness(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        assert (model_input.dtype.name, model_input.shape) == ("float32", (1, 1, 1, 3))
        return model_input.mean(axis=(1, 2, 3))
mlflow.models.set_model(Brightness())
"""


@pytest.fixture(scope="module")
def batch(ml_client: MLClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batch]:
    ml_client.batch_endpoints.begin_create_or_update(BatchEndpoint(name=ENDPOINT)).result()
    yield Batch(ml_client, tmp_path_factory.mktemp("batch"), ENDPOINT)
    ml_client.batch_endpoints.begin_delete(ENDPOINT).result()


def test_an_mlflow_model_needs_no_script_and_its_rows_say_where_they_are_from(batch: Batch) -> None:
    client, folder = batch.client, batch.folder / "twice"
    folder.mkdir()
    (folder / "model.py").write_text(PYFUNC)
    flavors = {"python_function": {"loader_module": "mlflow.pyfunc.model", "model_code_path": "model.py", "config": None}}
    signature = {"inputs": json.dumps([{"name": "x", "type": "double"}, {"name": "code", "type": "string"}])}
    described = {"flavors": flavors, "mlflow_version": "3.0.0", "signature": signature}
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    client.batch_deployments.begin_create_or_update(
        ModelBatchDeployment(
            name="mlflow", endpoint_name=ENDPOINT, compute="cpu-cluster",
            model=Model(name="twice", path=str(folder), type=AssetTypes.MLFLOW_MODEL, version="1"),
            settings=ModelBatchDeploymentSettings(
                mini_batch_size=2, error_threshold=0, retry_settings=BatchRetrySettings(max_retries=0, timeout=60)
            ),
        )
    ).result()  # fmt: skip
    # Whole numbers where the signature has doubles and strings: a CSV file is read as the signature says.
    data = batch.data(a_csv="x,code\n1,007\n2,008\n", b_csv="x,code\n5,009\n")
    job = batch.invoke("mlflow", inputs={"houses": Input(type="uri_folder", path=data)})
    wrong = batch.invoke("mlflow", input=Input(type="uri_folder", path=batch.data(c_csv="x,code\nmany,1\n")))
    assert until_ended(client, job.name).status == "Completed"
    client.jobs.download(job.name, output_name="score", download_path=batch.folder / "mlflow")
    with (batch.folder / "mlflow" / "named-outputs" / "score" / "predictions.csv").open() as file:
        assert list(csv.reader(file)) == [["0", "2.0", "a.csv"], ["1", "4.0", "a.csv"], ["0", "10.0", "b.csv"]]
    assert "could not convert string to float: 'many'" in batch.failure(wrong.name)


def test_an_mlflow_model_of_tensors_is_given_the_pixels_of_images(batch: Batch) -> None:
    client, folder, pictures = batch.client, batch.folder / "brightness", batch.folder / "pictures"
    folder.mkdir()
    pictures.mkdir()
    (folder / "model.py").write_text(BRIGHTNESS)
    flavors = {"python_function": {"loader_module": "mlflow.pyfunc.model", "model_code_path": "model.py", "config": None}}
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 1, 1, 3]}}]
    described = {"flavors": flavors, "mlflow_version": "3.0.0", "signature": {"inputs": json.dumps(tensor)}}
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    for name, shade in (("dark", 1), ("light", 200)):
        # One pixel, 24 bits: the two headers of a bitmap, its three colours, a byte to fill up.
        headers = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 58, 0, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0)
        (pictures / f"{name}.bmp").write_bytes(headers + bytes([shade] * 3 + [0]))
    client.batch_deployments.begin_create_or_update(
        ModelBatchDeployment(
            name="pictures", endpoint_name=ENDPOINT, compute="cpu-cluster",
            model=Model(name="brightness", path=str(folder), type=AssetTypes.MLFLOW_MODEL, version="1"),
        )
    ).result()  # fmt: skip
    job = batch.invoke("pictures", input=Input(type="uri_folder", path=str(pictures)))
    assert until_ended(client, job.name).status == "Completed"
    client.jobs.download(job.name, output_name="score", download_path=batch.folder / "bright")
    with (batch.folder / "bright" / "named-outputs" / "score" / "predictions.csv").open() as file:
        assert list(csv.reader(file)) == [["0", "1.0", "dark.bmp"], ["0", "200.0", "light.bmp"]]
