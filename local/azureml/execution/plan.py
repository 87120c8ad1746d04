"""What a submitted job asks for, checked and with every reference looked up: the runner needs nothing else.

Everything is refused at submission, as Azure does, rather than failing minutes later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

Lookup = Callable[[str, str], dict[str, Any]]
"""(kind, ARM id) -> the version's properties; raises AzureError when it does not exist. Kinds are named as in the ids."""


@dataclass(frozen=True)
class Data:
    """A file or folder in storage: any URI that the emulator's storage resolves."""

    uri: str
    type: str
    mode: str


@dataclass(frozen=True)
class FromStep:
    """What another step of the job put out."""

    step: str
    output: str
    mode: str


Value = str | Data | FromStep


@dataclass(frozen=True)
class Output:
    """Where a step's output goes: `parent_output` names the job's own output that it is, `uri` a place that the job chose."""

    type: str
    parent_output: str | None = None
    uri: str | None = None


class Work:
    """What a step does, apart from its inputs and outputs: `kinds.py` knows for each subclass who runs it."""


@dataclass(frozen=True)
class Command(Work):
    """One process to run. `conda_file` None: the environment has only an image."""

    command: str
    code_uri: str | None
    conda_file: str | None


@dataclass(frozen=True)
class Step:
    """A leaf of the job: what nodes of type pipeline are made of in the end."""

    name: str
    display_name: str
    work: Work
    inputs: Mapping[str, Value]
    outputs: Mapping[str, Output]
    environment_variables: Mapping[str, str]
    timeout: timedelta | None

    @property
    def needs(self) -> set[str]:
        """Names of the steps whose outputs it reads."""
        return {value.step for value in self.inputs.values() if isinstance(value, FromStep)}


@dataclass(frozen=True)
class Plan:
    """Steps in an order in which they could run one by one."""

    steps: Mapping[str, Step]
    continue_on_step_failure: bool = False

    def outputs(self) -> dict[str, tuple[str, Output]]:
        """The job's own outputs: name -> (step, output name)."""
        return {
            output.parent_output: (step.name, output)
            for step in self.steps.values()
            for output in step.outputs.values()
            if output.parent_output
        }
