"""The app's command line in a shell of its own, on a stack's settings: what a person has who types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from local.stack import ROOT, Stack


def ask(stack: Stack, *arguments: str) -> Any:
    """The JSON that a command answers with."""
    command = [sys.executable, "-m", "ml_core.cli", *arguments, "--json"]
    environment = {**os.environ, **stack.environment.variables()}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr or done.stdout[-3000:]
    return json.loads(done.stdout)
