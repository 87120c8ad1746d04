"""The workspace's storage account: its datastores' containers, SAS tokens for clients, and where an asset's URI points."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContainerClient, generate_container_sas

from local.azureml.errors import AzureError, bad_request, not_found
from local.azureml.lookup import find_version, kind_of
from local.storage.azurite import ACCOUNT, ACCOUNT_KEY

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

DEFAULT_DATASTORE = "workspaceblobstore"
ARTIFACT_STORE = "workspaceartifactstore"
DATASTORES = {DEFAULT_DATASTORE: "azureml-blobstore", ARTIFACT_STORE: "azureml"}
"""Datastore name -> container. Azure's own default containers carry a workspace guid; these do not."""
DATASTORE_KIND = "datastores"
"""Store kind: datastores that were made, in lower case -> `properties.containerName` and `fits` (the account key does)."""

_WORKSPACE = r"(?:subscriptions/[^/]+/resource[gG]roups/[^/]+/(?:providers/[^/]+/)?workspaces/[^/]+/)?"
_DATASTORE_URI = re.compile(rf"azureml://{_WORKSPACE}datastores/(?P<name>[^/]+)/paths/(?P<path>.*)")
JOB_OUTPUT = re.compile(rf"azureml://{_WORKSPACE}jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths)?/?(?P<path>.*)")
_RUN_ARTIFACTS = (
    re.compile(r"runs:/+(?P<run>[^/]+)/(?P<path>.+)"),
    re.compile(rf"azureml://{_WORKSPACE}jobs/(?P<run>[^/]+)/outputs/artifacts/(?:paths/)?(?P<path>.+)"),
)
_PIECE = 4 * 1024 * 1024
_ASSET_URI_FIELD = {"data": "dataUri", "models": "modelUri"}


Names = list[str]


class Location(NamedTuple):
    """A blob or a "folder" of blobs; `path` has no leading slash and no trailing one."""

    container: str
    path: str


def artifact_place(run: str, path: str) -> Location:
    """Where Azure ML keeps the files of a run."""
    return Location(DATASTORES[ARTIFACT_STORE], f"ExperimentRun/dcid.{run}/{path}")


class RunFiles(NamedTuple):
    """Files of a run, by Azure's or MLflow's name of it; `path` decoded."""

    run: str
    path: str


def run_files(uri: str) -> RunFiles | None:
    """What `runs:/<run>/<path>` or `azureml://jobs/<job>/outputs/artifacts/paths/<path>` names; None for any other URI."""
    match = next((found for form in _RUN_ARTIFACTS if (found := form.fullmatch(uri))), None)
    return RunFiles(match["run"], unquote(match["path"])) if match else None


