"""The environment variables of a step's process: little of the machine's own, what Azure gives to jobs, what the job asks for."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from local.azureml.environment import azure_variables
from local.azureml.execution.runs import Run

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

# Of the machine: what programs need at all. Never AZUREML_CURRENT_CLOUD, which without its metadata URL breaks azure-ai-ml.
_INHERITED = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
# Read when the interpreter or a library starts: a fork of a process that has started already would not see them.
_READ_AT_START = (
    "PYTHON",
    "MLFLOW_",
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "KMP_",
    "GOMP_",
    "NUMEXPR_",
    "ARROW_",
    "XGB",
    "SKLEARN_",
    "LD_",
    "MALLOC_",
    "MPL",
    "PATH",
    "LANG",
    "LC_",
    "TZ",
    "GLIBC_",
    # Of bash, which a fork does without.
    "BASH",
    "SHELLOPTS",
)
# What means something to bash, and what bash and shlex split differently: any white space but blank and tab, control characters.
_SHELL_SYNTAX = re.compile(r"[|&;<>()$`\\*?\[\]{}~#!]|[^\S \t]|[\x00-\x08\x0e-\x1f\x7f]")


def common_environment(emulator: Emulator, python: Path) -> dict[str, str]:
    """What all steps under one interpreter share: search path, trust, identity, where Azure is."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {
        "LANG": "C.UTF-8",
        **inherited,
        "PATH": f"{python.parent}:{system}",
        "VIRTUAL_ENV": str(python.parent.parent),
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # By these azure-identity and azure-ai-ml inside a job find the emulator, as they would find Azure.
        **azure_variables(emulator.base_url, emulator.settings.identity_header, emulator.certificates),
    }


def run_environment(emulator: Emulator, run: Run, tracked: tuple[str, str] | None) -> dict[str, str]:
    """What Azure ML tells a job about itself. `tracked`: (experiment id, run id) in MLflow, None when there is none."""
    settings = emulator.settings
    told = {
        "AZUREML_RUN_ID": run["runId"],
        "AZUREML_ROOT_RUN_ID": run["rootRunId"],
        "AZUREML_EXPERIMENT_NAME": run["experimentName"],
        "AZUREML_EXPERIMENT_ID": run["experimentId"],
        "AZUREML_ARM_SUBSCRIPTION": settings.subscription_id,
        "AZUREML_ARM_RESOURCEGROUP": settings.resource_group,
        "AZUREML_ARM_WORKSPACE_NAME": settings.workspace,
        "AZUREML_ARM_PROJECT_NAME": run["experimentName"],
        "AZUREML_WORKSPACE_SCOPE": emulator.workspace_id,
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        "MLFLOW_EXPERIMENT_NAME": run["experimentName"],
    }
    if tracked is not None:
        told["MLFLOW_EXPERIMENT_ID"], told["MLFLOW_RUN_ID"] = tracked
    return told


def script_of(command: str, asked: Mapping[str, str]) -> tuple[str, ...]:
    """(script, arguments...) when the command is a plain `python script.py ...` that a fork can run; () when bash has to.

    `asked`: the job's own environment variables.
    """
    if _SHELL_SYNTAX.search(command) or any(name.startswith(_READ_AT_START) for name in asked):
        return ()
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote: bash shall say so
        return ()
    if len(words) < 2 or words[0] not in ("python", "python3") or words[1].startswith("-") or not words[1].endswith(".py"):
        return ()
    return tuple(words[1:])
