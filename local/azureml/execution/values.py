"""The values of jobs: inputs checked against what a component declares, data and assets looked up, outputs, modes, durations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from local.azureml.durations import span
from local.azureml.errors import bad_request, not_emulated
from local.azureml.execution.bindings import BindingError, ParentInput, ParentOutput, StepOutput, parse_binding
from local.azureml.execution.plan import AssetName, Data, Lookup, Output, Value

DATA_TYPES = frozenset({"uri_file", "uri_folder", "mltable", "custom_model", "mlflow_model", "triton_model"})
_MODES = {
    "readonlymount": "ro_mount", "readwritemount": "rw_mount", "romount": "ro_mount", "rwmount": "rw_mount",
    "download": "download", "direct": "direct", "upload": "upload",
}  # fmt: skip
_PORT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_LONGEST = timedelta(days=100)
"""That a process is waited for here."""


def settle_inputs(step: str, declared: Mapping[str, Any], given: Mapping[str, Value]) -> dict[str, Value]:
    """Given values and defaults, checked against the declaration; optional inputs without a value are left out."""
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise bad_request(f"Step '{step}' has no input {', '.join(unknown)}; its inputs are {sorted(declared) or 'none'}.")
    settled: dict[str, Value] = {}
    for name, declaration in declared.items():
        check_port_name(step, name)
        optional = is_optional(declaration)
        value = given.get(name)
        if optional and value == "":
            value = None  # pipeline YAML cannot leave an input out, so an empty value says it
        if value is None and declaration.get("default") is not None:
            value = str(declaration["default"])
        if value is not None:
            settled[name] = _checked(step, name, declaration, value)
        elif not optional:
            raise bad_request(f"Step '{step}': the required input '{name}' has no value.")
    return settled


def check_port_name(where: str, name: str) -> None:
    """Names of inputs and outputs become folders here: 400 for what could lead out of a step's own."""
    if not _PORT_NAME.fullmatch(name):
        raise bad_request(f"{where}: '{name}' is no valid name of an input or output: letters, digits, '_', '-' and '.'.")


def is_optional(declaration: Mapping[str, Any]) -> bool:
    """Of a declared input; REST bodies hold "true" as text too."""
    return str(declaration.get("optional", "")).lower() == "true"


def _checked(step: str, name: str, declaration: Mapping[str, Any], value: Value) -> Value:
    kind = str(declaration.get("type", "string")).lower()
    if (kind in DATA_TYPES) is isinstance(value, str):
        found = "a literal" if isinstance(value, str) else "data"
        raise bad_request(f"Step '{step}': input '{name}' is of type {kind}, but {found} was given.")
    if isinstance(value, str):
        _check_literal(step, name, kind, declaration, value)
    return value


def _check_literal(step: str, name: str, kind: str, declaration: Mapping[str, Any], value: str) -> None:
    problem = ""
    if kind in ("number", "integer"):
        try:
            number = int(value) if kind == "integer" else float(value)
        except ValueError:
            problem = f"is no {kind}"
        else:
            low, high = declaration.get("min"), declaration.get("max")
            if (low is not None and number < float(low)) or (high is not None and number > float(high)):
                problem = f"is not between {low} and {high}"
    elif kind == "boolean" and value.lower() not in ("true", "false"):
        problem = "is no boolean"
    allowed = declaration.get("enum")
    if allowed and value not in [str(item) for item in allowed]:
        problem = f"is none of {allowed}"
    if problem:
        raise bad_request(f"Step '{step}': input '{name}': '{value}' {problem}.")


def job_ports(properties: Mapping[str, Any], lookup: Lookup) -> tuple[dict[str, Value], dict[str, Output], dict[str, Any]]:
    """Inputs and outputs of a job that is one step (`properties` of its REST body), and what its component would declare."""
    inputs: dict[str, Value] = {
        name: root_value(name, value, lookup) for name, value in (properties.get("inputs") or {}).items() if value is not None
    }
    outputs = {name: job_output(name, value or {}) for name, value in (properties.get("outputs") or {}).items()}
    declared = {
        "inputs": {name: {"type": value.type if isinstance(value, Data) else "string"} for name, value in inputs.items()},
        "outputs": {name: {"type": output.type} for name, output in outputs.items()},
    }
    return inputs, outputs, declared


