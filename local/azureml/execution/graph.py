"""Pipeline jobs: from the nodes of the REST body to steps, with their bindings followed and their order found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from local.azureml.errors import AzureError, bad_request
from local.azureml.execution.bindings import ParentInput, ParentOutput, StepOutput
from local.azureml.execution.kinds import JOBS, NODES
from local.azureml.execution.plan import Data, FromStep, Lookup, Output, Plan, Step, Value
from local.azureml.execution.values import DATA_TYPES, binding_of, input_mode, job_output, root_value

_STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,254}")


def plan_job(name: str, properties: Mapping[str, Any], lookup: Lookup) -> Plan:
    """Check a job's REST properties and plan it; AzureError 400 for what is wrong in it, 501 for what the emulator cannot run."""
    kind = str(properties.get("jobType", ""))
    if kind in JOBS:
        return Plan({name: JOBS[kind](name, properties, lookup)})
    if kind != "Pipeline":
        known = ", ".join(["Pipeline", *JOBS])
        raise AzureError(501, "NotSupportedByEmulator", f"The emulator runs jobs of the types {known}, not '{kind}'.")
    nodes = properties.get("jobs") or {}
    if not nodes:
        raise bad_request("A pipeline job needs at least one step.")
    return _Pipeline(properties, nodes, lookup).plan()


class _Pipeline:
    def __init__(self, properties: Mapping[str, Any], nodes: Mapping[str, Any], lookup: Lookup) -> None:
        self._properties, self._nodes, self._lookup = properties, nodes, lookup
        given = properties.get("inputs") or {}
        self._inputs = {name: root_value(name, value, lookup) for name, value in given.items() if value is not None}
        self._outputs = {name: job_output(name, value or {}) for name, value in (properties.get("outputs") or {}).items()}
        self._specs = {name: self._specification(name, node) for name, node in nodes.items()}

    def plan(self) -> Plan:
        settings = self._properties.get("settings") or {}
        steps = [self._step(name, node) for name, node in self._nodes.items()]
        bound = [output.parent_output for step in steps for output in step.outputs.values() if output.parent_output]
        for name in self._outputs:
            if bound.count(name) != 1:
                raise bad_request(
                    f"The job's output '{name}' must be bound to one output of one step; it is bound to {bound.count(name)}."
                )
        return Plan(_ordered(steps), bool(settings.get("continue_on_step_failure", False)))

    def _specification(self, name: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
        if not _STEP_NAME.fullmatch(name):
            raise bad_request(
                f"'{name}' is no valid name of a step: letters, digits, '_' and '-', beginning with a letter or '_'."
            )
        type_name = str(node.get("type", "command"))
        kind = NODES.get(type_name)
        if kind is None:
            known = ", ".join(NODES)
            raise AzureError(
                501, "NotSupportedByEmulator", f"Step '{name}' is of type '{type_name}': the emulator runs steps of type {known}."
            )
        component = kind.component(node)
        if not component:
            raise bad_request(f"Step '{name}' names no component.")
        spec: Mapping[str, Any] = self._lookup("components", str(component).removeprefix("azureml:"))["componentSpec"]
        found = spec.get("type", "command")
        if found != kind.component_type:
            raise bad_request(f"Step '{name}' is of type '{type_name}', its component of type '{found}'.")
        return spec

    def _step(self, name: str, node: Mapping[str, Any]) -> Step:
        spec = self._specs[name]
        inputs = {key: self._input(name, key, value) for key, value in (node.get("inputs") or {}).items() if value is not None}
        given = {key: value for key, value in inputs.items() if value is not None}
        kind = NODES[str(node.get("type", "command"))]
        return kind.build(name, node, spec, given, self._step_outputs(name, spec, node), self._lookup)

    def _input(self, step: str, name: str, value: Any) -> Value | None:
        """None for a binding to an input of the pipeline that was given no value."""
        where = f"Step '{step}', input '{name}'"
        mode = value.get("mode") if isinstance(value, Mapping) else None
        binding = binding_of(where, value)
        if binding is None:
            return root_value(name, value, self._lookup)
        if isinstance(binding, ParentInput):
            bound = self._inputs.get(binding.name)
            return replace(bound, mode=input_mode(mode)) if isinstance(bound, Data) and mode else bound
        if isinstance(binding, StepOutput):
            if binding.step not in self._specs or binding.name not in (self._specs[binding.step].get("outputs") or {}):
                raise bad_request(f"{where}: there is no output '{binding.name}' of a step '{binding.step}'.")
            return FromStep(binding.step, binding.name, input_mode(mode))
        raise bad_request(f"{where} cannot be bound to an output of the job.")

    def _step_outputs(self, step: str, spec: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Output]:
        declared, given = spec.get("outputs") or {}, node.get("outputs") or {}
        unknown = sorted(set(given) - set(declared))
        if unknown:
            raise bad_request(f"Step '{step}' has no output {', '.join(unknown)}; its outputs are {sorted(declared) or 'none'}.")
        return {name: self._step_output(step, name, declaration, given.get(name)) for name, declaration in declared.items()}

    def _step_output(self, step: str, name: str, declaration: Mapping[str, Any], value: Any) -> Output:
        where = f"Step '{step}', output '{name}'"
        kind = str(declaration.get("type", "uri_folder")).lower()
        if kind not in DATA_TYPES:
            raise AzureError(501, "NotSupportedByEmulator", f"{where}: the emulator does not support outputs of type '{kind}'.")
        binding = binding_of(where, value)
        if binding is None:
            return Output(kind, uri=value.get("uri") if isinstance(value, Mapping) else None)
        if not isinstance(binding, ParentOutput) or binding.name not in self._outputs:
            raise bad_request(
                f"{where} is not bound to an output of the job; the job's outputs are {sorted(self._outputs) or 'none'}."
            )
        return replace(self._outputs[binding.name], type=kind)


def _ordered(steps: list[Step]) -> dict[str, Step]:
    """Steps in an order in which each comes after what it reads; 400 when they wait for each other."""
    waiting = {step.name: step for step in steps}
    ordered: dict[str, Step] = {}
    while waiting:
        ready = [step for step in waiting.values() if step.needs <= ordered.keys()]
        if not ready:
            raise bad_request(f"The steps {sorted(waiting)} wait for each other.")
        for step in ready:
            ordered[step.name] = waiting.pop(step.name)
    return ordered
