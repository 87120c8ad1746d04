"""The MLflow form of the model ("models from code"): raw columns in a DataFrame, probabilities out. Nothing is pickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import xgboost
from features import Encoder


class RawColumnsModel(mlflow.pyfunc.PythonModel):
    """Encodes with features.json and predicts with the booster, as the online scoring script does."""

    def load_context(self, context: Any) -> None:
        self._encoder = Encoder(json.loads(Path(context.artifacts["features"]).read_text()))
        self._booster = xgboost.Booster(model_file=context.artifacts["booster"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> np.ndarray:  # noqa: ARG002
        """(rows,) float64 probabilities of the positive value."""
        known = [name for name in self._encoder.columns if name in model_input.columns]
        columns = {name: model_input[name].astype(object).where(model_input[name].notna(), None).tolist() for name in known}
        return np.asarray(self._booster.inplace_predict(self._encoder.encode(columns)), dtype=np.float64)


mlflow.models.set_model(RawColumnsModel())
