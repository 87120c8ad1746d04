"""The process that forks steps: it must be indistinguishable, for a script, from `python script.py`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.azureml.execution.environments import default_interpreter
from local.azureml.execution.warmed_parent import Launch, Running, WarmedParent
from tests.local.azureml.pipelines import deadline

WAIT_SECONDS = 60.0


class Bench:
    """A warmed parent under this Python, and a folder for scripts."""

    def __init__(self, folder: Path, python: Path = Path(sys.executable)) -> None:
        self.folder = folder
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.parent = WarmedParent(python, env=self.env, log=folder / "parent.log", learned=folder / "learned.json")
        self.log = folder / "log.txt"

    def start(self, script: str, *arguments: str, **env: str) -> Running:
        (self.folder / "script.py").write_text(script)
        return self.parent.start(Launch(self.folder, {**self.env, **env}, self.log, argv=("script.py", *arguments)))

    def shell(self, command: str) -> Running:
        return self.parent.start(Launch(self.folder, self.env, self.log, command=command))

    def run(self, script: str, *arguments: str, **env: str) -> tuple[int | None, str]:
        """(status, what it wrote)"""
        self.log.unlink(missing_ok=True)
        running = self.start(script, *arguments, **env)
        assert running.wait(WAIT_SECONDS)
        return running.status, self.log.read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.parent.close()


def until_gone(*pids: int) -> None:
    with deadline(10.0, f"still there: {pids}") as check:
        while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            check()


def until_written(log: Path, text: str) -> None:
    with deadline(WAIT_SECONDS, f"{text} did not appear in the log") as check:
        while not log.exists() or text not in log.read_text():
            check()


def test_a_script_sees_its_arguments_folder_and_environment_and_nothing_else(bench: Bench) -> None:
    (bench.folder / "beside.py").write_text("word = 'beside'")
    script = (
        "import sys, os, beside\n"
        "print(sys.argv, __name__, __file__, os.getcwd(), beside.word, os.environ.get('MINE'), os.environ.get('PWD'))"
    )
    status, log = bench.run(script, "a", "b c", MINE="yes")
    assert status == 0
    assert log.strip() == f"['script.py', 'a', 'b c'] __main__ script.py {bench.folder} beside yes None"


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no data')", 1, "no data\n"),
        ("raise SystemExit", 0, ""),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15, ""),
        ("import os; os._exit(7)", 7, ""),
        ("import sys, atexit; atexit.register(print, 'last'); print('first')", 0, "first\nlast\n"),
        ("import threading, time; threading.Timer(0.05, print, ['later']).start()", 0, "later\n"),
        ("import ctypes; ctypes.CDLL(None).printf(b'from C')", 0, "from C"),
    ],
)
def test_a_script_ends_as_under_the_interpreter(bench: Bench, script: str, status: int, said: str) -> None:
    assert bench.run(script) == (status, said)


def test_a_traceback_shows_the_script_and_not_what_started_it(bench: Bench) -> None:
    status, log = bench.run("def f():\n    raise ValueError('wrong column')\nf()\n")
    assert status == 1
    assert log.startswith('Traceback (most recent call last):\n  File "script.py", line 3')
    assert log.endswith("ValueError: wrong column\n")
    assert "warm_process" not in log


def test_a_missing_script_is_exit_code_2_as_under_the_interpreter(bench: Bench) -> None:
    running = bench.parent.start(Launch(bench.folder, bench.env, bench.log, argv=("absent.py",)))
    assert running.wait(WAIT_SECONDS)
    assert running.status == 2
    assert "absent.py" in bench.log.read_text()


def test_two_forks_draw_different_random_numbers(bench: Bench) -> None:
    script = "import random, sys; print(random.random())"
    assert bench.run(script)[1] != bench.run(script)[1]


def test_changes_that_a_script_makes_do_not_reach_the_next_one(bench: Bench) -> None:
    bench.run("import os, sys; os.environ['LEFT'] = '1'; sys.path.append('/left'); os.chdir('/')")
    _, log = bench.run("import os, sys; print(os.environ.get('LEFT'), '/left' in sys.path, os.getcwd())")
    assert log.strip() == f"None False {bench.folder}"


def test_a_shell_command_runs_in_bash(bench: Bench) -> None:
    running = bench.shell("echo ${BASH_VERSION:+bash} | tr a-z A-Z; exit 4")
    assert running.wait(WAIT_SECONDS)
    assert (running.status, bench.log.read_text()) == (4, "BASH\n")


def test_a_signal_reaches_the_whole_process_group(bench: Bench) -> None:
    running = bench.shell("sleep 300 & echo $! ; wait")
    until_written(bench.log, "\n")
    grandchild = int(bench.log.read_text())
    running.signal(signal.SIGTERM)
    assert running.wait(WAIT_SECONDS)
    assert running.status == -signal.SIGTERM
    until_gone(running.pid, grandchild)


def test_what_a_step_left_in_the_background_ends_with_it(bench: Bench) -> None:
    running = bench.shell("sleep 300 & echo $!")
    assert running.wait(WAIT_SECONDS)
    until_gone(int(bench.log.read_text()))


def test_a_parent_that_was_killed_takes_its_children_along_and_is_replaced(bench: Bench) -> None:
    running = bench.shell("sleep 300 & echo $! ; wait")
    until_written(bench.log, "\n")
    grandchild, first = int(bench.log.read_text()), bench.parent.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert running.wait(WAIT_SECONDS)
    assert running.lost
    until_gone(running.pid, grandchild)
    assert bench.run("print('again')") == (0, "again\n")
    assert bench.parent.pid != first


def test_closing_leaves_no_process(bench: Bench) -> None:
    running = bench.shell("sleep 300 & echo $! ; wait")
    until_written(bench.log, "\n")
    grandchild, parent = int(bench.log.read_text()), bench.parent.pid
    assert parent is not None
    bench.parent.close()
    until_gone(parent, running.pid, grandchild)


def test_what_one_step_imported_the_next_one_finds_imported(bench: Bench) -> None:
    script = "import sys; print('yaml' in sys.modules); import yaml"
    assert bench.run(script) == (0, "False\n")
    assert bench.run(script) == (0, "True\n")
    assert "yaml" in json.loads((bench.folder / "learned.json").read_text())


def test_what_was_learned_survives_a_restart(bench: Bench) -> None:
    bench.run("import yaml")
    bench.parent.close()
    again = Bench(bench.folder)
    assert again.run("import sys; print('yaml' in sys.modules)") == (0, "True\n")
    again.parent.close()


def test_a_parent_can_be_told_what_to_import_before_the_first_step(bench: Bench) -> None:
    bench.parent.warm(["yaml", "no_such_module"])
    assert bench.run("import sys; print('yaml' in sys.modules)") == (0, "True\n")


def test_a_module_that_starts_a_thread_is_never_preloaded_and_harms_no_step(bench: Bench, tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "threaded"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n"
    )
    script = f"import sys; print('threaded' in sys.modules); sys.path.append({str(package.parent)!r}); import threaded"
    bench.env["PYTHONPATH"] = str(package.parent)
    bench.parent = WarmedParent(Path(sys.executable), env=bench.env, log=tmp_path / "p.log", learned=tmp_path / "l.json")
    for _ in range(3):
        assert bench.run(script) == (0, "False\n")
    assert "threaded" not in bench.parent.learned


TRAINING = """
import sys
warm = "xgboost" in sys.modules and "mlflow" in sys.modules
import mlflow, numpy as np, xgboost
from sklearn.ensemble import RandomForestClassifier
X = np.random.rand(2000, 5); y = (X[:, 0] > 0.5).astype(int)
booster = xgboost.train({"objective": "binary:logistic", "nthread": 2}, xgboost.DMatrix(X, y), 5)
forest = RandomForestClassifier(10, n_jobs=2).fit(X, y)
assert ((booster.predict(xgboost.DMatrix(X)) > 0.5) == y).mean() > 0.9 and (X.T @ X).shape == (5, 5)
print(warm, X[0, 0], mlflow.get_tracking_uri())
"""


@pytest.mark.train_environment
def test_training_works_in_forks_of_a_parent_that_imported_numpy_sklearn_xgboost_and_mlflow(tmp_path: Path) -> None:
    bench = Bench(tmp_path, default_interpreter())
    seen = []
    for number in range(3):
        status, log = bench.run(TRAINING, MLFLOW_TRACKING_URI=f"http://tracking-{number}")
        assert status == 0, log
        seen.append(log.split())
    bench.parent.close()
    assert [line[0] for line in seen] == ["False", "True", "True"]
    assert len({line[1] for line in seen}) == 3, "every fork draws its own numbers from numpy"
    assert [line[2] for line in seen] == [f"http://tracking-{number}" for number in range(3)]
