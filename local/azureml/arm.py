"""What Azure Resource Manager does around every resource: tokens, unknown resources, envelopes, paging."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import jwt

from local.azureml.call import Answer, Auth, Call
from local.azureml.errors import AzureError, bad_request, not_found, not_supported, unauthorized
from local.azureml.queries import Query
from local.azureml.store import Record
from local.identity import PRINCIPAL_ID, TENANT_ID

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

ML_AUDIENCE = "https://ml.azure.local"
"""What the SDK derives from the cloud's portal address (metadata.py) as the audience of Azure ML itself."""
ARM_AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")
_TYPE = "Microsoft.MachineLearningServices/workspaces"
_IDENTITIES = ("None", "SystemAssigned", "UserAssigned", "SystemAssigned,UserAssigned")
_PAGE = 100
_DIGITS = 9
"""Of a number in a query: what is longer is no number of items."""
_VIEWS: dict[str, bool | None] = {
    "ActiveOnly": False,
    "ArchivedOnly": True,
    "All": None,
    # How azure-ai-ml writes them to registries: the names of its own constants.
    "ListViewType.ACTIVE_ONLY": False,
    "ListViewType.ARCHIVED_ONLY": True,
    "ListViewType.ALL": None,
}
_SCOPE = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)(?:/resourceGroups/(?P<group>[^/]+)"
    r"(?:/providers/Microsoft\.MachineLearningServices/workspaces/(?P<workspace>[^/]+))?)?(?:/.*)?",
    re.IGNORECASE,
)


def audiences(emulator: Emulator, auth: Auth) -> tuple[str, ...]:
    """The audiences that a token may have; the resource manager's own address counts as Azure's management address does."""
    manager = (emulator.base_url, *ARM_AUDIENCES)
    return (*manager, ML_AUDIENCE) if auth == "data" else manager


def authenticate(emulator: Emulator, headers: Mapping[str, str], auth: Auth) -> None:
    """Raise 401 as ARM words it: no token, a token that was not issued here or has expired, a token for somebody else."""
    if auth == "open":
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
    try:
        audience = emulator.tokens.verify(token)
    except jwt.ExpiredSignatureError as error:
        raise unauthorized(
            "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time."
        ) from error
    except jwt.InvalidTokenError as error:
        raise unauthorized("InvalidAuthenticationToken", "The access token is invalid.") from error
    allowed = audiences(emulator, auth)
    if audience.rstrip("/") not in allowed:
        raise unauthorized(
            "InvalidAuthenticationTokenAudience",
            "The access token has been obtained for wrong audience or resource. "
            f"It should exactly match with one of the allowed audiences {', '.join(allowed)}.",
        )


def unknown_route(emulator: Emulator, method: str, path: str) -> AzureError:
    """404 for a resource outside of the workspace, as ARM answers; 501 for a route that the emulator does not have."""
    settings = emulator.settings
    scope = _SCOPE.fullmatch(path)
    if scope is None:
        return not_supported(f"{method} {path}")
    if scope["subscription"].lower() != settings.subscription_id.lower():
        return not_found(f"The subscription '{scope['subscription']}' could not be found.", "SubscriptionNotFound")
    if scope["group"] and scope["group"].lower() != settings.resource_group.lower():
        return not_found(f"Resource group '{scope['group']}' could not be found.", "ResourceGroupNotFound")
    if scope["workspace"] and scope["workspace"].lower() != settings.workspace.lower():
        return not_found(
            f"The Resource '{_TYPE}/{scope['workspace']}' under resource group '{settings.resource_group}' was not found. "
            "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
            "ResourceNotFound",
        )
    return not_supported(f"{method} {path}")


@dataclass(frozen=True)
class Place:
    """Where assets live: the workspace, or one registry."""

    id: str
    """Its ARM id."""
    shelf: str = ""
    """In front of the store's kinds: "" of the workspace, "registries/<name>/" of a registry."""
    type: str = _TYPE

    def kind(self, segment: str) -> str:
        """The store's kind of the documents at `segment` ("data", "data.containers")."""
        return self.shelf + segment


def workspace(emulator: Emulator) -> Place:
    """The one workspace of the emulator."""
    return Place(emulator.workspace_id)


