"""A rollout's story: what was decided from its beginning to its end, read off the chain of decisions; and decided once more.

`rollout-stories/<endpoint>/<rollout id>.json` is claimed when a rollout begins and says only which it is. Everything else is the
chain: a second telling of it could come to differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ml_core.chain import back_from, decisions
from ml_core.documents import from_document, time_name, to_document
from ml_core.errors import PermanentError
from ml_core.ports import Entry, Ledger
from ml_core.reconciling import ROLLOUTS
from ml_core.rollout.actions import Action
from ml_core.rollout.decide import RULES
from ml_core.rollout.state import Observation, Rollout, State

STORIES = "rollout-stories"

# `<endpoint>-<model version>-<time>`: checked before it becomes a path, since people type it.
_ENDPOINT = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,31}")
_ID = re.compile(rf"({_ENDPOINT.pattern})-([1-9][0-9]{{0,8}})-([0-9]{{8}}T[0-9]{{6}}\.[0-9]{{6}}Z)")
# Of decisions that are made again: another processor's logarithm may differ in the last digit.
_SAME = 1e-9


class NoSuchRolloutError(PermanentError):
    """No rollout is known by this id."""


@dataclass(frozen=True)
class Heading:
    """Which rollout it is, and how it ended. `ended_at` None: it is under way."""

    id: str
    endpoint: str
    model: str
    version: str
    began_at: datetime
    correlation_id: str = ""
    ended_at: datetime | None = None
    outcome: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Decided:
    """One look: what was remembered, what was seen, what was decided. `document` is the key of the ledger's document."""

    at: datetime
    state: State
    observation: Observation
    action: Action
    document: str


@dataclass(frozen=True)
class Story:
    """A rollout from its first decision to its last."""

    heading: Heading
    rollout: Rollout
    """As the last decision left it, or found it when that was its end."""

    decisions: tuple[Decided, ...]


@dataclass(frozen=True)
class Difference:
    """A decision that comes out otherwise today. `why` says in what."""

    at: datetime
    document: str
    kept: str
    again: str
    why: str


def is_rollout_id(text: str) -> bool:
    """Whether a text has the form of a rollout's id."""
    return _ID.fullmatch(text) is not None


def is_endpoint(ledger: Ledger, text: str) -> bool:
    """Whether a rollout has ever begun at an endpoint of this name."""
    return _ENDPOINT.fullmatch(text) is not None and next(iter(ledger.keys(f"{STORIES}/{text}/")), None) is not None


def stories(ledger: Ledger, endpoint: str, newest: int = 20) -> list[Heading]:
    """An endpoint's newest rollouts, the newest first."""
    begun = _begun(ledger, endpoint)
    following = [*(began_at for began_at, _ in begun[1:]), None]
    wanted = reversed(list(zip(begun, following, strict=False))[-newest:])
    return [_ended(ledger, _heading(ledger, name), next_began_at) for (_, name), next_began_at in wanted]


def story(ledger: Ledger, rollout: str) -> Story:
    """The story of a rollout by its id. NoSuchRolloutError; PermanentError when its decisions cannot be read (any more)."""
    heading = _heading(ledger, rollout)
    following = [began_at for began_at, _ in _begun(ledger, heading.endpoint) if began_at > heading.began_at]
    return _told(ledger, _ended(ledger, heading, min(following, default=None)))


def decide_again(told: Story) -> list[Difference]:
    """Make each decision again from what it was made from. Empty: every one comes out as it did."""
    return list(_differences(told.decisions))


def _heading(ledger: Ledger, rollout: str) -> Heading:
    """Which rollout it is, whether it has ended or not."""
    form = _ID.fullmatch(rollout)
    found = ledger.get(f"{STORIES}/{form[1]}/{rollout}.json") if form else None
    if form is None or found is None:
        expected = "<endpoint>-<model version>-<time it began>, as `rollout list` shows it"
        raise NoSuchRolloutError(f"No rollout is known as {rollout[:100]!r}; expected {expected}.")
    return Heading(
        id=rollout,
        endpoint=form[1],
        model=str(found.value["model"]),
        version=form[2],
        began_at=_began_at(form),
        correlation_id=str(found.value.get("correlation_id", "")),
    )


def _begun(ledger: Ledger, endpoint: str) -> list[tuple[datetime, str]]:
    """When each rollout of an endpoint began, and its id, oldest first. Their names say it; there may be years of documents."""
    names = (key.rpartition("/")[2].removesuffix(".json") for key in ledger.keys(f"{STORIES}/{endpoint}/"))
    return sorted((_began_at(form), form[0]) for name in names if (form := _ID.fullmatch(name)))


