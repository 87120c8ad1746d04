"""Code: folders that the SDK uploads once per content, each into a container of its own."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from local.azureml.assets import AssetKind, Assets, Properties, refuse_path_change, require
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import bad_request
from local.azureml.store import Body

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_UPLOAD_TYPES = ("TemporaryBlobReference",)
_UPLOAD_HOURS = 1.0
_BY_HASH = "codes.by_hash"
"""Store kind: SHA-256 of a folder's content -> the version that holds it."""


def routes(emulator: Emulator) -> list[Route]:
    codes = Codes(emulator)
    version, difference = "/codes/{name}/versions/{version}", "codeUri must lie in the emulator's storage"
    return [
        Route(
            "GET",
            "/codes/{name}/versions",
            codes.list_versions,
            "(look-up by hash before an upload)",
            "the hash is looked up in all names",
            query=("hash", "hashVersion", "listViewType", "$orderBy"),
        ),
        Route("GET", version, codes.assets.get_version, "(code of components, jobs and deployments)"),
        Route("PUT", version, codes.assets.put_version, "(code of components, jobs and deployments)", difference),
        Route("POST", f"{version}/startPendingUpload", codes.start_pending_upload, "(code of components, jobs and deployments)"),
        Route("GET", "/codes", codes.assets.list_names, "(REST only)", query=("listViewType", "$orderBy")),
        Route("GET", "/codes/{name}", codes.assets.get_name, "(REST only)"),
        Route("DELETE", "/codes/{name}", codes.assets.delete_name, "(REST only)", "a name goes with all of its versions"),
        Route("DELETE", version, codes.assets.delete_version, "(REST only)", "its files stay in storage"),
    ]


class Codes:
    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.assets = Assets(emulator, code_kind(emulator), self._remember_hash)

    def list_versions(self, call: Call) -> Answer:
        """With `hash`: the version with this content under any name, since the SDK draws a new name for each upload."""
        wanted = call.query.get("hash")
        if wanted is None:
            return self.assets.list_versions(call)
        found = self._emulator.store.get(_BY_HASH, wanted, call.query.get("hashVersion", ""))
        if found is None or not self.assets.has(found["name"], found["version"]):  # it may have been deleted since
            return Answer({"value": []})
        path = {"name": found["name"], "version": found["version"]}
        return Answer({"value": [self.assets.get_version(Call("GET", call.path, path)).body]})

    def start_pending_upload(self, call: Call) -> Answer:
        """A fresh container per upload: the SDK writes to the container's root."""
        return Answer(pending_upload(self._emulator, call))

    def _remember_hash(self, name: str, version: str, body: Body) -> None:
        properties = body["properties"].get("properties") or {}
        content = properties.get("hash_sha256")
        if content:
            where = {"name": name, "version": version}
            self._emulator.store.put(_BY_HASH, str(content), str(properties.get("hash_version", "")), where)


def _account_id(emulator: Emulator) -> str:
    group = emulator.workspace_id.split("/providers/")[0]
    return f"{group}/providers/Microsoft.Storage/storageAccounts/devstoreaccount1"


def code_kind(emulator: Emulator) -> AssetKind:
    def check(properties: Properties) -> None:
        require(properties, "codeUri")
        emulator.storage.resolve(properties["codeUri"])

    return AssetKind(
        segment="codes",
        noun="code",
        sdk="codes",
        check=check,
        refuse_change=refuse_path_change("codeUri"),
        answer_defaults={"isAnonymous": True, "isArchived": False, "tags": {}, "properties": {}},
    )


def pending_upload(emulator: Emulator, call: Call) -> Body:
    """A container of its own for one upload; 400 for a kind of place that Azure does not have."""
    requested = (call.body or {}).get("pendingUploadType") or _UPLOAD_TYPES[0]
    if requested not in _UPLOAD_TYPES:
        raise bad_request(f"pendingUploadType must be one of {', '.join(_UPLOAD_TYPES)}, not '{requested}'.", "ValidationError")
    upload = str(uuid.uuid4())
    reference = blob_reference(emulator, upload)
    return {"pendingUploadId": upload, "pendingUploadType": requested, "blobReferenceForConsumption": reference}


def blob_reference(emulator: Emulator, container: str, permissions: str = "racwl") -> Body:
    """A container, made unless it is there, with leave to use it for an hour; by itself to write to."""
    storage = emulator.storage
    storage.create_container(container)
    uri = storage.container_url(container)
    sas = storage.container_sas(container, permissions, hours=_UPLOAD_HOURS)
    credential = {"credentialType": "SAS", "sasUri": f"{uri}?{sas}"}
    return {"blobUri": uri, "storageAccountArmId": _account_id(emulator), "credential": credential}
