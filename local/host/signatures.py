"""The checks that Microsoft's Python worker makes when it indexes a function, with sentences that say what to do.

Rules taken from the behaviour of azure-functions-runtime 1.3.0; tests/worker runs the same bad apps through both.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import azure.functions as func

from local.host.conversion import converter_of
from local.host.function import GENERIC, RETURN


def check(call: Callable[..., Any], bindings: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], Mapping[str, Any]]:
    """Compare a function's signature with its bindings; return (problems, type hints)."""
    try:
        hints = typing.get_type_hints(call)
    except Exception as error:  # noqa: BLE001 - a hint may hold any expression
        return [f"its annotations cannot be evaluated ({type(error).__name__}: {error}); import the names they use."], {}
    parameters = set(inspect.signature(call).parameters)
    bound = {name for name in bindings if name != RETURN}
    problems = []
    if "context" in parameters and "context" not in bound:
        parameters.discard("context")
        if "context" in hints and getattr(hints["context"], "__name__", "") != "Context":
            problems.append("parameter 'context' must be annotated func.Context, or be renamed.")
    problems += [
        f"parameter {name!r} has no binding; give it the arg_name of one ({_listed(bound - parameters)}) or remove it."
        for name in sorted(parameters - bound)
    ]
    problems += [
        f"binding {name!r} has no parameter; name a parameter {name!r} or change the binding's arg_name."
        for name in sorted(bound - parameters)
    ]
    for name in sorted(bound & parameters & set(hints)):
        problems += _check_parameter(name, hints[name], bindings[name])
    if RETURN in bindings:
        problems += _check_return(hints, bindings[RETURN])
    return problems, hints


def input_kind(binding_type: str, hint: Any) -> str:
    """`str` and `bytes` parameters get the payload as it came."""
    return GENERIC if hint in (str, bytes) else binding_type


def out_type(hint: Any) -> Any:
    """X of `func.Out[X]`, or None."""
    arguments = typing.get_args(hint)
    return arguments[0] if typing.get_origin(hint) is func.Out and len(arguments) == 1 else None


def _check_parameter(name: str, hint: Any, binding: Mapping[str, Any]) -> list[str]:
    is_out = hint is func.Out or typing.get_origin(hint) is func.Out
    goes_out = binding["direction"] == "OUT"
    if goes_out and not is_out:
        return [f"parameter {name!r} is an output; annotate it func.Out[str], not {_name(hint)}."]
    if not goes_out and is_out:
        return [f"parameter {name!r} is an input, but its annotation is func.Out."]
    value_type = out_type(hint) if is_out else hint
    if value_type is None or not _is_type(value_type):
        return [f"parameter {name!r} has annotation {_name(hint)}, which the worker takes for no type: {_advice(value_type)}"]
    if _matches(binding["type"], value_type, out=goes_out):
        return []
    return [f"parameter {name!r} of binding {binding['type']} has annotation {_name(value_type)}, which does not fit it."]


def _check_return(hints: Mapping[str, Any], binding: Mapping[str, Any]) -> list[str]:
    if "return" not in hints:
        return []
    hint = hints["return"]
    if not isinstance(hint, type):
        return [f"its return annotation {_name(hint)} is no plain class; the worker accepts only one class here."]
    if not _matches(binding["type"], hint, out=True):
        return [f"its return annotation {_name(hint)} does not fit the output binding {binding['type']}."]
    return []


def _is_type(hint: Any) -> bool:
    """Classes and `typing.List[...]`; not unions, and not `list[...]`, which the worker knows no way with."""
    if isinstance(hint, types.GenericAlias):
        return False
    if isinstance(hint, type):
        return True
    origin = typing.get_origin(hint)
    return isinstance(origin, type) and origin is not types.UnionType


def _matches(binding_type: str, hint: Any, *, out: bool) -> bool:
    if not out and hint in (str, bytes):
        return True
    if out and hint in (str, bytes) and binding_type != "http":
        return True
    converter: Any = converter_of(binding_type)
    try:
        return bool(converter.check_output_type_annotation(hint) if out else converter.check_input_type_annotation(hint))
    except TypeError:  # issubclass() of what is no class
        return False


def _advice(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return "choose one class, or leave the annotation out and look at the value."
    if isinstance(hint, types.GenericAlias):
        return f"write typing.{hint.__origin__.__name__.title()}[...] instead."
    return "use one class."


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none is left over"
