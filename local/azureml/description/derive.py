"""From the REST description (OpenAPI 2) to facts: operations, and their schemas as JSON Schema 2020-12. No words are taken over.

What OpenAPI 2 says in its own way is said in JSON Schema's: `allOf` with a base becomes one closed object, a discriminator
becomes if/then, `x-nullable` becomes null or the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

_KEPT = ("type", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "readOnly")
_FORMATS = ("date-time", "duration")
_DISCRIMINATOR_VALUE = "x-ms-discriminator-value"


class Sources:
    """The description's files; a definition is known by its file and its name, and gets a name of its own."""

    def __init__(self, files: list[Path]) -> None:
        self._files = {file.resolve(): json.loads(file.read_text()) for file in files}
        self._names: dict[tuple[Path, str], str] = {}

    def operations(self, file: Path) -> Iterator[tuple[str, str, Schema, list[Schema]]]:
        """(method, path, operation, parameters) of a file; parameters with their references followed."""
        document = self._document(file)
        for path, methods in document["paths"].items():
            shared = methods.get("parameters", [])
            for method, operation in methods.items():
                if method != "parameters":
                    parameters = [self.follow(file, one)[1] for one in [*shared, *operation.get("parameters", [])]]
                    yield method.upper(), path, operation, parameters

    def follow(self, file: Path, schema: Schema) -> tuple[Path, Schema]:
        """The schema itself, or what it refers to, with the file in which that stands."""
        if "$ref" not in schema:
            return file, schema
        where, pointer = self._target(file, schema["$ref"])
        found = self._document(where)
        for part in pointer.strip("/").split("/"):
            found = found[part]
        return self.follow(where, found)

    def name(self, file: Path, reference: str) -> tuple[str, Path, str]:
        """Our name of a definition, its file, its name there. Two files may use one name for two things."""
        where, pointer = self._target(file, reference)
        own = pointer.rpartition("/")[2]
        key = (where, own)
        if key not in self._names:
            taken = own in self._names.values()
            self._names[key] = f"{own}.{where.stem}" if taken else own
        return self._names[key], where, own

    def definition(self, file: Path, name: str) -> Schema:
        found: Schema = self._document(file)["definitions"][name]
        return found

    def derived(self, file: Path, base: str) -> Iterator[tuple[str, Schema]]:
        """Every definition of the file that builds on `base`, directly or not."""
        for name, definition in self._document(file)["definitions"].items():
            for above in definition.get("allOf", []):
                where, pointer = self._target(file, above.get("$ref", "#/"))
                if where == file and pointer.rpartition("/")[2] == base:
                    yield name, definition
                    yield from self.derived(file, name)

    def _target(self, file: Path, reference: str) -> tuple[Path, str]:
        where, _, pointer = reference.partition("#")
        return ((file.parent / where).resolve() if where else file.resolve()), pointer

    def _document(self, file: Path) -> Schema:
        if file not in self._files:
            self._files[file] = json.loads(file.read_text())
        found: Schema = self._files[file]
        return found


class Facts:
    """Collects operations and the definitions that they reach."""

    def __init__(self, files: list[Path]) -> None:
        self._sources = Sources(files)
        self.definitions: dict[str, Schema] = {}
        self.operations: list[Schema] = []
        for file in files:
            for found in self._sources.operations(file.resolve()):
                self.operations.append(self._operation(file.resolve(), *found))

    def _operation(self, file: Path, method: str, path: str, operation: Schema, parameters: list[Schema]) -> Schema:
        bodies = [self._schema(file, one["schema"]) for one in parameters if one["in"] == "body"]
        answers = {
            status: self._schema(file, answer["schema"]) if "schema" in answer else None
            for status, answer in operation["responses"].items()
            if status.isdecimal()
        }
        query = sorted(one["name"] for one in parameters if one["in"] == "query" and one["name"] != "api-version")
        facts: Schema = {"method": method, "path": path, "query": query, "answers": answers}
        return {**facts, "body": bodies[0]} if bodies else facts

    def _schema(self, file: Path, schema: Schema) -> Schema:
        found = self._reference(file, schema["$ref"]) if "$ref" in schema else self._inline(file, schema)
        if schema.get("readOnly") and "$ref" in schema:
            found = {**found, "readOnly": True}
        if not schema.get("x-nullable"):
            return found
        if isinstance(found.get("type"), str) and "enum" not in found:
            return {**found, "type": [found["type"], "null"]}
        return {"if": {"type": "null"}, "else": found}  # unlike anyOf, it keeps the place of an error inside

    def _inline(self, file: Path, schema: Schema) -> Schema:
        if "properties" in schema or "allOf" in schema:
            return self._object(file, schema)
        found = {key: schema[key] for key in _KEPT if key in schema}
        if schema.get("format") in _FORMATS:
            found["format"] = schema["format"]
        if "items" in schema:
            found["items"] = self._schema(file, schema["items"])
        if isinstance(schema.get("additionalProperties"), dict):
            found["additionalProperties"] = self._schema(file, schema["additionalProperties"])
        return found

    def _reference(self, file: Path, reference: str) -> Schema:
        name, where, own = self._sources.name(file, reference)
        if name not in self.definitions:
            self.definitions[name] = {}  # a definition may refer to itself
            definition = self._sources.definition(where, own)
            members = {one.get(_DISCRIMINATOR_VALUE, key): key for key, one in self._sources.derived(where, own)}
            family = "discriminator" in definition and members
            self.definitions[name] = self._family(where, definition, members) if family else self._inline(where, definition)
        return {"$ref": f"#/$defs/{name}"}

    def _family(self, file: Path, base: Schema, members: dict[str, str]) -> Schema:
        """One of several objects: which one, a property of it tells."""
        by = base["discriminator"]
        _, kind = self._sources.follow(file, {**self._merged(file, base)[0][by]})
        cases = [
            {
                "if": {"properties": {by: {"const": value}}, "required": [by]},
                "then": self._reference(file, f"#/definitions/{member}"),
            }
            for value, member in members.items()
        ]
        values = kind.get("enum") or list(members)
        return {"type": "object", "required": [by], "properties": {by: {"enum": values}}, "allOf": cases}

    def _object(self, file: Path, schema: Schema) -> Schema:
        properties, required = self._merged(file, schema)
        shown = {key: self._schema(file, value) for key, value in properties.items() if "$file" not in value}
        shown |= {key: self._schema(value["$file"], value["$schema"]) for key, value in properties.items() if "$file" in value}
        needed = sorted(key for key in required if not shown[key].get("readOnly"))
        more = schema.get("additionalProperties", False)
        closed = self._schema(file, more) if isinstance(more, dict) else more
        found: Schema = {"type": "object", "properties": shown, "additionalProperties": closed}
        return {**found, "required": needed} if needed else found

    def _merged(self, file: Path, schema: Schema) -> tuple[dict[str, Schema], set[str]]:
        """The properties and the required names of an object together with all it builds on."""
        properties: dict[str, Schema] = {}
        required = set(schema.get("required", []))
        for above in schema.get("allOf", []):
            where, base = self._sources.follow(file, above)
            inherited, needed = self._merged(where, base)
            if where != file:  # its references are relative to its own file
                inherited = {
                    key: value if "$file" in value else {"$file": where, "$schema": value} for key, value in inherited.items()
                }
            properties |= inherited
            required |= needed
        return properties | schema.get("properties", {}), required