def resource(emulator: Emulator, record: Record, path: str, place: Place | None = None, **overrides: Any) -> dict[str, Any]:
    """A stored document as an ARM resource.

    `path` is relative to the place, the workspace if none is given ("/data/raw/versions/1"); name and type follow from it.
    `overrides` replace top-level fields.
    """
    place = place or workspace(emulator)
    segments = path.strip("/").split("/")
    return {
        **record.body,
        "id": place.id + path,
        "name": segments[-1],
        "type": "/".join([place.type, *segments[::2]]),
        "systemData": system_data(record),
        **overrides,
    }


def system_data(record: Record) -> dict[str, str]:
    """Who and when; the local stack has one principal."""
    return {
        "createdAt": record.created,
        "createdBy": PRINCIPAL_ID,
        "createdByType": "Application",
        "lastModifiedAt": record.updated,
        "lastModifiedBy": PRINCIPAL_ID,
        "lastModifiedByType": "Application",
    }


def identity(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A resource's identity as Azure shows it: the type in its own case, with ids when the system makes it."""
    kind = next((one for one in _IDENTITIES if one.lower() == str(asked.get("type")).lower()), str(asked.get("type")))
    ids = {"principalId": PRINCIPAL_ID, "tenantId": TENANT_ID} if kind.startswith("System") else {}
    return {**asked, "type": kind, **ids}


def page(emulator: Emulator, call: Call, items: Sequence[dict[str, Any]], *, size: int = _PAGE) -> Answer:
    """At most `size` items (`count` asks for less); `nextLink` leads to the next page, `$top` limits the whole.

    For collections that are small and made up of more than one kind; a kind of the store is paged by `stored_page`.
    """
    top = _positive(call, "$top")
    if top is not None:
        items = items[:top]
    size = min(size, _positive(call, "count") or size)
    offset = _offset(call)
    body: dict[str, Any] = {"value": list(items[offset : offset + size])}
    if offset + size < len(items):
        body["nextLink"] = _next_link(emulator, call, base64.urlsafe_b64encode(str(offset + size).encode()).decode())
    return Answer(body)


def stored_page(
    emulator: Emulator, call: Call, query: Query, shown: Callable[[Record], dict[str, Any]], *, size: int = _PAGE
) -> Answer:
    """As `page`, of what a query finds in the store; only the documents of the page are read, `shown` makes resources of them."""
    top = _positive(call, "$top")
    size = min(size, _positive(call, "count") or size, top or size)
    try:
        found = emulator.store.page(query, size, call.query.get("$skip"))
    except ValueError as error:
        raise _strange_token() from error
    body: dict[str, Any] = {"value": [shown(record) for record in found.records]}
    if found.next is not None and (top is None or top > size):
        body["nextLink"] = _next_link(emulator, call, found.next, {} if top is None else {"$top": str(top - size)})
    return Answer(body)


def archived(call: Call) -> bool | None:
    """What `listViewType` asks for, as a Query takes it: active ones unless it says otherwise; 400 for an unknown view."""
    view = call.query.get("listViewType", "ActiveOnly")
    if view not in _VIEWS:
        raise bad_request(f"listViewType must be one of ActiveOnly, ArchivedOnly, All, not '{view}'.")
    return _VIEWS[view]


def tags(call: Call, option: str) -> tuple[tuple[str, str | None], ...]:
    """A comma-separated list of tag names, optionally with values ("stage=live,reviewed"), as a Query takes it."""
    wanted = (part.partition("=") for part in call.query.get(option, "").split(",") if part)
    return tuple((name, value if equals else None) for name, equals, value in wanted)


def _next_link(emulator: Emulator, call: Call, token: str, changes: Mapping[str, str] | None = None) -> str:
    query = {**call.query, **(changes or {}), "$skip": token}
    return f"{emulator.base_url}{quote(call.path)}?{urlencode(query)}"


def _strange_token() -> AzureError:
    return bad_request("The continuation token $skip is not one that this service issued.")


def _offset(call: Call) -> int:
    token = call.query.get("$skip")
    if token is None:
        return 0
    try:
        return max(0, int(base64.urlsafe_b64decode(token.encode())))
    except ValueError as error:
        raise _strange_token() from error


def _positive(call: Call, name: str) -> int | None:
    value = call.query.get(name)
    if value is None:
        return None
    if not value.isdecimal() or len(value) > _DIGITS or int(value) < 1:
        raise bad_request(f"{name} must be a positive integer, not '{value[:64]}'.")
    return int(value)
