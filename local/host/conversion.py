"""Payloads to arguments and results to payloads, by azure-functions' own converters: the ones that Microsoft's worker calls.

`azure.functions.meta` is no documented API; the version is pinned and tests/worker compares the outcome with the worker's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import azure.functions as func
from azure.functions.meta import Datum

from local.host.errors import InvocationFailed
from local.host.function import GENERIC, RETURN, HostFunction


class Out(func.Out[Any]):
    """What a function writes an output into; None means nothing is sent."""

    def __init__(self) -> None:
        self._value: Any = None

    def set(self, val: Any) -> None:
        self._value = val

    def get(self) -> Any:
        return self._value


def converter_of(binding_type: str) -> Any:
    """azure-functions' converter class for a binding type."""
    return func.get_binding_registry().get(binding_type)


def decode(function: HostFunction, payload: Datum, metadata: Mapping[str, Datum]) -> Any:
    """The trigger's payload as the function's parameter wants it. Raises InvocationFailed when it cannot be decoded."""
    if function.input_kind == GENERIC:
        return payload.value
    converter = converter_of(function.input_kind)
    try:
        return converter.decode(payload, trigger_metadata=metadata)
    except (NotImplementedError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvocationFailed(f"the payload is no {function.input_kind}: {type(error).__name__}: {error}") from error


def encode(function: HostFunction, name: str, value: Any) -> Datum:
    """A value for the output `name`. Raises InvocationFailed when the binding cannot carry it."""
    kind = str(function.outputs[name]["type"])
    converter = converter_of(kind)
    expected = function.output_types[name]
    if name != RETURN and expected in (str, bytes):
        if not isinstance(value, (str, bytes, bytearray, dict, list, int, float)):
            raise InvocationFailed(f"output {name!r} cannot carry a {type(value).__name__}")
        if isinstance(value, (dict, list)):
            return Datum(json.dumps(value), "json")
        return Datum(
            bytes(value) if isinstance(value, (bytes, bytearray)) else str(value),
            "bytes" if isinstance(value, (bytes, bytearray)) else "string",
        )
    try:
        datum: Datum = converter.encode(value, expected_type=expected)
    except NotImplementedError as error:
        raise InvocationFailed(f"output {name!r} ({kind}) cannot carry a {type(value).__name__} {error}".rstrip()) from error
    return datum
