"""What could not be done and waits for a person: events that nobody can read, work that keeps failing, dead letters.

An item is `inbox/<id>.json` in the ledger. Its id is made of what failed, so the same failure is one item, however often it is
met. Items are never removed: who closed one, when and why stays in its history, and failing again opens it again.

The open ones have a marker each, `inbox-open/<id>-<n>.json`, so that asking for them need not read all that ever failed. `n`
counts how often the item was opened, and is in the item too. A marker is written before its item and deleted once that is closed;
it belongs to one opening, so whoever closes that one late takes nothing from the next. One whose writer died in between tells of
an item that is closed, or that will be written when what failed comes again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ml_core import audit
from ml_core.errors import Conflict, PermanentError
from ml_core.naming import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_core.ports import Entry, Ledger
    from ml_core.services import Services

Kind = Literal["event", "work", "dead letter"]
Status = Literal["open", "replayed", "discarded", "succeeded"]
OURSELVES = "tidegate"

_ID_LENGTH = 12
_ID = re.compile(f"[0-9a-f]{{1,{_ID_LENGTH}}}")
# An error text is for people; a stack of HTML from a gateway is not.
_LONGEST_ERROR = 2000
# Event Grid delivers a megabyte at most, and a queue less. What is longer is none of theirs, and cannot be read when it is cut.
_LONGEST_PAYLOAD = 1_200_000
# Work that fails and recovers for months must not grow its document without end.
_LONGEST_HISTORY = 50
_MARKERS = "inbox-open/"
# In a query, whose '&' JSON may write as \u0026, and which may itself be a part of a query.
_SIGNATURE = re.compile(r"((?:[?&]|\\u0026|%3f|%26)sig(?:=|%3d))[^&\s\"'\\]+", re.IGNORECASE)
# Two writers of one item are rare, three rarer still.
_TRIES = 5


@dataclass(frozen=True)
class Happened:
    """One line of an item's history. `by` is a person, or `tidegate` itself; `at` is ISO 8601 UTC."""

    at: str
    by: str
    what: str
    """arrived | failed again | replayed | discarded | succeeded"""

    reason: str


@dataclass(frozen=True)
class Item:
    """Something that waits for a person. Times are ISO 8601 UTC."""

    id: str
    """12 hex digits, made of the kind and of what failed."""

    kind: Kind
    source: str
    """Where it came from, in words: the function, the queue, or the dead letter's name."""

    key: str
    """For work, the ledger's name of what was to be reconciled ("models/churn"); '' for an event."""

    payload: str
    """The event's JSON, or the queue message, as it came, but for signatures. Written by others: never trusted."""

    error: str
    permanent: bool
    """True when the same input fails for ever in the same way; False when it was tried again until patience ended."""

    attempts: int
    first_at: str
    last_at: str
    status: Status
    """`succeeded`: the work was done later without anybody's help."""

    history: tuple[Happened, ...]
    opened: int = 1
    """How often it was opened: the first time, and whenever it failed again after it was closed."""


def put(
    services: Services,
    *,
    kind: Kind,
    identity: str,
    source: str,
    payload: str,
    error: str,
    permanent: bool,
    attempts: int = 1,
    key: str = "",
) -> str:
    """Keep a failure for a person; return the item's id.

    `identity` is what makes two failures the same one. `attempts` are those since it was last put here; they are added up. An
    item that a person or time had closed is opened again, for it failed again. Only a dead letter never is: a letter lies where
    it lies until it is taken away, and read twice it has not failed twice.
    """
    number = item_id(kind, identity)
    now = services.now().isoformat()
    told, payload = _without_signatures(error[:_LONGEST_ERROR]), _without_signatures(_cut(payload))
    first = Item(number, kind, source, key, payload, told, permanent, attempts, now, now, "open", ())
    first = _with(first, Happened(now, OURSELVES, "arrived", told))

    def again(item: Item) -> Item:
        if kind == "dead letter":
            return item
        item = replace(item, source=source, payload=payload, permanent=permanent, attempts=item.attempts + attempts, last_at=now)
        if item.status != "open" or item.error != told:
            item = _with(item, Happened(now, OURSELVES, "failed again", told))
        return replace(item, error=told, status="open", opened=item.opened + (item.status != "open"))

    _change(services.ledger, number, lambda found: again(found) if found else first)
    return number


def items(ledger: Ledger, status: Status | None = None) -> Iterator[Item]:
    """The items (of one status), by id. Only the open ones are found without reading all that ever failed."""
    if status == "open":
        yield from _open_ones(ledger)
        return
    for entry in ledger.list("inbox/"):
        item = _item(entry.value)
        if status is None or item.status == status:
            yield item


