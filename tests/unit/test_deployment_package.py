"""What `func azure functionapp publish` would take along: the app, and nothing of the laptop."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# As long as what it needs is one of these, nothing of the laptop can be deployed by accident.
DEPLOYED = {"function_app.py", "host.json", "requirements.txt", "tidegate.yaml", "functions", "ml_core", "components"}


def _packed(paths: list[str], tmp_path: Path) -> set[str]:
    """Which of these paths .funcignore lets through; its syntax is .gitignore's, so git is asked, in an empty repository."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    command = ["git", "-c", f"core.excludesFile={ROOT / '.funcignore'}", "check-ignore", "--no-index", "--stdin"]
    asked = subprocess.run(command, cwd=tmp_path, input="\n".join(paths), capture_output=True, text=True, check=False)
    assert asked.returncode in (0, 1), asked.stderr
    return set(paths) - set(asked.stdout.splitlines())


def test_the_package_holds_the_app_and_nothing_of_the_laptop(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of files to ask about")
    tracked = listed.stdout.splitlines()
    secrets = [
        ".state/host/keys.json",
        ".state/identity/signing.key",
        ".venv/bin/python",
        "local.settings.json",
        "ml_core/__pycache__/a.pyc",
    ]
    packed = _packed(tracked + secrets, tmp_path)
    assert {Path(name).parts[0] for name in packed} == DEPLOYED
    assert packed == {name for name in tracked if Path(name).parts[0] in DEPLOYED}
