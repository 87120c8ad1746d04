"""The loop that every capability shares: observe the world afresh, decide, take one step, keep the decision, look again.

Kill it anywhere: the next tick sees where the world stands and goes on. Decisions are replayable, because `decide` is pure and
is kept with everything it saw. Those that were taken form a chain: the key's document names the last one, and each the one
before it (`follows`). A decision is kept before it is taken, so that none is taken that is not kept; one whose tick then lost the
race for the document, or died, is not on the chain. How a key's messages come, come again and end in the inbox is in `looks`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, Literal, Protocol, TypeVar

from ml_core import inbox
from ml_core.documents import from_document, time_name, to_document
from ml_core.errors import Conflict, PermanentError
from ml_core.looks import Look, failed, last_look, lost_race, read_message, recovered, schedule, wait_for_another
from ml_core.ports import Entry, Ledger
from ml_core.services import Services

DATA_ASSETS, MODELS, ROLLOUTS = "data-assets", "models", "rollouts"
# The ledger's folder of training jobs that are ours.
JOBS = "training-jobs"

# One message leads to so many looks, while they follow each other at once: far below functionTimeout, and nobody is starved.
_MOST_AT_ONCE, _LONGEST_AT_ONCE = 8, timedelta(seconds=30)
# The host cuts a function off after ten minutes (host.json).
_A_LOOK_IS_OVER_AFTER = timedelta(minutes=10)
# What a key's document says after a look that came to nothing, or after a person asked for another try.
REFUSED, NOT_OBSERVED, FORGIVEN = "refused", "not observed", "forgiven"
# The looks that this process is at: (services, kind, key).
_lock, _under_way = threading.Lock(), set[tuple[int, str, str]]()


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


def _unchanged(state: S) -> S:
    return state


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

    forgive: Callable[[S], S] = _unchanged
    """The state without what `refuse` has put into it, so that the refused action is tried at the next look. The same state: no
    refusal stands."""

    in_todays_shape: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _unchanged
    """The document of a state in the shape of `state`, should an earlier version of the app have written it."""

    def read(self, document: Mapping[str, Any]) -> S:
        """The state that a document holds."""
        found: S = from_document(self.state, self.in_todays_shape(document))
        return found


def tick(
    rules: Rules[S, O, A], key: str, services: Services, observe: Callable[[S], O], act: Callable[[A], None]
) -> timedelta | None:
    """Do one step for `key`; return when to look again (None: when an event or the sweep says so)."""
    path = f"{rules.kind}/{key}.json"
    entry = services.ledger.get(path)
    state = rules.read(entry.value["state"]) if entry else rules.state()
    now = services.now()
    try:
        observation = observe(state)
    except PermanentError as error:
        # Nothing is decided and nothing forgotten; the sweep looks again, when somebody may have corrected it.
        _keep_failure(services, rules.kind, key, str(error))
        _commit(services.ledger, path, entry, _Tick(state, {"kind": NOT_OBSERVED, "reason": str(error)}, now))
        return None
    action = rules.decide(state, observation, now)
    after = rules.evolve(state, action, now)
    taken = _Tick(after, {"kind": action.kind, "reason": action.reason}, now)
    # Waiting is asked for many times and answered alike: the same answer is kept once.
    if entry is None or taken.answer != entry.value["answer"] or after != state:
        decision = {"state": state, "observation": observation, "action": action}
        taken = replace(taken, decision=_keep(services.ledger, f"decisions/{rules.kind}/{key}", now, decision, entry))
    over = _failing(rules, entry, state) and rules.forgive(after) == after
    if rules.commit_first:
        entry = _commit(services.ledger, path, entry, taken)
    try:
        act(action)
    except PermanentError as error:
        _keep_failure(services, rules.kind, key, str(error))
        answer = {"kind": REFUSED, "reason": str(error)}
        refused = replace(taken, state=rules.refuse(state, action, str(error), now), answer=answer)
        _commit(services.ledger, path, entry, refused)
        return None
    if over:
        inbox.succeeded(services, "work", _permanent(rules.kind, key), action.reason)
    if not rules.commit_first:
        _commit(services.ledger, path, entry, taken)
    return action.look_again_in


def forgive(rules: Rules[S, O, A], key: str, services: Services, reason: str) -> None:
    """Let a refused action be tried at the next look, because a person says that its cause is gone. Conflict: ask again."""
    path = f"{rules.kind}/{key}.json"
    entry = services.ledger.get(path)
    if entry is None:
        return
    state = rules.read(entry.value["state"])
    forgiven = rules.forgive(state)
    if forgiven != state:
        _commit(services.ledger, path, entry, _Tick(forgiven, {"kind": FORGIVEN, "reason": reason}, services.now()))


def close_what_is_over(rules: Rules[S, O, A], key: str, services: Services) -> None:
    """Close the key's item, should the look that put an end to it have died before it could."""
    number = inbox.item_id("work", _permanent(rules.kind, key))
    kept = services.ledger.get(f"inbox/{number}.json")
    # One that has just come may belong to a look that is not written down yet.
    if kept is None or services.now() - datetime.fromisoformat(kept.value["last_at"]) < _A_LOOK_IS_OVER_AFTER:
        return
    entry = services.ledger.get(f"{rules.kind}/{key}.json")
    if entry is not None and not _failing(rules, entry, rules.read(entry.value["state"])):
        inbox.succeeded(services, "work", _permanent(rules.kind, key), f"a later look at {rules.kind}/{key} succeeded")


