"""MLflow's errors: a status, a code that its client knows, a message."""

from __future__ import annotations

from local.azureml.errors import AzureError

_OF_STATUS = {
    400: "INVALID_PARAMETER_VALUE",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    413: "INVALID_PARAMETER_VALUE",
    501: "NOT_IMPLEMENTED",
    502: "TEMPORARILY_UNAVAILABLE",
}


class MlflowError(Exception):
    """Ends a request with `{"error_code", "message"}` and the HTTP status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message = status, code, message

    @property
    def body(self) -> dict[str, str]:
        return {"error_code": self.code, "message": self.message}


def missing(message: str) -> MlflowError:
    return MlflowError(404, "RESOURCE_DOES_NOT_EXIST", message)


def exists(message: str) -> MlflowError:
    return MlflowError(400, "RESOURCE_ALREADY_EXISTS", message)


def invalid(message: str) -> MlflowError:
    return MlflowError(400, "INVALID_PARAMETER_VALUE", message)


def unsupported(what: str) -> MlflowError:
    """501: Azure ML has no place for it; `what` is the name of the thing."""
    return MlflowError(501, "NOT_IMPLEMENTED", f"The workspace's model registry does not support {what}.")


def translated(error: AzureError) -> MlflowError:
    """An error of the workspace in MLflow's words."""
    return MlflowError(error.status, _OF_STATUS.get(error.status, "INTERNAL_ERROR"), error.message)
