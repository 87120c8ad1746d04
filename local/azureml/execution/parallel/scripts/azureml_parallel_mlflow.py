"""Entry script for MLflow models that come without one: a line `row,prediction,file` per row of every CSV or Parquet file.

The columns, and that other types of files fail, are Azure ML's (its manual on MLflow models in batch deployments).
"""

from __future__ import annotations

import csv
import importlib
import io
import os
from pathlib import Path
from typing import Any

_state: dict[str, Any] = {}


def init() -> None:
    """Load the model that lies in AZUREML_MODEL_DIR."""
    pyfunc = importlib.import_module("mlflow.pyfunc")
    described = next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("MLmodel"), None)
    if described is None:
        raise FileNotFoundError("The model has no file MLmodel: it is no MLflow model.")
    _state["model"] = pyfunc.load_model(str(described.parent))


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
    if kind not in ("csv", "parquet", "pqt"):
        raise ValueError(f"File type '{kind}' is not supported.")
    pandas = importlib.import_module("pandas")
    return pandas.read_csv(file) if kind == "csv" else pandas.read_parquet(file)


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
