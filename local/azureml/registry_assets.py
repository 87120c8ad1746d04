"""The assets of registries: the same operations as a workspace's, served where discovery says, and shared out of a workspace."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from local.azureml import codes, components, curated, data, environments, lookup, models
from local.azureml.assets import Assets
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, bad_request, not_found, not_supported
from local.azureml.registries import read_only

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_URI_FIELD = {"models": "modelUri", "data": "dataUri"}
_DESCRIBED = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/registries/{registry}"
)
_OPTIONS = frozenset({"api-version", "listviewtype", "$orderby", "$top", "$skip", "count", "tags", "$tags"})
_SHARED = ("models", "data", "environments")


def routes(emulator: Emulator) -> list[Route]:
    own = RegistryAssets(emulator)
    settings = emulator.settings
    group = f"/subscriptions/{settings.subscription_id}/resourceGroups/{settings.resource_group}"
    root = f"//mferp/managementfrontend{group}/providers/Microsoft.MachineLearningServices/registries/{{registry}}"
    name, version = f"{root}/{{kind}}/{{name}}", f"{root}/{{kind}}/{{name}}/versions/{{version}}"
    of_registry = "of a client with registry_name="
    table: list[tuple[str, str, Callable[[Call], Answer], str, str]] = [
        ("POST", f"{root}/import", own.share, "models.share, data.share, environments.share", "at once; files are copied"),
        ("PUT", f"{root}/tempdatarefs/{{name}}/versions/{{version}}", own.upload, f"(uploads {of_registry})", ""),
        ("POST", f"{version}/startPendingUpload", own.start_pending_upload, "(REST only)", ""),
        (
            "POST",
            f"{root}/datarefs/{{name}}/versions/{{version}}",
            own.read,
            f"(downloads {of_registry})",
            "a model's address is without the account, by which azure-ai-ml finds its files; for other clients the SAS has it",
        ),
        ("GET", f"{root}/{{kind}}", own.on(Assets.list_names), f"*.list() {of_registry}", ""),
        ("GET", name, own.on(Assets.get_name), f"*.get(label=) {of_registry}", ""),
        ("PUT", name, own.on(Assets.put_name, writes=True), f"*.archive/restore(name) {of_registry}", ""),
        ("DELETE", name, own.on(Assets.delete_name, writes=True), "(REST only)", "its versions go with it"),
        ("GET", f"{name}/versions", own.on(Assets.list_versions), f"*.list(name=) {of_registry}", ""),
        (
            "GET",
            version,
            own.on(Assets.get_version),
            f"*.get(name, version) {of_registry}",
            f"any name of an environment is there in `{curated.REGISTRY}`, whose lists are empty",
        ),
        ("PUT", version, own.on(Assets.put_version, writes=True), f"*.create_or_update {of_registry}", "at once"),
        ("DELETE", version, own.on(Assets.delete_version, writes=True), "(REST only)", ""),
    ]
    return [Route(*row, auth="data") for row in table]


class RegistryAssets:
    """Which assets a call is for is in its path: the registry, then the kind."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        model = replace(models.model_kind(), settled=self._model)
        kinds = (data.KIND, environments.KIND, components.KIND, model, codes.code_kind(emulator))
        self._kinds = {kind.segment: kind for kind in kinds}

    def on(self, operation: Callable[[Assets, Call], Answer], *, writes: bool = False) -> Callable[[Call], Answer]:
        """The handler that does the operation on the assets that the call names."""

        def handle(call: Call) -> Answer:
            assets = self._assets(call, call.path_params["kind"], writes=writes)
            self._refuse_ignored(call)
            return operation(assets, call)

        return handle

    def upload(self, call: Call) -> Answer:
        """A fresh container to upload to; 409 for a version that is there, which tells the SDK to upload nothing."""
        asset = str(call.field("assetId"))
        kind, name, version = _parts(call, asset)
        assets = self._assets(call, kind, writes=True)
        if assets.has(name, version):
            raise AzureError(409, "UserError", f"{kind}/{name}/versions/{version} exists already in this registry.")
        return Answer({"blobReferenceForConsumption": codes.blob_reference(self._emulator, str(uuid.uuid4()))})

    def start_pending_upload(self, call: Call) -> Answer:
        """As `upload`, under the name that the newer API has for it."""
        self._assets(call, call.path_params["kind"], writes=True)
        return Answer(codes.pending_upload(self._emulator, call))

    def read(self, call: Call) -> Answer:
        """Leave to read the container in which an asset's files are."""
        uri = str(call.field("blobUri"))
        kind, name, version = _parts(call, str(call.field("assetId")))
        kept = self._assets(call, kind).properties(name, version).get(_URI_FIELD.get(kind, "codeUri"))
        if self._address(uri) != self._address(str(kept)):
            raise bad_request(f"'{uri}' is not where {kind}/{name}/versions/{version} lies.")
        container = self._emulator.storage.resolve(uri).container
        return Answer({"blobReferenceForConsumption": codes.blob_reference(self._emulator, container, "rl")})

    def share(self, call: Call) -> Answer:
        """Copy a version of the workspace, with its files, into the registry; an empty 200 when it is there."""
        source = str(call.properties.get("sourceAssetId"))
        kind = source.split("/")[-4] if source.count("/") >= 4 else ""
        if kind not in _SHARED:
            raise not_supported(f"sharing '{source}': {', '.join(_SHARED)} are shared")
        found = lookup.find_version(self._emulator, kind, source)
        name = str(call.properties.get("destinationName") or found.name)
        version = str(call.properties.get("destinationVersion") or found.version)
        assets = self._assets(call, kind, writes=True)
        if assets.has(name, version):
            raise AzureError(409, "UserError", f"{kind}/{name}/versions/{version} exists already in this registry.")
        body = {"properties": self._copied(kind, found.properties)}
        assets.put_version(Call("PUT", call.path, {"name": name, "version": version}, body=body))
        return Answer()

    def _refuse_ignored(self, call: Call) -> None:
        """As checks.py does for the workspace: what nobody would honour is refused by its name."""
        if ignored := sorted(option for option in call.query if option.lower() not in _OPTIONS):
            raise not_supported(f"the query option {', '.join(ignored)} of {call.method} {call.path}")
        if call.method == "PUT":
            version = "/versions/{version}" if "version" in call.path_params else ""
            path = f"{_DESCRIBED}/{call.path_params['kind'].lower()}/{{name}}{version}"
            self._emulator.checks.refuse_body(call.method, path, call.body)

    def _copied(self, kind: str, properties: dict[str, Any]) -> dict[str, Any]:
        """The properties with the files they point to in a container of the registry."""
        if kind in _URI_FIELD:
            return {**properties, _URI_FIELD[kind]: self._copy(str(properties[_URI_FIELD[kind]]))}
        build = properties.get("build")
        if build and build.get("contextUri"):
            return {**properties, "build": {**build, "contextUri": self._copy(str(build["contextUri"])) + "/"}}
        return properties

    def _model(self, _name: str, _version: str, properties: dict[str, Any]) -> dict[str, Any]:
        return {**properties, "modelUri": self._address(str(properties["modelUri"]))}

    def _address(self, url: str) -> str:
        """Without the account, which Azurite has in the path: azure-ai-ml takes the first name there for the container."""
        blobs = self._emulator.storage.blob_url
        return url.replace(f"{blobs}/", f"{blobs.rpartition('/')[0]}/", 1)

    def _copy(self, uri: str) -> str:
        storage, target = self._emulator.storage, str(uuid.uuid4())
        source = storage.resolve(uri)
        names = storage.list(*source)
        if not names:
            raise not_found(f"There are no files at '{uri}'.")
        storage.create_container(target)
        root = PurePosixPath(source.path).name
        for name in names:
            chunks = storage.container(source.container).download_blob(name).chunks()
            path = f"{root}/{name[len(source.path) :].lstrip('/')}".strip("/")
            storage.container(target).upload_blob(path, chunks)
        return f"{storage.container_url(target)}/{root}".rstrip("/")

    def _assets(self, call: Call, kind: str, *, writes: bool = False) -> Assets:
        registry = call.path_params["registry"]
        place = lookup.registry(self._emulator, registry)
        if place is None:
            raise not_found(f"Registry '{registry}' was not found.", "RegistryNotFound")
        if kind.lower() not in self._kinds:
            raise not_supported(f"{kind} of registries")
        if writes and place.shelf == curated.SHELF:
            raise read_only()
        return Assets(self._emulator, self._kinds[kind.lower()], place=place)


def _parts(call: Call, asset: str) -> tuple[str, str, str]:
    """Kind, name and version of an asset id of the registry that is asked."""
    begin, end = f"azureml://registries/{call.path_params['registry']}/", f"/{call.path_params['name']}/versions/"
    kind, found, version = asset[len(begin) :].partition(end)
    if not asset.lower().startswith(begin.lower()) or not found or version != call.path_params["version"]:
        raise bad_request(f"The assetId '{asset}' is not the version that the path names.")
    return kind, call.path_params["name"], version
