"""The ledger in a Blob container: small JSON documents, written under ETag conditions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ml_core.adapters.failures import STORAGE_RETRIES, told_as
from ml_core.errors import Conflict
from ml_core.naming import unquoted
from ml_core.ports import Entry

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import ContainerClient


class BlobLedger:
    """Implements `Ledger`. The container is made when the first write finds it missing."""

    def __init__(self, account_url: str, container: str, credential: Callable[[], TokenCredential]) -> None:
        self._account_url, self._name, self._credential = account_url, container, credential

    @cached_property
    def _container(self) -> ContainerClient:
        from azure.storage.blob import ContainerClient

        return ContainerClient(self._account_url, self._name, credential=self._credential(), **STORAGE_RETRIES)

    def get(self, key: str) -> Entry | None:
        from azure.core.exceptions import ResourceNotFoundError

        with told_as(f"read {key} of the ledger"):
            try:
                download = self._container.download_blob(key)
                return Entry(key, json.loads(download.readall()), unquoted(download.properties.etag))
            except ResourceNotFoundError:
                return None

    def put(self, key: str, value: Mapping[str, Any], *, etag: str | None) -> str:
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

        if etag is None:
            condition: dict[str, Any] = {"overwrite": False}
        else:
            condition = {"overwrite": True, "etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}
        with told_as(f"write {key} of the ledger"):
            try:
                return self._upload(key, value, condition)
            except (ResourceExistsError, ResourceModifiedError) as error:
                raise Conflict(f"{key} of the ledger was changed by somebody else first.") from error

    def overwrite(self, key: str, value: Mapping[str, Any]) -> None:
        with told_as(f"write {key} of the ledger"):
            self._upload(key, value, {"overwrite": True})

    def claim(self, key: str, value: Mapping[str, Any]) -> bool:
        try:
            self.put(key, value, etag=None)
        except Conflict:
            return False
        return True

    def delete(self, key: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        with told_as(f"delete {key} of the ledger"), suppress(ResourceNotFoundError):
            self._container.delete_blob(key)

    def keys(self, prefix: str) -> Iterator[str]:
        from azure.core.exceptions import ResourceNotFoundError

        with told_as(f"list {prefix} of the ledger"), suppress(ResourceNotFoundError):
            yield from self._container.list_blob_names(name_starts_with=prefix)

    def list(self, prefix: str) -> Iterator[Entry]:
        for name in self.keys(prefix):
            entry = self.get(name)
            if entry is not None:
                yield entry

    def _upload(self, key: str, value: Mapping[str, Any], condition: Mapping[str, Any]) -> str:
        """Write, and return the new etag. BlobClient's answer carries it; ContainerClient's would cost a second request."""
        from azure.core.exceptions import ResourceNotFoundError

        body, blob = json.dumps(value, indent=1).encode(), self._container.get_blob_client(key)
        try:
            return unquoted(blob.upload_blob(body, **condition)["etag"])
        except ResourceNotFoundError:
            self._create_container()
            return unquoted(blob.upload_blob(body, **condition)["etag"])

    def _create_container(self) -> None:
        from azure.core.exceptions import ResourceExistsError

        with suppress(ResourceExistsError):  # somebody else made it in this moment
            self._container.create_container()
