"""Pipeline jobs: from the nodes of the REST body to steps, through all levels, with bindings followed and the order found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from local.azureml.errors import bad_request, not_emulated, not_supported
from local.azureml.execution.bindings import EXPRESSION, ParentInput, ParentOutput, StepOutput, fill_literals
from local.azureml.execution.kinds import JOBS, NODES
from local.azureml.execution.places import fill_datastore, with_default_place
from local.azureml.execution.plan import Data, FromStep, Lookup, Nested, Node, Output, Plan, Step, Value, display_name
from local.azureml.execution.reuse import component_digest
from local.azureml.execution.values import (
    DATA_TYPES,
    asset_name,
    binding_of,
    check_port_name,
    input_mode,
    job_output,
    output_mode,
    root_value,
    settle_inputs,
)

PIPELINE = "pipeline"
_STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,254}")
_SETTINGS = frozenset(
    {
        "_source",
        "default_compute",
        "default_datastore",
        "continue_on_step_failure",
        "continue_run_on_failed_optional_input",
        "force_rerun",
    }
)
_DEEPEST = 16
"""Levels; a component cannot hold itself in Azure, and must not send this into the depths."""


def plan_job(name: str, properties: Mapping[str, Any], lookup: Lookup) -> Plan:
    """Check a job's REST properties and plan it; AzureError 400 for what is wrong in it, 501 for what the emulator cannot run."""
    kind = str(properties.get("jobType", ""))
    if kind in JOBS:
        return Plan({name: JOBS[kind](name, properties, lookup)})
    if kind != "Pipeline":
        known = ", ".join(["Pipeline", *JOBS])
        raise not_emulated(f"The emulator runs jobs of the types {known}, not '{kind}'.")
    return _plan_pipeline(properties, lookup)


def _plan_pipeline(properties: Mapping[str, Any], lookup: Lookup) -> Plan:
    given = properties.get("inputs") or {}
    inputs: dict[str, Value] = {name: root_value(name, value, lookup) for name, value in given.items() if value is not None}
    outputs = {name: job_output(name, value or {}) for name, value in (properties.get("outputs") or {}).items()}
    nodes, settings = properties.get("jobs") or {}, properties.get("settings") or {}
    if strange := sorted(key for key, value in settings.items() if key not in _SETTINGS and value is not None):
        raise not_supported(f"the settings {', '.join(strange)} of a pipeline job")
    if component := properties.get("componentId"):
        spec = lookup("components", str(component))["componentSpec"]
        nodes, inputs = nodes or spec.get("jobs") or {}, settle_inputs("the job", spec.get("inputs") or {}, inputs)
        declared = spec.get("outputs") or {}
        outputs = {name: job_output(name, {"jobOutputType": one.get("type")}) for name, one in declared.items()} | outputs
    if not nodes:
        raise bad_request("A pipeline job needs at least one step.")
    pipeline = _Pipeline("", nodes, lookup, settings)
    steps = pipeline.steps(inputs, {name: pipeline.placed(output) for name, output in outputs.items()})
    bound = [output.parent_output for step in steps for output in step.outputs.values() if output.parent_output]
    for name in outputs:
        if bound.count(name) != 1:
            raise bad_request(
                f"The job's output '{name}' must be bound to one output of one step; it is bound to {bound.count(name)}."
            )
    return Plan(
        _ordered(steps),
        pipeline.nested(),
        continue_on_step_failure=_flag(settings, "continue_on_step_failure"),
        continue_run_on_failed_optional_input=_flag(settings, "continue_run_on_failed_optional_input"),
        force_rerun=_flag(settings, "force_rerun"),
        computes=pipeline.computes(),
    )


