"""The scoring script of deployments that bring none: an MLflow model answers `input_data`, as it does on Azure.

Run by the inference server in the deployment's own environment, so it imports nothing of the emulator.

A request is {"input_data": <data>, "params": {...}}; <data> is a data frame (`columns`, `index`, `data`), a list of records, a
list of rows, or named tensors. `{"inputs": <tensors>}` (TF Serving) is understood too. The answer is the list of predictions.
https://learn.microsoft.com/azure/machine-learning/how-to-deploy-mlflow-models-online-endpoints
"""

from __future__ import annotations

import importlib
import json
import os
import random
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any

model: Any = None
schema: Any = None
collected: dict[str, int] = {}
"""Collections that are filled, each with the percentage of requests that it takes."""


def init() -> None:
    """Load the model; read which collections the deployment wants filled."""
    global model, schema, collected
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(Path(os.environ["AZUREML_MODEL_DIR"]) / os.environ["MLFLOW_MODEL_FOLDER"]))
    schema = model.metadata.get_input_schema()
    settings = os.environ.get("AZUREML_MDC_CONFIG_PATH")
    if settings:
        enabled = json.loads(Path(settings).read_text())["collections"]
        collected = {name: one["sampleRatePercentage"] for name, one in enabled.items()}


def run(raw: str) -> Any:
    """The predictions; a request that does not fit the model is answered 400 with the reason."""
    from mlflow.exceptions import MlflowException

    try:
        request = json.loads(raw)
        data = _data(request)
        predictions = model.predict(data, params=request["params"]) if request.get("params") else model.predict(data)
    except (MlflowException, _BadRequest, json.JSONDecodeError) as error:
        responses: Any = importlib.import_module("azureml_inference_server_http.api.aml_response")
        return responses.AMLResponse({"message": str(error)}, 400, json_str=True)
    answer = _jsonable(predictions)
    if collected:
        _collect({"model_inputs": _jsonable(data), "model_outputs": answer})
    return answer


class _BadRequest(Exception):
    """A request in no form that is understood."""


def _data(request: Any) -> Any:
    """What the model is given: a pandas DataFrame, or tensors."""
    from mlflow.utils.proto_json_utils import dataframe_from_parsed_json, parse_tf_serving_input

    if not isinstance(request, dict) or not {"input_data", "inputs"} & set(request):
        raise _BadRequest("The request must be a JSON object with the key 'input_data' (or 'inputs').")
    if "inputs" in request:
        return parse_tf_serving_input({"inputs": request["inputs"]}, schema=schema)
    data = request["input_data"]
    if isinstance(data, dict) and "data" in data and set(data) <= {"columns", "index", "data"}:
        return dataframe_from_parsed_json(data, "split", schema)
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        return dataframe_from_parsed_json(data, "records", schema)
    if isinstance(data, list) and schema is not None and schema.has_input_names() and not schema.is_tensor_spec():
        return dataframe_from_parsed_json({"columns": _columns(data), "data": data}, "split", schema)
    return parse_tf_serving_input({"inputs": data}, schema=schema)


def _columns(rows: list[Any]) -> list[str]:
    """The names that the signature gives to rows without names."""
    names: list[str] = schema.input_names()
    if any(not isinstance(row, list) or len(row) != len(names) for row in rows):
        raise _BadRequest(f"Every row of 'input_data' must be a list of {len(names)} values: {', '.join(names)}.")
    return names


def _jsonable(value: Any) -> Any:
    np: Any = importlib.import_module("numpy")
    pd: Any = importlib.import_module("pandas")
    if isinstance(value, pd.DataFrame):
        return json.loads(value.to_json(orient="records", date_format="iso"))
    if isinstance(value, pd.Series | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): _jsonable(one) for key, one in value.items()}
    return [_jsonable(one) for one in value] if isinstance(value, list | tuple) else value


def _collect(found: dict[str, Any]) -> None:
    """Send what the deployment collects to the data collector, in the way of `azureml.ai.monitoring`."""
    address = f"http://{os.environ['AZUREML_MDC_HOST']}:{os.environ['AZUREML_MDC_PORT']}/modeldata/log"
    about = {"content-type": "application/json", "ce-time": str(int(time.time())), "ce-x-request-id": str(uuid.uuid4())}
    draw = random.random() * 100  # noqa: S311 - one for all collections, so that inputs and outputs belong together
    for name in (name for name in found if draw < collected.get(name, 0)):
        headers = {**about, "ce-type": f"azureml.inference.{name}", "ce-collect-data-type": "pandas.core.frame.DataFrame"}
        sent = urllib.request.Request(address, json.dumps(found[name]).encode(), headers)
        with urllib.request.urlopen(sent, timeout=5):  # noqa: S310
            pass