def find(ledger: Ledger, wanted: str) -> Item:
    """The item of this id, or of the only id that starts so. PermanentError when there is none or more than one."""
    names = list(ledger.keys(f"inbox/{wanted}")) if _ID.fullmatch(wanted) else []
    entry = ledger.get(names[0]) if len(names) == 1 else None
    if entry is None:
        problem = "more than one item's" if names else "no item's"
        raise PermanentError(f"The inbox was asked for {wanted!r}, which is {problem} id; `inbox list` shows the ids there are.")
    return _item(entry.value)


def discard(services: Services, wanted: str, by: str, reason: str) -> Item:
    """Close an open item for good, with a reason that is audited. PermanentError without one, or when it is closed already."""
    item = find(services.ledger, wanted)
    if not reason.strip():
        raise PermanentError(f"The item {item.id} cannot be discarded without a reason; say why nobody needs it (--reason).")
    if item.status != "open":
        raise PermanentError(f"The item {item.id} is {item.status} already; only an open one can be discarded.")
    audit.record(services, by=by, what="discard", subject=f"inbox/{item.id}", reason=reason, detail=asdict(item))
    return _close(services, item.id, "discarded", by, reason, seen=item)


def replayed(services: Services, seen: Item, by: str, reason: str) -> Item:
    """Note that what `seen` holds was done again. An item that failed once more meanwhile stays open, and is returned so."""
    return _close(services, seen.id, "replayed", by, reason, seen=seen)


def succeeded(services: Services, kind: Kind, identity: str, reason: str) -> None:
    """Close the open item of this failure, should there be one: what failed was done after all."""
    number = item_id(kind, identity)
    if services.ledger.get(_path(number)) is not None:
        _close(services, number, "succeeded", OURSELVES, reason, seen=None)


def item_id(kind: Kind, identity: str) -> str:
    """The id of the item of this failure, whether there is one or not."""
    return fingerprint(kind, identity)[:_ID_LENGTH]


def _close(services: Services, number: str, status: Status, by: str, reason: str, *, seen: Item | None) -> Item:
    """Close an open item. With `seen`, only when it has not failed again since it looked so."""
    now = services.now().isoformat()

    def close(found: Item | None) -> Item:
        if found is None:
            raise PermanentError(f"The inbox has no item {number}; `inbox list` shows those there are.")
        if found.status != "open" and (seen is None or seen.status == "open"):
            return found
        if seen is not None and found.attempts != seen.attempts:
            return found
        return _with(replace(found, status=status), Happened(now, by, status, reason))

    return _change(services.ledger, number, close)


def _change(ledger: Ledger, number: str, change: Callable[[Item | None], Item]) -> Item:
    """Write the changed item under the condition that nobody else wrote meanwhile; otherwise change what they wrote."""
    for _ in range(_TRIES):
        entry: Entry | None = ledger.get(_path(number))
        before = _item(entry.value) if entry else None
        item = change(before)
        if item == before:
            return item
        if item.status == "open" and (before is None or before.status != "open"):
            ledger.claim(_marker(item), {})
        document = asdict(item)
        document["history"] = list(document["history"])
        try:
            ledger.put(_path(number), document, etag=entry.etag if entry else None)
        except Conflict:
            continue
        if item.status != "open":
            ledger.delete(_marker(item))
        return item
    raise Conflict(f"The item {number} of the inbox was changed by others {_TRIES} times in a row; it is tried again.")


def _open_ones(ledger: Ledger) -> Iterator[Item]:
    """By their markers. Those of closings that died are deleted here; one without its item may be about to get it."""
    for key in list(ledger.keys(_MARKERS)):
        number, _, opened = key.removeprefix(_MARKERS).removesuffix(".json").partition("-")
        entry = ledger.get(_path(number))
        item = _item(entry.value) if entry else None
        if item is None or item.opened < int(opened):
            continue
        if item.status == "open" and item.opened == int(opened):
            yield item
        else:
            ledger.delete(key)


def _marker(item: Item) -> str:
    return f"{_MARKERS}{item.id}-{item.opened}.json"


def _cut(payload: str) -> str:
    rest = len(payload) - _LONGEST_PAYLOAD
    return payload if rest <= 0 else f"{payload[:_LONGEST_PAYLOAD]}… and {rest:,} more characters, which are not kept"


def _without_signatures(text: str) -> str:
    """The text without the secret of a shared access signature: senders put whole addresses into events, and the ledger and the
    command line are read by people who may not open the data. What an event is about does not depend on it."""
    return _SIGNATURE.sub(r"\1…", text)


def _with(item: Item, happened: Happened) -> Item:
    return replace(item, history=(*item.history, happened)[-_LONGEST_HISTORY:])


def _item(document: Mapping[str, Any]) -> Item:
    return Item(**{**document, "history": tuple(Happened(**line) for line in document["history"])})


def _path(number: str) -> str:
    return f"inbox/{number}.json"
