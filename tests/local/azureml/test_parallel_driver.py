"""The driver of parallel steps on its own, as a step's process runs it: mini batches, failures, workers that die or hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.azureml.execution.environments import default_interpreter
from local.azureml.execution.parallel.run import DRIVER, MLFLOW_SCRIPT
from tests.waiting import wait_until

GREET = """
import os, sys
from pathlib import Path
def init():
    from azureml_user.parallel_run import EntryScript
    EntryScript().logger.info("init in %s %s", os.getpid(), sys.argv[1:])
def run(mini_batch):
    for file in mini_batch:
        text, marker = Path(file).read_text(), Path(file + ".seen")
        if text == "dies once" and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), 9)
        if text == "hangs once" and not marker.exists():
            marker.touch()
            import time; time.sleep(60)
        if text == "fails":
            raise ValueError(f"cannot read {Path(file).name}")
    return [Path(file).name for file in mini_batch if Path(file).read_text() != "left out"]
def shutdown():
    print("shutdown in", os.getpid())
"""


@dataclass
class Result:
    code: int
    log: str
    rows: list[str] | None
    outcome: dict[str, Any]


Drive = Callable[..., Result]


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Path]:
    """Writes a script, files with these texts, and the driver's settings for them; returns the settings' path."""

    def write(texts: dict[str, str], script: str = GREET, table: dict[str, Any] | None = None, **asked: Any) -> Path:
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code" / "entry.py").write_text(script)
        (tmp_path / "data").mkdir()
        (tmp_path / "rows").mkdir()
        for name, text in texts.items():
            (tmp_path / "data" / name).write_text(text)
        document = {
            "entry_script": str(tmp_path / "code" / "entry.py"), "code": str(tmp_path / "code"), "arguments": ["--hello", "you"],
            "files": [str(tmp_path / "data" / name) for name in texts], "table": table,
            "preload": ["json", "there.is.none"], "mini_batch_size": 1, "workers": 2,
            "max_retries": 1, "timeout": 30.0, "mini_batch_error_threshold": -1, "error_threshold": -1,
            "allowed_failed_percent": 100, "first_task_creation_timeout": 60, "append_row": str(tmp_path / "out" / "all.txt"),
            "logging_level": "INFO", "scratch": str(tmp_path / "rows"), "outcome": str(tmp_path / "outcome.json"), **asked,
        }  # fmt: skip
        (tmp_path / "settings.json").write_text(json.dumps(document))
        return tmp_path / "settings.json"

    return write


@pytest.fixture
def drive(tmp_path: Path, settings: Callable[..., Path]) -> Drive:
    """Runs the driver to its end."""

    def run(*given: Any, python: Path | str = sys.executable, **asked: Any) -> Result:
        path = settings(*given, **asked)
        env = {**os.environ, "AZUREML_MODEL_DIR": str(tmp_path), "PYTHONPATH": str(tmp_path / "code")}
        ended = subprocess.run([python, DRIVER, path], capture_output=True, text=True, timeout=60, env=env)
        rows = tmp_path / "out" / "all.txt"
        return Result(
            ended.returncode, ended.stdout + ended.stderr, rows.read_text().splitlines() if rows.exists() else None,
            json.loads((tmp_path / "outcome.json").read_text()),
        )  # fmt: skip

    return run


def test_every_file_is_worked_on_once_and_the_rows_keep_the_order_of_the_input(drive: Drive) -> None:
    texts = {f"{number:02}.txt": "fine" for number in range(11)}
    result = drive(texts, mini_batch_size=2)
    assert (result.code, result.rows) == (0, list(texts))
    # Two workers, of which one may be so late that there is nothing left for it to do.
    assert 1 <= result.log.count("shutdown in") <= result.log.count("init in") <= 2
    assert "['--hello', 'you']" in result.log
    assert result.outcome == {"mini_batches": 6, "failed": [], "failed_items": 0, "message": ""}


def test_a_worker_that_dies_or_hangs_loses_no_mini_batch_and_doubles_no_row(drive: Drive) -> None:
    texts = {"a.txt": "fine", "b.txt": "dies once", "c.txt": "fine", "d.txt": "hangs once", "e.txt": "fine"}
    result = drive(texts, timeout=0.5)
    assert (result.code, result.rows) == (0, list(texts))
    assert "mini batch 1 (b.txt) is tried again: its worker ended with signal SIGKILL" in result.log
    assert "mini batch 3 (d.txt) is tried again: run() took longer than 0.5 s" in result.log


def test_failed_mini_batches_are_left_out_until_there_are_too_many(drive: Drive) -> None:
    result = drive({"a.txt": "fine", "b.txt": "fails", "c.txt": "left out"})
    assert (result.code, result.rows, result.outcome["failed_items"]) == (0, ["a.txt"], 2)
    [failed, short] = sorted(result.outcome["failed"], key=lambda one: one["mini_batch"])
    assert len(failed["errors"]) == 2
    assert "cannot read b.txt" in failed["errors"][0]
    assert short["errors"] == ["run() returned 0 results for 1 items"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"mini_batch_error_threshold": 0}, "1 of 3 mini batches failed, more than the mini_batch_error_threshold of 0"),
        ({"error_threshold": 0}, "and with them 1 items, more than the error_threshold of 0"),
        ({"allowed_failed_percent": 20}, "more than the allowed_failed_percent of 20"),
    ],
)
def test_too_many_failures_end_the_step_and_say_which(drive: Drive, asked: dict[str, Any], why: str) -> None:
    result = drive({"a.txt": "fine", "b.txt": "fails", "c.txt": "fine"}, max_retries=0, **asked)
    assert result.code == 1
    assert why in result.outcome["message"]
    assert "Mini batch 1 (b.txt): Traceback" in result.outcome["message"]
    assert "ValueError: cannot read b.txt" in result.outcome["message"]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("def init(): raise OSError('no model here')\ndef run(batch): return batch", "OSError: no model here"),
        ("def init(): pass", "has no function run(mini_batch)"),
        ("import os\ndef init(): os._exit(3)\ndef run(batch): return batch", "A worker ended with exit code 3"),
        ("def run(batch) return", "SyntaxError"),
    ],
)
def test_a_script_that_cannot_begin_fails_the_step(drive: Drive, script: str, why: str) -> None:
    result = drive({"a.txt": "fine"}, script)
    assert result.code == 1
    assert why in result.outcome["message"]


def test_a_result_that_is_no_list_counts_as_failed(drive: Drive) -> None:
    result = drive({"a.txt": "fine"}, "def run(batch): return 7", mini_batch_error_threshold=0)
    assert "run() must return a list, a tuple, an array or a pandas DataFrame or Series, not int" in result.outcome["message"]


def test_a_result_may_be_a_tuple_or_an_array_and_run_may_ask_which_mini_batch_it_has(drive: Drive) -> None:
    script = (
        "import array\ndef run(batch, context):\n    n = context.minibatch_index\n    return (n,) if n else array.array('i', [7])"
    )
    result = drive({"a.txt": "", "b.txt": ""}, script)
    assert (result.code, result.rows) == (0, ["7", "1"])


def test_an_input_without_files_fails_the_step(drive: Drive) -> None:
    result = drive({})
    assert (result.code, result.rows) == (1, None)
    assert "has nothing in it" in result.outcome["message"]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_is_ended_or_killed_leaves_no_worker(settings: Callable[..., Path], ending: signal.Signals) -> None:
    path = settings({f"{number}.txt": "hangs once" for number in range(3)})
    driver = subprocess.Popen([sys.executable, DRIVER, path], stdout=subprocess.DEVNULL, start_new_session=True)
    seen = path.parent / "data"
    wait_until(lambda: len(list(seen.glob("*.seen"))) == 2, what="two workers at work")
    workers = psutil.Process(driver.pid).children()
    if ending == signal.SIGTERM:
        os.killpg(driver.pid, ending)  # as the emulator cancels a step
    else:
        driver.kill()
    assert driver.wait(10) == -ending
    assert len(workers) == 2
    psutil.wait_procs(workers, timeout=10)
    assert not any(worker.is_running() for worker in workers)


@pytest.mark.train_environment
def test_an_mlflow_model_without_a_script_takes_csv_and_says_what_it_cannot_read(drive: Drive, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").touch()
    # A stand-in for mlflow: the real one scores in the tests of batch endpoints, and takes seconds to import.
    (tmp_path / "code" / "mlflow").mkdir(parents=True)
    (tmp_path / "code" / "mlflow" / "__init__.py").touch()
    model = """
import types
class Model:
    metadata = types.SimpleNamespace(get_input_schema=lambda: None)
    def predict(self, frame): return frame * 2
def load_model(folder): return Model()
"""
    (tmp_path / "code" / "mlflow" / "pyfunc.py").write_text(model)
    texts = {"a.csv": "x,y\n1,2\n3,4\n", "b.json": "{}", "c.csv": '"', "d.csv": "x\n5\n"}
    result = drive(texts, entry_script=str(MLFLOW_SCRIPT), max_retries=0, python=default_interpreter())
    assert (result.code, result.rows) == (0, ["0,2,4,a.csv", "1,6,8,a.csv", "0,10,d.csv"])
    errors = {one["name"]: one["errors"][-1] for one in result.outcome["failed"]}
    assert (
        f"Error processing input file: '{tmp_path}/data/b.json'. Exception: File type 'json' is not supported."
        in errors["b.json"]
    )
    assert f"Error processing input file: '{tmp_path}/data/c.csv'. Exception: " in errors["c.csv"]
