"""The watched containers, read with the app's own identity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from ml_core.adapters.failures import STORAGE_RETRIES, told_as
from ml_core.naming import unquoted
from ml_core.ports import Blob

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import BlobServiceClient


class BlobContainers:
    """Implements `Containers`. Listing a container is strongly consistent: what was written is seen."""

    def __init__(self, account_url: str, credential: Callable[[], TokenCredential]) -> None:
        self._account_url, self._credential = account_url, credential

    @cached_property
    def _account(self) -> BlobServiceClient:
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(self._account_url, credential=self._credential(), **STORAGE_RETRIES)

    def blobs(self, container: str, prefix: str) -> Iterator[Blob]:
        from azure.core.exceptions import ResourceNotFoundError

        client = self._account.get_container_client(container)
        with told_as(f"list {container}/{prefix}"), suppress(ResourceNotFoundError):
            for item in client.list_blobs(name_starts_with=prefix):
                url = client.get_blob_client(item.name).url
                yield Blob(url, item.name, unquoted(item.etag), item.size, item.last_modified)
