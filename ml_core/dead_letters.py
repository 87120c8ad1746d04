"""Brings what Event Grid could not deliver into the inbox, where somebody sees it and can have it delivered after all."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from ml_core import inbox
from ml_core.addresses import blob_address
from ml_core.errors import EventError, PermanentError, TemporaryError
from ml_core.events import parse_all
from ml_core.naming import fingerprint
from ml_core.ports import DeadLetter
from ml_core.services import Services

_log = logging.getLogger(__name__)


def collect(services: Services) -> None:
    """Make each event of each letter an item of the inbox, and take the letter away.

    Killed in between, the letter is read again, and its items are there already. A letter that cannot be kept stays where it
    lies and keeps up no other; then PermanentError names it.
    """
    failures = []
    for letter in services.dead_letters.letters():
        try:
            _keep(services, letter)
        except TemporaryError:
            raise  # the ledger is away, for every letter
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one, those behind it are kept
            _log.exception("The dead letter %s could not be kept", letter.name)
            failures.append(f"{letter.name}: {error}")
            continue
        services.dead_letters.remove(letter.name)
    if failures:
        raise PermanentError(f"These dead letters could not be kept in the inbox, and stay: {'; '.join(failures)}")


def _keep(services: Services, letter: DeadLetter) -> None:
    for text, event in parse_all(letter.text):
        fields = _fields(text)
        if _container(fields) in services.own_containers:
            # A note of ours, or a letter: keeping it would be another note, and announce itself again.
            continue
        unreadable = isinstance(event, EventError)
        inbox.put(
            services,
            kind="dead letter",
            # By all that it says: a letter may hold events without an id.
            identity=fingerprint(letter.name, text),
            source=letter.name,
            payload=text,
            error=_what_happened(fields) + (f" It cannot be read: {event}" if unreadable else ""),
            attempts=_attempts(fields),
            permanent=unreadable,
        )


def _what_happened(fields: Mapping[str, Any]) -> str:
    """In Event Grid's words, which it adds to the event (in lower case where it writes CloudEvents).

    https://learn.microsoft.com/azure/event-grid/manage-event-delivery#message-schema
    """
    reason = str(fields.get("deadletterreason") or "no reason told")
    outcome = str(fields.get("lastdeliveryoutcome") or "no outcome told")
    attempts = _attempts(fields)
    times = "once" if attempts == 1 else f"{attempts} times"
    return f"Event Grid tried to deliver it {times} and gave up: {reason}, at last {outcome}."


def _attempts(fields: Mapping[str, Any]) -> int:
    told = str(fields.get("deliveryattempts") or "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 7 else 1


def _container(fields: Mapping[str, Any]) -> str:
    """The container that the event's blob lies in, whatever the event says of it; '' when it names no blob."""
    data = fields.get("data")
    try:
        return blob_address(str(_lowered(data).get("url"))).container
    except ValueError:
        return ""


def _fields(text: str) -> dict[str, Any]:
    try:
        return _lowered(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _lowered(document: object) -> dict[str, Any]:
    return {str(key).lower(): value for key, value in document.items()} if isinstance(document, dict) else {}
