"""Where SDK exceptions end: each becomes a TemporaryError or a PermanentError that says what, where and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ml_core.errors import Conflict, PermanentError, TemporaryError, TidegateError

# azure-ai-ml reads a cloud that it does not know from an address, at every client, and says this when the address is silent.
_UNKNOWN_CLOUD = "Unknown cloud environment"

# Left to themselves the storage SDKs try for a minute and a half. Event Grid waits half a minute for an answer before it sends
# the event again, and a person who asks for `status` waits as well; who comes again later are the app's own looks.
STORAGE_RETRIES: dict[str, Any] = {"retry_total": 2, "initial_backoff": 1, "increment_base": 2}


@contextmanager
def told_as(what: str) -> Iterator[None]:
    """Run calls of an SDK; `what` is the attempt in plain words ("submit the job x"). Foreign exceptions pass as they are."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        raise _translated(what, error) from error


def _translated(what: str, error: Exception) -> TidegateError:
    from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

    told = f"Could not {what}: {_first_line(error)}"
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return TemporaryError(f"{told}. The service cannot be reached; it is tried again.")
    if not isinstance(error, HttpResponseError):
        # azure-ai-ml raises its own errors, without a status, for input that it refuses itself, and around others' errors too.
        behind = _behind(error)
        if behind is not None and isinstance(answer := _translated(what, behind), TemporaryError):
            return TemporaryError(f"{told}. It is tried again, since behind it is: {answer}")
        if str(error).startswith(_UNKNOWN_CLOUD):
            return TemporaryError(
                f"{told}. What describes the cloud (ARM_CLOUD_METADATA_URL) does not answer; it is tried again."
            )
        ours = type(error).__module__.startswith("azure.ai.ml")
        return PermanentError(f"{told}. Correct the input.") if ours else TemporaryError(f"{told}. It is tried again.")
    status = error.status_code
    if status in (409, 412):
        return Conflict(f"{told}. Something else is changing it; it is looked at again.")
    if status in (401, 403):
        # Role assignments take minutes to arrive, and are often made after the first failure.
        return TemporaryError(f"{told}. Give the app's identity the role it needs (status {status}); it is tried again.")
    if status is None:
        # Nothing has answered, or no token could be had for the question.
        return TemporaryError(f"{told}. It is tried again.")
    if status in (408, 429) or status >= 500:
        return TemporaryError(f"{told} (status {status}). It is tried again.")
    return PermanentError(f"{told} (status {status}). Trying again cannot help; correct what is named.")


def _behind(error: BaseException) -> Exception | None:
    """The nearest error of the service or of the network that led to this one."""
    from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

    seen: set[int] = set()
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, HttpResponseError | ServiceRequestError | ServiceResponseError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:500].rstrip(".") or type(error).__name__