class EmulatorStorage:
    """Reads and writes as the workspace itself, with the account key."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.blob_url = emulator.settings.blob_url.rstrip("/")
        # The bundle is given explicitly: the emulator's own process need not have REQUESTS_CA_BUNDLE set.
        self.service = BlobServiceClient(
            self.blob_url,
            credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY},
            connection_verify=str(emulator.certificates.bundle),
            # Azurite is next door: no proxy of the host in between, nor a look for one before every request.
            use_env_settings=False,
            # When it does not answer at once it is not there, and long retries only hide it.
            initial_backoff=0.2,
            increment_base=2,
            retry_total=2,
        )

        self._transfers = ThreadPoolExecutor(4, thread_name_prefix="transfer")

    def close(self) -> None:
        self._transfers.shutdown()
        self.service.close()

    def ensure_containers(self) -> None:
        for container in DATASTORES.values():
            self.create_container(container)

    def create_container(self, name: str) -> None:
        """Create it unless it exists."""
        try:
            self.service.create_container(name)
        except ResourceExistsError:
            return

    def container_url(self, container: str) -> str:
        return f"{self.blob_url}/{container}"

    def container_sas(self, container: str, permissions: str = "racwdl", *, hours: float = 1.0, key: str = ACCOUNT_KEY) -> str:
        """A SAS token (without "?") for everything in the container, good for `hours`."""
        now = datetime.now(UTC)
        return generate_container_sas(
            ACCOUNT,
            container,
            account_key=key,
            permission=permissions,
            start=now - timedelta(minutes=5),
            expiry=now + timedelta(hours=hours),
        )

    def container(self, name: str) -> ContainerClient:
        return self.service.get_container_client(name)

    def output_uri(self, job: str, output: str, kind: str = "uri_folder") -> str:
        """Where a job's output goes when the job does not say: `azureml/<job>/<output>` in the default datastore.

        A folder's ends with a slash and a file's without: azure-ai-ml looks for blobs whose names begin with it.
        """
        end = "" if kind == "uri_file" else "/"
        return f"azureml://datastores/{DEFAULT_DATASTORE}/paths/azureml/{job}/{output}{end}"

    def datastore_container(self, name: str) -> str:
        """The container behind a datastore; 404 when there is none, 400 when its account key would not open it in Azure."""
        if name.lower() in DATASTORES:
            return DATASTORES[name.lower()]
        made = (self._emulator.store.get(DATASTORE_KIND, name.lower()) or {}).get("properties")
        if made is None:
            raise not_found(f"Datastore '{name}' was not found.")
        if not made["fits"]:
            raise bad_request(f"The datastore '{name}' cannot be read: its account key is not that of the storage account.")
        return str(made["containerName"])

    def resolve(self, uri: str) -> Location:
        """Where a URI points.

        Known are datastore paths (short and long form), outputs of jobs, https URLs of blobs, ids of data and model versions,
        and files of runs (`runs:/<run>/<path>`, a job's `outputs/artifacts/paths/<path>`): these are brought into the workspace.

        Raises 400 for a form that the emulator does not know and a version that does not exist, 404 for such a datastore.
        """
        if match := _DATASTORE_URI.fullmatch(uri):
            return Location(self.datastore_container(match["name"]), _clean(unquote(match["path"])))
        if run_files(uri) is not None:
            artifacts = self._emulator.artifacts
            return artifacts.bring(artifacts.find(uri))
        if match := JOB_OUTPUT.fullmatch(uri):
            base = self.resolve(self._job_output(match["job"], match["output"]))
            return Location(base.container, _clean(f"{base.path}/{unquote(match['path'])}"))
        if (kind := kind_of(uri)) in _ASSET_URI_FIELD:
            return self.resolve(str(find_version(self._emulator, kind, uri).properties[_ASSET_URI_FIELD[kind]]))
        # Without the account: what azure-ai-ml makes of a build context's address, as Azure has the account in the host's name.
        if uri.startswith((self.blob_url + "/", self.blob_url.rpartition("/")[0] + "/")):
            account = urlsplit(self.blob_url).path + "/"
            container, _, path = unquote(urlsplit(uri).path).removeprefix(account).removeprefix("/").partition("/")
            return Location(container, _clean(path))
        raise bad_request(
            f"The emulator cannot resolve the URI '{uri}': known are datastore paths, job outputs, blobs of {self.blob_url}."
        )

    def _job_output(self, job: str, output: str) -> str:
        run = self._emulator.store.get("runs", job) or {}
        if made := run.get("outputs", {}).get(output):  # where it really is: a reused step's is with the run that it reuses
            return str(made)
        body = self._emulator.store.get("jobs", job)
        declared = ((body or {}).get("properties", {}).get("outputs") or {}).get(output) or {}
        return str(declared.get("uri") or self.output_uri(job, output, str(declared.get("jobOutputType", "uri_folder"))))

    def datastore_uri(self, location: Location) -> str:
        """A place in one of the workspace's datastores, in the long form that Azure stores; elsewhere the blobs' address."""
        settings = self._emulator.settings
        made = {record.name: record.body.get("properties") for record in self._emulator.store.records(DATASTORE_KIND)}
        containers = DATASTORES | {name: one["containerName"] for name, one in made.items() if one}
        name = next((name for name, container in containers.items() if container == location.container), None)
        if name is None:
            return f"{self.container_url(location.container)}/{quote(location.path)}"
        group = f"subscriptions/{settings.subscription_id}/resourcegroups/{settings.resource_group}"
        return f"azureml://{group}/workspaces/{settings.workspace}/datastores/{name}/paths/{quote(location.path)}"

    def list(self, container: str, path: str = "") -> Names:
        """Names of the blobs at or below `path`, sorted; empty when the container does not exist."""
        try:
            names = [blob.name for blob in self.container(container).list_blobs(name_starts_with=path)]
        except ResourceNotFoundError:
            return []
        return sorted(name for name in names if not path or name == path or name.startswith(path.rstrip("/") + "/"))

    def read(self, container: str, path: str) -> bytes:
        """A blob's content; 404 when it does not exist."""
        try:
            return self.container(container).download_blob(path).readall()
        except ResourceNotFoundError as error:
            raise not_found(f"Blob '{container}/{path}' was not found.") from error

    def size(self, container: str, path: str) -> int:
        """A blob's length in bytes; 404 when it does not exist."""
        try:
            return int(self.container(container).get_blob_client(path).get_blob_properties().size)
        except ResourceNotFoundError as error:
            raise not_found(f"Blob '{container}/{path}' was not found.") from error

    def pieces(self, container: str, path: str, size: int) -> Iterator[bytes]:
        """The content of a blob of `size` bytes, a few megabytes at a time."""
        blob = self.container(container).get_blob_client(path)
        for offset in range(0, size, _PIECE):
            yield blob.download_blob(offset=offset, length=min(_PIECE, size - offset)).readall()

    def delete(self, container: str, path: str) -> None:
        """Delete a blob; without effect when it is not there."""
        with contextlib.suppress(ResourceNotFoundError):
            self.container(container).delete_blob(path)

    def write(self, container: str, path: str, data: bytes) -> None:
        """Write or replace a blob."""
        self.container(container).upload_blob(path, data, overwrite=True)

    def upload_folder(self, folder: Path, container: str, path: str) -> Names:
        """Upload a file, or every file below a folder, to `path`; returns the blobs' names."""
        client, files = self.container(container), {name: file for file, name in _files(folder, path)}

        def upload(name: str, file: Path) -> None:
            with file.open("rb") as stream:
                client.upload_blob(name, stream, overwrite=True)

        self._transfer(upload, files)
        return list(files)

    def download_to(self, container: str, path: str, target: Path) -> Path:
        """Download the blob `path` to `target/<its name>`, or everything below it into `target`; return the file or folder.

        Raises 404 when there is nothing, 400 when a blob's name would leave the target: nothing is written then. When storage
        fails on the way, what arrived stays: who needs all or nothing downloads to a folder of its own and renames it.
        """
        names = self.list(container, path)
        if not names:
            raise not_found(f"There is no blob at or below '{container}/{path}'.")
        single = names == [path]
        places = {name: target / (PurePosixPath(name).name if single else name[len(path) :].lstrip("/")) for name in names}
        for name, local in places.items():  # before the first one is written
            if not local.resolve().is_relative_to(target.resolve()):
                raise AzureError(400, "UserError", f"Blob '{name}' would be written outside of its folder.")
            local.parent.mkdir(parents=True, exist_ok=True)
        client = self.container(container)

        def download(name: str, local: Path) -> None:
            with local.open("wb") as stream:
                client.download_blob(name).readinto(stream)

        self._transfer(download, places)
        return target / PurePosixPath(path).name if single else target

    def _transfer(self, one: Callable[[str, Path], None], files: Mapping[str, Path]) -> None:
        """`one` blob and its file after the other, some at once; raises the first error, when nothing is on its way any more."""
        if len(files) < 2:
            for name, file in files.items():
                one(name, file)
            return
        transfers = [self._transfers.submit(one, name, file) for name, file in files.items()]
        wait(transfers, return_when=FIRST_EXCEPTION)
        for transfer in transfers:  # those that wait still, after a failure
            transfer.cancel()
        wait(transfers)
        for transfer in transfers:
            if not transfer.cancelled():
                transfer.result()


def _files(root: Path, path: str) -> Iterator[tuple[Path, str]]:
    if root.is_file():
        yield root, path
        return
    for file in sorted(root.rglob("*")):
        if file.is_file():
            yield file, _clean(f"{path}/{file.relative_to(root).as_posix()}")


def _clean(path: str) -> str:
    """Without empty segments at the ends; "./" in front is what the SDK writes for the root of an output."""
    return path.strip("/").removeprefix("./").strip("/")
