"""Nodes of type parallel: from the SDK's fields to a step, everything refused here that could only fail later."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from local.azureml.errors import bad_request, not_emulated
from local.azureml.execution.bindings import BindingError, check_command, referenced_inputs
from local.azureml.execution.commands import plain_variables
from local.azureml.execution.parallel.plan import Model, Parallel
from local.azureml.execution.plan import Data, FromStep, Lookup, Node, Output, Step, Value
from local.azureml.execution.values import duration, is_optional, settle_inputs
from local.azureml.names import check_inside

_SIZE = re.compile(r"(\d+)([kmg]b)?", re.IGNORECASE)
_UNITS = {"": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
_INPUT = re.compile(r"\$\{\{\s*inputs\.([A-Za-z_][\w-]*)\s*\}\}")
_OUTPUT = re.compile(r"\$\{\{\s*outputs\.([A-Za-z_][\w-]*)\s*\}\}(?:/([^/.][^/]*))?")
_CUT_TYPES = ("uri_folder", "uri_file", "mltable")
_LEVELS = ("DEBUG", "INFO", "WARNING")
_MODEL_ID = re.compile(r".*/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)")
_DEFAULT_FILE = "parallel_run_step.txt"
_DEFAULT_RETRIES, _DEFAULT_TIMEOUT, _MAX_TIMEOUT = 2, 60, 259200
_MAX_WORKERS = 32
_FIELDS = (
    "mini_batch_size", "retry_settings", "logging_level", "max_concurrency_per_instance", "error_threshold",
    "mini_batch_error_threshold", "input_data", "resources", "task", "partition_keys",
)  # fmt: skip


def parallel_node(node: Node, lookup: Lookup) -> Step:
    """The step of a node of type parallel; the node's own settings stand before its component's."""
    name, body, spec, outputs = node.name, node.body, node.spec, node.outputs
    asked = {field: spec.get(field) if _unset(field, body.get(field)) else body[field] for field in _FIELDS}
    if asked["partition_keys"]:
        raise not_emulated(f"Step '{name}': the emulator does not support partition_keys.")
    declared = spec.get("inputs") or {}
    inputs = settle_inputs(name, declared, node.given)
    work = _work(name, asked, declared, outputs, lookup)
    _check_arguments(name, work.program_arguments, declared, inputs, outputs)
    if work.input_data not in inputs:
        raise bad_request(f"Step '{name}': its input_data '{work.input_data}' has no value.")
    cut = inputs[work.input_data]
    if isinstance(cut, (Data, FromStep)) and cut.mode == "direct":
        # Azure's way to say that a table is read where it lies; here it lies on this disk.
        inputs[work.input_data] = replace(cut, mode="ro_mount")
    return Step(
        name, node.display_name, work,
        inputs=inputs,
        outputs=outputs,
        environment_variables=plain_variables(name, body.get("environment_variables") or {}),
        timeout=duration((body.get("limits") or {}).get("timeout")),
        optional=frozenset(key for key, declaration in declared.items() if is_optional(declaration)),
        warnings=_warnings(asked["resources"] or {}),
    )  # fmt: skip


def _warnings(resources: Mapping[str, Any]) -> tuple[str, ...]:
    nodes = resources.get("instance_count") or 1
    return () if str(nodes) == "1" else (f"the workers of all {nodes} instances run on this machine, {_MAX_WORKERS} at most",)


def _unset(field: str, value: Any) -> bool:
    """The SDK writes 0 for a mini_batch_size that nobody gave."""
    return value is None or value == {} or (field == "mini_batch_size" and value == 0)


def _work(
    name: str, asked: Mapping[str, Any], declared: Mapping[str, Any], outputs: Mapping[str, Output], lookup: Lookup
) -> Parallel:
    task = asked["task"] or {}
    retries, resources = asked["retry_settings"] or {}, asked["resources"] or {}
    cut = _INPUT.fullmatch(str(asked["input_data"] or "").strip())
    if cut is None or cut[1] not in declared:
        raise bad_request(f"Step '{name}': input_data must be ${{{{inputs.<name>}}}} of one of {sorted(declared)}.")
    kind = str(declared[cut[1]].get("type", "")).lower()
    if kind not in _CUT_TYPES:
        raise bad_request(f"Step '{name}': input_data is of type '{kind}'; it must be one of {', '.join(_CUT_TYPES)}.")
    instances = _number(name, "instance_count", resources.get("instance_count"), 1, 1)
    each = _number(name, "max_concurrency_per_instance", asked["max_concurrency_per_instance"], os.cpu_count() or 1, 1)
    script, model = _script(name, task), _model(name, task.get("model"), lookup)
    if script is None and (model is None or model.type != "mlflow_model"):
        raise bad_request(f"Step '{name}': a task of type model needs a model of type mlflow_model.")
    level = str(asked["logging_level"] or "INFO").upper()
    if level not in _LEVELS:
        raise bad_request(f"Step '{name}': logging_level must be one of {', '.join(_LEVELS)}, not '{level}'.")
    code, environment = _reference(task.get("code")), _reference(task.get("environment"))
    if environment is None and script is not None:
        raise bad_request(f"Step '{name}' has no environment.")
    timeout = _number(name, "retry_settings.timeout", retries.get("timeout"), _DEFAULT_TIMEOUT, 1)
    if timeout > _MAX_TIMEOUT:
        raise bad_request(f"Step '{name}': retry_settings.timeout must be at most {_MAX_TIMEOUT} seconds.")
    return Parallel(
        input_data=cut[1],
        input_type=kind,
        entry_script=script,
        code_uri=lookup("codes", code)["codeUri"] if code else None,
        conda_file=lookup("environments", environment).get("condaFile") if environment else None,
        model=model,
        program_arguments=str(task.get("program_arguments") or ""),
        append_row_to=_append_row_to(name, task.get("append_row_to"), outputs),
        mini_batch_size=_size(name, asked["mini_batch_size"]),
        workers=min(instances * each, _MAX_WORKERS),
        max_retries=_number(name, "retry_settings.max_retries", retries.get("max_retries"), _DEFAULT_RETRIES, 0),
        timeout_seconds=timeout,
        # Without a script of its own a model's file that cannot be read fails the job, as Azure ML's manual has it.
        mini_batch_error_threshold=_number(name, "mini_batch_error_threshold", asked["mini_batch_error_threshold"], -1, -1)
        if script
        else 0,
        error_threshold=_number(name, "error_threshold", asked["error_threshold"], -1, -1),
        logging_level=level,
    )


def _script(name: str, task: Mapping[str, Any]) -> str | None:
    """The entry script; None for a task of type model, which has none."""
    kind = str(task.get("type", "run_function"))
    if kind == "model":
        return None
    if kind not in ("run_function", "function"):
        raise not_emulated(f"Step '{name}': tasks of type '{kind}' are not supported.")
    return check_inside(str(task.get("entry_script") or ""), f"Step '{name}': entry_script")


def _model(name: str, reference: Any, lookup: Lookup) -> Model | None:
    if not reference:
        return None
    identity = str(_reference(reference))
    match = _MODEL_ID.fullmatch(identity)
    if match is None:
        raise bad_request(f"Step '{name}': '{identity}' is not the id of a model version.")
    found = lookup("models", identity)
    return Model(match["name"], match["version"], str(found["modelUri"]), str(found.get("modelType", "custom_model")))


def _append_row_to(name: str, value: Any, outputs: Mapping[str, Output]) -> tuple[str, str] | None:
    if not value:
        return None
    match = _OUTPUT.fullmatch(str(value).strip())
    if match is None or match[1] not in outputs:
        raise bad_request(f"Step '{name}': append_row_to must be ${{{{outputs.<name>}}}} of one of {sorted(outputs)}.")
    file = "" if outputs[match[1]].type == "uri_file" else match[2] or _DEFAULT_FILE
    return match[1], file


def _check_arguments(
    name: str, arguments: str, declared: Mapping[str, Any], inputs: Mapping[str, Value], outputs: Mapping[str, Output]
) -> None:
    try:
        check_command(arguments, set(declared), set(outputs))
        missing = referenced_inputs(arguments) - set(inputs)
        shlex.split(arguments)
    except (BindingError, ValueError) as error:
        raise bad_request(f"Step '{name}': program_arguments: {error}.") from None
    if missing:
        raise bad_request(f"Step '{name}': program_arguments need the inputs {sorted(missing)}, which have no value.")


def _size(name: str, value: Any) -> int:
    match = _SIZE.fullmatch(str(value or 0).strip())
    if match is None:
        raise bad_request(f"Step '{name}': mini_batch_size must be a number of files or a size like 10kb, not '{value}'.")
    return int(match[1]) * _UNITS[(match[2] or "").lower()]


def _number(name: str, field: str, value: Any, default: int, least: int) -> int:
    if value is None:
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise bad_request(f"Step '{name}': {field} must be an integer, not {value!r}.") from None
    if number < least:
        raise bad_request(f"Step '{name}': {field} must be at least {least}, not {number}.")
    return number


def _reference(value: Any) -> str | None:
    return str(value) if value else None
