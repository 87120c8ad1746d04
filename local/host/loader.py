"""Finds the app's one FunctionApp as Microsoft's worker does, indexes it once, and refuses it whole when one function is bad."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import azure.functions as func

from local.host import ncrontab, signatures
from local.host.errors import AppRefused
from local.host.function import OUTPUTS, RETURN, TRIGGERS, HostFunction
from local.host.settings import resolve

_MODULE = "function_app"
_RESOLVED = ("queueName", "schedule", "connection")


def load(app: Path, settings: Mapping[str, str]) -> list[HostFunction]:
    """Import `function_app.py` of the folder and return its functions. Raises AppRefused with every problem found.

    To be called once per process: azure-functions cannot index the same app twice.
    """
    folder = str(app.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    found = _index(_find_app(_import(app)))
    if not found:
        raise AppRefused(
            [
                "function_app.py: 0 functions. Azure would start and answer 404 to everything; "
                "register your blueprints with app.register_functions()."
            ]
        )
    functions: list[HostFunction] = []
    problems: list[str] = []
    for item in found:
        try:
            functions.append(_checked(item, settings))
        except AppRefused as error:
            problems += error.problems
    if problems:
        raise AppRefused(problems)
    return functions


def _import(app: Path) -> ModuleType:
    if not (app / f"{_MODULE}.py").exists():
        raise AppRefused([f"{_MODULE}.py is missing in {app}; the host starts the app from there."])
    try:
        return importlib.import_module(_MODULE)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        text = "".join(traceback.format_exception(error)).rstrip()
        raise AppRefused(
            [f"{_MODULE}.py cannot be imported, so no function exists: {type(error).__name__}: {error}\n{text}"]
        ) from error


def _find_app(module: ModuleType) -> func.FunctionRegister:
    found = {name: value for name, value in vars(module).items() if isinstance(value, func.FunctionRegister)}
    if not found:
        raise AppRefused([f"{_MODULE}.py has no FunctionApp at its top level; write `app = func.FunctionApp()`."])
    if len(found) > 1:
        names = ", ".join(sorted(found))
        raise AppRefused(
            [f"{_MODULE}.py has more than one FunctionApp or blueprint register at its top level ({names}); keep one."]
        )
    return next(iter(found.values()))


def _index(app: func.FunctionRegister) -> Sequence[Any]:
    try:
        return app.get_functions()
    except Exception as error:
        raise AppRefused([f"{_MODULE}.py: azure-functions cannot index the app: {error}"]) from error


def _checked(item: Any, settings: Mapping[str, str]) -> HostFunction:
    name, call = str(item.get_function_name()), item.get_user_function()
    code = inspect.unwrap(call).__code__
    where = f"function {name} ({Path(code.co_filename).name}:{code.co_firstlineno})"
    bindings = {binding["name"]: binding for binding in map(json.loads, item.get_raw_bindings())}
    trigger = next(binding for binding in bindings.values() if binding["type"].endswith("Trigger"))
    problems = _unknown_bindings(trigger, bindings)
    if problems:
        raise AppRefused([f"{where}: {problem}" for problem in problems])
    problems, hints = signatures.check(call, bindings)
    for binding in bindings.values():
        problems += _resolve_in_place(binding, settings)
    problems += _check_schedule(trigger)
    if problems:
        raise AppRefused([f"{where}: {problem}" for problem in problems])
    outputs = {key: binding for key, binding in bindings.items() if binding is not trigger}
    return HostFunction(
        name=name,
        call=call,
        folder=str(Path(code.co_filename).parent),
        trigger=trigger,
        input_kind=signatures.input_kind(trigger["type"], hints.get(trigger["name"])),
        outputs=outputs,
        output_types={key: hints.get("return") if key == RETURN else signatures.out_type(hints.get(key)) for key in outputs},
        requires_context="context" in inspect.signature(call).parameters and "context" not in bindings,
    )


def _unknown_bindings(trigger: Mapping[str, Any], bindings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    known = ", ".join(sorted(TRIGGERS | OUTPUTS))
    return [
        f"binding {name!r} is of type {binding['type']}, which this host does not have "
        f"(it has {known}); run the app with Core Tools (`func start`)."
        for name, binding in bindings.items()
        if binding["type"] not in (TRIGGERS if binding is trigger else OUTPUTS)
    ]


def _resolve_in_place(binding: dict[str, Any], settings: Mapping[str, str]) -> list[str]:
    problems = []
    for key in _RESOLVED:
        if key not in binding:
            continue
        try:
            binding[key] = resolve(str(binding[key]), settings)
        except KeyError as error:
            problems.append(
                f"binding {binding['name']!r} has {key} {binding[key]!r}, but there is no app setting {error}; "
                "set it in the environment or in local.settings.json."
            )
    return problems


def _check_schedule(trigger: Mapping[str, Any]) -> list[str]:
    if trigger["type"] != "timerTrigger" or "%" in trigger["schedule"]:
        return []
    try:
        ncrontab.parse(trigger["schedule"])
    except ncrontab.InvalidSchedule as error:
        return [f"{error}. Azure's worker accepts this and its host then does not start the timer."]
    return []
