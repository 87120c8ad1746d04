"""Pydantic's findings retold: where in the file, what was found, what was expected, and what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ml_core.yaml_lines import YamlPath

MISSING = object()

_EXPECTED = {
    "missing": "a value: this key is required",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "string_type": "text",
    "tuple_type": "a list",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "too_short": "at least one entry",
}

_WHO_REFUSES = {
    "data_assets.container": "a container name that Azure accepts: 3 to 63 lower-case letters, digits and single hyphens",
    "endpoint.name": "an endpoint name that Azure accepts: 3 to 32 letters, digits and hyphens, starting with a letter",
}
_MODEL_NAME = (
    "a model's name of letters, digits, '-' and '_', at most 200: its jobs are called after it, and they may not hold a '.'"
)
_ASSET_NAME = "a name that Azure accepts: letters, digits, '-', '_' and '.', starting with a letter or digit"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with the file. `known` are the values or keys that could have been meant."""

    path: YamlPath
    found: object
    expected: str
    known: tuple[str, ...] = ()

    def told(self, file: str, lines: Mapping[YamlPath, int]) -> str:
        """`tidegate.yaml:12: models.churn.target: found 'x', expected y. Did you mean 'z'?`"""
        place = self.path
        while place not in lines:  # a missing key has no line: its parent's is the nearest
            place = place[:-1]
        path = ".".join(map(str, self.path)) or "the file"
        found = "found nothing" if self.found is MISSING or self.found is None else f"found {self.found!r}"
        close = difflib.get_close_matches(str(self.found), self.known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"{file}:{lines[place]}: {path}: {found}, expected {self.expected}.{hint}"


def explain(error: ValidationError, schema: type[BaseModel]) -> list[Finding]:
    """One finding per error of pydantic, without its vocabulary."""
    return [_finding(details["loc"], details, schema) for details in error.errors(include_url=False)]


def unique(lines: Iterable[str]) -> list[str]:
    """In order, each once: a union of types reports the same value several times."""
    return list(dict.fromkeys(lines))


def _finding(location: YamlPath, details: Mapping[str, Any], schema: type[BaseModel]) -> Finding:
    kind = details["type"]
    path = tuple(part for part in location if part != "[key]")
    if kind == "extra_forbidden":
        known = _keys_at(location[:-1], schema)
        return Finding(path, str(location[-1]), f"one of the keys {', '.join(known)}", known)
    found = MISSING if kind == "missing" else details["input"]
    if kind == "value_error":
        return Finding(path, found, str(details["ctx"]["error"]))
    if kind in ("string_pattern_mismatch", "string_too_short", "string_too_long"):
        return Finding(path, found, "text that is not empty" if found == "" else _name_rule(path))
    return Finding(path, found, _EXPECTED.get(kind) or re.sub(r"^Input should be ", "", details["msg"]))


def _name_rule(path: YamlPath) -> str:
    if len(path) == 2 and path[0] == "models":
        return _MODEL_NAME
    ends = (f"{path[0]}.{path[-1]}", ".".join(map(str, path[-2:])))
    return next((rule for end in ends if (rule := _WHO_REFUSES.get(end))), _ASSET_NAME)


def _keys_at(location: YamlPath, schema: Any) -> tuple[str, ...]:
    """The keys that the section at `location` may have: follow the schema's types down the path."""
    for part in location:
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            schema = schema.model_fields[str(part)].annotation
        elif get_origin(schema) is dict:
            schema = get_args(schema)[1]
    return tuple(schema.model_fields) if isinstance(schema, type) and issubclass(schema, BaseModel) else ()
