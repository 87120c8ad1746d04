"""Step 4: judge the model on the held-out test split; a gate that is not passed fails the job.

Writes report.json and the plots into the output folder and into the job's MLflow run, also when a gate fails.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import features
import measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost
from gates import Gate, failures
from plots import draw
from step import StepFailedError, run
from tables import columns
from tracking import Tracking


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prepared", type=Path, required=True, help="output folder of prepare")
    parser.add_argument("--model", type=Path, required=True, help="output folder of train")
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--data_version", required=True)
    for name in ("min_auc", "min_average_precision", "max_log_loss", "max_calibration_error"):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--evaluation", type=Path, required=True, help="output folder")
    arguments = parser.parse_args()
    tracking = Tracking()
    table = pq.read_table(arguments.prepared / "test.parquet")
    labels, scores, gain = predict(table, arguments.model / "artifacts")
    gates = [
        Gate("auc", at_least=arguments.min_auc),
        Gate("average_precision", at_least=arguments.min_average_precision),
        Gate("log_loss", at_most=arguments.max_log_loss),
        Gate("calibration_error", at_most=arguments.max_calibration_error),
    ]
    names = {"model": arguments.model_name, "data_version": arguments.data_version}
    report = evaluate(labels, scores, gain, gates, names, arguments.evaluation)
    tracking.log(metrics=report["metrics"])
    tracking.log_folder(arguments.evaluation, "evaluation")
    if report["failed_gates"]:
        raise StepFailedError("; ".join(report["failed_gates"]))


def predict(table: pa.Table, artifacts: Path) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """(labels, scores, total gain by feature) of a prepared table, from the saved model, as the scoring script loads it."""
    description = json.loads((artifacts / "features.json").read_text())
    booster = xgboost.Booster(model_file=artifacts / "booster.ubj")
    matrix = features.encode(columns(table, features.raw_columns(description)), description)
    scores = booster.inplace_predict(matrix).astype(np.float64)
    labels = table[description["label_column"]].to_numpy().astype(np.float64)
    return labels, scores, booster.get_score(importance_type="total_gain")


def evaluate(
    labels: np.ndarray, scores: np.ndarray, gain: dict[str, float], gates: list[Gate], names: Mapping[str, str], folder: Path
) -> dict[str, Any]:
    """Write report.json and the plots to `folder`; return the report. `names`: model and data_version."""
    metrics = measures.summary(labels, scores)
    asked = [gate for gate in gates if gate.at_least is not None or gate.at_most is not None]
    report: dict[str, Any] = {
        **names,
        "rows": len(labels),
        "metrics": metrics,
        "confusion": measures.confusion(labels, scores),
        "calibration": measures.calibration(labels, scores),
        "total_gain": dict(sorted(gain.items(), key=lambda pair: -pair[1])),
        "gates": [vars(gate) for gate in asked],
        "failed_gates": failures(asked, metrics, rows=len(labels), data_version=names["data_version"]),
    }
    draw(folder, labels, scores, gain, f"{names['model']}, data version {names['data_version']}, {len(labels)} test rows")
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    print(", ".join(f"{name} {value:.4f}" for name, value in metrics.items()), flush=True)
    return report


if __name__ == "__main__":
    run("evaluate", main)