class _Pipeline:
    """The nodes of the job itself (`path` "") or of a node of type pipeline."""

    def __init__(self, path: str, nodes: Mapping[str, Any], lookup: Lookup, settings: Mapping[str, Any]) -> None:
        if path.count(".") >= _DEEPEST:
            raise bad_request(f"Pipelines are nested deeper than {_DEEPEST} levels at '{path}'.")
        self._path, self._nodes, self._lookup, self._settings = path, nodes, lookup, settings
        self._specs = {name: self._specification(name, node) for name, node in nodes.items()}
        self._below = {
            name: _Pipeline(self._name(name), spec.get("jobs") or {}, lookup, settings)
            for name, spec in self._specs.items()
            if nodes[name].get("type") == PIPELINE
        }
        self._inputs: Mapping[str, Value] = {}
        self._outputs: Mapping[str, Output] = {}

    def steps(self, inputs: Mapping[str, Value], outputs: Mapping[str, Output]) -> list[Step]:
        """All steps at and below this level, for the values given to it and the places where its outputs go."""
        self._inputs, self._outputs = inputs, outputs
        found: list[Step] = []
        for name, node in self._nodes.items():
            spec, path = self._specs[name], self._name(name)
            bound = {key: self._input(name, key, value) for key, value in (node.get("inputs") or {}).items() if value is not None}
            given = {key: value for key, value in bound.items() if value is not None}
            places = self._node_outputs(path, spec, node)
            if name in self._below:
                found += self._below[name].steps(settle_inputs(path, spec.get("inputs") or {}, given), places)
            else:
                kind = NODES[str(node.get("type", "command"))]
                step = kind.build(Node(path, self._with_variables(node), spec, given, places), self._lookup)
                found.append(replace(step, component=component_digest(spec)))
        return found

    def nested(self) -> dict[str, Nested]:
        """The nodes of type pipeline at and below this level, outer ones first."""
        found: dict[str, Nested] = {}
        for name, pipeline in self._below.items():
            spec, path = self._specs[name], self._name(name)
            shown = display_name(path, self._nodes[name], spec)
            found[path] = Nested(shown, {output: self.source(name, output) for output in spec.get("outputs") or {}})
            found |= pipeline.nested()
        return found

    def computes(self) -> frozenset[str]:
        """What nodes below this level name: those of the job itself are looked up with the job."""
        own = (str(node["computeId"]) for node in self._nodes.values() if node.get("computeId"))
        return frozenset(own if self._path else ()).union(*(pipeline.computes() for pipeline in self._below.values()))

    def source(self, name: str, output: str) -> tuple[str, str]:
        """The step, and its output, behind an output of a node of this level."""
        if name in self._below:
            return self._below[name].source_of(output)
        return self._name(name), output

    def source_of(self, output: str) -> tuple[str, str]:
        """The step, and its output, behind an output of this pipeline."""
        for name, node in self._nodes.items():
            for key, value in (node.get("outputs") or {}).items():
                if binding_of(f"Step '{self._name(name)}', output '{key}'", value) == ParentOutput(output):
                    return self.source(name, key)
        raise bad_request(f"The output '{output}' of the pipeline '{self._path}' is bound to no output of its steps.")

    def placed(self, output: Output) -> Output:
        """An output in the default datastore, unless it has a place of its own."""
        uri = fill_datastore(output.uri, self._settings) if output.uri else with_default_place(self._settings)
        return replace(output, uri=uri)

    def _name(self, node: str) -> str:
        return f"{self._path}.{node}" if self._path else node

    def _specification(self, name: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
        if not _STEP_NAME.fullmatch(name):
            raise bad_request(
                f"'{name}' is no valid name of a step: letters, digits, '_' and '-', beginning with a letter or '_'."
            )
        type_name, path = str(node.get("type", "command")), self._name(name)
        kind = NODES.get(type_name)
        if kind is None and type_name != PIPELINE:
            known = ", ".join([*NODES, PIPELINE])
            raise not_emulated(f"Step '{path}' is of type '{type_name}': the emulator runs steps of type {known}.")
        component = kind.component(node) if kind else node.get("componentId")
        if not component:
            raise bad_request(f"Step '{path}' names no component.")
        spec: Mapping[str, Any] = self._lookup("components", str(component))["componentSpec"]
        found, expected = spec.get("type", "command"), kind.component_type if kind else PIPELINE
        if found != expected:
            raise bad_request(f"Step '{path}' is of type '{type_name}', its component of type '{found}'.")
        if type_name == PIPELINE and not spec.get("jobs"):
            raise bad_request(f"The pipeline '{path}' has no steps.")
        return spec

    def _with_variables(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """The node with its environment variables' bindings to inputs of the pipeline filled in."""
        variables = node.get("environment_variables")
        if not isinstance(variables, Mapping):
            return node
        return {**node, "environment_variables": {key: self._variable(value) for key, value in variables.items()}}

    def _variable(self, value: Any) -> Any:
        """What is no literal input of the pipeline stays: whoever builds the step knows what to say of it."""
        return fill_literals(value, self._inputs) if isinstance(value, str) else value

    def _input(self, step: str, name: str, value: Any) -> Value | None:
        """None for a binding to an input of the pipeline that was given no value."""
        where = f"Step '{self._name(step)}', input '{name}'"
        declared = (self._specs[step].get("inputs") or {}).get(name) or {}
        mode = (value.get("mode") if isinstance(value, Mapping) else None) or declared.get("mode")
        value = self._joined(value)
        binding = binding_of(where, value)
        if binding is None:
            asked = {"mode": declared.get("mode"), **value} if isinstance(value, Mapping) else value
            return root_value(name, asked, self._lookup)
        if isinstance(binding, ParentInput):
            bound = self._inputs.get(binding.name)
            return replace(bound, mode=input_mode(mode)) if isinstance(bound, Data | FromStep) and mode else bound
        if isinstance(binding, StepOutput):
            if binding.step not in self._specs or binding.name not in (self._specs[binding.step].get("outputs") or {}):
                raise bad_request(f"{where}: there is no output '{binding.name}' of a step '{binding.step}'.")
            return FromStep(*self.source(binding.step, binding.name), input_mode(mode))
        raise bad_request(f"{where} cannot be bound to an output of the job.")

    def _joined(self, value: Any) -> Any:
        """Text with literal inputs of the pipeline in it, as `${{parent.inputs.a}}_${{parent.inputs.b}}`, put together."""
        text = value.get("value") if isinstance(value, Mapping) else value
        if not isinstance(text, str) or EXPRESSION.fullmatch(text.strip()):
            return value
        joined = fill_literals(text, self._inputs)
        return {**value, "value": joined} if isinstance(value, Mapping) else joined

    def _node_outputs(self, path: str, spec: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Output]:
        declared, given = spec.get("outputs") or {}, node.get("outputs") or {}
        unknown = sorted(set(given) - set(declared))
        if unknown:
            raise bad_request(f"Step '{path}' has no output {', '.join(unknown)}; its outputs are {sorted(declared) or 'none'}.")
        return {name: self._node_output(path, name, declaration, given.get(name)) for name, declaration in declared.items()}

    def _node_output(self, path: str, name: str, declaration: Mapping[str, Any], value: Any) -> Output:
        where = f"Step '{path}', output '{name}'"
        check_port_name(f"Step '{path}'", name)
        kind = str(declaration.get("type", "uri_folder")).lower()
        if kind not in DATA_TYPES:
            raise not_emulated(f"{where}: the emulator does not support outputs of type '{kind}'.")
        own = value if isinstance(value, Mapping) else {}
        asset, mode = asset_name(where, own.get("name"), own.get("version")), own.get("mode") or declaration.get("mode")
        binding = binding_of(where, value)
        if binding is None:
            return self.placed(Output(kind, uri=own.get("uri"), mode=output_mode(mode), asset=asset))
        if not isinstance(binding, ParentOutput) or binding.name not in self._outputs:
            raise bad_request(
                f"{where} is not bound to an output of the pipeline; its outputs are {sorted(self._outputs) or 'none'}."
            )
        outer = self._outputs[binding.name]
        return replace(outer, type=kind, mode=output_mode(mode) if mode else outer.mode, asset=asset or outer.asset)


def _flag(settings: Mapping[str, Any], name: str) -> bool:
    """REST bodies of batch deployments hold "True" as text."""
    return str(settings.get(name, "")).lower() == "true"


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
