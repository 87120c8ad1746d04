"""The loop that every capability shares: observe the world afresh, decide, take one step, keep the decision, look again.

Kill it anywhere: the next tick sees where the world stands and goes on. Decisions are replayable, because `decide` is pure and
is kept with everything it saw.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

from ml_core.documents import from_document, time_name, to_document
from ml_core.errors import Conflict, PermanentError
from ml_core.naming import fingerprint
from ml_core.ports import Entry, Ledger
from ml_core.services import Services

DATA_ASSETS, MODELS, ROLLOUTS = "data-assets", "models", "rollouts"

# After a lost race the winner needs a moment to finish its step.
_AFTER_A_CONFLICT = timedelta(seconds=2)


class Action(Protocol):
    """What `decide` returns: a frozen dataclass with a reason in plain words and, perhaps, a time to look again."""

    @property
    def kind(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def look_again_in(self) -> timedelta | None: ...


S = TypeVar("S")
O = TypeVar("O")  # noqa: E741 - S, O, A: state, observation, action
A = TypeVar("A", bound=Action)


@dataclass(frozen=True)
class Rules(Generic[S, O, A]):
    """The pure half of a capability."""

    kind: str
    """The ledger's folder and the queue's name of this kind of key."""

    state: type[S]
    observation: type[O]
    action: Any
    """The union of the capability's actions."""

    decide: Callable[[S, O, datetime], A]

    evolve: Callable[[S, A, datetime], S]
    """The state after the action was taken."""

    refuse: Callable[[S, A, str], S]
    """The state after Azure refused the action for good, with its error: it must not be tried again."""

    commit_first: bool
    """Whether the state is written before the step is taken. Then of two ticks at the same time the loser does not act at all;
    `decide` must see in the world that a step is still missing. Otherwise the step must be harmless when taken twice."""


def tick(
    rules: Rules[S, O, A], key: str, services: Services, observe: Callable[[S], O], act: Callable[[A], None]
) -> timedelta | None:
    """Do one step for `key`; return when to look again (None: when an event or the sweep says so)."""
    path = f"{rules.kind}/{key}.json"
    entry = services.ledger.get(path)
    state: S = from_document(rules.state, entry.value["state"]) if entry else rules.state()
    observation, now = observe(state), services.now()
    action = rules.decide(state, observation, now)
    answer = {"kind": action.kind, "reason": action.reason}
    after = rules.evolve(state, action, now)
    # Waiting is asked for many times and answered alike: the same answer is kept once.
    if entry is None or answer != entry.value["answer"] or after != state:
        _keep_decision(rules, key, services.ledger, state, observation, now, action)
    if rules.commit_first:
        entry = _commit(services.ledger, path, entry, after, answer, now)
    try:
        act(action)
    except PermanentError as error:
        refused = rules.refuse(state, action, str(error))
        _commit(services.ledger, path, entry, refused, {"kind": "refused", "reason": str(error)}, now)
        return None
    if not rules.commit_first:
        _commit(services.ledger, path, entry, after, answer, now)
    return action.look_again_in


def replay(rules: Rules[S, O, A], decision: Mapping[str, Any]) -> A:
    """Decide again from a kept decision's own state, observation and time."""
    state = from_document(rules.state, decision["state"])
    observation = from_document(rules.observation, decision["observation"])
    return rules.decide(state, observation, datetime.fromisoformat(decision["now"]))


def handle(services: Services, kind: str, message: str, reconcile: Callable[[Services, str], timedelta | None]) -> None:
    """Work off one queue message, and schedule the next look.

    A look that is scheduled carries a token, and the ledger holds the newest token of each key. So a key has one chain of looks,
    however many events have woken it: a message with an older token has been overtaken and is dropped. Messages without a
    token (events, the sweep) are always worked off.
    """
    key, token = _read(services, kind, message)
    if not key or (token and token != _expected_token(services.ledger, kind, key)):
        return
    try:
        look_again_in = reconcile(services, key)
    except Conflict:
        look_again_in = _AFTER_A_CONFLICT
    if look_again_in is not None:
        _schedule_look(services, kind, key, look_again_in)


def wake(services: Services, kind: str, key: str) -> None:
    """Ask for a look at `key` now."""
    services.queue.enqueue(kind, json.dumps({"key": key}))


def _keep_decision(rules: Rules[S, O, A], key: str, ledger: Ledger, state: S, observation: O, now: datetime, action: A) -> None:
    decision = {
        "state": to_document(state),
        "observation": to_document(observation),
        "now": now.isoformat(),
        "action": to_document(action),
    }
    number = 0
    while not ledger.claim(f"decisions/{rules.kind}/{key}/{time_name(now)}-{number}.json", decision):
        number += 1


def _commit(ledger: Ledger, path: str, entry: Entry | None, state: object, answer: dict[str, str], now: datetime) -> Entry:
    value = {"state": to_document(state), "answer": answer, "at": now.isoformat()}
    if entry and {**entry.value, "at": None} == {**value, "at": None}:
        return entry
    return Entry(path, value, ledger.put(path, value, etag=entry.etag if entry else None))


def _read(services: Services, kind: str, message: str) -> tuple[str, str]:
    """The key and the token of a message; a message that nobody of us wrote is kept with the reason, and has no key."""
    try:
        content = json.loads(message)
        return str(content["key"]), str(content.get("look", ""))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        note = {"queue": kind, "message": message[:4096], "reason": f"not a message of Tidegate: {error!r}"}
        services.ledger.claim(f"rejected/messages/{fingerprint(kind, message)}.json", note)
        return "", ""


def _expected_token(ledger: Ledger, kind: str, key: str) -> str:
    entry = ledger.get(f"looks/{kind}/{key}.json")
    return str(entry.value["look"]) if entry else ""


def _schedule_look(services: Services, kind: str, key: str, delay: timedelta) -> None:
    at = services.now() + delay
    token = f"{time_name(at)}-{uuid4().hex[:8]}"  # two looks may be due at the same time
    # The token first: a message that overtakes it would be dropped as overtaken.
    services.ledger.overwrite(f"looks/{kind}/{key}.json", {"look": token, "at": at.isoformat()})
    services.queue.enqueue(kind, json.dumps({"key": key, "look": token}), delay=delay)
