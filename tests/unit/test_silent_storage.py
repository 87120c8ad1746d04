"""Storage that does not answer: the adapters say so while somebody still waits for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import HttpTransport

from local.processes import free_port
from ml_core.adapters.blob_containers import BlobContainers
from ml_core.adapters.blob_dead_letters import BlobDeadLetters
from ml_core.adapters.blob_ledger import BlobLedger
from ml_core.adapters.storage_queue import StorageWorkQueue
from ml_core.errors import TemporaryError

EVENT_GRID_WAITS = 30.0  # https://learn.microsoft.com/azure/event-grid/delivery-and-retry


class _Credential:
    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        return AccessToken("a token", int(datetime(2100, 1, 1).timestamp()))


ASKED: dict[str, Callable[[str], object]] = {
    "ledger": lambda url: BlobLedger(url, "ledger", _Credential).get("a.json"),
    "containers": lambda url: list(BlobContainers(url, _Credential).blobs("flights", "")),
    "dead letters": lambda url: list(BlobDeadLetters(url, "letters", _Credential).letters()),
    "queue": lambda url: StorageWorkQueue(url, _Credential).enqueue("models", "{}"),
}


@pytest.mark.parametrize("asked", ASKED)
def test_storage_that_does_not_answer_is_told_before_event_grid_sends_again(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(HttpTransport, "sleep", lambda _self, seconds: waited.append(seconds))
    with pytest.raises(TemporaryError, match="cannot be reached"):
        ASKED[asked](f"https://127.0.0.1:{free_port()}/account")
    assert waited, "a fault of a moment is tried again"
    assert sum(waited) < EVENT_GRID_WAITS / 2
