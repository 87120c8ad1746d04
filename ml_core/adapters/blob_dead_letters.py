"""The container that Event Grid dead-letters into, in the ledger's account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from ml_core.adapters.failures import STORAGE_RETRIES, told_as
from ml_core.ports import DeadLetter

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import ContainerClient


class BlobDeadLetters:
    """Implements `DeadLetters`."""

    def __init__(self, account_url: str, container: str, credential: Callable[[], TokenCredential]) -> None:
        self._account_url, self._name, self._credential = account_url, container, credential

    @cached_property
    def _container(self) -> ContainerClient:
        from azure.storage.blob import ContainerClient

        return ContainerClient(self._account_url, self._name, credential=self._credential(), **STORAGE_RETRIES)

    def letters(self) -> Iterator[DeadLetter]:
        from azure.core.exceptions import ResourceNotFoundError

        with told_as(f"read the dead letters in {self._name}"), suppress(ResourceNotFoundError):
            for name in self._container.list_blob_names():
                content: bytes = self._container.download_blob(name).readall()
                # Whatever lies there is shown, also what nobody can read.
                yield DeadLetter(name, content.decode(errors="replace"))

    def remove(self, name: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        with told_as(f"remove the dead letter {name}"), suppress(ResourceNotFoundError):
            self._container.delete_blob(name)
