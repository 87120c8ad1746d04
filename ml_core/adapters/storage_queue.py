"""The work queues in Azure Queue Storage: `tidegate-<kind>`, the queues of the queue triggers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from math import ceil
from typing import TYPE_CHECKING

from ml_core.adapters.failures import STORAGE_RETRIES, told_as

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.queue import QueueClient


class StorageWorkQueue:
    """Implements `WorkQueue`. A queue is made when the first message finds it missing."""

    def __init__(self, account_url: str, credential: Callable[[], TokenCredential]) -> None:
        self._account_url, self._credential = account_url, credential
        self._client = cache(self._connect)

    def enqueue(self, kind: str, message: str, *, delay: timedelta = timedelta(0)) -> None:
        from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

        queue = self._client(kind)
        # Whole seconds, and never too early: a look that comes too soon only has to be asked for again.
        seconds = ceil(delay.total_seconds())
        with told_as(f"enqueue {message} for {kind}"):
            try:
                queue.send_message(message, visibility_timeout=seconds)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):
                    queue.create_queue()
                queue.send_message(message, visibility_timeout=seconds)

    def _connect(self, kind: str) -> QueueClient:
        from azure.storage.queue import QueueClient, TextBase64EncodePolicy

        # Base64 is what the Functions host expects; plain text would end in the poison queue.
        return QueueClient(
            self._account_url,
            f"tidegate-{kind}",
            credential=self._credential(),
            message_encode_policy=TextBase64EncodePolicy(),
            **STORAGE_RETRIES,
        )
