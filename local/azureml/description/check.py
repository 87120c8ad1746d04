"""Holds bodies and answers against the description. Nothing is read or compiled before the first use."""

from __future__ import annotations

import re
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from local.azureml.description.newer import ANY_CASE, FIELDS, MEMBERS, VALUES, Field, Member, Schema
from local.azureml.errors import AzureError, bad_request

if TYPE_CHECKING:
    import jsonschema_rs

_FACTS = Path(__file__).with_name("facts.json")
_URI = "urn:azureml-description"
_MOST = 5
"""Problems that one refusal names."""
_SHORT = 200
"""Characters of a message, which may repeat a value of any length."""
_DURATION = re.compile(r"-?P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?")
"""ISO 8601 as .NET writes and reads it: with fractions of a second, which the format of JSON Schema has not."""
_NAME = re.compile(r"\{[^}]*\}")


class Description:
    """The operations that the description has, found by method and path template. Thread-safe."""

    def __init__(self) -> None:
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self._lock = threading.Lock()

    def operation(self, method: str, path: str) -> Schema | None:
        """The facts of an operation. `path`: absolute, any names in braces."""
        return self._operations.get((method, _shape(path)))

    def refuse_body(self, operation: Schema, body: Any) -> None:
        """400 when the body is not what the operation takes; null is taken for "not said", as the service does."""
        if "body" not in operation:
            return
        if body is None:
            raise bad_request("A non-empty request body is required.", "InvalidRequestContent")
        if self._validator(operation["body"]).is_valid(body):  # the copy below costs more than the check
            return
        problems = self._problems(operation["body"], without_nulls(body))
        if problems:
            raise _refusal(problems)

    def answer_problems(self, operation: Schema, status: int, body: Any) -> list[str]:
        """What an answer has that the description does not, as "/path: message"."""
        if str(status) not in operation["answers"]:
            return [f": the description knows no status {status}"]
        schema = operation["answers"][str(status)]
        if schema is None:
            return []
        return [f"/{'/'.join(map(str, one.instance_path))}: {_words(one)}" for one in self._problems(schema, body)]

    @cached_property
    def _facts(self) -> Schema:
        facts: Schema = orjson.loads(_FACTS.read_bytes())
        definitions = facts["$defs"]
        for one in FIELDS:
            _add_field(definitions, one)
        for more in VALUES:
            for name in more.definition.split():
                definitions[name]["enum"] += more.values
        for member in MEMBERS:
            _add_member(definitions, member)
        for name in " ".join(ANY_CASE).split():
            definitions[name]["enum"] = _in_other_case(definitions[name]["enum"])
        return facts

    @cached_property
    def _operations(self) -> dict[tuple[str, tuple[str, ...]], Schema]:
        with self._lock:
            return {(one["method"], _shape(one["path"])): one for one in self._facts["operations"]}

    @cached_property
    def _registry(self) -> jsonschema_rs.Registry:
        import jsonschema_rs

        document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": self._facts["$defs"]}
        return jsonschema_rs.Registry([(_URI, document)])

    def _problems(self, schema: Schema, body: Any) -> list[jsonschema_rs.ValidationError]:
        validator = self._validator(schema)
        if validator.is_valid(body):
            return []
        # A field that is wrong for a whole family is wrong for each member: said once.
        found = {(tuple(one.instance_path), one.message): one for one in validator.iter_errors(body)}
        return list(found.values())

    def _validator(self, schema: Schema) -> jsonschema_rs.Draft202012Validator:
        import jsonschema_rs

        key = str(schema)
        with self._lock:
            if key not in self._validators:
                absolute = orjson.loads(orjson.dumps(schema).replace(b'"#/$defs', f'"{_URI}#/$defs'.encode()))
                self._validators[key] = jsonschema_rs.Draft202012Validator(
                    absolute,
                    registry=self._registry,
                    validate_formats=True,
                    formats={"duration": lambda text: _DURATION.fullmatch(text) is not None},
                )
            return self._validators[key]


def without_nulls(value: Any) -> Any:
    """A copy of JSON without the fields that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def _shape(path: str) -> tuple[str, ...]:
    """What two templates have in common that mean the same route: the literal segments, without regard to case."""
    return tuple("{}" if _NAME.fullmatch(segment) else segment.lower() for segment in path.strip("/").split("/"))


def _add_field(definitions: Schema, one: Field) -> None:
    for definition in one.definition.split():
        known = definitions[definition]["properties"]
        if (one.name in known) is not one.instead:
            raise ValueError(f"newer.py is wrong about {definition}.{one.name}: the description has {known.get(one.name)}")
        known[one.name] = one.schema


def _add_member(definitions: Schema, one: Member) -> None:
    family = definitions[one.family]
    (by,) = family["required"]
    values = family["properties"][by]["enum"]
    if one.value not in values:
        values.append(one.value)
    then = {}
    if one.like:
        then = {"$ref": f"#/$defs/{one.like}"}
        kind = definitions[one.like]["properties"][by]["$ref"].rpartition("/")[2]
        definitions[kind]["enum"].append(one.value)
    family["allOf"].append({"if": {"properties": {by: {"const": one.value}}, "required": [by]}, "then": then})


def _in_other_case(values: list[str]) -> list[str]:
    """With each value as a whole in lower case, with its first letter or letters so, and with all but its first letter so."""
    camel = [value[0].lower() + value[1:] for value in values]
    acronym = [re.sub(r"^[A-Z]+(?=[A-Z][a-z])", lambda head: head[0].lower(), value) for value in values]
    return list(dict.fromkeys([*values, *camel, *acronym, *map(str.lower, values), *map(str.capitalize, values)]))


def _refusal(problems: list[jsonschema_rs.ValidationError]) -> AzureError:
    unknown = [one for one in problems if one.kind.name == "additionalProperties"]
    said = "; ".join(f"{_path(one)}: {_words(one)}" for one in problems[:_MOST])
    if len(unknown) == len(problems):
        return bad_request(said, "UnknownField")
    # The envelope is ARM's to read, what is in it the service's.
    if any(one.kind.name == "required" and not one.instance_path and one.kind.value == "location" for one in problems):
        return bad_request("The location property is required for this definition.", "LocationRequired")
    envelope = any(len(one.instance_path) < 2 and one.kind.name == "type" for one in problems)
    missing = any(not one.instance_path and one.kind.name == "required" for one in problems)
    return bad_request(said, "InvalidRequestContent" if envelope or missing else "ValidationError")


def _path(problem: jsonschema_rs.ValidationError) -> str:
    """As Azure writes places in a body: properties.inputs.raw.uri, [0] for an element."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.instance_path)
    return path.lstrip(".") or "the body"


def _words(problem: jsonschema_rs.ValidationError) -> str:
    kind = problem.kind
    if kind.name == "additionalProperties":
        names = ", ".join(f"'{name}'" for name in kind.value)
        return f"unknown field {names} (neither in Azure's REST description nor among the newer fields that the emulator knows)"
    if kind.name == "required":
        return f"The {kind.value} field is required."
    return problem.message if len(problem.message) <= _SHORT else problem.message[:_SHORT] + "…"
