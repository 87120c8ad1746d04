"""What people and timers need: every key looked at now and then, and the state of everything at one glance."""

from __future__ import annotations

from typing import Any

from ml_core.reconciling import DATA_ASSETS, MODELS, ROLLOUTS, wake
from ml_core.services import Services

LEFT_BEHIND = (
    "no model of the configuration serves at this endpoint any more: it keeps the traffic and the deployments it had; "
    "put the model back to go on, or delete the endpoint"
)


def sweep(services: Services) -> None:
    """Wake every key of the configuration: a lost event, message or tick costs minutes then, not data."""
    for kind, key in _keys(services):
        wake(services, kind, key)


def status(services: Services) -> dict[str, Any]:
    """`{kind: {key: {"state", "answer", "at", "decision"}}}` for every key of the configuration; None for one never looked at.

    A rollout whose model was taken out of the configuration is shown too, with a `note`: nobody moves it any more.
    """
    found: dict[str, Any] = {DATA_ASSETS: {}, MODELS: {}, ROLLOUTS: {}}
    for kind, key in _keys(services):
        entry = services.ledger.get(f"{kind}/{key}.json")
        found[kind][key] = entry.value if entry else None
    for entry in services.ledger.list(f"{ROLLOUTS}/"):
        endpoint = entry.key.removeprefix(f"{ROLLOUTS}/").removesuffix(".json")
        if endpoint not in found[ROLLOUTS]:
            found[ROLLOUTS][endpoint] = {**entry.value, "note": LEFT_BEHIND}
    return found


def _keys(services: Services) -> list[tuple[str, str]]:
    config = services.config
    return [
        *((DATA_ASSETS, name) for name in config.data_assets),
        *((MODELS, name) for name in config.models),
        *((ROLLOUTS, model.endpoint.name) for model in config.models.values()),
    ]
