"""A Functions worker imports the app before it answers anything: the whole process, with bytecode present."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Comparison, alternate, spread

ROOT = Path(__file__).parent.parent
RUNS = 15


def _process(statement: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", statement], cwd=ROOT, env=environment, check=True)


def run() -> list[Comparison]:
    app, alone = alternate(lambda: _process("import function_app"), lambda: _process("import azure.functions"), runs=RUNS)
    ratio = statistics.median(app) / statistics.median(alone)
    return [
        Comparison("import function_app", ratio, 1.5, "at most", "x", spread(app), "import azure.functions: " + spread(alone))
    ]
