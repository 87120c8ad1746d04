"""The storage accounts that bindings name: identity-based connections first, connection strings for those who have one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from azure.storage.queue import QueueClient, QueueServiceClient

from local.host.errors import AppRefused

if TYPE_CHECKING:
    from local.host.function import HostFunction


# The SDK's own pauses (15 s and more) would hide a storage account that is not there; listeners try again anyway.
_RETRY: dict[str, Any] = {"retry_total": 2, "initial_backoff": 1, "increment_base": 2, "random_jitter_range": 1}


class Connections:
    """Queue clients by connection name, made once. `settings` are the app settings."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings
        self._services: dict[str, QueueServiceClient] = {}
        self._lock = threading.Lock()

    def check(self, functions: list[HostFunction]) -> None:
        """Raise AppRefused naming each binding whose connection has no setting."""
        problems = []
        for function in functions:
            for binding in (function.trigger, *function.outputs.values()):
                if "queueName" in binding and self._source(binding.get("connection", "")) is None:
                    name = binding.get("connection") or "AzureWebJobsStorage"
                    problems.append(
                        f"function {function.name}: binding {binding['name']!r} uses connection {name!r}, but there is no "
                        f"setting {name}__queueServiceUri (identity), {name}__accountName or {name} (connection string)."
                    )
        if problems:
            raise AppRefused(problems)

    def queue(self, connection: str, name: str) -> QueueClient:
        """A client for one queue; texts pass through as they are."""
        with self._lock:
            service = self._services.get(connection)
            if service is None:
                service = self._services[connection] = self._service(connection)
        return service.get_queue_client(name)

    def close(self) -> None:
        for service in self._services.values():
            service.close()

    def _source(self, connection: str) -> tuple[str, str] | None:
        """("identity", url) or ("connection string", text)."""
        name = connection or "AzureWebJobsStorage"
        for prefix in (name, f"AzureWebJobs{name}"):
            if text := self._settings.get(prefix):
                return "connection string", text
            if url := self._settings.get(f"{prefix}__queueServiceUri"):
                return "identity", url
            if account := self._settings.get(f"{prefix}__accountName"):
                return "identity", f"https://{account}.queue.core.windows.net"
        return None

    def _service(self, connection: str) -> QueueServiceClient:
        source = self._source(connection)
        if source is None:
            raise AppRefused([f"connection {connection!r} has no app setting."])
        kind, value = source
        if kind == "connection string":
            return QueueServiceClient.from_connection_string(value, **_RETRY)
        from azure.identity import DefaultAzureCredential  # imported late: an app without queues does not pay for it

        client_id = self._settings.get(f"{connection or 'AzureWebJobsStorage'}__clientId")
        return QueueServiceClient(value, credential=DefaultAzureCredential(managed_identity_client_id=client_id), **_RETRY)
