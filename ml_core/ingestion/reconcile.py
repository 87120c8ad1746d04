"""Brings a data asset's versions in line with its files: one step per look."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from ml_core.ingestion.decide import RULES, Action, Observation, Register, State, held, version_of
from ml_core.ingestion.manifest import version_folder
from ml_core.reconciling import DATA_ASSETS, MODELS, handle, tick, wake
from ml_core.services import Services


def receive(services: Services, message: str) -> None:
    """Work off one message of the queue of data assets."""
    handle(services, DATA_ASSETS, message, reconcile)


def reconcile(services: Services, name: str) -> timedelta | None:
    """One look at a data asset; returns when to look again."""
    if name not in services.config.data_assets:
        return None  # it was taken out of the configuration while its key was waiting
    return tick(RULES, name, services, partial(_observe, services, name), partial(_act, services, name))


def registered_version(services: Services, name: str) -> str:
    """The newest version of a data asset, or ''."""
    entry = services.ledger.get(f"data-versions/{name}.json")
    return str(entry.value["version"]) if entry else ""


def _observe(services: Services, name: str, _state: State) -> Observation:
    asset = services.config.data_assets[name]
    found = services.containers.blobs(asset.container, asset.prefix)
    ours = tuple(blob for blob in found if asset.holds(asset.container, blob.path))
    known = services.ledger.get(f"data-versions/{name}/{version_of(held(ours))}.json") is not None
    return Observation(ours, asset.window.quiet_period, known)


def _act(services: Services, name: str, action: Action) -> None:
    if not isinstance(action, Register):
        return
    tags = {"tidegate.data_asset": name, "tidegate.files": str(len(action.blobs))}
    services.workspace.register_data_version(name, action.version, version_folder(name, action.version, action.blobs), tags)
    note = {"version": action.version, "left_out": list(action.left_out), "registered_at": services.now().isoformat()}
    services.ledger.claim(f"data-versions/{name}/{action.version}.json", note)
    # Training reads this one. It comes before the waking, or a quick reconciler would find the version before.
    services.ledger.overwrite(f"data-versions/{name}.json", note)
    for model in services.config.models_of(name):
        wake(services, MODELS, model)
