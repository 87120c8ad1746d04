"""The scoring script of online deployments: Azure ML's inference server calls `init()` once and `run(raw)` for every request.

Request   {"input_data": {"columns": ["carrier", ...], "index": [0, ...], "data": [["AA", ...], ...]}}; `index` may be absent
Answer    {"scores": [0.18, ...], "model": "<name>:<version>"}: the probability of the positive value, one per row
Errors    HTTP 400 with {"error": {"code": "BadRequest", "message": ...}}
Columns that the model does not know are ignored, since callers pass ids along; a missing column is an error, since a silent
null would be a wrong score. Nothing is unpickled: the model is XGBoost's own UBJSON beside features.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the inference server loads this file by its path and does not add its folder

import numpy as np
import xgboost
from features import Encoder, FeatureError

BOOSTER, FEATURES = "booster.ubj", "features.json"


class BadRequestError(ValueError):
    """A request that cannot be scored. The message is for the caller."""


class Scorer:
    """A loaded model. `name` is `<model>:<version>`, or `unknown` outside a deployment."""

    def __init__(self, folder: Path) -> None:
        artifacts = model_artifacts(folder)
        self.name = model_name(folder)
        self._booster = xgboost.Booster(model_file=str(artifacts / BOOSTER))
        # One thread: a request has few rows, and the server has a worker per core.
        self._booster.set_param({"nthread": 1})
        self._encoder = Encoder(json.loads((artifacts / FEATURES).read_text()))
        self._iterations = (0, self._booster.num_boosted_rounds())

    def answer(self, raw: str) -> dict[str, Any]:
        """The answer to a request's text; BadRequestError says what is wrong with it."""
        columns, rows = parse(raw)
        if rows == 0:
            return {"scores": [], "model": self.name}
        try:
            matrix = self._encoder.encode(columns)
        except FeatureError as error:
            raise BadRequestError(str(error)) from None
        scores = self._booster.inplace_predict(matrix, iteration_range=self._iterations, validate_features=False)
        return {"scores": np.asarray(scores, dtype=np.float64).tolist(), "model": self.name}


def model_artifacts(folder: Path) -> Path:
    """The folder below `folder` that holds the booster and features.json; FileNotFoundError when there is not exactly one."""
    found = sorted(path.parent for path in folder.rglob(BOOSTER) if path.with_name(FEATURES).is_file())
    if len(found) != 1:
        raise FileNotFoundError(f"expected one folder with {BOOSTER} and {FEATURES} below {folder}, found {len(found)}")
    return found[0]


def model_name(folder: Path) -> str:
    """`<name>:<version>` from AZUREML_MODEL_DIR, which Azure ML sets to `.../azureml-models/<name>/<version>`."""
    parts = folder.parts
    if len(parts) >= 3 and parts[-3] == "azureml-models":
        return f"{parts[-2]}:{parts[-1]}"
    return "unknown"


def parse(raw: str) -> tuple[dict[str, list[Any]], int]:
    """Return (values by column, number of rows) of a request's text; BadRequestError names what is wrong."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    table = body.get("input_data") if isinstance(body, dict) else None
    if not isinstance(table, dict):
        raise BadRequestError('expected {"input_data": {"columns": [...], "data": [[...], ...]}}')
    names, rows, index = table.get("columns"), table.get("data"), table.get("index")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequestError("input_data.columns: expected a list of column names")
    if len(set(names)) != len(names):
        raise BadRequestError(
            f"input_data.columns: named twice: {', '.join(sorted({name for name in names if names.count(name) > 1}))}"
        )
    if not isinstance(rows, list):
        raise BadRequestError("input_data.data: expected a list of rows")
    if isinstance(index, list) and len(index) != len(rows):
        raise BadRequestError(f"input_data.index has {len(index)} entries, input_data.data has {len(rows)} rows")
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            found = f"{len(row)} values" if isinstance(row, list) else type(row).__name__
            raise BadRequestError(f"input_data.data, row {number}: expected {len(names)} values, found {found}")
    return {name: [row[at] for row in rows] for at, name in enumerate(names)}, len(rows)


_scorer: Scorer | None = None


def init() -> None:
    """Load the model below AZUREML_MODEL_DIR. A failure ends the server, so that the deployment does not become healthy."""
    global _scorer
    _scorer = Scorer(Path(os.environ["AZUREML_MODEL_DIR"]))
    print(f"scoring with model {_scorer.name}", flush=True)


def run(raw: str) -> Any:
    """Answer one request; a request that cannot be scored is answered with HTTP 400."""
    if _scorer is None:
        raise RuntimeError("run() was called before init()")
    try:
        return _scorer.answer(raw)
    except BadRequestError as error:
        from azureml_inference_server_http.api.aml_response import AMLResponse

        return AMLResponse({"error": {"code": "BadRequest", "message": str(error)}}, 400, json_str=True)
