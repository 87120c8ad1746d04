"""Which kinds of steps there are: how each is read from a node or a job, and who runs it. Nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.azureml.execution.commands import command_node, command_step
from local.azureml.execution.parallel.nodes import parallel_node
from local.azureml.execution.parallel.plan import Parallel
from local.azureml.execution.parallel.run import ParallelRun
from local.azureml.execution.plan import Command, Lookup, Node, Step, Work
from local.azureml.execution.step import StepRun
from local.azureml.execution.sweep.plan import Sweep
from local.azureml.execution.sweep.reading import sweep_job, sweep_node, trial_component
from local.azureml.execution.sweep.run import SweepRun

BuildNode = Callable[[Node, Lookup], Step]
"""The step that a node is, or AzureError."""
BuildJob = Callable[[str, Mapping[str, Any], Lookup], Step]
"""(the job's name, the properties of its REST body, lookup) -> the one step that the job is."""


@dataclass(frozen=True)
class NodeKind:
    """`component` finds the id of the node's component, whose type has to be `component_type`."""

    build: BuildNode
    component_type: str
    component: Callable[[Mapping[str, Any]], Any] = lambda node: node.get("componentId")


NODES: Mapping[str, NodeKind] = {
    "command": NodeKind(command_node, "command"),
    "parallel": NodeKind(parallel_node, "parallel"),
    "sweep": NodeKind(sweep_node, "command", trial_component),
}
"""By the `type` of a pipeline's node; nodes of type pipeline are no steps: graph.py takes them apart."""
JOBS: Mapping[str, BuildJob] = {"Command": command_step, "Sweep": sweep_job}
"""By the `jobType` of a job that is one step itself; the type of its run is in `runs.ROOT_TYPES`."""
RUNS: Mapping[type[Work], type[StepRun]] = {Command: StepRun, Parallel: ParallelRun, Sweep: SweepRun}
"""By the type of a step's work."""
