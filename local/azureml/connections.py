"""Connections of the workspace: kept for who asks for them. Their secrets are answered by listSecrets alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.azureml import arm
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import not_found
from local.azureml.names import NameRule
from local.azureml.secret_files import SecretFiles
from local.azureml.store import Body, Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "connections"
_NAME = NameRule(shortest=3, longest=33)
_OF_DATA = frozenset({"azureblob", "azuredatalakegen2", "azureonelake"})
"""Categories that a list leaves out unless `includeAll` is set."""


class Connections:
    """The operations of the resource."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._secrets = SecretFiles(emulator.folder / "secrets")

    def put(self, call: Call) -> Answer:
        """Create or replace: what the request leaves out is gone, as with every PUT, its secret too."""
        name = call.path_params["name"]
        _NAME.check(name, "connection name")
        properties = dict(call.properties)
        credentials = properties.pop("credentials", None)
        # First the secret: a killed process leaves a connection without its new target rather than a target with an old secret.
        if credentials:
            self._secrets.put(KIND, name, credentials)
        else:
            self._secrets.delete(KIND, name)
        self._store.put(KIND, name, "", {"properties": properties})
        return Answer(self._shown(self._record(name)))

    def get(self, call: Call) -> Answer:
        return Answer(self._shown(self._record(call.path_params["name"])))

    def list(self, call: Call) -> Answer:
        asked = {name: call.query[name].lower() for name in ("category", "target") if name in call.query}
        everything = call.query.get("includeAll", "").lower() == "true"
        found = []
        for record in self._store.records(KIND):
            properties = {key: str(value).lower() for key, value in record.body["properties"].items()}
            if properties.get("category") in _OF_DATA and not everything:
                continue
            if all(properties.get(name) == value for name, value in asked.items()):
                found.append(self._shown(record))
        return arm.page(self._emulator, call, found)

    def list_secrets(self, call: Call) -> Answer:
        record = self._record(call.path_params["name"])
        return Answer(self._shown(record, self._secrets.get(KIND, record.name)))

    def delete(self, call: Call) -> Answer:
        """204 when there is nothing to delete."""
        name = call.path_params["name"]
        self._secrets.delete(KIND, name)
        return Answer(status=200 if self._store.delete(KIND, name) else 204)

    def _record(self, name: str) -> Record:
        record = self._store.record(KIND, name)
        if record is None:
            raise not_found(f"Connection {name} can't be found in this workspace")
        return record

    def _shown(self, record: Record, credentials: Body | None = None) -> dict[str, Any]:
        properties = {
            "isSharedToAll": False,
            "metadata": {},
            **record.body["properties"],
            "createdByWorkspaceArmId": self._emulator.workspace_id,
            **({"credentials": credentials} if credentials else {}),
        }
        return arm.resource(self._emulator, record, f"/connections/{record.name}", properties=properties)


def routes(emulator: Emulator) -> list[Route]:
    own = Connections(emulator)
    path = "/connections/{name}"
    kept = "kept and answered; nothing in the emulator connects by it"
    secret = "credentials lie in a file that only its owner may read (0600)"  # noqa: S105 - a sentence
    return [
        Route("GET", "/connections", own.list, "connections.list", query=("category", "target", "includeAll")),
        Route("GET", path, own.get, "connections.get"),
        Route("PUT", path, own.put, "connections.create_or_update", kept),
        Route("DELETE", path, own.delete, "connections.delete"),
        Route("POST", f"{path}/listsecrets", own.list_secrets, "connections.get(populate_secrets=True)", secret),
    ]
