"""What the router answers: the scoring process's answer as Azure passes it on, or the reason why there is none."""

from __future__ import annotations

import json
import uuid

from local.azureml.serving.table import Target
from local.azureml.serving.upstream import TooManyRequests, forwarded_headers
from local.azureml.serving.wire import Headers, Message

PINNED = b"azureml-model-deployment"
"""The header by which a client picks a deployment, and by which the answer says who gave it."""
_ECHOED = (b"x-ms-client-request-id", b"x-request-id")
_HEADER_LIMIT = 100


class Refused(Exception):
    """The router itself refuses a request; `answer` is what the client gets: status, headers, body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.answer = error(status, code, message)


class NotReady(Exception):
    """The readiness probe of a deployment fails."""


def failure(target: Target, reason: Exception) -> tuple[int, Headers, bytes]:
    """The answer when the scoring process gave none."""
    if isinstance(reason, TooManyRequests):
        return error(429, "TooManyRequests", f"Deployment {target.name!r} has {target.limit} requests under way, its limit.")
    if isinstance(reason, TimeoutError):
        limit = round(target.timeout_seconds * 1000)
        return error(408, "RequestTimeout", f"Deployment {target.name!r} did not answer within {limit} ms.")
    if isinstance(reason, NotReady):
        return error(503, "ServiceUnavailable", f"Deployment {target.name!r} is not ready: its readiness probe fails.")
    return error(503, "ServiceUnavailable", f"Deployment {target.name!r} cannot be reached: {reason}")


def of_the_model(answer: Message) -> tuple[int, Headers, bytes]:
    """What the client gets of the scoring process's answer; anything but 200 is a 424."""
    headers = [header for header in forwarded_headers(answer) if header[0] != PINNED]
    if answer.status == 200:
        return 200, headers, answer.content()
    headers += [
        (b"ms-azureml-model-error-statuscode", b"%d" % answer.status),
        (b"ms-azureml-model-error-reason", b"model_error"),
    ]
    return 424, headers, answer.content()


def error(status: int, code: str, message: str) -> tuple[int, Headers, bytes]:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return status, [(b"content-type", b"application/json")], body


def missing_ids(message: Message, present: Headers) -> Headers:
    """Echo the client's ids where the scoring server has not done it already; make up a request id when there is none."""
    known = {name for name, _ in present}
    added = [(name, message.header(name).encode("latin-1")[:_HEADER_LIMIT]) for name in _ECHOED if name not in known]
    return [(name, value or uuid.uuid4().hex.encode()) for name, value in added if value or name == b"x-request-id"]


def request_id(headers: Headers) -> bytes:
    return next((value for name, value in headers if name == b"x-request-id"), b"")
