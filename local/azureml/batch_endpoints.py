"""Batch endpoints: a name, a default deployment and an address that takes invocations (batch/jobs.py)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from local.azureml.arm import page, resource
from local.azureml.batch import DEPLOYMENTS, ENDPOINTS, JOBS
from local.azureml.call import Answer, Call, Route
from local.azureml.endpoints import batch_addresses, check_name, refuse_busy_parts, shown_at
from local.azureml.errors import bad_request, not_found
from local.azureml.store import Body, Record
from local.azureml.writes import Writes, refuse_while_busy

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_KEPT = ("description", "publicNetworkAccess")


class BatchEndpoints:
    """The operations of the resource; every write is long-running and refused while another one is."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._writes = Writes(emulator, ENDPOINTS, "batch endpoint", lambda name, _: _path(name), self._shown)

    def list(self, call: Call) -> Answer:
        return page(self._emulator, call, [self._shown(record) for record in self._store.records(ENDPOINTS)])

    def get(self, call: Call) -> Answer:
        return Answer(self._shown(endpoint_record(self._emulator, call.path_params["endpoint"])))

    def put(self, call: Call) -> Answer:
        name = check_name(call.path_params["endpoint"], "endpoint")
        asked = self._asked(call)

        def change(old: Body | None) -> Body:
            refuse_while_busy(old, f"endpoint '{name}'")
            self._check_default(name, asked["properties"]["defaults"])
            return asked

        return self._writes.put(name, "", change, partial(self._settled, name))

    def patch(self, call: Call) -> Answer:
        """Tags, and the default deployment: what Azure's PATCH of an endpoint is used for."""
        name, body = call.path_params["endpoint"], call.body if isinstance(call.body, dict) else {}
        endpoint_record(self._emulator, name)
        tags, defaults = body.get("tags"), (body.get("properties") or {}).get("defaults")

        def change(old: Body | None) -> Body:
            old = old or endpoint_record(self._emulator, name).body
            refuse_while_busy(old, f"endpoint '{name}'")
            kept = {**old["properties"]["defaults"], **(defaults or {})}
            self._check_default(name, kept)
            properties = {**old["properties"], "defaults": kept}
            return {**old, "tags": old["tags"] if tags is None else tags, "properties": properties}

        return self._writes.put(name, "", change, partial(self._settled, name))

    def delete(self, call: Call) -> Answer:
        """With all its deployments; its jobs stay. 204 when there is nothing to delete."""
        name = call.path_params["endpoint"]
        return self._writes.delete(name, "", refuse_busy_parts(self._store, name, DEPLOYMENTS), partial(self._deleted, name))

    def _asked(self, call: Call) -> Body:
        properties = call.properties
        mode = str(properties.get("authMode"))
        if mode.lower() != "aadtoken":
            raise bad_request(f"authMode '{mode}' is not supported: batch endpoints take Microsoft Entra tokens (AADToken) only.")
        defaults = properties.get("defaults") or {}
        return {
            "location": call.body.get("location", "local"),
            "tags": call.body.get("tags") or {},
            "properties": {
                **{key: properties[key] for key in _KEPT if properties.get(key) is not None},
                "authMode": "AADToken",
                "properties": dict(properties.get("properties") or {}),
                # Never null: the SDK's users write endpoint.defaults.deployment_name on what they got.
                "defaults": {key: value for key, value in defaults.items() if value is not None},
            },
        }

    def _check_default(self, endpoint: str, defaults: Body) -> None:
        name = defaults.get("deploymentName")
        if name and self._store.get(DEPLOYMENTS, endpoint, str(name)) is None:
            raise bad_request(f"The default deployment '{name}' does not exist on batch endpoint '{endpoint}'.")

    def _shown(self, record: Record) -> dict[str, Any]:
        return shown_at(resource(self._emulator, record, _path(record.name)), batch_addresses(self._emulator, record.name))

    def _settled(self, name: str, verb: str) -> None:
        self._emulator.transitions.wait(f"endpoint.{verb}", _path(name), self._emulator.serving.stopping)
        self._writes.succeeded(name)

    def _deleted(self, name: str) -> None:
        self._emulator.transitions.wait("endpoint.delete", _path(name), self._emulator.serving.stopping)
        self._store.delete_all(DEPLOYMENTS, name)
        self._store.delete_all(JOBS, name)
        self._store.delete(ENDPOINTS, name)


def endpoint_record(emulator: Emulator, name: str) -> Record:
    """The stored endpoint; 404 as Azure ML words it."""
    record = emulator.store.record(ENDPOINTS, name)
    if record is None:
        raise not_found(
            f"Batch endpoint '{name}' was not found in workspace '{emulator.settings.workspace}'.", "ResourceNotFound"
        )
    return record


def _path(name: str) -> str:
    return f"/batchEndpoints/{name}"


def routes(emulator: Emulator) -> list[Route]:
    """ARM operations on `batchEndpoints`."""
    own, one = BatchEndpoints(emulator), "/batchEndpoints/{endpoint}"
    address = (
        "scoringUri is https://127.0.0.1:<port>/batch/<name>/jobs, on Azure https://<name>.<region>.inference.ml.azure.com/jobs"
    )
    return [
        Route("GET", "/batchEndpoints", own.list, sdk="batch_endpoints.list"),
        Route("GET", one, own.get, sdk="batch_endpoints.get", differences=address),
        Route("PUT", one, own.put, sdk="batch_endpoints.begin_create_or_update", differences="AADToken only, as Azure"),
        Route("PATCH", one, own.patch, sdk="(REST clients; the SDK uses PUT)", differences="tags and defaults only"),
        Route("DELETE", one, own.delete, sdk="batch_endpoints.begin_delete"),
    ]
