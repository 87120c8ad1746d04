"""Microsoft's worker library in an environment of its own, because it wants Python 3.13 and the rest of the tests do not.

Real here: the library, azure-functions of the 3.13 line, the app. Stand-ins: the protobuf messages that the .NET host would send.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uv

from tests.local.host.conftest import token_endpoint  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
ENVIRONMENT = ROOT / ".environments" / "worker"

RunWorker = Callable[..., Any]


def candidates() -> Iterator[str]:
    """Interpreters that may be 3.13: on PATH, under pyenv, known to uv."""
    if found := shutil.which("python3.13"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from (str(path) for path in sorted(pyenv.glob("3.13*/bin/python")))
    known = subprocess.run(
        [uv.find_uv_bin(), "python", "find", "--no-python-downloads", "3.13"], capture_output=True, text=True, check=False
    )
    if known.returncode == 0:
        yield known.stdout.strip()


def find_python() -> str | None:
    """The first candidate that really runs and is 3.13 (pyenv's shims exist for versions that are not switched on)."""
    for candidate in candidates():
        said = subprocess.run(
            [candidate, "-c", "import sys; print(sys.version_info[:2] == (3, 13))"], capture_output=True, text=True, check=False
        )
        if said.stdout.strip() == "True":
            return candidate
    return None


@pytest.fixture(scope="session")
def worker_python() -> Path:
    """The environment's interpreter; the environment is made on first use and again when its pins change."""
    base = find_python()
    if base is None:
        reason = "no Python 3.13 on PATH, under pyenv or known to uv: Microsoft's worker library needs it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    pins = HERE / "requirements.txt"
    marker, wanted = ENVIRONMENT / ".ready", hashlib.sha256(pins.read_bytes() + base.encode()).hexdigest()
    interpreter = ENVIRONMENT / "bin" / "python"
    if not marker.exists() or marker.read_text() != wanted:
        run = [uv.find_uv_bin(), "--quiet"]
        environment = {"UV_LINK_MODE": "copy"} | os.environ
        subprocess.run([*run, "venv", "--clear", "--python", base, str(ENVIRONMENT)], check=True, env=environment)
        install = ["pip", "sync", "--require-hashes", "--compile-bytecode", "--python", str(interpreter), str(pins)]
        subprocess.run([*run, *install], check=True, env=environment)
        marker.write_text(wanted)
    return interpreter


@pytest.fixture(scope="session")
def run_worker(worker_python: Path) -> RunWorker:
    """`run_worker("index", app, ...)` or `run_worker("invoke", app, calls=[...], environment={...})`: the script's answer."""

    def run(
        command: str, *apps: Path, calls: list[dict[str, Any]] | None = None, environment: dict[str, str] | None = None
    ) -> Any:
        ended = subprocess.run(
            [str(worker_python), str(HERE / "index_and_invoke.py"), command, *map(str, apps)],
            input=json.dumps(calls or []),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=dict(os.environ) | {"PYTHONDONTWRITEBYTECODE": "1"} | (environment or {}),
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run
