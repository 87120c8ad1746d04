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


class Workspaces:
    """The operations of the resource; its guid is drawn once per state folder."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, name = emulator, emulator.settings.workspace
        fresh = {"properties": {"workspaceId": str(uuid.uuid4())}}
        self._record = emulator.store.record(KIND, name) or emulator.store.upsert(KIND, name, "", lambda _: fresh)

    def get(self, _: Call) -> Answer:
        return Answer(self._shown())

    def list(self, call: Call) -> Answer:
        kinds = [kind for kind in call.query.get("kind", "").lower().split(",") if kind]
        return arm.page(self._emulator, call, [self._shown()] if not kinds or "default" in kinds else [])

    def keys(self, _: Call) -> Answer:
        group = self._emulator.workspace_id.partition("/providers/")[0]
        storage = f"{group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"
        # The second under its newer name too, which is the one that the SDK reads.
        return Answer({"userStorageKey": ACCOUNT_KEY, "userStorageResourceId": storage, "userStorageArmId": storage})

    def resync_keys(self, call: Call) -> Answer:
        """There is nothing to do: the keys never change."""
        if call.body:
            raise bad_request("resyncKeys takes no body.", "InvalidRequestContent")
        return Answer(status=202, headers=self._emulator.operations.start(None, lambda: None, kind="workspace keys resync"))

    def _shown(self) -> Body:
        emulator = self._emulator
        properties = {
            **self._record.body["properties"],
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
            "systemData": arm.system_data(self._record),
        }
        return {**head, "properties": properties}


def routes(emulator: Emulator) -> list[Route]:
    own, settings = Workspaces(emulator), emulator.settings
    collection = "/providers/Microsoft.MachineLearningServices/workspaces"
    subscription = f"//subscriptions/{settings.subscription_id}"
    group = f"{subscription}/resourceGroups/{settings.resource_group}"
    difference = (
        "one workspace, which cannot be created, changed or deleted; mlFlowTrackingUri is plain http (docs/reference/mlflow.md)"
    )
    public = "the key of the storage account, which Azurite publishes; no others"
    return [
        Route("GET", "", own.get, "workspaces.get", difference),
        Route("GET", group + collection, own.list, "workspaces.list()", query=("kind",)),
        Route("GET", subscription + collection, own.list, "workspaces.list(scope='subscription')", query=("kind",)),
        Route("POST", "/listKeys", own.keys, "workspaces.get_keys", public),
        Route("POST", "/resyncKeys", own.resync_keys, "workspaces.begin_sync_keys", "there is one key, so nothing changes"),
    ]
