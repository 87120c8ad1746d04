"""Brings a data asset's versions in line with its files: one step per look."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ml_core.errors import Conflict
from ml_core.ingestion import inventory
from ml_core.ingestion.catalogue import Index, ShardMissing, give_up, index_of
from ml_core.ingestion.decide import (
    RULES,
    Action,
    Announce,
    Close,
    Observation,
    Register,
    State,
    TakeInventory,
    closings_due,
    inventory_due,
)
from ml_core.ingestion.folding import fold_pending, limits_of
from ml_core.ingestion.versions import Content, announce, close, content, draft_of, register
from ml_core.reconciling import DATA_ASSETS, handle, tick
from ml_core.services import Services


def receive(services: Services, message: str) -> None:
    """Work off one message of the queue of data assets."""
    handle(services, DATA_ASSETS, message, reconcile)


def reconcile(services: Services, name: str) -> timedelta | None:
    """One look at a data asset; returns when to look again."""
    if name not in services.config.data_assets:
        return None  # it was taken out of the configuration while its key was waiting
    try:
        return _look(services, name)
    except ShardMissing as missing:
        give_up(services.ledger, name, missing)
        raise


def _look(services: Services, name: str) -> timedelta | None:
    look = _Look(services, name)
    rested = look.time_to_rest()
    if rested is None and fold_pending(services, name):
        return timedelta(0)
    look_again_in = tick(RULES, name, services, look.observe, look.act)
    return look_again_in if rested is None or look_again_in is None else min(look_again_in, rested)


class _Look:
    """One look: what is done is done to the very catalogue that was seen, or not at all."""

    def __init__(self, services: Services, name: str) -> None:
        self._services, self._name = services, name
        self._index = Index(name)
        self._content: Content | None = None

    def time_to_rest(self) -> timedelta | None:
        """So long need nothing be folded in. None: now is the time, since something may follow from it."""
        seen, now = self._seen(), self._services.now()
        due = closings_due(seen.windows, seen.limits, now)
        fold_again_at = self._index.fold_again_at
        if fold_again_at is None or not seen.windows or due or inventory_due(seen, due, now):
            return None
        return fold_again_at - now if fold_again_at > now else None

    def observe(self, _state: State) -> Observation:
        return self._with_draft(self._seen())

    def _seen(self) -> Observation:
        index = self._index = index_of(self._services.ledger, self._name)
        asset = self._services.config.data_assets[self._name]
        return Observation(
            windows=tuple(sorted(index.windows.values(), key=lambda window: (window.opened_at, window.id))),
            limits=limits_of(asset),
            inventory=asset.inventory,
            inventoried_at=index.inventoried_at,
            inventory_asked=index.inventory_asked,
            closings=index.last.number,
            came_to=index.last.version,
            newest=index.version,
        )

    def act(self, action: Action) -> None:
        match action:
            case TakeInventory():
                inventory.take_inventory(self._services, self._name)
            case Register():
                register(self._services, self._name, action, self._index, self._drafted())
            case Close():
                close(self._services, self._name, action, self._index, self._drafted())
            case Announce():
                announce(self._services, self._name, self._index)

    def _with_draft(self, seen: Observation) -> Observation:
        """With what a version would hold, when a window may be closed: only then is the whole catalogue read."""
        due = closings_due(seen.windows, seen.limits, self._services.now())
        if not due or inventory_due(seen, due, self._services.now()):
            return seen
        self._content = content(self._services, self._name, self._index, (one.window for one in due))
        return replace(seen, draft=draft_of(self._services, self._name, self._content))

    def _drafted(self) -> Content:
        if self._content is None:
            raise Conflict(f"What {self._name} holds was not read in this look.")
        return self._content
