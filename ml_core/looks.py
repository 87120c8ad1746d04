"""The looks at a key: which one is expected, what became of the last, and how often it is tried again before a person is asked.

`looks/<kind>/<key>.json` in the ledger: `{"look", "handled", "at", "attempt", "error"}`. A look that is scheduled carries a
token, and the document holds the newest one. So a key has one chain of looks, however many events have woken it: a message with
an older token has been overtaken. `attempt` counts the failures since the last look that succeeded.
"""

from __future__ import annotations

import json
import logging
import traceback
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from ml_core import inbox
from ml_core.documents import time_name
from ml_core.errors import TidegateError
from ml_core.ports import Ledger
from ml_core.services import Services

_log = logging.getLogger(__name__)

# Six tries within about five minutes: throttling and restarts are over by then, and what is not needs a person. The sweep goes
# on looking, so nobody has to press a button once the cause is gone.
ATTEMPTS = 6
_FIRST_DELAY = timedelta(seconds=10)
# After a lost race the winner needs a moment to finish its step. Who loses time after time, for minutes, meets no winner: Azure
# answers 409 also to what somebody must correct (a name that is taken), and that counts as a failure.
_AFTER_A_CONFLICT, _LONGEST_AFTER_A_CONFLICT, _RACES = timedelta(seconds=2), timedelta(minutes=1), 8
# For people, who are told its place as well; the log has all of it.
_LONGEST_ERROR = 1500
# Storage queues hide a message for seven days at most. A look that comes too early only decides to wait again.
_LONGEST_DELAY = timedelta(hours=1)


@dataclass(frozen=True)
class Message:
    """A queue message. `token` is '' when an event or the sweep has sent it, and no earlier look."""

    kind: str
    key: str
    token: str
    text: str
    lost: int = 0
    """How many looks in a row have lost their race before this one."""


@dataclass(frozen=True)
class Look:
    """What the ledger holds about the looks at a key."""

    token: str = ""
    """Of the look to come; '' when none is scheduled."""

    handled: str = ""
    """Of the look that asked for it: should it have died before the queue had the next one, it is delivered again and must not
    count as overtaken."""

    at: datetime | None = None
    """When the look to come is due, or when the last one failed."""

    attempt: int = 0
    error: str = ""

    def expects(self, token: str) -> bool:
        """Whether a message with this token is to be worked off. Those without one (events, the sweep) always are."""
        return not token or token in (self.token, self.handled)


def last_look(ledger: Ledger, kind: str, key: str) -> Look:
    """What is known of the looks at a key: nothing, when it never was looked at."""
    entry = ledger.get(_path(kind, key))
    if entry is None:
        return Look()
    note = entry.value
    return Look(note["look"], note["handled"], datetime.fromisoformat(note["at"]), note.get("attempt", 0), note.get("error", ""))


