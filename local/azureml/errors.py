"""The errors that Azure answers with: one factory per case, so that status, code and wording stand in one place."""

from __future__ import annotations


class AzureError(Exception):
    """Ends a request with `{"error": {"code", "message"}}` and the HTTP status."""

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"({code}) {message}")
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    @property
    def body(self) -> dict[str, object]:
        return {"error": {"code": self.code, "message": self.message}}


def not_found(message: str, code: str = "UserError") -> AzureError:
    """404: something inside the workspace. Azure ML's own 404s carry the code `UserError`, ARM's `ResourceNotFound`."""
    return AzureError(404, code, message)


def bad_request(message: str, code: str = "UserError") -> AzureError:
    """400: the request can never succeed as it stands."""
    return AzureError(400, code, message)


def conflict(message: str, code: str = "Conflict") -> AzureError:
    """409: the state of the resource forbids it now."""
    return AzureError(409, code, message)


def not_emulated(message: str) -> AzureError:
    """501: Azure does it, the emulator does not; the message names the thing."""
    return AzureError(501, "NotSupportedByEmulator", message)


def not_supported(what: str) -> AzureError:
    """As `not_emulated`, in the usual words; `what` is a route ("METHOD /path") or a thing with its article."""
    return not_emulated(f"The Azure ML emulator does not support {what}. See docs/reference/emulator-coverage.md.")


def unauthorized(code: str, message: str) -> AzureError:
    """401 in Azure Resource Manager's shape, with its challenge header."""
    challenge = (
        f'Bearer authorization_uri="https://login.microsoftonline.com/", error="invalid_token", error_description="{message}"'
    )
    return AzureError(401, code, message, headers={"WWW-Authenticate": challenge})
