"""The token endpoint of a managed identity, in the protocol of App Service that ManagedIdentityCredential speaks."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, bad_request
from local.identity import PRINCIPAL_ID

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator


def routes(emulator: Emulator) -> list[Route]:
    def token(call: Call) -> Answer:
        """A token for `resource`; the caller proves with X-IDENTITY-HEADER that it is a process of the stack."""
        given = call.headers.get("x-identity-header", "")
        if not hmac.compare_digest(given.encode(), emulator.settings.identity_header.encode()):
            raise AzureError(401, "Unauthorized", "The X-IDENTITY-HEADER header is missing or is not this app's IDENTITY_HEADER.")
        resource = call.query.get("resource", "")
        if not _is_resource(resource):
            raise bad_request(
                f"'{resource}' is not a resource that tokens are issued for: an https URL is expected.", "invalid_resource"
            )
        access_token, expires = emulator.tokens.issue(resource)
        body = {
            "access_token": access_token,
            "expires_on": str(expires),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": PRINCIPAL_ID,
        }
        # No cache may keep a secret that a header protects.
        return Answer(body, headers={"Cache-Control": "no-store"})

    difference = "any https resource gets a token: the local stack has one identity, and it may do everything"
    return [Route("GET", "//msi/token", token, "DefaultAzureCredential / ManagedIdentityCredential", difference, auth="open")]


def _is_resource(resource: str) -> bool:
    parts = urlsplit(resource)
    return parts.scheme == "https" and bool(parts.hostname) and not parts.query and not parts.fragment