def replay(rules: Rules[S, O, A], decision: Mapping[str, Any]) -> A:
    """Decide again from a kept decision's own state, observation and time."""
    state = rules.read(decision["state"])
    observation = from_document(rules.observation, decision["observation"])
    return rules.decide(state, observation, datetime.fromisoformat(decision["now"]))


def handle(services: Services, kind: str, message: str, reconcile: Callable[[Services, str], timedelta | None]) -> None:
    """Work off one queue message, and schedule the next look; one that fails is tried again, later each time (`looks`).

    Only a fault that cannot even be written down is raised: then the host delivers the message again.
    """
    read = read_message(services, kind, message)
    last = last_look(services.ledger, kind, read.key) if read else Look()
    if read is None or not last.expects(read.token):
        return
    try:
        with _alone(services, kind, read.key):
            look_again_in = _follow(services, partial(reconcile, services, read.key))
    except _UnderWay:
        wait_for_another(services, read)
        return
    except Conflict as error:
        lost_race(services, read, last, error)
        return
    except PermanentError as error:
        _keep_failure(services, kind, read.key, str(error))
        return
    except Exception as error:  # noqa: BLE001 - an unknown fault counts as temporary
        failed(services, read, last, error)
        return
    if last.attempt:
        recovered(services, read, last)
    if look_again_in is not None:
        schedule(services, kind, read.key, look_again_in, handled=read.token)


def _follow(services: Services, look: Callable[[], timedelta | None]) -> timedelta | None:
    """Look, and look again while that is asked for at once: each is a step of its own, but spares the way through the queue."""
    began_at, look_again_in = services.now(), look()
    for _ in range(_MOST_AT_ONCE - 1):
        if look_again_in != timedelta(0) or services.now() - began_at > _LONGEST_AT_ONCE:
            break
        look_again_in = look()
    return look_again_in


class _UnderWay(Conflict):
    """This process looks at the key already."""


@contextmanager
def _alone(services: Services, kind: str, key: str) -> Iterator[None]:
    """_UnderWay when this process looks at the key already: a second look could only lose, and would take the processor from the
    first, and from events, until it does. Between processes the key's document decides."""
    look = (id(services), kind, key)
    with _lock:
        if look in _under_way:
            raise _UnderWay(f"{kind}/{key} is being looked at.")
        _under_way.add(look)
    try:
        yield
    finally:
        with _lock:
            _under_way.discard(look)


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


def _keep(ledger: Ledger, folder: str, now: datetime, decision: Mapping[str, object], before: Entry | None) -> str:
    """Keep a decision under a name of its own; return the name."""
    document: dict[str, Any] = {name: to_document(value) for name, value in decision.items()}
    document |= {"now": now.isoformat(), "follows": before.value.get("decision") if before else None}
    number = 0
    while not ledger.claim(name := f"{folder}/{time_name(now)}-{number}.json", document):
        number += 1
    return name


def _failing(rules: Rules[S, O, A], entry: Entry | None, state: S) -> bool:
    """Whether the look before came to nothing, or a refusal stands."""
    answered = entry.value["answer"]["kind"] if entry else ""
    return answered in (REFUSED, NOT_OBSERVED, FORGIVEN) or rules.forgive(state) != state


def _keep_failure(services: Services, kind: str, key: str, error: str) -> None:
    """Ask a person at once: trying again cannot help. Before the key's document says so, lest a crash forgets to ask."""
    inbox.put(
        services,
        kind="work",
        identity=_permanent(kind, key),
        source=f"queue tidegate-{kind}",
        key=f"{kind}/{key}",
        payload=json.dumps({"key": key}),
        error=error,
        permanent=True,
    )


def _permanent(kind: str, key: str) -> str:
    """What an item of the inbox is told by. Apart from failures that pass: one being over does not end the other."""
    return f"{kind}/{key} permanent"


def _commit(ledger: Ledger, path: str, entry: Entry | None, tick: _Tick) -> Entry:
    decision = tick.decision or (entry.value.get("decision") if entry else None)
    value = {"state": to_document(tick.state), "answer": tick.answer, "at": tick.now.isoformat(), "decision": decision}
    if entry and {**entry.value, "at": None} == {**value, "at": None}:
        return entry
    return Entry(path, value, ledger.put(path, value, etag=entry.etag if entry else None))
