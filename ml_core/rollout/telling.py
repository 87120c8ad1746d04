"""Tells people what a rollout has to say: each notice of its state at least once, and never in its way.

`notices/<endpoint>.json` (`Told`) notes which were sent, and which could not be, of those that the state still holds. It is
written after they were sent, so whoever dies between the two sends once more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ml_core.documents import from_document, to_document
from ml_core.errors import PermanentError
from ml_core.ports import Entry, Notice
from ml_core.reconciling import ROLLOUTS
from ml_core.services import Services

_log = logging.getLogger(__name__)

# A broken webhook is tried again after a minute, after two, four, … and then every hour: people have the log meanwhile.
_FIRST_RETRY, _LONGEST_RETRY, _MOST_DOUBLINGS = timedelta(minutes=1), timedelta(hours=1), 10
# A slow webhook takes this much of a look at most, and what is left is sent by the next.
_LONGEST_AT_ONCE = timedelta(seconds=10)


@dataclass(frozen=True)
class Failure:
    """A notice that could not be sent, or waited behind one that could not, so many times, the last time at `at`."""

    times: int
    at: datetime
    error: str


@dataclass(frozen=True)
class Told:
    """What became of an endpoint's notices, by their ids."""

    sent: Mapping[str, datetime]
    failed: Mapping[str, Failure]


def tell(services: Services, endpoint: str) -> None:
    """Send what the endpoint's state wants to have told and was not told yet. What goes wrong is logged, and never raised."""
    try:
        notices = _notices(services, endpoint)
        if notices:
            _send(services, endpoint, notices)
    except Exception as error:  # noqa: BLE001 - whatever it is: a rollout does not wait for those who read of it
        _log.warning("The notices of %s are sent at the next look: %r", endpoint, error)


def told(services: Services, endpoint: str) -> Told:
    """What became of the endpoint's notices so far."""
    return _told(services.ledger.get(_name(endpoint)))


def _told(entry: Entry | None) -> Told:
    found: Told = from_document(Told, entry.value) if entry else Told({}, {})
    return found


def _notices(services: Services, endpoint: str) -> list[Notice]:
    entry = services.ledger.get(f"{ROLLOUTS}/{endpoint}.json")
    return [from_document(Notice, one) for one in entry.value["state"].get("notices", ())] if entry else []


def _send(services: Services, endpoint: str, notices: Sequence[Notice]) -> None:
    entry = services.ledger.get(_name(endpoint))
    before = _told(entry)
    unsent = [notice for notice in notices if notice.id not in before.sent]
    now = services.now()
    # A new one is worth a try though the channel was broken just now; and then in their order, the oldest first.
    if any(_due(before.failed.get(notice.id), now) for notice in unsent):
        after = _deliver(services, unsent, before)
        services.ledger.put(_name(endpoint), _document(after, notices), etag=entry.etag if entry else None)


def _deliver(services: Services, unsent: Sequence[Notice], so_far: Told) -> Told:
    began_at = services.now()
    for number, notice in enumerate(unsent):
        if services.now() - began_at > _LONGEST_AT_ONCE:
            break
        try:
            services.notifier.send(notice)
        except Exception as error:  # noqa: BLE001 - as above
            _log.warning("The notice %s was not sent: %s", notice.id, error)
            # Refused: the next one may be a better one. Not answered: the others would only wait for the same.
            refused = isinstance(error, PermanentError)
            for waits in unsent[number : number + 1] if refused else unsent[number:]:
                so_far = _failed(so_far, waits, error, services.now())
            if not refused:
                break
        else:
            failed = {one: failure for one, failure in so_far.failed.items() if one != notice.id}
            so_far = Told({**so_far.sent, notice.id: services.now()}, failed)
    return so_far


def _failed(so_far: Told, notice: Notice, error: Exception, now: datetime) -> Told:
    earlier = so_far.failed.get(notice.id)
    failure = Failure(earlier.times + 1 if earlier else 1, now, str(error))
    return replace(so_far, failed={**so_far.failed, notice.id: failure})


def _due(failure: Failure | None, now: datetime) -> bool:
    if failure is None:
        return True
    wait = min(_FIRST_RETRY * 2.0 ** min(failure.times - 1, _MOST_DOUBLINGS), _LONGEST_RETRY)
    return now - failure.at >= wait


def _document(after: Told, notices: Sequence[Notice]) -> dict[str, Any]:
    """Only of notices that the state still holds: the document stays as small as the state."""
    held = {notice.id for notice in notices}
    sent = {one: at for one, at in after.sent.items() if one in held}
    return to_document(Told(sent, {one: failure for one, failure in after.failed.items() if one in held}))


def _name(endpoint: str) -> str:
    return f"notices/{endpoint}.json"
