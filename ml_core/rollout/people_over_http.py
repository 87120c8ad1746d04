"""A person's command as an HTTP request: JSON in, a status and JSON out. The function above it only passes them on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from ml_core.documents import to_document
from ml_core.errors import PermanentError, TemporaryError
from ml_core.rollout import people
from ml_core.rollout.commands import What
from ml_core.services import Services

_PATHS: dict[str, What] = {what.replace(" ", "-"): what for what in people.WHAT}
_FIELDS = ("by", "reason", "version")
# Many times what the longest name and reason take.
_LARGEST_BODY = 20_000


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: 202 with the command as it is kept, or an error status with `{"error": <a sentence>}`."""

    status: int
    document: dict[str, Any]


def answer(services: Services, endpoint: str, what: str, body: bytes) -> Answer:
    """Work off `POST /rollouts/<endpoint>/<what>` with the JSON body `{"by", "reason", "version"}`."""
    try:
        if what not in _PATHS:
            raise people.NotKnown(f"{what!r} is nothing that can be asked of a rollout; expected one of {', '.join(_PATHS)}.")
        fields = _fields(body)
        command = people.ask(services, endpoint, _PATHS[what], fields["by"], fields["reason"], fields["version"])
    except people.NotKnown as error:
        return _error(404, error)
    except people.NotNow as error:
        return _error(409, error)
    except PermanentError as error:
        return _error(400, error)
    except TemporaryError as error:
        return _error(503, error)
    return Answer(202, to_document(command))


def _error(status: int, error: Exception) -> Answer:
    return Answer(status, {"error": str(error)})


def _fields(body: bytes) -> dict[str, str]:
    """The three fields as text; one that is not given is ''. Numbers are taken for a version, since people write them so."""
    expected = 'expected a JSON object such as {"by": "anna", "reason": "the quota was raised"}'
    if len(body) > _LARGEST_BODY:
        raise PermanentError(f"The body has {len(body)} bytes, and {_LARGEST_BODY} are read at most; {expected}.")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"The body is not JSON; {expected}.") from error
    if not isinstance(found, dict):
        raise PermanentError(f"The body is a {type(found).__name__}; {expected}.")
    if unknown := sorted(set(found) - set(_FIELDS)):
        raise PermanentError(f"The body has {', '.join(map(repr, unknown))}; {expected}, and 'version' to roll back.")
    version = found.get("version", "")
    if isinstance(version, int) and not isinstance(version, bool):
        found["version"] = str(version)
    for name in _FIELDS:
        if not isinstance(found.setdefault(name, ""), str):
            raise PermanentError(f"{name!r} is {found[name]!r}; expected text.")
    return cast(dict[str, str], found)
