"""Assets for the page: names with their newest version, and the versions of a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.azureml.call import Answer, Call
from local.azureml.dashboard.paging import part
from local.azureml.errors import not_found
from local.azureml.queries import Query
from local.azureml.store import Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KINDS = ("data", "models", "components", "environments")
_PLACES = ("dataUri", "modelUri", "image")
_TYPES = ("dataType", "modelType", "osType")


class Assets:
    """The kinds are those of the routes of Azure."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store

    def names(self, call: Call) -> Answer:
        """A page of the names, the newest first, each with its newest version."""
        kind = _kind(call)
        found = part(self._emulator, call, Query(f"{kind}.containers"))
        value = [self._name(kind, record) for record in found.records]
        return Answer({"total": self._store.count(f"{kind}.containers"), "next": found.next, "value": value})

    def versions(self, call: Call) -> Answer:
        """A page of a name's versions, the newest first."""
        kind, name = _kind(call), call.path_params["name"]
        if self._store.record(f"{kind}.containers", name) is None:
            raise not_found(f"There is no {name} in {kind}.")
        found = part(self._emulator, call, Query(kind, name=name))
        return Answer({"name": name, "next": found.next, "value": [_shown(record) for record in found.records]})

    def _name(self, kind: str, container: Record) -> dict[str, Any]:
        newest = self._store.newest(Query(kind, name=container.name))
        shown = _shown(newest) if newest else {"name": container.name, "version": None}
        archived = bool(container.body["properties"].get("isArchived"))
        return {**shown, "versions": self._store.count(kind, container.name), "archived": archived}


def _kind(call: Call) -> str:
    kind = call.path_params["kind"]
    if kind not in KINDS:
        raise not_found(f"There are no assets of the kind {kind[:64]!r}: {', '.join(KINDS)}.")
    return kind


def _shown(record: Record) -> dict[str, Any]:
    properties = record.body["properties"]
    spec = properties.get("componentSpec") or {}
    return {
        "name": record.name,
        "version": record.version,
        "type": next((str(properties[key]) for key in _TYPES if properties.get(key)), str(spec.get("type") or "")),
        "description": properties.get("description") or spec.get("description"),
        "tags": properties.get("tags") or {},
        "properties": properties.get("properties") or {},
        "place": next((str(properties[key]) for key in _PLACES if properties.get(key)), None),
        "job": properties.get("jobName"),
        "archived": bool(properties.get("isArchived")),
        "created": record.created,
    }
