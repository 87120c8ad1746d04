"""The loop that every capability shares: observe the world afresh, decide, take one step, keep the decision, look again.

Kill it anywhere: the next tick sees where the world stands and goes on. Decisions are replayable, because `decide` is pure and
is kept with everything it saw. Those that were taken form a chain: the key's document names the last one, and each the one
before it (`follows`). A decision is kept before it is taken, so that none is taken that is not kept; one whose tick then lost the
race for the document, or died, is not on the chain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar
from uuid import uuid4

from ml_core.documents import from_document, time_name, to_document
from ml_core.errors import Conflict, PermanentError
from ml_core.naming import fingerprint
from ml_core.ports import Entry, Ledger
from ml_core.services import Services

DATA_ASSETS, MODELS, ROLLOUTS = "data-assets", "models", "rollouts"
# The ledger's folder of training jobs that are ours.
JOBS = "training-jobs"

# After a lost race the winner needs a moment to finish its step.
_AFTER_A_CONFLICT = timedelta(seconds=2)
# Storage queues hide a message for seven days at most. A look that comes too early only decides to wait again.
_LONGEST_DELAY = timedelta(hours=1)


class Action(Protocol):
    """What `decide` returns: a frozen dataclass with a reason in plain words and, perhaps, a time to look again."""

    @property
    def kind(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def look_again_in(self) -> timedelta | None: ...


@dataclass(frozen=True)
class Rest:
    """Nothing to do until something happens."""

    reason: str
    look_again_in: timedelta | None = None
    kind: Literal["rest"] = "rest"


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

    refuse: Callable[[S, A, str, datetime], S]
    """The state after Azure refused the action for good, with its error: it must not be tried again at once."""

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
    now = services.now()
    try:
        observation = observe(state)
    except PermanentError as error:
        # Nothing is decided and nothing forgotten; the sweep looks again, when somebody may have corrected it.
        _commit(services.ledger, path, entry, _Tick(state, {"kind": "not observed", "reason": str(error)}, now))
        return None
    action = rules.decide(state, observation, now)
    taken = _Tick(rules.evolve(state, action, now), {"kind": action.kind, "reason": action.reason}, now)
    # Waiting is asked for many times and answered alike: the same answer is kept once.
    if entry is None or taken.answer != entry.value["answer"] or taken.state != state:
        decision = {
            "state": to_document(state),
            "observation": to_document(observation),
            "now": now.isoformat(),
            "action": to_document(action),
            "follows": entry.value.get("decision") if entry else None,
        }
        taken = replace(taken, decision=_keep(services.ledger, f"decisions/{rules.kind}/{key}", now, decision))
    if rules.commit_first:
        entry = _commit(services.ledger, path, entry, taken)
    try:
        act(action)
    except PermanentError as error:
        answer = {"kind": "refused", "reason": str(error)}
        refused = replace(taken, state=rules.refuse(state, action, str(error), now), answer=answer)
        _commit(services.ledger, path, entry, refused)
        return None
    if not rules.commit_first:
        _commit(services.ledger, path, entry, taken)
    return action.look_again_in


def decisions_taken(ledger: Ledger, kind: str, key: str) -> Iterator[Entry]:
    """The decisions of a key that were taken, newest first."""
    document = ledger.get(f"{kind}/{key}.json")
    name = document.value["decision"] if document else None
    while name and (entry := ledger.get(name)):
        yield entry
        name = entry.value["follows"]


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
    if not key or (token and token not in _expected_tokens(services.ledger, kind, key)):
        return
    try:
        look_again_in = reconcile(services, key)
    except Conflict:
        look_again_in = _AFTER_A_CONFLICT
    if look_again_in is not None:
        _schedule_look(services, kind, key, look_again_in, handled=token)


def wake(services: Services, kind: str, key: str, *, delay: timedelta = timedelta(0)) -> None:
    """Ask for a look at `key`: now, or after a while."""
    services.queue.enqueue(kind, json.dumps({"key": key}), delay=delay)


@dataclass(frozen=True)
class _Tick:
    """What a key's document says after a tick. No decision: the one before still holds."""

    state: object
    answer: dict[str, str]
    now: datetime
    decision: str | None = None


def _keep(ledger: Ledger, folder: str, now: datetime, decision: Mapping[str, Any]) -> str:
    """Keep a decision under a name of its own; return the name."""
    number = 0
    while not ledger.claim(name := f"{folder}/{time_name(now)}-{number}.json", decision):
        number += 1
    return name


def _commit(ledger: Ledger, path: str, entry: Entry | None, tick: _Tick) -> Entry:
    decision = tick.decision or (entry.value.get("decision") if entry else None)
    value = {"state": to_document(tick.state), "answer": tick.answer, "at": tick.now.isoformat(), "decision": decision}
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


def _expected_tokens(ledger: Ledger, kind: str, key: str) -> tuple[str, ...]:
    """The token of the look to come, and of the one that asked for it: should it have died before the queue had the next one,
    it is delivered again and must not count as overtaken."""
    entry = ledger.get(f"looks/{kind}/{key}.json")
    return (str(entry.value["look"]), str(entry.value["handled"])) if entry else ()


def _schedule_look(services: Services, kind: str, key: str, delay: timedelta, *, handled: str) -> None:
    delay = min(delay, _LONGEST_DELAY)
    at = services.now() + delay
    token = f"{time_name(at)}-{uuid4().hex[:8]}"  # two looks may be due at the same time
    # The token first: a message that overtakes it would be dropped as overtaken.
    note = {"look": token, "handled": handled, "at": at.isoformat()}
    services.ledger.overwrite(f"looks/{kind}/{key}.json", note)
    services.queue.enqueue(kind, json.dumps({"key": key, "look": token}), delay=delay)
