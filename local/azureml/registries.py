"""Registries: created, listed, deleted, and found by their name alone, as `MLClient(registry_name=)` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.azureml import arm, curated, lookup
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, bad_request, not_found
from local.azureml.names import NameRule
from local.azureml.operations import LOCATION
from local.azureml.queries import Query
from local.azureml.store import Body, Record
from local.identity import PRINCIPAL_ID, TENANT_ID

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = lookup.REGISTRIES
_TYPE = "Microsoft.MachineLearningServices/registries"
_NAME = NameRule(shortest=3, longest=33)


def routes(emulator: Emulator) -> list[Route]:
    own = Registries(emulator)
    settings = emulator.settings
    subscription = f"//subscriptions/{settings.subscription_id}"
    one = f"{subscription}/resourceGroups/{settings.resource_group}/providers/{_TYPE}/{{registry}}"
    kept = f"one region, whose storage is the workspace's; `{curated.REGISTRY}` is there from the start and is read-only"
    find = "//registrymanagement/v1.0/registries/{registry}/discovery"
    return [
        Route("GET", f"{subscription}/providers/{_TYPE}", own.list, "registries.list(scope='subscription')"),
        Route("GET", one.removesuffix("/{registry}"), own.list, "registries.list()"),
        Route("GET", one, own.get, "registries.get"),
        Route("PUT", one, own.put, "registries.begin_create", kept),
        Route("DELETE", one, own.delete, "registries.begin_delete", "its assets go with it"),
        Route("GET", find, own.discover, "MLClient(registry_name=)", "found through REGISTRY_DISCOVERY_ENDPOINT_URL", "open"),
    ]


class Registries:
    """The operations of the resource; names have no case."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store

    def list(self, call: Call) -> Answer:
        """Those that were created here: Microsoft's own belongs to no subscription of a customer."""
        return arm.stored_page(self._emulator, call, Query(KIND, newest_first=False), self._shown)

    def get(self, call: Call) -> Answer:
        return Answer(self._shown(self._record(call)))

    def put(self, call: Call) -> Answer:
        """201 for a new one, 200 for one that changes; it is there when the operation has ended."""
        name, properties = _name(call), call.properties
        _NAME.check(name, "name of a registry")
        if name == curated.REGISTRY:
            raise read_only()
        if not properties.get("regionDetails"):
            raise bad_request("A registry needs at least one region in regionDetails.", "ValidationError")
        location = call.body.get("location") or LOCATION
        kept = {"location": location, "tags": call.body.get("tags") or {}, "properties": properties}
        existed = self._store.get(KIND, name) is not None
        fresh = Record(KIND, name, "", kept, "", "", "")
        record = self._store.upsert(KIND, name, "", lambda _: kept) if existed else fresh
        headers = self._emulator.operations.start(
            self._shown(record),
            lambda: self._settle(name, kept),
            kind=f"registry {'update' if existed else 'create'}",
            resource=f"/registries/{name}",
        )
        return Answer(self._shown(record), 200 if existed else 201, headers)

    def delete(self, call: Call) -> Answer:
        """204 when there is nothing to delete."""
        name = _name(call)
        if name == curated.REGISTRY:
            raise read_only()
        if self._store.get(KIND, name) is None:
            return Answer(status=204)
        work = self._emulator.operations.start(
            None, lambda: self._remove(name), kind="registry delete", resource=f"/registries/{name}"
        )
        return Answer(status=202, headers=work)

    def discover(self, call: Call) -> Answer:
        """Where the registry's assets are served, for whoever knows no more than its name."""
        name, settings = _name(call), self._emulator.settings
        if lookup.registry(self._emulator, name) is None:
            raise not_found(f"Registry '{call.path_params['registry']}' was not found.", "RegistryNotFound")
        found = {
            "registryName": name,
            "tenantId": TENANT_ID,
            "primaryRegion": LOCATION,
            "regions": [LOCATION],
            "subscriptionId": settings.subscription_id,
            "resourceGroup": settings.resource_group,
            "workspaceName": None,
            "primaryRegionResourceProviderUri": f"{self._emulator.base_url}/",
            "registryFqdns": {LOCATION: {"discoveryMfeFqdn": self._emulator.base_url.removeprefix("https://")}},
        }
        return Answer(found)

    def _settle(self, name: str, kept: Body) -> None:
        self._store.put(KIND, name, "", kept)

    def _remove(self, name: str) -> None:
        with self._store.transaction():
            self._store.delete_kinds(f"registries/{name}/")
            self._store.delete(KIND, name)

    def _record(self, call: Call) -> Record:
        name = _name(call)
        record = self._store.record(KIND, name)
        if record is None:
            raise not_found(f"The Resource '{_TYPE}/{name}' was not found.", "ResourceNotFound")
        return record

    def _shown(self, record: Record) -> dict[str, Any]:
        base, settings = self._emulator.base_url, self._emulator.settings
        group = f"/subscriptions/{settings.subscription_id}/resourceGroups/{settings.resource_group}"
        return {
            **record.body,
            "id": f"{group}/providers/{_TYPE}/{record.name}",
            "name": record.name,
            "type": _TYPE,
            "identity": {"type": "SystemAssigned", "principalId": PRINCIPAL_ID, "tenantId": TENANT_ID},
            "properties": {
                "publicNetworkAccess": "Enabled",
                **record.body["properties"],
                "discoveryUrl": f"{base}/registrymanagement/v1.0/registries/{record.name}/discovery",
                "mlFlowRegistryUri": settings.mlflow_url,
                "managedResourceGroup": {"resourceId": group},
            },
            **({"systemData": arm.system_data(record)} if record.created else {}),
        }


def read_only() -> AzureError:
    """Writing to Microsoft's own registry."""
    return AzureError(
        403, "AuthorizationFailed", f"The client has no authorization to write to the registry '{curated.REGISTRY}'."
    )


def _name(call: Call) -> str:
    return call.path_params["registry"].lower()
