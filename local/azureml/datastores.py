"""Datastores: the workspace's own two, and blob datastores that are made for other containers of the same account."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from local.azureml import arm
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import bad_request, not_found, not_supported
from local.azureml.names import PLAIN
from local.azureml.secret_files import SecretFiles
from local.azureml.storage import DATASTORE_KIND as KIND
from local.azureml.storage import DATASTORES, DEFAULT_DATASTORE
from local.azureml.store import Body
from local.storage.azurite import ACCOUNT, ACCOUNT_KEY

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_SECRETS = {"AccountKey": "key", "Sas": "sasToken", "None": None}
"""Type of credentials -> the field of its secret."""
_MAX_SECRET_HOURS = 7 * 24
_PAGE = 30  # Azure's default of `count`


class Datastores:
    """The operations of the resource. Names are compared without regard to case and kept in lower case."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._secrets = SecretFiles(emulator.folder / "secrets")

    def get(self, call: Call) -> Answer:
        return Answer(self._shown(self._known(call)))

    def list(self, call: Call) -> Answer:
        only_default = call.query.get("isDefault", "").lower() == "true"
        wanted = [name for name in call.query.get("names", "").lower().split(",") if name]
        made = [record.name for record in self._store.records(KIND) if record.name not in DATASTORES]
        names = [DEFAULT_DATASTORE] if only_default else [*DATASTORES, *made]
        chosen = [name for name in names if not wanted or name in wanted]
        return arm.page(self._emulator, call, [self._shown(name) for name in chosen], size=_PAGE)

    def put(self, call: Call) -> Answer:
        """Attach a container, or attach it anew: 201 or 200. The container itself is neither made nor, without
        `skipValidation=false`, looked for."""
        name = call.path_params["name"].lower()
        PLAIN.check(name, "datastore name")
        if name in DATASTORES:
            raise not_supported(f"a change of the workspace's own datastore '{name}'")
        document, secret = self._asked(call.properties)
        if call.query.get("skipValidation", "").lower() != "true":
            self._validate(document)
        existed = self._store.get(KIND, name) is not None
        if secret is None:
            self._secrets.delete(KIND, name)
        else:
            self._secrets.put(KIND, name, secret)
        self._store.put(KIND, name, "", document)
        return Answer(self._shown(name), 200 if existed else 201)

    def delete(self, call: Call) -> Answer:
        """The reference goes, the blobs stay; 204 when there is nothing to delete."""
        name = call.path_params["name"].lower()
        if name in DATASTORES:
            raise bad_request(f"The datastore '{name}' belongs to the workspace and cannot be deleted.")
        self._secrets.delete(KIND, name)
        return Answer(status=200 if self._store.delete(KIND, name) else 204)

    def list_secrets(self, call: Call) -> Answer:
        """A SAS, as Azure answers to `expirableSecret` for account keys too; the key itself only to who does not ask for that."""
        name, hours = self._known(call), _hours(call.body)
        if name in DATASTORES:
            return Answer({"secretsType": "Sas", "sasToken": self._emulator.storage.container_sas(DATASTORES[name], hours=hours)})
        properties = (self._store.get(KIND, name) or {})["properties"]
        secret = self._secrets.get(KIND, name)
        if secret is None:
            raise bad_request(f"Datastore '{name}' has no secrets: its credentials are of type None.")
        if properties["credentialsType"] == "AccountKey" and (call.body or {}).get("expirableSecret"):
            token = self._emulator.storage.container_sas(properties["containerName"], hours=hours, key=secret["key"])
            return Answer({"secretsType": "Sas", "sasToken": token})
        return Answer({"secretsType": properties["credentialsType"], **secret})

    def _asked(self, properties: Body) -> tuple[Body, Body | None]:
        """(the document to keep, its secret apart)."""
        kind = properties.get("datastoreType")
        if kind != "AzureBlob":
            raise not_supported(f"a datastore of type {kind}: there is blob storage only")
        account = str(properties.get("accountName"))
        if account not in (ACCOUNT, self._account):
            raise not_supported(f"the storage account '{account}': '{ACCOUNT}' is the only one here")
        container = str(properties.get("containerName"))
        if not _CONTAINER.fullmatch(container):
            rule = "3 to 63 lower-case letters, digits and single '-'."
            raise bad_request(f"'{container}' is not a valid container name: {rule}", "ValidationError")
        credentials = properties.get("credentials") or {}
        credentials_type = credentials.get("credentialsType")
        if credentials_type not in _SECRETS:
            raise not_supported(f"credentials of type {credentials_type} for a datastore")
        secret = _secret(credentials_type, credentials.get("secrets") or {})
        kept = {key: properties[key] for key in ("description", "tags", "properties") if properties.get(key)}
        fits = credentials_type != "AccountKey" or hmac.compare_digest(str((secret or {})["key"]).encode(), ACCOUNT_KEY.encode())
        document = {"properties": {**kept, "containerName": container, "credentialsType": credentials_type, "fits": fits}}
        return document, secret

    def _validate(self, document: Body) -> None:
        properties = document["properties"]
        if not properties["fits"]:
            raise bad_request("The account key is not that of the storage account.", "ValidationError")
        if not self._emulator.storage.container(properties["containerName"]).exists():
            raise bad_request(f"The container '{properties['containerName']}' does not exist.", "ValidationError")

    def _known(self, call: Call) -> str:
        name = call.path_params["name"].lower()
        if name not in DATASTORES and self._store.get(KIND, name) is None:
            raise not_found(f"Could not find datastore: {call.path_params['name']}")
        return name

    @property
    def _account(self) -> str:
        """The SDK builds https://{accountName}.blob.{suffix} whatever the other fields say. Its storage client drops what
        follows the "#", so that Azurite's path-style URL is left and no name has to be resolved."""
        blob = urlsplit(self._emulator.storage.blob_url)
        return f"{blob.netloc}{blob.path}#"

    def _shown(self, name: str) -> dict[str, Any]:
        own = {"properties": {"containerName": DATASTORES[name], "credentialsType": "Sas"}} if name in DATASTORES else None
        record = self._store.record(KIND, name) or self._store.upsert(KIND, name, "", lambda _: {})
        blob = urlsplit(self._emulator.storage.blob_url)
        kept = dict((own or record.body)["properties"])
        kept.pop("fits", None)
        properties = {
            "datastoreType": "AzureBlob",
            "isDefault": name == DEFAULT_DATASTORE,
            "accountName": self._account,
            "endpoint": blob.netloc,
            "protocol": blob.scheme,
            "serviceDataAccessAuthIdentity": "None",
            "tags": {},
            "properties": {},
            "credentials": {"credentialsType": kept.pop("credentialsType")},
            **kept,
        }
        return arm.resource(self._emulator, record, f"/datastores/{name}", properties=properties)


