"""The way in for events: parse, refuse what is forged, note what is not ours with the rule, hand the rest on.

Here nothing is done but writing notes and waking keys. Temporary and unknown errors pass, so that Event Grid delivers again. A
permanent error goes to the inbox and is acknowledged: delivering the same event again could only fail again, and answering 400
would drop it for good unless a dead-letter destination is set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ml_core import inbox, origin
from ml_core.errors import PermanentError
from ml_core.events import BlobCreated, BlobDeleted, Event, Ignored, parse
from ml_core.naming import fingerprint
from ml_core.services import Services


@dataclass(frozen=True)
class Outcome:
    """What becomes of an event that is no arrival. `reason` names the rule.

    `subject` is what a matched event is about: `models/<name>:<version>` or `training-jobs/<job>`.
    A dropped event leaves no trace.
    """

    outcome: Literal["matched", "ignored", "refused", "dropped"]
    reason: str
    subject: str = ""


def matched(subject: str, reason: str) -> Outcome:
    return Outcome("matched", reason, subject)


def ignored(reason: str) -> Outcome:
    return Outcome("ignored", reason)


def refused(reason: str) -> Outcome:
    return Outcome("refused", reason)


def receive(services: Services, raw: str, handle: Callable[[Services, Event], Outcome]) -> None:
    """Take in one event: `handle` does what it asks for, if it is one that may be believed."""
    event, outcome = screen(services, raw)
    if event is not None and outcome is None:
        try:
            outcome = handle(services, event)
        except PermanentError as error:
            outcome = refused(str(error))
    if outcome is not None:
        settle(services, raw, event, outcome)


def screen(services: Services, raw: str) -> tuple[Event | None, Outcome | None]:
    """The event, None when it cannot be read; and its outcome, None when that depends on what it is about. Writes nothing."""
    try:
        event = parse(raw)
    except PermanentError as error:
        return None, refused(str(error))
    # Before anything else: a note about a note would never end, whatever else is wrong with it.
    if isinstance(event, BlobCreated | BlobDeleted) and event.container in services.own_containers:
        return event, Outcome("dropped", "it is about a note of our own")
    if objection := origin.objection(event, services.data_account_url, services.workspace_id):
        return event, refused(objection)
    return event, ignored(event.reason) if isinstance(event, Ignored) else None


def settle(services: Services, raw: str, event: Event | None, outcome: Outcome) -> None:
    """Keep what became of an event: a note under its id, and the event itself in the inbox when it was refused."""
    if outcome.outcome == "dropped":
        return
    if outcome.outcome == "refused":
        source = event.source if event else ""
        inbox.put(services, kind="event", identity=raw, source=source, payload=raw, error=outcome.reason, permanent=True)
    if event is not None:
        type_ = event.type if isinstance(event, Ignored) else type(event).__name__
        note_event(services, event.event_id, type_, services.now(), outcome)


def note_event(services: Services, event_id: str, type_: str, received_at: datetime, outcome: Outcome) -> None:
    """Note what became of an event, so that it can be asked for by its id.

    The first telling stays, unless the event is matched later: replayed after a correction, or by the function it is for.
    """
    key = f"events/{fingerprint(event_id)}.json"
    note = {
        "event_id": event_id,
        "type": type_,
        "received_at": received_at.isoformat(),
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "subject": outcome.subject,
    }
    if not services.ledger.claim(key, note) and outcome.outcome == "matched":
        services.ledger.overwrite(key, note)
