"""Refusals of the Event Grid emulator, in the body that Azure sends: {"error": {"code", "message"}}."""

from __future__ import annotations


class RefusedError(Exception):
    """A request that Event Grid would refuse. `status` is the HTTP status, `code` Azure's word for it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def body(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": self.message}}


def bad_request(message: str, code: str = "BadRequest") -> RefusedError:
    return RefusedError(400, code, message)


def unauthorized(message: str) -> RefusedError:
    return RefusedError(401, "Unauthorized", message)


def not_found(kind: str, name: str) -> RefusedError:
    return RefusedError(404, "ResourceNotFound", f"{kind} '{name}' was not found.")


def too_large(limit: int) -> RefusedError:
    return RefusedError(413, "PayloadTooLarge", f"The request is larger than the maximum of {limit} bytes.")
