"""Frozen dataclasses to JSON and back. States, observations and actions are kept so, and read back to be replayed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def to_document(value: Any) -> dict[str, Any]:
    """The JSON form of a dataclass: times in ISO 8601, spans as ISO 8601 durations."""
    shape: Any = type(value)
    return cast(dict[str, Any], _adapter(shape).dump_python(value, mode="json"))


def from_document(shape: Any, document: Mapping[str, Any]) -> Any:
    """Rebuild a value of type `shape` (a dataclass, or a union of dataclasses told apart by their `kind`)."""
    return _adapter(shape).validate_python(document)


def time_name(moment: datetime) -> str:
    """A time that sorts as text and may stand in a path: 20260131T235959.123456Z."""
    return moment.strftime("%Y%m%dT%H%M%S.%fZ")


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # not at the top: the event path answers before pydantic is loaded

    return TypeAdapter(shape)
