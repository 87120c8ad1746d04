"""The scoring script against the trained model: same rows, same numbers everywhere, and clear answers to bad requests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from . import jobs
from .conftest import Pipeline

pytestmark = pytest.mark.train_environment

TRAINED = """
import csv, json, sys
import mlflow, pandas, pyarrow.parquet, xgboost
from pathlib import Path
from train import matrix
model, prepared = Path(sys.argv[1]), Path(sys.argv[2])
description = json.loads((model / "artifacts/features.json").read_text())
booster = xgboost.Booster(model_file=model / "artifacts/booster.ubj")
test = pyarrow.parquet.read_table(prepared / "test.parquet")
features, _ = matrix(test, description)
types = {"feature_names": booster.feature_names, "feature_types": booster.feature_types, "enable_categorical": True}
frame = test.drop([description["label_column"]]).to_pandas()
frame["joined_at"] = frame["joined_at"].astype(str)
frame["tenure"] = frame["tenure"].astype(float)
print(json.dumps({
    "booster": booster.predict(xgboost.DMatrix(features, **types)).tolist(),
    "pyfunc": mlflow.pyfunc.load_model(str(model)).predict(frame).tolist(),
    "columns": list(frame.columns),
    "rows": json.loads(frame.to_json(orient="values")),
}))
"""

SERVED = """
import json, os, sys
import score
score.init()
for line in sys.stdin if len(sys.argv) < 2 else open(sys.argv[1]):
    answer = score.run(line)
    print(json.dumps(answer if isinstance(answer, dict) else [answer.status_code, json.loads(answer.data)]))
