"""`status`: every key of the configuration at one glance, and what needs a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_core import operations
from ml_core.documents import from_document
from ml_core.looks import last_look
from ml_core.reconciling import DATA_ASSETS, MODELS, NOT_OBSERVED, REFUSED, ROLLOUTS
from ml_core.rollout.chapters import stands_at
from ml_core.rollout.planner import Plan, in_short
from ml_core.rollout.state import Phase
from ml_core.services import Services
from ml_core.trail.looks import answer_of
from ml_core.trail.values import clock, count

_NEEDS_A_PERSON = (REFUSED, NOT_OBSERVED)


@dataclass(frozen=True)
class Key:
    """A data asset, a model or an endpoint's rollout, as the last look left it."""

    kind: str
    name: str
    stands_at: str
    since: str
    """When that answer was first given, ISO 8601 UTC; '' for a key that was never looked at."""

    answer: str
    """Why the last look did what it did, and when the next one comes."""

    document: dict[str, Any] | None
    """All that is remembered: `state`, `answer`, `at`, `decision`."""

    def row(self) -> tuple[str, str, str, str, str]:
        return self.kind, self.name, self.stands_at, self.since[:19].replace("T", " "), self.answer


@dataclass(frozen=True)
class Overview:
    """Everything that `status` shows. `attention`: what needs a person, in sentences; `inbox`: how many items are open."""

    keys: tuple[Key, ...]
    attention: tuple[str, ...]
    inbox: int


def overview(services: Services) -> Overview:
    """Read every key of the configuration, its looks, and the inbox."""
    found = operations.status(services)
    keys = tuple(
        _key(services, kind, name, document) for kind in (DATA_ASSETS, MODELS, ROLLOUTS) for name, document in found[kind].items()
    )
    attention = [told for key in keys for told in _troubles(services, key)]
    if waiting := found["inbox"]:
        waits = "item of the inbox waits" if waiting == 1 else "items of the inbox wait"
        attention.append(f"{waiting} {waits} for a person: inbox list")
    return Overview(keys, tuple(attention), found["inbox"])


def _key(services: Services, kind: str, name: str, document: dict[str, Any] | None) -> Key:
    note = (document or {}).get("note", "")
    return Key(
        kind=kind,
        name=name,
        stands_at=_stands_at(services, kind, name, (document or {}).get("state", {})),
        since=str((document or {}).get("at") or ""),
        answer=note or answer_of(services, kind, name) + _expected(document),
        document=document,
    )


def _active(document: dict[str, Any] | None) -> dict[str, Any]:
    """The document of the rollout under way; empty when there is none."""
    return ((document or {}).get("state") or {}).get("active") or {}


def _expected(document: dict[str, Any] | None) -> str:
    """What was planned before the candidate met its first request, as long as a verdict is waited for."""
    rollout = _active(document)
    if not rollout.get("plan") or rollout["phase"] not in (Phase.SHADOW.value, Phase.CANARY.value):
        return ""
    began_at = datetime.fromisoformat(rollout["began_at"])
    return f"; {in_short(from_document(Plan, rollout['plan']))} (it began at {clock(began_at)})"


def _troubles(services: Services, key: Key) -> Iterator[str]:
    """Why a person should look at this key. What the app tries again by itself is no trouble until it has tried for long."""
    answer = (key.document or {}).get("answer", {}).get("kind")
    overdue = "is the function app running?" in key.answer and key.document is not None
    if answer in _NEEDS_A_PERSON or overdue or last_look(services.ledger, key.kind, key.name).attempt:
        yield f"{key.kind}/{key.name}: {key.answer}"
    elif key.kind == ROLLOUTS:
        yield from _what_a_rollout_asks(key)


def _what_a_rollout_asks(key: Key) -> Iterator[str]:
    """A rollout that stands still goes on by a person's word only; what people were told of still lasts."""
    if pause := _active(key.document).get("pause"):
        yield f"{key.kind}/{key.name}: it stands still ({pause['cause']}): {pause['reason']}; rollout resume, promote or abort"
        return
    for kind, alert in ((key.document or {}).get("state") or {}).get("alerts", {}).items():
        yield f"{key.kind}/{key.name}: {kind}, told {count(alert['times'], 'time')}: {key.answer}"


def _stands_at(services: Services, kind: str, name: str, state: dict[str, Any]) -> str:
    """The newest version, the job, or the rollout."""
    if kind == DATA_ASSETS:
        newest = services.ledger.get(f"data-versions/{name}.json")
        return str(newest.value["version"]) if newest else ""
    if kind == MODELS:
        running, last = state.get("running"), state.get("last")
        pending = ", one pending" if state.get("pending") else ""
        if running:
            return f"training on {running['data_version']}{pending}"
        return (f"version {last['model_version']}" if last["model_version"] else str(last["status"])) + pending if last else ""
    active = state.get("active")
    if active:
        return f"version {active['version']} {stands_at(active)}"
    refused = state.get("refused") or {}
    if refused:  # those that are newer than the settled one
        return f"version {max(refused, key=int)} refused"
    return f"version {state['settled']} {state['outcome']}" if state.get("settled") else ""
