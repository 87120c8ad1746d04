"""The one place where adapters are chosen. Nothing connects before it is used, and everything is made once per process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ml_core.adapters.azure_monitor import AzureMonitorEvidence
from ml_core.adapters.azureml import AzureMLWorkspace
from ml_core.adapters.blob_containers import BlobContainers
from ml_core.adapters.blob_dead_letters import BlobDeadLetters
from ml_core.adapters.blob_ledger import BlobLedger
from ml_core.adapters.log_analytics import LogAnalyticsEvidence
from ml_core.adapters.notices import LogNotifier, WebhookNotifier
from ml_core.adapters.storage_queue import StorageWorkQueue
from ml_core.ports import Notifier, TrafficEvidence
from ml_core.services import Services
from ml_core.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_chosen: Services | None = None


def services() -> Services:
    """The services of this process: those that a test has chosen by `use`, or Azure's."""
    return _chosen or _services_of_azure()


def use(chosen: Services | None) -> None:
    """Let the functions work with these services instead (None: with Azure's again)."""
    global _chosen
    _chosen = chosen


def connect(environment: Mapping[str, str]) -> Services:
    """Services on Azure, by the settings in `environment`."""
    from ml_core import config

    settings = Settings.from_mapping(environment)
    # The host's working directory is not promised to be the app's folder.
    app = Path(__file__).resolve().parents[1]
    return Services(
        config=config.load(app / settings.config),
        ledger=BlobLedger(settings.storage_blob_url, settings.ledger_container, credential),
        queue=StorageWorkQueue(settings.storage_queue_url, credential),
        containers=BlobContainers(settings.data_blob_url, credential),
        workspace=AzureMLWorkspace(settings, app, credential),
        evidence=_evidence(settings),
        dead_letters=BlobDeadLetters(settings.storage_blob_url, settings.dead_letter_container, credential),
        notifier=_notifier(settings),
        data_account_url=settings.data_blob_url,
        workspace_id=settings.workspace_id,
        own_containers=frozenset({settings.ledger_container, settings.dead_letter_container}),
    )


def _evidence(settings: Settings) -> TrafficEvidence:
    """The log of the requests where there is one, for its counts are exact; Azure Monitor's metrics otherwise."""
    if settings.log_analytics_workspace:
        return LogAnalyticsEvidence(settings.log_analytics, settings.log_analytics_workspace, settings.workspace_id, credential)
    return AzureMonitorEvidence(settings.resource_manager, settings.subscription_id, settings.workspace_id, credential)


def _notifier(settings: Settings) -> Notifier:
    return WebhookNotifier(settings.notify_webhook, settings.notify_format) if settings.notify_webhook else LogNotifier()


@cache
def credential() -> TokenCredential:
    """The app's identity. AZURE_TOKEN_CREDENTIALS narrows the chain to managed identity, in Azure as on a laptop."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


@cache
def _services_of_azure() -> Services:
    return connect(os.environ)
