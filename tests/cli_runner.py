"""The app's command line in this process, on the services that a test has chosen by `bootstrap.use`."""

from __future__ import annotations

import json
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from ml_core.cli.commands import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="python -m ml_core.cli")


def answer(*arguments: str) -> str:
    """What a command prints that must succeed."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def document(*arguments: str) -> Any:
    return json.loads(answer(*arguments, "--json"))
