"""The one workspace of the emulator: described, listed, not changed."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from local.azureml import arm
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import bad_request
from local.azureml.operations import LOCATION
from local.azureml.store import Body
from local.identity import PRINCIPAL_ID, TENANT_ID
from local.storage.azurite import ACCOUNT, ACCOUNT_KEY

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "workspaces"


def routes(emulator: Emulator) -> list[Route]:
    name = emulator.settings.workspace
    record = emulator.store.record(KIND, name) or emulator.store.upsert(KIND, name, "", lambda _: _new_workspace())

    def get(_: Call) -> Answer:
        return Answer(describe())

    def list_all(call: Call) -> Answer:
        kinds = [kind for kind in call.query.get("kind", "").lower().split(",") if kind]
        return arm.page(emulator, call, [describe()] if not kinds or "default" in kinds else [])

    def keys(_: Call) -> Answer:
        group = emulator.workspace_id.partition("/providers/")[0]
        storage = f"{group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"
        # The second under its newer name too, which is the one that the SDK reads.
        return Answer({"userStorageKey": ACCOUNT_KEY, "userStorageResourceId": storage, "userStorageArmId": storage})

    def resync(call: Call) -> Answer:
        if call.body:
            raise bad_request("resyncKeys takes no body.", "InvalidRequestContent")
        headers = emulator.operations.start(None, _nothing_to_do, kind="workspace keys resync")
        return Answer(status=202, headers=headers)

    def describe() -> Body:
        properties = {
            **record.body["properties"],
            "friendlyName": emulator.settings.workspace,
            "description": "Local emulator of Azure Machine Learning",
            "provisioningState": "Succeeded",
            "discoveryUrl": f"{emulator.base_url}/discovery",
            "mlFlowTrackingUri": emulator.settings.mlflow_url,
            "publicNetworkAccess": "Enabled",
            "hbiWorkspace": False,
            "v1LegacyMode": False,
            "systemDatastoresAuthMode": "accessKey",
        }
        head = {
            "id": emulator.workspace_id,
            "name": emulator.settings.workspace,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "location": LOCATION,
            "kind": "Default",
            "sku": {"name": "Basic", "tier": "Basic"},
            "identity": {"type": "SystemAssigned", "principalId": PRINCIPAL_ID, "tenantId": TENANT_ID},
            "tags": {},
            "systemData": arm.system_data(record),
        }
        return {**head, "properties": properties}

    collection = "/providers/Microsoft.MachineLearningServices/workspaces"
    subscription = f"//subscriptions/{emulator.settings.subscription_id}"
    group = f"{subscription}/resourceGroups/{emulator.settings.resource_group}"
    difference = (
        "one workspace, which cannot be created, changed or deleted; mlFlowTrackingUri is plain http (docs/reference/mlflow.md)"
    )
    return [
        Route("GET", "", get, "workspaces.get", difference),
        Route("GET", group + collection, list_all, "workspaces.list()", query=("kind",)),
        Route("GET", subscription + collection, list_all, "workspaces.list(scope='subscription')", query=("kind",)),
        Route(
            "POST", "/listKeys", keys, "workspaces.get_keys", "the key of the storage account, which Azurite publishes; no others"
        ),
        Route("POST", "/resyncKeys", resync, "workspaces.begin_sync_keys", "there is one key, so nothing changes"),
    ]


def _nothing_to_do() -> None:
    """The keys never change."""


def _new_workspace() -> Body:
    """Its guid is drawn once per state folder."""
    return {"properties": {"workspaceId": str(uuid.uuid4())}}
