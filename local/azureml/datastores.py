"""The workspace's own datastores: Azurite's containers under Azure's names, with SAS tokens that expire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from local.azureml import arm
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import bad_request, not_found
from local.azureml.storage import DATASTORES, DEFAULT_DATASTORE
from local.azureml.store import Body

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "datastores"
_MAX_SECRET_HOURS = 7 * 24
_PAGE = 30  # Azure's default of `count`


def routes(emulator: Emulator) -> list[Route]:
    def get(call: Call) -> Answer:
        return Answer(_datastore(emulator, _known(call)))

    def list_all(call: Call) -> Answer:
        only_default = call.query.get("isDefault", "").lower() == "true"
        names = call.query.get("names", "")
        chosen = [
            name
            for name in DATASTORES
            if (not only_default or name == DEFAULT_DATASTORE) and (not names or name in names.split(","))
        ]
        return arm.page(emulator, call, [_datastore(emulator, name) for name in chosen], size=_PAGE)

    def list_secrets(call: Call) -> Answer:
        container = DATASTORES[_known(call)]
        sas = emulator.storage.container_sas(container, hours=_hours(call.body))
        return Answer({"secretsType": "Sas", "sasToken": sas})

    difference = "the two default blob datastores only; credentials are a container SAS (rwdlac); accountName holds host and port"
    return [
        Route("GET", "/datastores", list_all, "datastores.list, datastores.get_default", difference),
        Route("GET", "/datastores/{name}", get, "datastores.get", difference),
        Route(
            "POST", "/datastores/{name}/listSecrets", list_secrets, "datastores.get(include_secrets=True), uploads and downloads"
        ),
    ]


def _known(call: Call) -> str:
    name = call.path_params["name"].lower()
    if name not in DATASTORES:
        raise not_found(f"Could not find datastore: {call.path_params['name']}")
    return name


def _hours(body: Any) -> float:
    hours = (body or {}).get("expireAfterHours") or 1
    if not isinstance(hours, int) or not 1 <= hours <= _MAX_SECRET_HOURS:
        raise bad_request(f"expireAfterHours must be a whole number from 1 to {_MAX_SECRET_HOURS}.")
    return float(hours)


def _datastore(emulator: Emulator, name: str) -> Body:
    record = emulator.store.record(KIND, name) or emulator.store.upsert(KIND, name, "", lambda _: {})
    blob = urlsplit(emulator.storage.blob_url)
    properties = {
        "datastoreType": "AzureBlob",
        "isDefault": name == DEFAULT_DATASTORE,
        # The SDK builds https://{accountName}.blob.{suffix} whatever the other fields say. Its storage client drops what
        # follows the "#", so that Azurite's path-style URL is left and no name has to be resolved.
        "accountName": f"{blob.netloc}{blob.path}#",
        "containerName": DATASTORES[name],
        "endpoint": blob.netloc,
        "protocol": blob.scheme,
        "serviceDataAccessAuthIdentity": "None",
        "credentials": {"credentialsType": "Sas"},
        "tags": {},
        "properties": {},
    }
    return arm.resource(emulator, record, f"/datastores/{name}", properties=properties)
