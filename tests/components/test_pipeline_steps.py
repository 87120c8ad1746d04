"""The steps from blobs to a judged model, each in its own process of the training environment."""

from __future__ import annotations

import json
import pickletools
from pathlib import Path

import numpy as np
import pytest

from . import jobs
from .conftest import Pipeline

pytestmark = pytest.mark.train_environment


def description(pipeline: Pipeline) -> dict:
    return json.loads((pipeline.folder / "prepared/features.json").read_text())


def test_validate_fetches_blobs_of_the_same_name_side_by_side(pipeline: Pipeline) -> None:
    names = sorted(path.name for path in (pipeline.folder / "validated/files").iterdir())
    assert names == ["00000-day.csv", "00001-day.csv"]
    report = json.loads((pipeline.folder / "validated/report.json").read_text())
    assert report["rows"] == 1200
    assert report["problems"] == []
    assert report["positives"] == sum(row["churn"] == "Yes" for row in pipeline.rows)


def test_target_and_ids_are_never_features(pipeline: Pipeline) -> None:
    names = [column["name"] for column in description(pipeline)["columns"]]
    assert names == ["tenure", "charge", "plan", "paperless", "joined_at"]


def test_a_constant_and_a_free_text_are_left_out_with_their_reason(pipeline: Pipeline) -> None:
    dropped = description(pipeline)["dropped"]
    assert dropped["country"] == "the same value in every row of the training split"
    assert "free text" in dropped["remark"]


def test_one_customer_is_never_on_both_sides_of_the_split(pipeline: Pipeline) -> None:
    from split import TEST, split

    labels = np.array([row["churn"] == "Yes" for row in pipeline.rows], dtype=float)
    parts = split(labels, seed=42, test_fraction=0.2, ids=[(row["customer"],) for row in pipeline.rows])
    by_customer: dict[str, set[int]] = {}
    for row, part in zip(pipeline.rows, parts, strict=True):
        by_customer.setdefault(row["customer"], set()).add(int(part))
    assert all(len(where) == 1 for where in by_customer.values())
    report = json.loads((pipeline.folder / "evaluation/report.json").read_text())
    assert report["rows"] == int((parts == TEST).sum())


def test_the_model_learns_and_the_report_says_how_well(pipeline: Pipeline) -> None:
    report = json.loads((pipeline.folder / "evaluation/report.json").read_text())
    metrics = report["metrics"]
    assert 0.65 < metrics["auc_low"] < metrics["auc"] < metrics["auc_high"] < 1
    assert report["failed_gates"] == []
    assert [gate["name"] for gate in report["gates"]] == ["auc", "log_loss"]
    counts = report["confusion"]
    assert sum(counts[name] for name in counts if name != "threshold") == report["rows"]
    for name in ("roc", "precision_recall", "calibration", "feature_gain"):
        assert (pipeline.folder / f"evaluation/{name}.png").read_bytes().startswith(b"\x89PNG")


READ_RUN = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
run = client.get_run(sys.argv[2])
history = client.get_metric_history(sys.argv[2], "validation_log_loss")
files = [entry.path for top in client.list_artifacts(sys.argv[2]) for entry in client.list_artifacts(sys.argv[2], top.path)]
print(json.dumps({"params": run.data.params, "metrics": run.data.metrics, "steps": [m.step for m in history], "files": files}))
"""


def test_parameters_losses_measures_and_files_are_in_the_run(pipeline: Pipeline, mlflow_run: dict[str, str]) -> None:
    run = json.loads(jobs.script(READ_RUN, mlflow_run["MLFLOW_TRACKING_URI"], mlflow_run["MLFLOW_RUN_ID"]))
    assert run["params"]["seed"] == "42"
    assert run["params"]["tree_method"] == "hist"
    assert sorted(run["steps"]) == list(range(len(run["steps"])))
    assert 1 <= run["metrics"]["rounds"] < len(run["steps"])
    assert 0.65 < run["metrics"]["auc"] < 1
    assert {"model/MLmodel", "evaluation/report.json", "evaluation/roc.png"} <= set(run["files"])


def test_training_twice_gives_the_same_trees(pipeline: Pipeline, tmp_path: Path, mlflow_run: dict[str, str]) -> None:
    again = jobs.run(
        "train", {**pipeline.values, "model": tmp_path / "model"}, tmp_path, env=mlflow_run | {"OMP_NUM_THREADS": "1"}
    )
    assert again.returncode == 0, again.stdout
    trees = [(folder / "artifacts/booster.ubj").read_bytes() for folder in (pipeline.folder / "model", tmp_path / "model")]
    assert trees[0] == trees[1]


def test_the_benchmarks_plain_script_does_the_same_work(pipeline: Pipeline, tmp_path: Path, mlflow_run: dict[str, str]) -> None:
    plain = jobs.ROOT / "benchmarks/plain_training.py"
    files = sorted((pipeline.folder / "validated/files").iterdir())
    arguments = [*files, "--target", "churn", "--positive", "Yes", "--ids", "customer", "--out", tmp_path]
    launch = f"import runpy; runpy.run_path({str(plain)!r}, run_name='__main__')"
    result = json.loads(jobs.script(launch, *arguments, env=mlflow_run).splitlines()[-1])
    report = json.loads((pipeline.folder / "evaluation/report.json").read_text())
    assert result["auc"] == pytest.approx(report["metrics"]["auc"], abs=1e-12)


def test_the_model_folder_holds_no_pickle(pipeline: Pipeline) -> None:
    files = [path for path in (pipeline.folder / "model").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {"MLmodel", "booster.ubj", "features.json", "features.py", "pyfunc_model.py"} <= {path.name for path in files}
    for path in files:
        assert path.suffix not in (".pkl", ".pickle", ".joblib")
        with pytest.raises(ValueError, match=r".+"):
            list(pickletools.genops(path.read_bytes()))


def test_training_outside_a_job_says_which_variables_are_missing(pipeline: Pipeline, tmp_path: Path) -> None:
    bare = {"MLFLOW_TRACKING_URI": "", "MLFLOW_RUN_ID": ""}
    done = jobs.run("train", {**pipeline.values, "model": tmp_path / "model"}, tmp_path, env=bare)
    assert done.returncode == 1
    assert "FAILED: train: MLFLOW_TRACKING_URI and MLFLOW_RUN_ID not set." in jobs.last_line(done)


def test_a_gate_that_is_not_passed_fails_the_job_and_nothing_is_registered(
    pipeline: Pipeline, tmp_path: Path, mlflow_run: dict[str, str]
) -> None:
    values = {**pipeline.values, "min_auc": 0.999, "evaluation": tmp_path / "evaluation"}
    done = jobs.run("evaluate", values, tmp_path, env=mlflow_run)
    assert done.returncode == 1
    report = json.loads((tmp_path / "evaluation/report.json").read_text())
    expected = (
        f"gate failed: auc {report['metrics']['auc']:.4f} is below the required 0.999 (test rows {report['rows']}, data version"
    )
    assert expected in jobs.last_line(done)
    # Even a register step that runs all the same refuses the report, before it talks to any workspace.
    refused = jobs.run("register", values, tmp_path, env={"AZUREML_ROOT_RUN_ID": "train-churn-x", "AZUREML_ARM_SUBSCRIPTION": ""})
    assert refused.returncode == 1
    assert "not registered: gate failed: auc" in jobs.last_line(refused)
