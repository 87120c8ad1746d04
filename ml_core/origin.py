"""Whether an event may speak: only the watched storage account and the configured workspace are listened to.

The webhook's key says who delivered the event, not what it speaks of: whoever knows the key, or may make a subscription to the
function, can send any text. What an event says is never believed anyway, since the container and the workspace are read again;
but it must not cause work on behalf of a stranger, and somebody should hear of it.
"""

from __future__ import annotations

from ml_core.addresses import account_name, account_url
from ml_core.events import BlobCreated, BlobDeleted, Event, Ignored

_STORAGE_ACCOUNT = "/providers/microsoft.storage/storageaccounts/"


def objection(event: Event, data_account_url: str, workspace_id: str) -> str:
    """Why this event is refused, '' when it is not.

    A blob must lie in the account at `data_account_url`, and a topic that is told must be that account's. An event of Azure ML
    must come from `workspace_id`: it names no address that could stand in for its topic, and Azure always sends one.
    """
    if isinstance(event, Ignored):
        return ""
    if isinstance(event, BlobCreated | BlobDeleted):
        return _not_of_the_account(event, data_account_url)
    if _same_resource(event.source, workspace_id):
        return ""
    told = repr(event.source) if event.source else "no workspace at all"
    return f"the event's topic names {told}; this app listens to {workspace_id}"


def _not_of_the_account(event: BlobCreated | BlobDeleted, data_account_url: str) -> str:
    listened_to = account_url(data_account_url)
    if account_url(event.url) != listened_to:
        return f"the blob {event.url!r} lies in another storage account; this app listens to {listened_to}"
    account = account_name(data_account_url)
    # The subscription and the resource group are not compared: an account's name is unique in all of Azure.
    if event.source and not event.source.rstrip("/").lower().endswith(_STORAGE_ACCOUNT + account):
        return f"the event's topic names {event.source!r}; this app listens to the storage account {account!r}"
    return ""


def _same_resource(one: str, other: str) -> bool:
    """ARM ids are compared without regard to case: Azure itself sends them in several."""
    return one.rstrip("/").lower() == other.rstrip("/").lower()
