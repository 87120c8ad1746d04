"""App settings, typed once. The same names are app settings in Azure and environment variables on a laptop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from ml_core.errors import SettingError

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

NotifyFormat = Literal["teams", "slack"]


@dataclass(frozen=True)
class Settings:
    """Where everything is. One secret, the address of the webhook: every other connection is made with the app's identity."""

    subscription_id: str
    """TIDEGATE_SUBSCRIPTION_ID: the subscription of the Azure ML workspace."""

    resource_group: str
    """TIDEGATE_RESOURCE_GROUP: the workspace's resource group."""

    workspace: str
    """TIDEGATE_WORKSPACE: the Azure ML workspace."""

    storage_blob_url: str
    """TIDEGATE_STORAGE__blobServiceUri: the account that holds the ledger. The double underscore makes it a property of
    the Functions connection TIDEGATE_STORAGE, which the queue triggers use too."""

    storage_queue_url: str
    """TIDEGATE_STORAGE__queueServiceUri: the account that holds the work queues."""

    data_blob_url: str
    """TIDEGATE_DATA__blobServiceUri: the account whose containers are watched."""

    resource_manager: str = "https://management.azure.com"
    """TIDEGATE_RESOURCE_MANAGER: the Azure Resource Manager; differs in sovereign clouds."""

    log_analytics_workspace: str = ""
    """TIDEGATE_LOG_ANALYTICS_WORKSPACE: the id of the Log Analytics workspace that has the endpoints' traffic log. Empty: Azure
    Monitor's metrics count the requests."""

    log_analytics: str = "https://api.loganalytics.azure.com"
    """TIDEGATE_LOG_ANALYTICS: where Log Analytics answers queries; differs in sovereign clouds."""

    config: Path = Path("tidegate.yaml")
    """TIDEGATE_CONFIG: what to watch and how; relative to the app's folder, as the paths inside it are."""

    ledger_container: str = "tidegate-ledger"
    """TIDEGATE_LEDGER_CONTAINER: the container of the ledger; made on first use."""

    dead_letter_container: str = "tidegate-dead-letters"
    """TIDEGATE_DEAD_LETTER_CONTAINER: where Event Grid puts the events that it could not deliver; in the ledger's account."""

    git_commit: str = "unknown"
    """TIDEGATE_GIT_COMMIT: the commit that was deployed; it becomes a tag of every model, so that its code can be found again."""

    notify_webhook: str = field(default="", repr=False)
    """TIDEGATE_NOTIFY_WEBHOOK: the incoming webhook of a channel that is told what people must know; '': the log only. Whoever
    has it can write into the channel, so it is a secret: a reference to Key Vault in Azure, and in no log."""

    notify_format: NotifyFormat = "teams"
    """TIDEGATE_NOTIFY_FORMAT: whose webhook it is, `teams` (Workflows) or `slack`."""

    @property
    def workspace_id(self) -> str:
        """The workspace's ARM id."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace}"
        )

    @classmethod
    def from_mapping(cls, environment: Mapping[str, str]) -> Settings:
        """Read them from `os.environ` or a test's dict; a SettingError names the first that is missing or malformed."""
        return cls(
            subscription_id=_required(environment, "TIDEGATE_SUBSCRIPTION_ID"),
            resource_group=_required(environment, "TIDEGATE_RESOURCE_GROUP"),
            workspace=_required(environment, "TIDEGATE_WORKSPACE"),
            storage_blob_url=_url(environment, "TIDEGATE_STORAGE__blobServiceUri"),
            storage_queue_url=_url(environment, "TIDEGATE_STORAGE__queueServiceUri"),
            data_blob_url=_url(environment, "TIDEGATE_DATA__blobServiceUri"),
            resource_manager=_url(environment, "TIDEGATE_RESOURCE_MANAGER", cls.resource_manager),
            log_analytics_workspace=_guid(environment, "TIDEGATE_LOG_ANALYTICS_WORKSPACE"),
            log_analytics=_url(environment, "TIDEGATE_LOG_ANALYTICS", cls.log_analytics),
            config=Path(environment.get("TIDEGATE_CONFIG") or cls.config),
            ledger_container=environment.get("TIDEGATE_LEDGER_CONTAINER") or cls.ledger_container,
            dead_letter_container=environment.get("TIDEGATE_DEAD_LETTER_CONTAINER") or cls.dead_letter_container,
            git_commit=environment.get("TIDEGATE_GIT_COMMIT") or cls.git_commit,
            notify_webhook=_webhook(environment, "TIDEGATE_NOTIFY_WEBHOOK"),
            notify_format=_notify_format(environment, "TIDEGATE_NOTIFY_FORMAT"),
        )


def _required(environment: Mapping[str, str], name: str, default: str | None = None) -> str:
    value = environment.get(name) or default
    if not value:
        raise SettingError(
            f"The setting {name} is missing. Set it in the function app's application settings in Azure, "
            f"or under Values in local.settings.json on a laptop (local.settings.json.example shows every setting)."
        )
    return value


def _guid(environment: Mapping[str, str], name: str) -> str:
    """A GUID, or empty. It becomes a part of an address."""
    value = environment.get(name, "").strip()
    if value and not _GUID.fullmatch(value):
        raise SettingError(
            f"The setting {name} is {value!r}; expected the workspace's id, a GUID: "
            f"az monitor log-analytics workspace show --query customerId. Empty: none."
        )
    return value


def _url(environment: Mapping[str, str], name: str, default: str | None = None) -> str:
    value = _required(environment, name, default)
    # Tokens are sent there: they must never travel in the clear.
    if urlsplit(value).scheme != "https" or not urlsplit(value).netloc:
        raise SettingError(
            f"The setting {name} is {value!r}; expected an https URL such as https://<account>.blob.core.windows.net."
        )
    return value.rstrip("/")


def _webhook(environment: Mapping[str, str], name: str) -> str:
    """Never told what was found: it is a secret, or a part of one."""
    value = environment.get(name, "").strip()
    try:
        url = urlsplit(value)
        port = url.port
        on_this_machine = url.hostname in ("127.0.0.1", "::1") and port is not None
        whole = value.isascii() and value.isprintable() and " " not in value and not url.username
    except ValueError:  # a port that is none, half an IPv6 address
        whole = False
    if value and not (whole and url.hostname and (url.scheme == "https" or (url.scheme == "http" and on_this_machine))):
        raise SettingError(
            f"The setting {name} is no address of a webhook; expected an https URL, or nothing, for the log alone. "
            "A reference to Key Vault that Azure could not follow arrives as it was written."
        )
    return value


def _notify_format(environment: Mapping[str, str], name: str) -> NotifyFormat:
    value = environment.get(name) or Settings.notify_format
    if value not in get_args(NotifyFormat):
        raise SettingError(f"The setting {name} is {value!r}; expected one of {', '.join(get_args(NotifyFormat))}.")
    return cast(NotifyFormat, value)
