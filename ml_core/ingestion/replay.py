"""Feeds what was told of a data asset in some span again: for people who doubt that everything was worked off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ml_core.addresses import BlobAddress, account_url
from ml_core.errors import PermanentError
from ml_core.ingestion.arrivals import LARGEST_BUNDLE, Receipt, put_bundle
from ml_core.ingestion.catalogue import ask_for_inventory
from ml_core.ingestion.window_notes import noted_between
from ml_core.reconciling import DATA_ASSETS, wake
from ml_core.services import Services


def replay_window(services: Services, asset: str, since: datetime, until: datetime) -> int:
    """Feed the events of the windows that were open between these times again, and ask for an inventory; return how many.

    Harmless: what is known already is recognised as repeated. Raises PermanentError for an asset that is not configured and for
    times that do not say of which zone they are, Conflict when the asset is being worked off at this very moment: ask again.
    """
    if asset not in services.config.data_assets:
        known = ", ".join(services.config.data_assets)
        raise PermanentError(f"There is no data asset {asset!r} in the configuration; expected one of {known}.")
    if since.tzinfo is None or until.tzinfo is None:
        raise PermanentError(f"The span to replay is {since} to {until}: expected times with a time zone.")
    # Windows are named by UTC, and found by their names.
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    if since > until:
        raise PermanentError(f"The span to replay begins at {since} and ends at {until}: expected an end after the beginning.")
    told = {receipt.identity: receipt for receipt in _told(services, asset, since, until)}
    for batch in _in_batches(list(told.values())):
        put_bundle(services, asset, batch, source="replay")
    ask_for_inventory(services.ledger, asset)
    wake(services, DATA_ASSETS, asset)
    return len(told)


def _told(services: Services, asset: str, since: datetime, until: datetime) -> Iterator[Receipt]:
    """The receipts of events in these windows, as if they came now. What an inventory has found, it finds again."""
    account, container = account_url(services.data_account_url), services.config.data_assets[asset].container
    now = services.now()
    for window in noted_between(services.ledger, asset, since, until):
        for notes in window["receipts"].values():
            for note in notes:
                if note["event_id"]:
                    yield _receipt(note, BlobAddress(account, container, note["path"]).url, now)


def _receipt(note: dict[str, Any], url: str, now: datetime) -> Receipt:
    return Receipt(
        event_id=note["event_id"],
        what=note["what"],
        path=note["path"],
        url=url,
        etag=note["etag"],
        size=note["size"],
        sequencer=note["sequencer"],
        occurred_at=datetime.fromisoformat(note["occurred_at"]),
        received_at=now,
    )


def _in_batches(receipts: list[Receipt]) -> Iterator[list[Receipt]]:
    for start in range(0, len(receipts), LARGEST_BUNDLE):
        yield receipts[start : start + LARGEST_BUNDLE]
