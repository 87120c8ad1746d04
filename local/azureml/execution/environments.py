"""Which local Python stands for an Azure ML environment: its conda file is looked up by hash in `.environments/`.

`python -m local.azureml environments add <conda file>` makes one (environment_builder.py).

`python -m local.azureml.execution.environments link <conda file> <environment>` records that the one stands for the other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Literal

import yaml

from local.azureml.yaml_text import parse as parse_yaml

ENVIRONMENTS = Path(__file__).resolve().parents[3] / ".environments"
DEFAULT = "train"
Policy = Literal["strict", "default"]
"""What becomes of a conda file that nothing stands for: an error, or the default environment with a warning."""
_PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"


class EnvironmentMissing(LookupError):
    """No virtual environment of this machine stands for the conda file."""


def environment_key(conda_file: str) -> str:
    """First 12 hex digits of the SHA-256 of a conda file's content (its text is given).

    Of the parsed content, since azure-ai-ml sends the file parsed, sorted and dumped again: comments and order of keys are gone.
    """
    try:
        content = json.dumps(parse_yaml(conda_file), sort_keys=True)
    except yaml.YAMLError as error:
        raise EnvironmentMissing(f"The conda file is not valid YAML: {error}") from None
    except (TypeError, ValueError) as error:  # YAML knows dates, sets and what holds itself; a conda file has no use for them
        raise EnvironmentMissing(f"The conda file holds what is no part of one: {error}") from None
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def interpreter_for(conda_file: str, folder: Path = ENVIRONMENTS) -> Path:
    """The Python linked to this conda file (its text); EnvironmentMissing says with which command one gets it."""
    made = folder / environment_key(conda_file)
    if made.exists():
        return python_of(made, "this conda file")
    kept = asked_file(made.name, folder)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(conda_file)
    shown = kept.relative_to(folder.parent) if folder == ENVIRONMENTS else kept
    raise EnvironmentMissing(
        f"No local Python stands for this conda file. Run `python -m local.azureml environments add {shown}`, "
        "which holds what was sent (or name your own file, when it refers to others beside it), and submit again."
    )


def choose(conda_file: str | None, policy: Policy, folder: Path = ENVIRONMENTS) -> tuple[Path, str]:
    """The Python for an environment, and what its log is to say about it ("": nothing). EnvironmentMissing when there is none."""
    if conda_file is None:
        note = "the environment has no conda file: the emulator uses the stack's training environment instead of its image"
        return default_interpreter(folder), note
    try:
        return interpreter_for(conda_file, folder), ""
    except EnvironmentMissing as missing:
        if policy == "strict":
            raise
        return default_interpreter(folder), f"warning: the default environment is used instead. {missing}"


def asked_file(key: str, folder: Path = ENVIRONMENTS) -> Path:
    """Where a conda file that nothing stands for is kept until something does."""
    return folder / "asked" / f"{key}.conda.yaml"


def default_interpreter(folder: Path = ENVIRONMENTS) -> Path:
    """The Python for environments that have only an image: the training environment of the stack."""
    return python_of(folder / DEFAULT, "environments without a conda file")


def interpreters(folder: Path = ENVIRONMENTS) -> list[Path]:
    """The Python of every environment, each once however many links lead to it."""
    found = {environment.resolve() / _PYTHON for environment in folder.glob("*")}
    return sorted(python for python in found if python.exists())


def link(conda_file: Path, environment: Path, folder: Path = ENVIRONMENTS) -> Path:
    """Make `environment` stand for `conda_file`; returns the link. An older link of the same conda file is replaced."""
    python_of(environment, str(conda_file))
    made = folder / environment_key(conda_file.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    fresh = made.with_name(f"{made.name}.{os.getpid()}")
    fresh.symlink_to(os.path.relpath(environment.resolve(), folder.resolve()))
    fresh.replace(made)  # atomic: a job that starts meanwhile sees the old link or the new one
    return made


def python_of(environment: Path, purpose: str) -> Path:
    """An environment's Python; EnvironmentMissing when it has none."""
    # Through the link, so that one environment is one warmed parent; not through python's own link, which leaves the environment.
    python = environment.resolve() / _PYTHON
    if not python.exists():
        raise EnvironmentMissing(
            f"No local Python stands for {purpose}: {environment.parent.name}/{environment.name} is missing. Run `make setup`."
        )
    return python


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the link it made."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    linking = commands.add_parser("link", help="let a virtual environment stand for a conda file")
    linking.add_argument("conda_file", type=Path)
    linking.add_argument("environment", type=Path)
    chosen = parser.parse_args(arguments)
    try:
        made = link(chosen.conda_file, chosen.environment)
    except (EnvironmentMissing, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{made.name} -> {chosen.environment}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