def _began_at(form: re.Match[str]) -> datetime:
    return datetime.strptime(f"{form[3][:-1]}+0000", "%Y%m%dT%H%M%S.%f%z")


def _ended(ledger: Ledger, begun: Heading, next_began_at: datetime | None) -> Heading:
    """How it ended: the state behind its last decision says so. Read backwards from what came after it, which is little."""
    after, newest = _what_came_after(ledger, begun.endpoint, next_began_at)
    if _is_about(begun.id, after):
        return begun
    for entry in back_from(ledger, newest):
        at = datetime.fromisoformat(entry.value["now"])
        if _is_about(begun.id, entry.value["state"]) or at <= begun.began_at:
            return replace(begun, ended_at=at, outcome=str(after["outcome"]), reason=str(after["reason"]))
        after = entry.value["state"]
    return begun


def _what_came_after(ledger: Ledger, endpoint: str, next_began_at: datetime | None) -> tuple[Mapping[str, Any], str | None]:
    """A state after a rollout's end, and the decision before it: of the next one's beginning, or the endpoint's own now."""
    for name in ledger.keys(f"decisions/{ROLLOUTS}/{endpoint}/{time_name(next_began_at)}") if next_began_at else ():
        if (entry := ledger.get(name)) and entry.value["action"]["kind"] == "begin":
            return entry.value["state"], entry.value["follows"]
    document = ledger.get(f"{ROLLOUTS}/{endpoint}.json")
    if document is None:
        raise PermanentError(f"The ledger holds no {ROLLOUTS}/{endpoint}.json, by which its rollouts are found; put it back.")
    return document.value["state"], document.value["decision"]


def _is_about(rollout: str, state: Mapping[str, Any]) -> bool:
    active = state.get("active")
    return active is not None and active.get("id") == rollout


def _told(ledger: Ledger, heading: Heading) -> Story:
    document = ledger.get(f"{ROLLOUTS}/{heading.endpoint}.json")
    last_at = heading.ended_at or (datetime.fromisoformat(document.value["at"]) if document else heading.began_at)
    decided: list[Decided] = []
    for entry in decisions(ledger, ROLLOUTS, heading.endpoint, heading.began_at, last_at):
        if decided and not _is_about(heading.id, entry.value["state"]):
            break
        decided.append(_decided(entry))
    if not decided:
        raise PermanentError(f"The ledger holds no decision of {heading.id}; its folder decisions/ is not whole.")
    last = decided[-1]
    rollout = RULES.evolve(last.state, last.action, last.at).active or last.state.active
    if rollout is None:
        raise PermanentError(f"{last.document} of the ledger is not the beginning of {heading.id}.")
    return Story(heading, rollout, tuple(decided))


def _decided(entry: Entry) -> Decided:
    value = entry.value
    try:
        state, observation = RULES.read(value["state"]), from_document(Observation, value["observation"])
        action: Action = from_document(Action, value["action"])
    except ValueError as error:  # pydantic's ValidationError is one
        told = str(error).replace("\n", " ")[:200]
        raise PermanentError(f"{entry.key} was kept by another version of the app, which this one cannot read: {told}") from error
    return Decided(datetime.fromisoformat(value["now"]), state, observation, action, entry.key)


def _differences(decided: Sequence[Decided]) -> Iterator[Difference]:
    for one in decided:
        again = RULES.decide(one.state, one.observation, one.at)
        kept, now = to_document(one.action), to_document(again)
        if where := _differ(kept, now):
            yield Difference(one.at, one.document, _short(one.action), _short(again), where)


def _differ(one: Any, other: Any, place: str = "") -> str:
    """Where two documents differ first, '' when they do not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = [*one, *(name for name in other if name not in one)]
        found = (_differ(one.get(name), other.get(name), f"{place}.{name}".lstrip(".")) for name in names)
        return next((where for where in found if where), "")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        found = (_differ(a, b, f"{place}[{number}]") for number, (a, b) in enumerate(zip(one, other, strict=True)))
        return next((where for where in found if where), "")
    if isinstance(one, float) and isinstance(other, float):
        return "" if math.isclose(one, other, rel_tol=_SAME, abs_tol=_SAME) else f"{place}: {one!r} and {other!r}"
    return "" if one == other else f"{place}: {one!r} and {other!r}"


def _short(action: Action) -> str:
    return f"{action.kind}: {action.reason}"