def read_message(services: Services, kind: str, text: str) -> Message | None:
    """Read a message; one that nobody of us wrote goes to the inbox, and is None."""
    try:
        content = json.loads(text)
        return Message(kind, str(content["key"]), str(content.get("look", "")), text, int(content.get("lost", 0)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        told = f"It is no message of Tidegate ({error!r}); expected a JSON object with a 'key'. Find out who sends to the queue."
        # Another of the same text is the same mistake once more.
        identity = f"{kind} {text}"
        inbox.put(services, kind="work", identity=identity, source=_queue(kind), payload=text, error=told, permanent=True)
        return None


def schedule(services: Services, kind: str, key: str, delay: timedelta, *, handled: str, last: Look | None = None) -> None:
    """Have the key looked at after a while. `last` is what it was, when its failures are not over yet."""
    delay = min(delay, _LONGEST_DELAY)
    at = services.now() + delay
    token = f"{time_name(at)}-{uuid4().hex[:8]}"  # two looks may be due at the same time
    last = last or Look()
    # The token first: a message that overtakes it would be dropped as overtaken.
    _note(services, kind, key, Look(token, handled, at, last.attempt, last.error))
    services.queue.enqueue(kind, json.dumps({"key": key, "look": token}), delay=delay)


def lost_race(services: Services, message: Message, last: Look, error: Exception) -> None:
    """A look came to nothing since somebody else was first: look again soon. After minutes of that it has failed."""
    if message.lost >= _RACES:
        failed(services, message, last, error)
        return
    delay = min(_AFTER_A_CONFLICT * 2**message.lost, _LONGEST_AFTER_A_CONFLICT)
    # Without a token: the winner's own next look must not overtake what this message has to tell.
    services.queue.enqueue(message.kind, json.dumps({"key": message.key, "lost": message.lost + 1}), delay=delay)


def wait_for_another(services: Services, message: Message) -> None:
    """This process looks at the key already, however long that takes: look again when it is over."""
    services.queue.enqueue(message.kind, json.dumps({"key": message.key, "lost": message.lost}), delay=_AFTER_A_CONFLICT)


def failed(services: Services, message: Message, last: Look, error: Exception) -> None:
    """A look failed for a reason that may pass: look again, later each time; after six tries ask a person.

    The queue's own redelivery would come five times within a minute, and end in the poison queue, where no sweep looks.
    """
    told, now = f"{type(error).__name__}: {str(error)[:_LONGEST_ERROR]}{_place(error)}", services.now()
    # What we have not foreseen is a mistake of ours. Its traceback is in the log, and its place in the item.
    level = logging.WARNING if isinstance(error, TidegateError) else logging.ERROR
    _log.log(level, "The look at %s/%s failed: %s", message.kind, message.key, told, exc_info=error)
    if not message.token and last.attempt and last.token and last.at is not None and last.at > now:
        # Events and the sweep may wake a failing key at any rate. Its next try is on its way, and these are no tries of it.
        return
    attempt = last.attempt + 1
    if attempt < ATTEMPTS:
        delay, tried = _FIRST_DELAY * 2 ** (attempt - 1), Look(attempt=attempt, error=told)
        schedule(services, message.kind, message.key, delay, handled=message.token, last=tried)
        return
    _ask_a_person(services, message, told, attempts=ATTEMPTS if attempt == ATTEMPTS else 1)
    _note(services, message.kind, message.key, Look("", message.token, now, attempt, told))


def recovered(services: Services, message: Message, last: Look) -> None:
    """A look succeeded after others had failed."""
    if last.attempt >= ATTEMPTS:
        subject = f"{message.kind}/{message.key}"
        inbox.succeeded(services, "work", subject, f"a later look at {subject} succeeded")
    _note(services, message.kind, message.key, Look("", message.token, services.now()))


def keep_poison(services: Services, message: Message) -> None:
    """Keep a message that the host gave up on (`tidegate-<kind>-poison`), since not even its failure could be written down.

    The next look that succeeds closes the item; that is why the key's looks are told of it.
    """
    error = f"The host gave up on the message after too many tries; its log of {_queue(message.kind)}'s function says why."
    last = last_look(services.ledger, message.kind, message.key)
    _ask_a_person(services, message, error, attempts=ATTEMPTS)
    told = replace(last, at=last.at or services.now(), attempt=max(last.attempt, ATTEMPTS), error=error)
    _note(services, message.kind, message.key, told)


def _ask_a_person(services: Services, message: Message, error: str, *, attempts: int) -> None:
    """One item for each key, however often it fails."""
    inbox.put(
        services,
        kind="work",
        identity=f"{message.kind}/{message.key}",
        source=_queue(message.kind),
        key=f"{message.kind}/{message.key}",
        payload=message.text,
        error=error,
        attempts=attempts,
        permanent=False,
    )


def _place(error: Exception) -> str:
    """Where an error arose that is none of ours: the last lines of the app, and of the library that it called."""
    if isinstance(error, TidegateError):
        return ""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    lines = [f"{'/'.join(Path(one.filename).parts[-2:])}:{one.lineno} in {one.name}" for one in frames]
    return f" (at {', '.join(reversed(lines))})" if lines else ""


def _note(services: Services, kind: str, key: str, look: Look) -> None:
    at = (look.at or services.now()).isoformat()
    note = {"look": look.token, "handled": look.handled, "at": at, "attempt": look.attempt, "error": look.error}
    services.ledger.overwrite(_path(kind, key), note)


def _path(kind: str, key: str) -> str:
    return f"looks/{kind}/{key}.json"


def _queue(kind: str) -> str:
    return f"queue tidegate-{kind}"
