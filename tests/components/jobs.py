"""Runs a component the way Azure ML does: its code folder with the additional includes, its command line, its environment."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPONENTS = ROOT / "components"
STEPS = ("validate", "prepare", "train", "evaluate", "register")
FOLDERS = [COMPONENTS / "common", COMPONENTS / "score", *(COMPONENTS / f"{step}/src" for step in STEPS)]
Done = subprocess.CompletedProcess[str]


def interpreter(environment: str) -> Path:
    """The interpreter of the train or serve environment."""
    python = ROOT / f".environments/{environment}/bin/python"
    assert python.exists(), f"{python} is missing: run `make setup`"
    return python


def component(step: str) -> dict[str, Any]:
    return yaml.safe_load((COMPONENTS / step / "component.yaml").read_text())


def command(step: str, values: Mapping[str, Any]) -> list[str]:
    """The component's command with `values` for its inputs and outputs; an optional part without a value is left out."""
    spec = component(step)
    given = {name: value["default"] for name, value in spec["inputs"].items() if "default" in value} | dict(values)
    names = re.compile(r"\$\{\{(?:inputs|outputs)\.(\w+)\}\}")

    def optional(match: re.Match[str]) -> str:
        return match[1] if all(name in given for name in names.findall(match[1])) else ""

    text = re.sub(r"\$\[\[(.*?)\]\]", optional, spec["command"])
    return [names.sub(lambda match: str(given[match[1]]), part) for part in shlex.split(text)]


def run(step: str, values: Mapping[str, Any], folder: Path, env: Mapping[str, str] | None = None) -> Done:
    """Run the step in a fresh code folder below `folder`; standard error is part of `stdout`, as in a job's log."""
    code = folder / f"code-{step}"
    shutil.copytree(COMPONENTS / step / "src", code, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for include in component(step).get("additional_includes", []):
        shutil.copy(COMPONENTS / step / include, code)
    python, *arguments = command(step, values)
    assert python == "python"
    variables = {**os.environ, **(env or {})}
    for name in ("PYTHONPATH", "AZUREML_CURRENT_CLOUD"):  # the second is left behind by the tests' own MLClient
        variables.pop(name, None)
    return subprocess.run(
        [str(interpreter("train")), *arguments],
        cwd=code, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240, check=False,
    )  # fmt: skip


def script(text: str, *arguments: object, environment: str = "train", env: Mapping[str, str] | None = None) -> str:
    """Run Python source in an environment with the components importable; return its standard output."""
    paths = os.pathsep.join(map(str, FOLDERS))
    done = subprocess.run(
        [str(interpreter(environment)), "-c", text, *map(str, arguments)],
        env={**os.environ, **(env or {}), "PYTHONPATH": paths}, text=True, capture_output=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def last_line(done: Done) -> str:
    return done.stdout.rstrip().splitlines()[-1]
