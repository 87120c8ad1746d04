"""Reads a file of a registered model: `azureml://…/datastores/<name>/paths/<path>` -> the datastore's container -> the blob."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ml_core.adapters.failures import STORAGE_RETRIES
from ml_core.errors import PermanentError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

# Short, and as Azure answers: azureml://subscriptions/…/resourcegroups/…/workspaces/…/datastores/….
_DATASTORE_PATH = re.compile(r"azureml://(?:[^/]+/[^/]+/)*datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)", re.IGNORECASE)
# An account's name, and the zone of its DNS where it has one.
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}(-secondary)?(\.z[0-9]{1,2})?")
# Where Microsoft's clouds keep blobs. A token for storage opens every account that the app may read, so nobody else is shown one.
_CLOUDS = ("core.windows.net", "core.chinacloudapi.cn", "core.usgovcloudapi.net", "storage.azure.net")
# As much of a blob is asked for at first, before its size is known.
_FIRST_PIECE = 1_000_000


def read_file(
    model: str,
    uri: str,
    path: str,
    *,
    at_most: int,
    datastore: Callable[[str], Any],
    credential: TokenCredential,
    own_account: str,
) -> bytes | None:
    """The file `path` below the model's folder `uri`, read with the app's identity; None when there is none.

    `datastore` gives azure-ai-ml's `Datastore` of a name; `own_account` is the address of a storage account of this cloud. Raises
    Azure's errors, and PermanentError for a model whose files are not in a datastore, or leave it, or are in one at an address
    that is none of the cloud's storage, or for a file of over `at_most` bytes.
    """
    from azure.core.exceptions import ResourceNotFoundError
    from azure.storage.blob import ContainerClient

    found = _DATASTORE_PATH.fullmatch(uri)
    if found is None:
        raise PermanentError(f"Could not read {path} of the model {model}: its files are at {uri[:200]}, and not in a datastore.")
    place = datastore(found["datastore"])
    container = getattr(place, "container_name", None) or getattr(place, "filesystem", None)
    if not container:
        kind = f"the datastore {place.name} is of type {place.type}, and not a container of blobs"
        raise PermanentError(f"Could not read {path} of the model {model}: {kind}.")
    account = urlsplit(f"{place.protocol}://{place.account_name}.blob.{place.endpoint}")
    address = f"{account.scheme}://{account.netloc}{account.path}"
    if not _is_storage(account.netloc, urlsplit(own_account).netloc):
        # Whoever may make a datastore could otherwise have the app's token sent to a server of theirs.
        stranger = f"the datastore {place.name} is at {account.netloc[:200]}, which is no storage account of this cloud"
        raise PermanentError(f"Could not read {path} of the model {model}: {stranger}.")
    blob = f"{unquote(found['path']).strip('/')}/{path}".lstrip("/")
    if ".." in blob.split("/"):
        # On its way the address would be made shorter by that, and could end in another container.
        raise PermanentError(f"Could not read {path} of the model {model}: its path {uri[:200]} leads out of its folder.")
    with ContainerClient(
        address, container, credential=credential, max_single_get_size=_FIRST_PIECE, **STORAGE_RETRIES
    ) as client:
        try:
            download = client.download_blob(blob)
        except ResourceNotFoundError:
            return None
        if download.size > at_most:
            raise PermanentError(f"{path} of the model {model} has {download.size} bytes, and {at_most} are allowed.")
        return download.readall()


def _is_storage(host: str, own: str) -> bool:
    """Whether a host is the deployment's own, or an account `<name>.blob.<cloud>` of Microsoft's or of the same cloud as that."""
    account, _, cloud = host.lower().partition(".blob.")
    its = own.lower().partition(".blob.")[2]
    return host == own or (_ACCOUNT.fullmatch(account) is not None and cloud in (*_CLOUDS, *([its] if its else [])))
