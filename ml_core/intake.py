"""The way in for events: parse, keep what is not ours with the reason, hand the rest on. It only writes notes and wakes keys."""

from __future__ import annotations

from collections.abc import Callable

from ml_core.errors import PermanentError
from ml_core.events import BlobCreated, BlobDeleted, Event, Ignored, parse
from ml_core.naming import fingerprint
from ml_core.services import Services


def receive(services: Services, raw: str, handle: Callable[[Services, Event], Ignored | None]) -> None:
    """Take in one event. Temporary and unknown errors pass, so that Event Grid delivers again.

    A permanent error is kept and acknowledged: delivering the same event again could only fail again, and answering 400
    would drop it for good unless a dead-letter destination is set.
    """
    try:
        event = parse(raw)
        if isinstance(event, BlobCreated | BlobDeleted) and event.container in services.own_containers:
            return  # our own notes: keeping a note about a note would never end
        ignored = event if isinstance(event, Ignored) else handle(services, event)
    except PermanentError as error:
        note = {"event": raw[:65536], "reason": str(error), "received_at": services.now().isoformat()}
        services.ledger.claim(f"rejected/events/{fingerprint(raw)}.json", note)
        return
    if ignored is not None:
        note = {"event_id": ignored.event_id, "type": ignored.type, "reason": ignored.reason}
        services.ledger.claim(f"ignored/{fingerprint(ignored.type, ignored.event_id)}.json", note)
