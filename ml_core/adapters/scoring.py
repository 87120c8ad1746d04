"""Scores by one deployment over plain HTTP.

Not by the SDK's `invoke`: it keeps the header of a pinned deployment in a module global, and every later call of the process
would go past the traffic split (seen in azure-ai-ml 1.35).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from ml_core.errors import TemporaryError
from ml_core.ports import Question, Reply

if TYPE_CHECKING:
    import httpx

# What tells these requests from clients' ones in the logs of an endpoint's traffic.
USER_AGENT, REQUEST_ID_PREFIX = "tidegate", "tidegate-"
# An answer is scores and a name. What is longer is not read to its end.
_LONGEST_ANSWER = 4_000_000
_LONGEST_ERROR = 300
_WRONG_KEY = (401, 403)


@dataclass(frozen=True)
class Access:
    """Where an endpoint is asked, and the key that opens it."""

    address: str
    key: str = field(repr=False)


class Scoring:
    """Asks deployments by their name. `access` finds out where and with which key; that is kept until the key fits no more."""

    def __init__(self, access: Callable[[str], Access]) -> None:
        self._find, self._known = access, dict[str, Access]()

    @cached_property
    def _client(self) -> httpx.Client:
        """One for all: a connection, and what is trusted, costs more than a score."""
        import httpx

        return httpx.Client(headers={"User-Agent": USER_AGENT})

    def close(self) -> None:
        """End the connections. The app keeps them for as long as it lives."""
        self._client.close()

    def ask(self, endpoint: str, questions: Sequence[Question], timeout: timedelta) -> list[Reply]:
        """One reply for each question, asked one after the other. TemporaryError when the endpoint cannot be reached or does not
        take its own key."""
        return [self._reply(endpoint, question, timeout) for question in questions]

    def _reply(self, endpoint: str, question: Question, timeout: timedelta) -> Reply:
        known = endpoint in self._known
        try:
            reply = self._asked(self._access(endpoint), question, timeout)
            if reply.status in _WRONG_KEY and known:  # it was made anew, or its keys were
                del self._known[endpoint]
                reply = self._asked(self._access(endpoint), question, timeout)
            if reply.status in _WRONG_KEY:
                raise TemporaryError(f"{endpoint} does not take its own key (status {reply.status}). It is tried again.")
        except TemporaryError:
            self._known.pop(endpoint, None)  # whoever tries again finds it anew
            raise
        return reply

    def _access(self, endpoint: str) -> Access:
        if endpoint not in self._known:
            self._known[endpoint] = self._find(endpoint)
        return self._known[endpoint]

    def _asked(self, access: Access, question: Question, timeout: timedelta) -> Reply:
        import httpx

        headers = {
            "Authorization": f"Bearer {access.key}",
            "azureml-model-deployment": question.deployment,
            "x-ms-client-request-id": f"{REQUEST_ID_PREFIX}{uuid.uuid4()}",
        }
        allowed, began_at = timeout.total_seconds(), time.monotonic()
        try:
            with self._client.stream(
                "POST", access.address, json=dict(question.request), headers=headers, timeout=allowed
            ) as answer:
                body = _read(answer, began_at + allowed)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise TemporaryError(f"Could not reach {access.address}: {error!r}. It is tried again.") from error
        except (httpx.TimeoutException, TimeoutError):
            return Reply(0, time.monotonic() - began_at, error=f"no answer within {allowed:g} s")
        except httpx.TransportError as error:
            return Reply(0, time.monotonic() - began_at, error=f"the connection broke off ({type(error).__name__})")
        return _told(answer, body, time.monotonic() - began_at)


def _read(answer: httpx.Response, until: float) -> bytes | None:
    """The answer's bytes, None when they are too many; TimeoutError when they come too slowly, which httpx does not look at."""
    body = b""
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > _LONGEST_ANSWER:
            return None
        if time.monotonic() > until:
            raise TimeoutError
    return body


def _told(answer: httpx.Response, body: bytes | None, seconds: float) -> Reply:
    if body is None:
        return Reply(answer.status_code, seconds, error=f"the answer has over {_LONGEST_ANSWER} bytes")
    text = body.decode(errors="replace")
    if answer.status_code != 200:
        return Reply(answer.status_code, seconds, error=text[:_LONGEST_ERROR])
    try:
        return Reply(200, seconds, json.loads(text))
    except ValueError:
        return Reply(200, seconds, error=text[:_LONGEST_ERROR])
