"""The yardstick of the training pipeline: the same work as its steps, by the same functions, in one process.

    .environments/train/bin/python benchmarks/plain_training.py a.csv b.csv --target late --positive yes --out folder

Reads and checks the files, splits, trains, evaluates with plots, logs to MLflow (MLFLOW_TRACKING_URI, MLFLOW_RUN_ID) and saves
the model. What it leaves out is what a pipeline adds: fetching blobs, processes, moving data between steps, the registration.
The last line of its output is JSON: seconds by part, and the AUC.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

COMPONENTS = Path(__file__).parents[1] / "components"
FOLDERS = [COMPONENTS / "common", COMPONENTS / "score"]
FOLDERS += [COMPONENTS / f"{step}/src" for step in ("validate", "prepare", "train", "evaluate")]
sys.path[:0] = [str(folder) for folder in FOLDERS]

import evaluate  # noqa: E402
import features  # noqa: E402
import flavour  # noqa: E402
import golden  # noqa: E402
import prepare  # noqa: E402
import tables  # noqa: E402
import train  # noqa: E402
from checks import check  # noqa: E402
from gates import Gate  # noqa: E402
from tracking import Tracking  # noqa: E402

IMPORTED = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--target", required=True)
    parser.add_argument("--positive", required=True)
    parser.add_argument("--ids", nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    times, report = pipeline(arguments.files, arguments.target, arguments.positive, arguments.ids, arguments.out)
    times["import"] = IMPORTED - STARTED
    print(json.dumps({"seconds": times, "total": time.perf_counter() - STARTED, "auc": report["metrics"]["auc"]}))


def pipeline(files: list[Path], target: str, positive: str, ids: list[str], out: Path) -> tuple[dict[str, float], dict]:
    """(seconds by step, the evaluation's report)."""
    times: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        times[name], clock = now - clock, now

    findings = check([(path.name, path) for path in files], target, positive, ids)
    if findings.problems:
        sys.exit("\n".join(findings.problems))
    lap("validate")
    settings = train.Settings()
    parts, description = prepare.prepare(tables.read_tables(files), target, positive, ids, seed=settings.seed, test_fraction=0.2)
    lap("prepare")
    tracking, model = Tracking(), out / "model"
    booster, losses = train.train(parts["train"], parts["validation"], description, settings)
    flavour.save_model(booster, description, model, Path(features.__file__))
    golden.write(model, parts["test"], description, shadow_rows=1000, seed=42)
    train.log(tracking, booster, losses, parts, settings)
    tracking.log_folder(model, "model")
    lap("train")
    labels, scores, gain = evaluate.predict(parts["test"], model / "artifacts")
    names = {"model": "plain", "data_version": "none"}
    report = evaluate.evaluate(labels, scores, gain, [Gate("auc", at_least=0.5)], names, out / "evaluation")
    tracking.log(metrics=report["metrics"])
    tracking.log_folder(out / "evaluation", "evaluation")
    lap("evaluate")
    return times, report


if __name__ == "__main__":
    main()
