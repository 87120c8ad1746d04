"""Children of the stack end with it, and their own children too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from local.processes import Child, tail
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
STACK = """
import sys, time
from pathlib import Path
from local.processes import Child
child = Child("family", [sys.executable, "-c", sys.argv[1]], log=Path(sys.argv[2]), has_children=True)
time.sleep(600)
"""


def grandchild(log: Path) -> psutil.Process:
    wait_until(lambda: tail(log).strip().isdecimal())
    return psutil.Process(int(tail(log)))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux only")
def test_after_kill_9_of_the_stack_not_even_a_childs_child_is_left(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stack = subprocess.Popen([sys.executable, "-c", STACK, FAMILY, str(log)], cwd=ROOT)
    left = [grandchild(log), *psutil.Process(stack.pid).children(recursive=True)]
    os.kill(stack.pid, signal.SIGKILL)
    stack.wait()
    wait_until(lambda: not [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE])


def test_a_child_is_stopped_with_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child("family", [sys.executable, "-c", FAMILY], log=log, has_children=True)
    last = grandchild(log)
    child.stop()
    assert child.poll() is not None
    wait_until(lambda: not last.is_running() or last.status() == psutil.STATUS_ZOMBIE)


def test_a_guarded_childs_exit_code_is_its_own(tmp_path: Path) -> None:
    child = Child("failing", [sys.executable, "-c", "raise SystemExit(7)"], log=tmp_path / "log", has_children=True)
    wait_until(lambda: child.poll() is not None)
    assert child.poll() == 7
