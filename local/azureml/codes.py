"""Code: folders that the SDK uploads once per content, each into a container of its own."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

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
    ]


class Codes:
    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        kind = AssetKind(
            segment="codes",
            noun="code",
            sdk="codes",
            check=self._check,
            refuse_change=refuse_path_change("codeUri"),
            answer_defaults={"isAnonymous": True, "isArchived": False, "tags": {}, "properties": {}},
        )
        self.assets = Assets(emulator, kind, self._remember_hash)

    def list_versions(self, call: Call) -> Answer:
        """With `hash`: the version with this content under any name, since the SDK draws a new name for each upload."""
        wanted = call.query.get("hash")
        if wanted is None:
            return self.assets.list_versions(call)
        found = self._emulator.store.get(_BY_HASH, wanted, call.query.get("hashVersion", ""))
        if found is None:
            return Answer({"value": []})
        path = {"name": found["name"], "version": found["version"]}
        return Answer({"value": [self.assets.get_version(Call("GET", call.path, path)).body]})

    def start_pending_upload(self, call: Call) -> Answer:
        """A fresh container per upload: the SDK writes to the container's root."""
        requested = (call.body or {}).get("pendingUploadType", _UPLOAD_TYPES[0])
        if requested not in _UPLOAD_TYPES:
            raise bad_request(
                f"pendingUploadType must be one of {', '.join(_UPLOAD_TYPES)}, not '{requested}'.", "ValidationError"
            )
        upload = str(uuid.uuid4())
        storage = self._emulator.storage
        storage.create_container(upload)
        uri = storage.container_url(upload)
        credential = {"credentialType": "SAS", "sasUri": f"{uri}?{storage.container_sas(upload, 'racwl', hours=_UPLOAD_HOURS)}"}
        body: dict[str, Any] = {
            "pendingUploadId": upload,
            "pendingUploadType": requested,
            "blobReferenceForConsumption": {
                "blobUri": uri,
                "storageAccountArmId": _account_id(self._emulator),
                "credential": credential,
            },
        }
        return Answer(body)

    def _check(self, properties: Properties) -> None:
        require(properties, "codeUri")
        self._emulator.storage.resolve(properties["codeUri"])

    def _remember_hash(self, name: str, version: str, body: Body) -> None:
        properties = body["properties"].get("properties") or {}
        content = properties.get("hash_sha256")
        if content:
            where = {"name": name, "version": version}
            self._emulator.store.put(_BY_HASH, str(content), str(properties.get("hash_version", "")), where)


def _account_id(emulator: Emulator) -> str:
    group = emulator.workspace_id.split("/providers/")[0]
    return f"{group}/providers/Microsoft.Storage/storageAccounts/devstoreaccount1"
