"""The inference server that a deployment without one borrows: what does not fit is said, at the start and when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from local.azureml.serving import launch
from local.azureml.serving.process import SERVER_PACKAGES
from local.processes import free_port

SERVER = "azureml_inference_server_http"


def launched(folder: Path) -> subprocess.CompletedProcess[str]:
    """launch.py under this Python, which has no inference server, with one that it may borrow in `folder`."""
    command = [sys.executable, launch.__file__, "--port", str(free_port())]
    environment = {**os.environ, SERVER_PACKAGES: str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def lend(folder: Path, code: str) -> None:
    """A server that asks for a pydantic that nobody has any more, and for a package that is not there."""
    (folder / SERVER).mkdir()
    (folder / SERVER / "__init__.py").write_text("")
    (folder / SERVER / "constants.py").write_text(code)
    served = f"from {SERVER} import constants\ndef run(): print('serving on', constants.DEFAULT_HOST)\n"
    (folder / SERVER / "amlserver.py").write_text(served)
    about = folder / f"{SERVER}-9.9.dist-info"
    about.mkdir()
    asked = "Requires-Dist: pydantic<1\nRequires-Dist: packaging\nRequires-Dist: not-there-at-all\n"
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {SERVER}\nVersion: 9.9\n{asked}")


def test_a_borrowed_server_that_runs_says_which_packages_it_did_not_ask_for(tmp_path: Path) -> None:
    lend(tmp_path, "DEFAULT_HOST = '0.0.0.0'\n")
    said = launched(tmp_path)
    assert (said.returncode, "serving on 127.0.0.1" in said.stdout) == (0, True), said.stderr
    assert "runs with other packages than it asks for: pydantic<1, here 2." in said.stdout
    assert "not-there-at-all, here none" in said.stdout
    assert "packaging" not in said.stdout


def test_a_borrowed_server_that_cannot_be_imported_says_what_is_unmet(tmp_path: Path) -> None:
    lend(tmp_path, "raise AttributeError('pydantic has changed')\n")
    said = launched(tmp_path)
    assert said.returncode != 0
    assert "AttributeError: pydantic has changed" in said.stderr
    assert "The borrowed inference server cannot be imported here. Unmet: pydantic<1, here 2." in said.stderr
