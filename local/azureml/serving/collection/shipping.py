"""The control plane's side of the data collector: what the router left in the spool goes to the workspace's storage."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from azure.core.exceptions import AzureError
from azure.storage.blob import BlobType

from local.azureml.serving.collection.spool import Batch, waiting
from local.azureml.storage import EmulatorStorage

_LOOK_SECONDS = 0.5
_PAUSE_SECONDS = 5.0
"""After storage has refused, which it does while it is not there."""
_log = logging.getLogger(__name__)


class Shipping:
    """A thread that ships batches, oldest first."""

    def __init__(self, storage: EmulatorStorage, spool: Path) -> None:
        self._storage, self._spool = storage, spool
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collected-data", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ship what is there and end. What storage refuses waits for the next life."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = _LOOK_SECONDS
        while not self._stopped.wait(pause):
            pause = _LOOK_SECONDS if self._ship() else _PAUSE_SECONDS
        self._ship()

    def _ship(self) -> bool:
        """False when storage refused; nothing is lost then."""
        for file, batch in waiting(self._spool):
            try:
                self._write(batch)
            except AzureError as error:
                _log.warning("collected data waits: %s/%s cannot be written: %s", batch.container, batch.blob, error)
                return False
            file.unlink()
        return True

    def _write(self, batch: Batch) -> None:
        container = self._storage.container(batch.container)
        if batch.mode == "whole":
            container.upload_blob(batch.blob, batch.content, overwrite=True)
        else:
            container.upload_blob(batch.blob, batch.content, blob_type=BlobType.APPENDBLOB)  # appends when there is one