def root_value(name: str, value: Any, lookup: Lookup) -> str | Data:
    """An input of a job: a literal or data; 400 for an asset that is missing or of another type."""
    if not isinstance(value, Mapping):
        return str(value)
    kind = str(value.get("jobInputType", value.get("job_input_type", "literal"))).lower()
    if kind == "literal":
        return str(value.get("value", ""))
    uri = value.get("uri")
    if kind not in DATA_TYPES or not isinstance(uri, str) or not uri:
        raise bad_request(f"Input '{name}': type '{kind}' with uri {uri!r} is not supported.")
    place = _resolved(name, kind, uri, lookup)
    return Data(place, kind, input_mode(value.get("mode")), asset=uri if place != uri else None)


def _resolved(name: str, kind: str, uri: str, lookup: Lookup) -> str:
    for assets, uri_field, type_field in (("data", "dataUri", "dataType"), ("models", "modelUri", "modelType")):
        if f"/{assets}/" in uri and "/versions/" in uri and not uri.startswith(("azureml://", "https://")):
            found = lookup(assets, uri)
            if str(found.get(type_field, kind)).lower() != kind:
                raise bad_request(f"Input '{name}' is of type {kind}, but the asset is of type {found[type_field]}.")
            return str(found[uri_field])
    return uri


def job_output(name: str, value: Mapping[str, Any]) -> Output:
    """An output that a job declares."""
    check_port_name("The job's outputs", name)
    kind = str(value.get("jobOutputType") or "uri_folder").lower()
    if kind not in DATA_TYPES:
        raise bad_request(f"Output '{name}': type '{kind}' is not supported.")
    asset = asset_name(f"Output '{name}'", value.get("assetName"), value.get("assetVersion"))
    return Output(kind, parent_output=name, uri=value.get("uri"), mode=output_mode(value.get("mode")), asset=asset)


def asset_name(where: str, name: object, version: object) -> AssetName | None:
    """None when the output is not to be registered; 400 for a version without a name."""
    if name:
        return AssetName(str(name), str(version) if version else None)
    if version:
        raise bad_request(f"{where}: a version of an asset needs the asset's name.")
    return None


def output_mode(mode: object) -> str:
    """upload when nothing is said."""
    text = "upload" if mode is None else str(mode)
    known = _MODES.get(text.lower().replace("_", ""), text)
    if known not in ("upload", "rw_mount", "direct"):
        raise not_emulated(f"The emulator does not support the output mode '{text}'.")
    return known


def input_mode(mode: object) -> str:
    """ro_mount when nothing is said; REST's and YAML's spellings are both known."""
    if mode is None:
        return "ro_mount"
    text = str(mode)
    known = _MODES.get(text.lower().replace("_", ""), text)
    if known not in ("ro_mount", "rw_mount", "download", "direct"):
        raise not_emulated(f"The emulator does not support the input mode '{text}'.")
    return known


def duration(value: str | int | None) -> timedelta | None:
    """ISO 8601 ("PT1H30M") or seconds; 400 for what is no duration, or no positive one."""
    if value is None or value == "":
        return None
    found = span(f"PT{value}S" if isinstance(value, int) else str(value))
    if found is None:
        raise bad_request(f"'{value}' is no duration like PT1H30M.")
    if not timedelta() < found <= _LONGEST:
        raise bad_request(f"The duration '{value}' must be longer than nothing and not longer than {_LONGEST.days} days.")
    return found


def binding_of(where: str, value: Any) -> ParentInput | ParentOutput | StepOutput | None:
    """The binding in a node's input or output; 400 when it is malformed."""
    text = value.get("value", value.get("path")) if isinstance(value, Mapping) else value
    try:
        return parse_binding(text)
    except BindingError as error:
        raise bad_request(f"{where}: {error}.") from None
