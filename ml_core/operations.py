"""What people and timers need: every key looked at now and then, the state of everything at one glance, and another try.

What a person has done is in the audit before it is done.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ml_core import audit, inbox, intake
from ml_core.errors import PermanentError
from ml_core.events import ModelRegistered, RunStatusChanged
from ml_core.inbox import Item
from ml_core.ingestion import record
from ml_core.ingestion import replay as ingestion_replay
from ml_core.looks import keep_poison, last_look, read_message
from ml_core.reconciling import DATA_ASSETS, MODELS, ROLLOUTS, Rules, close_what_is_over, forgive, wake
from ml_core.rollout import request as rollout_request
from ml_core.services import Services
from ml_core.training import observe
from ml_core.training.request import request_rerun

LEFT_BEHIND = (
    "no model of the configuration serves at this endpoint any more: it keeps the traffic and the deployments it had; "
    "put the model back to go on, or delete the endpoint"
)


def sweep(services: Services) -> None:
    """Wake every key of the configuration: a lost event, message or tick costs minutes then, not data."""
    for kind, key in _keys(services):
        wake(services, kind, key)
    for kind, key in _keys(services):
        close_what_is_over(_rules(kind), key, services)


def status(services: Services) -> dict[str, Any]:
    """`{kind: {key: {"state", "answer", "at", "decision"}}}` for every key of the configuration; None for one never looked at.

    A key whose looks fail has `failing`: `{"attempt", "error", "at"}`, `at` being the time of the next look, or of the last one
    when a person was asked. A rollout whose model was taken out of the configuration is shown too, with a `note`: nobody moves it
    any more. `inbox` is the number of its open items.
    """
    found: dict[str, Any] = {DATA_ASSETS: {}, MODELS: {}, ROLLOUTS: {}}
    for kind, key in _keys(services):
        entry = services.ledger.get(f"{kind}/{key}.json")
        found[kind][key] = entry.value if entry else None
        look = last_look(services.ledger, kind, key)
        if look.attempt:
            at = look.at.isoformat() if look.at else ""
            found[kind][key] = {**(found[kind][key] or {}), "failing": {"attempt": look.attempt, "error": look.error, "at": at}}
    for entry in services.ledger.list(f"{ROLLOUTS}/"):
        endpoint = entry.key.removeprefix(f"{ROLLOUTS}/").removesuffix(".json")
        if endpoint not in found[ROLLOUTS]:
            found[ROLLOUTS][endpoint] = {**entry.value, "note": LEFT_BEHIND}
    found["inbox"] = sum(1 for _ in inbox.items(services.ledger, "open"))
    return found


def keep_poison_message(services: Services, kind: str, text: str) -> None:
    """Keep a message that the host gave up on. One for a key that has left the configuration has nothing left to say."""
    message = read_message(services, kind, text)
    if message is not None and (kind, message.key) in _keys(services):
        keep_poison(services, message)


def replay(services: Services, wanted: str, by: str, reason: str = "") -> Item:
    """Do again what an item of the inbox holds: an event goes the way of all events, work gets another look.

    Safe whatever was done already: doing it twice is doing it once. Returns the item; it is still open should it have failed
    once more in this moment. PermanentError when that cannot help, or did not.
    """
    item = inbox.find(services.ledger, wanted)
    audit.record(services, by=by, what="replay", subject=f"inbox/{item.id}", reason=reason, detail={"error": item.error})
    if item.kind == "work":
        _look_again(services, item, by)
    else:
        _take_in_again(services, item)
    return inbox.replayed(services, item, by, reason or "done again as it was")


def retrain(services: Services, model: str, reason: str, by: str) -> int:
    """Ask for another training on the newest data, although nothing is new; return the generation's number."""
    audit.record(services, by=by, what="retrain", subject=f"{MODELS}/{model}", reason=reason)
    return request_rerun(services, model, reason=reason, by=by)


def replay_window(services: Services, asset: str, since: datetime, until: datetime, by: str, reason: str = "") -> int:
    """Take in again what the windows between these times have received, and compare the asset with its container now.

    Returns the number of events. Conflict when the asset is being worked off at this very moment: ask again.
    """
    span = {"since": since.isoformat(), "until": until.isoformat()}
    audit.record(services, by=by, what="replay window", subject=f"{DATA_ASSETS}/{asset}", reason=reason, detail=span)
    return ingestion_replay.replay_window(services, asset, since, until)


def _look_again(services: Services, item: Item, by: str) -> None:
    kind, _, key = item.key.partition("/")
    if (kind, key) not in _keys(services):
        what = f"{item.key} is not in the configuration" if item.key else "the message names nothing that Tidegate works on"
        raise PermanentError(f"The item {item.id} cannot be done again: {what}. Discard it with a reason.")
    if item.permanent:
        forgive(_rules(kind), key, services, f"{by} asked for another try")
    wake(services, kind, key)


def _take_in_again(services: Services, item: Item) -> None:
    event, outcome = intake.screen(services, item.payload)
    if outcome is not None and outcome.outcome in ("refused", "dropped"):
        raise PermanentError(
            f"The event of the item {item.id} cannot be taken in: {outcome.reason.rstrip('.')}. Discard it with a reason."
        )
    receive = record.receive
    if isinstance(event, ModelRegistered):
        receive = rollout_request.receive
    elif isinstance(event, RunStatusChanged):
        receive = observe.receive
    before = _failures(services, item)
    receive(services, item.payload)
    if _failures(services, item) > before:
        raise PermanentError(f"The event of the item {item.id} was refused once more; `inbox list` shows why.")


def _failures(services: Services, item: Item) -> int:
    """How often the event itself was refused: that is an item of its own, unless it is this one."""
    entry = services.ledger.get(f"inbox/{inbox.item_id('event', item.payload)}.json")
    return int(entry.value["attempts"]) if entry else 0


def _keys(services: Services) -> list[tuple[str, str]]:
    config = services.config
    return [
        *((DATA_ASSETS, name) for name in config.data_assets),
        *((MODELS, name) for name in config.models),
        *((ROLLOUTS, model.endpoint.name) for model in config.models.values()),
    ]


def _rules(kind: str) -> Rules[Any, Any, Any]:
    """The rules of a kind of key. Imported when they are asked for: the app starts, and answers events, without them."""
    if kind == DATA_ASSETS:
        from ml_core.ingestion.decide import RULES as INGESTION

        return INGESTION
    if kind == MODELS:
        from ml_core.training.decide import RULES as TRAINING

        return TRAINING
    from ml_core.rollout.decide import RULES as ROLLOUT

    return ROLLOUT