"""


def serve(pipeline: Pipeline, folder: Path, *requests: Any) -> list[Any]:
    """The answers of score.py in the serving environment; [status, body] for an error."""
    model = folder / "azureml-models/churn/7"
    shutil.copytree(pipeline.folder / "model", model / "model", dirs_exist_ok=True)
    asked = folder / "requests"
    asked.write_text("".join((request if isinstance(request, str) else json.dumps(request)) + "\n" for request in requests))
    lines = jobs.script(SERVED, asked, environment="serve", env={"AZUREML_MODEL_DIR": str(model)}).splitlines()
    assert lines[0] == "scoring with model churn:7"
    return [json.loads(line) for line in lines[1:]]


def test_booster_pyfunc_and_scoring_script_give_the_same_numbers(pipeline: Pipeline, tmp_path: Path) -> None:
    moved = shutil.copytree(pipeline.folder / "model", tmp_path / "downloaded")
    trained = json.loads(jobs.script(TRAINED, moved, pipeline.folder / "prepared").splitlines()[-1])
    table = {"columns": trained["columns"], "data": trained["rows"]}
    (served,) = serve(pipeline, tmp_path, {"input_data": table})
    assert served["model"] == "churn:7"
    assert len(served["scores"]) == len(trained["booster"]) > 100
    assert served["scores"] == pytest.approx(trained["booster"], abs=1e-7)
    assert trained["pyfunc"] == pytest.approx(trained["booster"], abs=1e-7)


def test_rows_as_they_stand_in_the_file_are_scored_as_in_training(pipeline: Pipeline, tmp_path: Path) -> None:
    names = [name for name in pipeline.rows[0] if name != "churn"]
    # A client that reads the CSV itself sends numbers as numbers, and everything else, nulls too, as it stands there.
    rows = [
        [float(row[name]) if name in ("tenure", "charge") and row[name] != "" else row[name] for name in names]
        for row in pipeline.rows[:50]
    ]
    whole, *single = serve(
        pipeline,
        tmp_path,
        {"input_data": {"columns": names, "index": list(range(50)), "data": rows}},
        *({"input_data": {"columns": names, "data": [row]}} for row in rows),
    )
    assert whole["scores"] == pytest.approx([answer["scores"][0] for answer in single], abs=1e-12)
    assert len(set(whole["scores"])) > 25


def test_the_golden_requests_of_a_model_are_held_out_rows_and_what_its_deployment_answers(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    golden = json.loads((pipeline.folder / "model/golden_requests.json").read_text())
    table = golden["request"]["input_data"]
    assert table["columns"] == ["tenure", "charge", "plan", "paperless", "joined_at"]
    (served,) = serve(pipeline, tmp_path, golden["request"])
    assert served["scores"] == pytest.approx(golden["scores"], abs=1e-7)
    assert len(set(golden["scores"])) == len(table["data"]) == 5
    held_out = json.loads(jobs.script(HELD_OUT, pipeline.folder / "prepared"))
    assert all([row[0], row[4]] in held_out for row in table["data"])


def test_held_out_rows_are_kept_for_the_shadow_in_random_order_as_many_as_are_wanted(pipeline: Pipeline, tmp_path: Path) -> None:
    held_out = json.loads(jobs.script(HELD_OUT, pipeline.folder / "prepared"))
    request = json.loads((pipeline.folder / "model/shadow_requests.json").read_text())["request"]
    rows = [[row[0], row[4]] for row in request["input_data"]["data"]]
    assert request["input_data"]["columns"] == ["tenure", "charge", "plan", "paperless", "joined_at"]
    assert sorted(rows, key=str) == sorted(held_out, key=str)
    assert rows != held_out
    (served,) = serve(pipeline, tmp_path, request)
    assert len(served["scores"]) == len(rows) > 100
    for wanted, kept in ((7, 7), (0, None)):
        model = shutil.copytree(pipeline.folder / "model", tmp_path / f"{wanted} rows")
        (model / "shadow_requests.json").unlink()
        jobs.script(WRITE_GOLDEN, model, pipeline.folder / "prepared", wanted)
        file = model / "shadow_requests.json"
        assert (len(json.loads(file.read_text())["request"]["input_data"]["data"]) if file.exists() else None) == kept


WRITE_GOLDEN = """
import json, sys
import pyarrow.parquet
from pathlib import Path
from golden import write
model, prepared = Path(sys.argv[1]), Path(sys.argv[2])
description = json.loads((model / "artifacts/features.json").read_text())
write(model, pyarrow.parquet.read_table(prepared / "test.parquet"), description, shadow_rows=int(sys.argv[3]), seed=42)
"""


HELD_OUT = """
import json, sys
import pyarrow.parquet
rows = pyarrow.parquet.read_table(sys.argv[1] + "/test.parquet", columns=["tenure", "joined_at"]).to_pylist()
print(json.dumps([[row["tenure"], row["joined_at"].isoformat()] for row in rows]))
"""


JSON_VALUES = """
import json
from datetime import datetime
import pyarrow as pa
from golden import json_values
columns = [[1, None], [0.5, None], ["NA?", None], [True, None], [datetime(2024, 5, 1, 10, 30), None]]
print(json.dumps([json_values(pa.chunked_array([values])) for values in columns]))
"""


def test_a_missing_value_of_a_golden_request_is_null() -> None:
    expected = [[1.0, None], [0.5, None], ["NA?", None], [True, None], ["2024-05-01T10:30:00", None]]
    assert json.loads(jobs.script(JSON_VALUES)) == expected


GOOD = {"columns": ["tenure", "charge", "plan", "paperless", "joined_at"], "data": [[3, 20.5, "gold", True, "2024-05-01"]]}


BAD = [
    ("not json", "the body is not JSON"),
    ({"data": []}, 'expected {"input_data"'),
    ({"input_data": {**GOOD, "columns": "tenure"}}, "input_data.columns: expected a list of column names"),
    ({"input_data": {**GOOD, "columns": ["tenure", "tenure", "plan", "paperless", "joined_at"]}}, "named twice: tenure"),
    ({"input_data": {"columns": ["tenure", "plan"], "data": [[3, "gold"]]}}, "missing columns: charge, paperless, joined_at"),
    ({"input_data": {**GOOD, "data": [[1, 2]]}}, "row 0: expected 5 values, found 2 values"),
    ({"input_data": {**GOOD, "data": [7]}}, "row 0: expected 5 values, found int"),
    ({"input_data": {**GOOD, "index": [1, 2]}}, "input_data.index has 2 entries, input_data.data has 1 rows"),
    (
        {"input_data": {**GOOD, "data": [["much", 1, "gold", True, None]]}},
        "column tenure, row 0: expected a number, found 'much'",
    ),
]


@pytest.fixture(scope="module")
def answers(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The answers to all of BAD and then to a good request, by one process: a caller's mistake leaves the server as it was."""
    return serve(pipeline, tmp_path_factory.mktemp("serve"), *(request for request, _ in BAD), {"input_data": GOOD})


@pytest.mark.parametrize("number", range(len(BAD)), ids=[expected for _, expected in BAD])
def test_a_bad_request_is_answered_with_400_and_its_reason(answers: list[Any], number: int) -> None:
    status, body = answers[number]
    assert status == 400
    assert body["error"]["code"] == "BadRequest"
    assert BAD[number][1] in body["error"]["message"]


def test_a_good_request_after_bad_ones_is_scored(answers: list[Any]) -> None:
    assert len(answers[-1]["scores"]) == 1


def test_no_rows_are_no_scores(pipeline: Pipeline, tmp_path: Path) -> None:
    assert serve(pipeline, tmp_path, {"input_data": {"columns": [], "data": []}}) == [{"scores": [], "model": "churn:7"}]


def test_a_folder_without_a_model_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"expected one folder with booster\.ubj and features\.json"):
        jobs.script("import score; score.init()", environment="serve", env={"AZUREML_MODEL_DIR": str(tmp_path)})
