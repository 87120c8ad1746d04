"""Step 3: gradient boosted trees on the training split, stopped by the validation split; the model as an MLflow folder.

The test split is not learned from: some of its rows are kept with the finished model, for those who deploy it (`golden`).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import features
import golden
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost
from flavour import save_model
from step import run
from tables import columns
from tracking import Tracking


@dataclass(frozen=True)
class Settings:
    """`patience`: rounds without a better validation loss before training stops."""

    seed: int = 42
    learning_rate: float = 0.1
    max_depth: int = 6
    max_rounds: int = 1000
    patience: int = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prepared", type=Path, required=True, help="output folder of prepare")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--shadow_rows", type=int, default=1000, help="held-out rows that are kept with the model; 0: none")
    parser.add_argument("--model", type=Path, required=True, help="output folder: the MLflow model")
    arguments = vars(parser.parse_args())
    prepared, model, shadow_rows = (arguments.pop(name) for name in ("prepared", "model", "shadow_rows"))
    settings = Settings(**arguments)
    tracking = Tracking()
    description = json.loads((prepared / "features.json").read_text())
    tables = {name: pq.read_table(prepared / f"{name}.parquet") for name in ("train", "validation")}
    booster, losses = train(tables["train"], tables["validation"], description, settings)
    save_model(booster, description, model, Path(features.__file__))
    test = pq.read_table(prepared / "test.parquet")
    golden.write(model, test, description, shadow_rows=shadow_rows, seed=settings.seed)
    log(tracking, booster, losses, tables, settings)
    tracking.log_folder(model, "model")


def matrix(table: pa.Table, description: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(float32 features, float32 labels) of a prepared table."""
    raw = columns(table, features.raw_columns(description))
    return features.encode(raw, description), table[description["label_column"]].to_numpy()


def train(
    fit: pa.Table, validation: pa.Table, description: Mapping[str, Any], settings: Settings
) -> tuple[xgboost.Booster, dict[str, list[float]]]:
    """(booster cut after its best round, log losses per round by split)."""
    names, types = features.feature_names(description), features.feature_types(description)
    options = {"feature_names": names, "feature_types": types, "enable_categorical": True}
    inputs = xgboost.QuantileDMatrix(*matrix(fit, description), **options)
    judge = xgboost.QuantileDMatrix(*matrix(validation, description), ref=inputs, **options)
    losses: dict[str, dict[str, list[float]]] = {}
    booster = xgboost.train(
        parameters(settings),
        inputs,
        num_boost_round=settings.max_rounds,
        evals=[(inputs, "train"), (judge, "validation")],
        # Log loss, not AUC: on a small validation split the AUC of the first tree may be the best by chance.
        early_stopping_rounds=settings.patience,
        evals_result=losses,
        verbose_eval=False,
    )
    best = booster[: booster.best_iteration + 1]
    return best, {name: measured["logloss"] for name, measured in losses.items()}


def parameters(settings: Settings) -> dict[str, Any]:
    """XGBoost's parameters; as many threads as this process may use, which in a container is less than the machine has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "learning_rate": settings.learning_rate,
        "max_depth": settings.max_depth,
        "min_child_weight": 5,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "seed": settings.seed,
        "nthread": cores,
    }


def log(
    tracking: Tracking,
    booster: xgboost.Booster,
    losses: Mapping[str, list[float]],
    tables: Mapping[str, pa.Table],
    settings: Settings,
) -> None:
    """Parameters, and the loss of every round, in as few calls as the server allows."""
    rounds = booster.num_boosted_rounds()
    chosen = parameters(settings) | {"max_rounds": settings.max_rounds, "patience": settings.patience}
    rows = {f"{name}_rows": table.num_rows for name, table in tables.items()}
    tracking.log(
        params=chosen | rows | {"features": booster.num_features()},
        metrics={f"{name}_log_loss": series for name, series in losses.items()} | {"rounds": rounds},
    )
    print(
        f"{rounds} rounds kept of {len(losses['validation'])}, validation log loss {losses['validation'][rounds - 1]:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    run("train", main)
