"""Writes a booster and its features as an MLflow model folder, and leaves MLflow nothing to infer."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # noise in a log that nobody watches

import mlflow.pyfunc
import xgboost
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

HERE = Path(__file__).parent
REQUIREMENTS = ("mlflow", "numpy", "pandas", "xgboost-cpu")
TYPES = {"numeric": DataType.double, "categorical": DataType.string, "boolean": DataType.boolean, "datetime": DataType.string}


def save_model(booster: xgboost.Booster, description: Mapping[str, Any], folder: Path, features_module: Path) -> None:
    """Write the model to `folder` (made, or empty). `features_module` is the features.py that travels with it."""
    import features as _features  # noqa: F401  MLflow runs the model's code once now, and finds the module by its name

    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        # An example would have MLflow run the model again; the signature comes from the description, not from a guess.
        warnings.filterwarnings("ignore", message=".*An input example was not provided.*")
        parts = {"booster": Path(place) / "booster.ubj", "features": Path(place) / "features.json"}
        booster.save_model(parts["booster"])
        parts["features"].write_text(json.dumps(description, indent=2))
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(HERE / "pyfunc_model.py"),
            artifacts={name: str(path) for name, path in parts.items()},
            code_paths=[str(features_module)],
            signature=signature(description),
            # Named, not inferred: inference loads the model in another process, which takes longer than the training.
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )


def signature(description: Mapping[str, Any]) -> ModelSignature:
    """Raw columns in, one double out.

    Numbers are doubles: MLflow refuses CSV and JSON numbers for a 32-bit signature, and a whole-number column cannot hold a null.
    A DataFrame's int64 columns must be cast to float by the caller, since MLflow takes that for an unsafe conversion.
    """
    inputs = [ColSpec(TYPES[column["kind"]], column["name"]) for column in description["columns"]]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec(DataType.double)]))