def _secret(credentials_type: str, secrets: Body) -> Body | None:
    field = _SECRETS[credentials_type]
    if field is None:
        return None
    value = secrets.get(field)
    if not isinstance(value, str) or not value:
        raise bad_request(f"Credentials of type {credentials_type} need a {field} in their secrets.", "ValidationError")
    return {field: value.removeprefix("?") if field == "sasToken" else value}


def _hours(body: Any) -> float:
    hours = (body or {}).get("expireAfterHours") or 1
    if not isinstance(hours, int) or not 1 <= hours <= _MAX_SECRET_HOURS:
        raise bad_request(f"expireAfterHours must be a whole number from 1 to {_MAX_SECRET_HOURS}.")
    return float(hours)


def routes(emulator: Emulator) -> list[Route]:
    own = Datastores(emulator)
    one = "/datastores/{name}"
    account = "accountName holds host and port, and the account; credentials of the workspace's own are a container SAS (rwdlac)"
    blobs = (
        f"blob containers of the account `{ACCOUNT}`, with its key, a SAS or no credentials; jobs read and write them with the "
        "emulator's own key (a wrong account key is refused, a SAS limits clients only)"
    )
    secrets = "datastores.get(include_secrets=True), uploads and downloads"
    return [
        # `orderByAsc` says nothing without `orderBy`, and the SDK always sends it.
        Route(
            "GET",
            "/datastores",
            own.list,
            "datastores.list, datastores.get_default",
            account,
            query=("isDefault", "names", "orderByAsc"),
        ),
        Route("GET", one, own.get, "datastores.get", account),
        Route("PUT", one, own.put, "datastores.create_or_update", blobs, query=("skipValidation",)),
        Route("DELETE", one, own.delete, "datastores.delete"),
        Route("POST", f"{one}/listSecrets", own.list_secrets, secrets),
    ]
