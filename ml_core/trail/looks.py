"""The looks at a key: what the last one decided, and when the next one comes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ml_core.looks import last_look
from ml_core.reconciling import FORGIVEN, NOT_OBSERVED, REFUSED
from ml_core.services import Services
from ml_core.trail.values import clock, count

# The sweep looks at every key each five minutes. Twice that, and nobody works.
OVERDUE_AFTER = timedelta(minutes=10)
_BEFORE_THE_REASON = {
    REFUSED: "Azure refused it: ",
    NOT_OBSERVED: "it could not be looked at: ",
    FORGIVEN: "a person asked for another try: ",
}
# After these answers no look is planned, so the last plan is an old one that was kept.
_AT_REST = ("rest", REFUSED, NOT_OBSERVED)


def state_of(services: Services, kind: str, key: str) -> dict[str, Any]:
    """The key's document: `state`, `answer`, `at`, `decision`. Empty for a key that was never looked at."""
    entry = services.ledger.get(f"{kind}/{key}.json")
    return entry.value if entry else {}


def answer_of(services: Services, kind: str, key: str) -> str:
    """Why the last look at a key did what it did, and when the next one comes."""
    document = state_of(services, kind, key)
    following = next_look(services, kind, key)
    if not document:
        never = f"{key} was never looked at"
        return (
            f"{never}; {following}"
            if following
            else f"{never}; the sweep does within five minutes of the start. If they are over: is the function app running?"
        )
    answer = document["answer"]
    told = _BEFORE_THE_REASON.get(answer["kind"], "")
    return f"{told}{answer['reason']}" + (f" ({following})" if following else "")


def next_look(services: Services, kind: str, key: str) -> str:
    """When the key is looked at next, what went wrong the last time, or that nobody seems to work; '' when nothing is planned."""
    look = last_look(services.ledger, kind, key)
    failed = f"the last look failed, {count(look.attempt, 'time')} so far: {look.error}; " if look.attempt else ""
    if not look.token or look.at is None:
        # Given up as a chain of tries: an item of the inbox says so, and the sweep goes on.
        return f"{failed}the sweep tries it every five minutes" if failed else ""
    if look.at > services.now():
        return f"{failed}the next look is at {clock(look.at)}"
    resting = state_of(services, kind, key).get("answer", {}).get("kind") in _AT_REST
    if services.now() - look.at > OVERDUE_AFTER and (failed or not resting):
        return f"{failed}the look that was due at {clock(look.at)} has not come: is the function app running?"
    return f"{failed}the next look is due now" if failed else ""
