"""What a submitted job asks for, checked and with every reference looked up: the runner needs nothing else.

Everything is refused at submission, as Azure does, rather than failing minutes later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
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
    asset: str | None = None
    """The id of the version that it is, when the job named one."""


@dataclass(frozen=True)
class FromStep:
    """What another step of the job put out."""

    step: str
    output: str
    mode: str


Value = str | Data | FromStep


@dataclass(frozen=True)
class AssetName:
    """The asset that an output becomes; without a version it gets the next number."""

    name: str
    version: str | None = None


@dataclass(frozen=True)
class Output:
    """Where a step's output goes: `parent_output` names the job's own output that it is, `uri` a place that the job chose.

    `mode`: upload, rw_mount (the same here), or direct: the step is told the URI and writes there itself.
    """

    type: str
    parent_output: str | None = None
    uri: str | None = None
    mode: str = "upload"
    asset: AssetName | None = None


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
    optional: frozenset[str] = frozenset()
    """Inputs that it can do without."""
    warnings: tuple[str, ...] = ()
    """What was asked for and is not done here, for its log and its run document."""
    component: str | None = None
    """A digest of what its component is (reuse.py); None: no earlier run can stand for it."""

    @property
    def needs(self) -> set[str]:
        """Names of the steps whose outputs it reads."""
        return {value.step for value in self.inputs.values() if isinstance(value, FromStep)}

    @property
    def required(self) -> set[str]:
        """Of these, the steps whose outputs it cannot do without."""
        return self.without(self.optional).needs

    def without(self, inputs: Collection[str]) -> Step:
        """The step with these inputs left out."""
        return replace(self, inputs={name: value for name, value in self.inputs.items() if name not in inputs})


@dataclass(frozen=True)
class Node:
    """A node of a pipeline that is a step: `name` is its path in the job, `spec` its component's specification."""

    name: str
    body: Mapping[str, Any]
    spec: Mapping[str, Any]
    given: Mapping[str, Value]
    """The values of its inputs."""
    outputs: Mapping[str, Output]

    @property
    def display_name(self) -> str:
        """What people read."""
        return display_name(self.name, self.body, self.spec)


@dataclass(frozen=True)
class Nested:
    """A node of type pipeline: the steps whose names begin with its own and a dot. `outputs`: name -> (step, output name)."""

    display_name: str
    outputs: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Plan:
    """Steps in an order in which they could run one by one; `nested` by their paths, outer ones first."""

    steps: Mapping[str, Step]
    nested: Mapping[str, Nested] = field(default_factory=dict)
    continue_on_step_failure: bool = False
    continue_run_on_failed_optional_input: bool = False
    force_rerun: bool = False
    computes: frozenset[str] = frozenset()
    """Those that nodes inside of pipeline components name."""

    def outputs(self) -> dict[str, tuple[str, str]]:
        """The job's own outputs: name -> (step, output name)."""
        return {
            output.parent_output: (step.name, name)
            for step in self.steps.values()
            for name, output in step.outputs.items()
            if output.parent_output
        }


def display_name(name: str, node: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """What people read: the node's own, its component's, or the node's name without the path to it."""
    return str(node.get("display_name") or spec.get("display_name") or name.rpartition(".")[2])


def is_lost(value: Value, completed: Collection[str]) -> bool:
    """Whether a value should have come from a step that did not complete."""
    return isinstance(value, FromStep) and value.step not in completed
