"""Command steps: of a pipeline's nodes, and of command jobs, which are one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.azureml.errors import bad_request, not_emulated
from local.azureml.execution.bindings import BindingError, check_command, referenced_inputs
from local.azureml.execution.plan import Command, Lookup, Node, Output, Step, Value
from local.azureml.execution.values import duration, is_optional, job_ports, settle_inputs


def command_node(node: Node, lookup: Lookup) -> Step:
    """The step of a node of type command."""
    body, spec = node.body, node.spec
    resources = {**(spec.get("resources") or {}), **(body.get("resources") or {})}
    return build_step(
        node.name, spec, node.given, node.outputs, lookup,
        display_name=node.display_name,
        environment_variables=body.get("environment_variables") or {},
        timeout=(body.get("limits") or {}).get("timeout"),
        warnings=unmet(node.name, body.get("distribution") or spec.get("distribution"), resources),
    )  # fmt: skip


def command_step(name: str, properties: Mapping[str, Any], lookup: Lookup) -> Step:
    """The one step of a command job (`properties` of its REST body, camelCase)."""
    given, outputs, declared = job_ports(properties, lookup)
    spec = {
        **declared,
        "command": properties.get("command"),
        "code": properties.get("codeId"),
        "environment": properties.get("environmentId"),
    }
    limits = properties.get("limits") or {}
    return build_step(
        name, spec, given, outputs, lookup,
        display_name=properties.get("displayName") or name,
        environment_variables=properties.get("environmentVariables") or {},
        timeout=limits.get("timeout"),
        warnings=unmet(name, properties.get("distribution"), properties.get("resources") or {}),
    )  # fmt: skip


def build_step(
    name: str,
    spec: Mapping[str, Any],
    given: Mapping[str, Value],
    outputs: Mapping[str, Output],
    lookup: Lookup,
    *,
    display_name: str,
    environment_variables: Mapping[str, Any],
    timeout: str | int | None,
    warnings: tuple[str, ...] = (),
) -> Step:
    """A step from a command component's specification and the values given to it; 400 says what does not fit."""
    command = spec.get("command")
    if not isinstance(command, str) or not command.strip():
        raise bad_request(f"Step '{name}' has no command.")
    declared = spec.get("inputs") or {}
    inputs = settle_inputs(name, declared, given)
    try:
        check_command(command, set(declared), set(outputs))
        missing = referenced_inputs(command) - set(inputs)
    except BindingError as error:
        raise bad_request(f"Step '{name}': {error}.") from None
    if missing:
        raise bad_request(f"Step '{name}': the command needs the inputs {sorted(missing)}, which have no value.")
    code, environment = _without_prefix(spec.get("code")), _without_prefix(spec.get("environment"))
    if environment is None:
        raise bad_request(f"Step '{name}' has no environment.")
    code_uri = lookup("codes", code)["codeUri"] if code else None
    return Step(
        name, display_name, Command(command, code_uri, lookup("environments", environment).get("condaFile")),
        inputs=inputs,
        outputs=outputs,
        environment_variables=plain_variables(name, environment_variables),
        timeout=duration(timeout),
        optional=frozenset(key for key, declaration in declared.items() if is_optional(declaration)),
        warnings=warnings,
    )  # fmt: skip


def unmet(step: str, distribution: Any, resources: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a step's wishes this one machine does not fulfil, in words; 501 for what could change its outcome unseen."""
    if resources.get("docker_args") or resources.get("dockerArgs") or resources.get("dockerArgsList"):
        raise not_emulated(f"Step '{step}': there is no container that docker_args could change.")
    warnings = []
    if distribution:
        kind = distribution.get("distribution_type") or distribution.get("distributionType") or distribution.get("type")
        warnings.append(f"distribution '{kind}' is not done by the emulator: the step runs as one process")
    nodes = resources.get("instance_count") or resources.get("instanceCount") or 1
    if str(nodes) != "1":
        warnings.append(f"instance_count {nodes} is not done by the emulator: the step runs on this machine alone")
    return tuple(warnings)


def plain_variables(step: str, variables: Any) -> dict[str, str]:
    """Environment variables as text; 501 for one that holds an expression which the pipeline could not fill in."""
    if not isinstance(variables, Mapping) or any("${{" in str(value) for value in variables.values()):
        raise not_emulated(
            f"Step '{step}': of expressions in environment_variables the emulator knows values ${{{{parent.inputs.x}}}} only."
        )
    return {key: str(value) for key, value in variables.items() if value is not None}


def _without_prefix(reference: object) -> str | None:
    return str(reference).removeprefix("azureml:") if reference else None
