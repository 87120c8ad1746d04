"""Entry script for MLflow models that come without one: a line `row,prediction,file` per row of a CSV or Parquet file, or image.

The columns, that other types of files fail, and that a CSV file is read with the types of the model's signature are Azure ML's
(its manual on MLflow models in batch deployments): what cannot be read as the signature's type fails.
"""

from __future__ import annotations

import csv
import importlib
import io
import os
from pathlib import Path
from typing import Any

_state: dict[str, Any] = {}
_IMAGES = ("png", "jpg", "jpeg", "tiff", "bmp", "gif")
_TYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "str",
}
"""MLflow's name of a column's type -> what pandas reads it as."""


def init() -> None:
    """Load the model that lies in AZUREML_MODEL_DIR."""
    pyfunc = importlib.import_module("mlflow.pyfunc")
    described = next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("MLmodel"), None)
    if described is None:
        raise FileNotFoundError("The model has no file MLmodel: it is no MLflow model.")
    _state["model"] = pyfunc.load_model(str(described.parent))
    schema = _state["model"].metadata.get_input_schema()
    _state["columns"], _state["tensor"] = _signed(schema), schema.inputs[0] if schema and schema.is_tensor_spec() else None


def run(mini_batch: list[str]) -> list[str]:
    """Predict file by file, as Azure ML does; one bad file fails its mini batch."""
    lines: list[str] = []
    for file in mini_batch:
        try:
            predictions = _state["model"].predict(_read(Path(file)))
        except Exception as error:
            raise RuntimeError(f"Error processing input file: '{file}'. Exception: {error}") from error
        lines += [_line([row, *values, Path(file).name]) for row, values in enumerate(_columns(predictions))]
    return lines


def _read(file: Path) -> Any:
    kind = file.suffix.lower().removeprefix(".")
    if kind in _IMAGES:
        return _read_image(file)
    if kind not in ("csv", "parquet", "pqt"):
        raise ValueError(f"File type '{kind}' is not supported.")
    pandas = importlib.import_module("pandas")
    return _read_csv(pandas, file) if kind == "csv" else pandas.read_parquet(file)


def _signed(schema: Any) -> dict[str, str]:
    """The columns that the signature names, with MLflow's names of their types; {} without one, and for tensors."""
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        return {}
    return {one.name: getattr(one.type, "name", "") for one in schema.inputs}


def _read_csv(pandas: Any, file: Path) -> Any:
    signed = _state["columns"]
    there = pandas.read_csv(file, nrows=0).columns
    types = {name: _TYPES[kind] for name, kind in signed.items() if name in there and kind in _TYPES}
    times = [name for name, kind in signed.items() if name in there and kind == "datetime"]
    return pandas.read_csv(file, dtype=types, parse_dates=times or False)


def _read_image(file: Path) -> Any:
    """Its pixels, in the type and shape of the signature's tensor; without one, bytes in the image's own shape."""
    numpy, images = importlib.import_module("numpy"), importlib.import_module("PIL.Image")
    with images.open(file) as image:
        pixels = numpy.asarray(image)
    tensor = _state["tensor"]
    return pixels if tensor is None else pixels.astype(tensor.type).reshape(tensor.shape)


def _columns(predictions: Any) -> list[list[Any]]:
    """A list of values per row: one of a vector, several of a table."""
    if hasattr(predictions, "to_numpy"):
        predictions = predictions.to_numpy()
    rows = predictions.tolist() if hasattr(predictions, "tolist") else list(predictions)
    return [row if isinstance(row, list) else [row] for row in rows]


def _line(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
