"""Of single events, and of what lies in the inbox: what became of it, by which rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import chain, islice

from ml_core import inbox
from ml_core.chain import months
from ml_core.ingestion.catalogue import all_rows, index_of
from ml_core.naming import fingerprint
from ml_core.reconciling import JOBS, MODELS
from ml_core.services import Services
from ml_core.trail import rollouts, training
from ml_core.trail.data import blob_told, match_step, receipt_step, receipts_of, waiting_steps, window_told
from ml_core.trail.values import Chapter, Step, moment

# An event is looked for in the newest windows only: there is no index by event, for it would cost a write per event.
WINDOWS_SEARCHED = 200
ITEMS_SEARCHED = 1000


def event_told(services: Services, event_id: str) -> Chapter:
    """What became of the event of this id; an empty chapter when nothing is known of it."""
    told = _noted(services, event_id) + _arrived(services, event_id)
    return (told if told.steps else _in_a_row(services, event_id)) + _kept_event(services, event_id)


def kept(services: Services, text: str) -> Chapter:
    """The inbox's items that hold this text in their payload, as a blob's url."""
    return _kept(services, lambda payload: text in payload)


def _kept_event(services: Services, event_id: str) -> Chapter:
    """The inbox's items that are the event of this id, whatever else is wrong with it."""
    names_it = re.compile(rf'"id"\s*:\s*"?{re.escape(event_id)}["\s,}}]', re.IGNORECASE)
    return _kept(services, lambda payload: names_it.search(payload) is not None)


def _kept(services: Services, matches: Callable[[str], bool]) -> Chapter:
    """The open items are all searched. Of the closed ones, which are kept for ever, as many as one may wait for."""
    told = Chapter()
    every, waiting = inbox.items(services.ledger), {item.id: item for item in inbox.items(services.ledger, "open")}
    closed = (item for item in islice(every, ITEMS_SEARCHED) if item.id not in waiting)
    for item in chain(waiting.values(), closed):
        if matches(item.payload):
            told += item_told(item)
    if next(every, None) is not None:
        searched = f"of the inbox's closed items only {ITEMS_SEARCHED:,} were searched: inbox list --all shows every one"
        told += Chapter(ends=(searched,))
    return told


def kept_work(services: Services, key: str) -> Chapter:
    """The inbox's open items about a key ("models/churn")."""
    told = Chapter()
    for item in inbox.items(services.ledger, "open"):
        if item.key == key:
            told += item_told(item)
    return told


def item_told(item: inbox.Item) -> Chapter:
    """An item's history, and what can be done about it."""
    key = f"inbox/{item.id}.json"
    steps = tuple(
        Step(
            moment({"at": line.at}, "at"), "inbox", f"{item.kind} {item.id} {line.what} ({line.by}): {line.reason}", document=key
        )
        for line in item.history
    )
    if item.status != "open":
        return Chapter(steps)
    return Chapter(steps, (f"it lies in the inbox as {item.id}, since {item.error}: replay or discard it",))


def _noted(services: Services, event_id: str) -> Chapter:
    entry = services.ledger.get(f"events/{fingerprint(event_id)}.json")
    if entry is None:
        return Chapter()
    note = entry.value
    told = f"the event {note['event_id']} ({note['type']}) was {note['outcome']}: {note['reason']}"
    received = Step(moment(note, "received_at"), "received", told, see=event_id, document=entry.key)
    if note["outcome"] != "matched":
        return Chapter((received,), (f"nothing was done for it, because it was {note['outcome']}: {note['reason']}",))
    return Chapter((received,)) + _subject_told(services, str(note["subject"]))


def _subject_told(services: Services, subject: str) -> Chapter:
    kind, _, name = subject.partition("/")
    if kind == JOBS:
        return training.job_told(services, name)
    model, _, version = name.partition(":")
    if kind == MODELS and version:
        return rollouts.version_told(services, model, version)
    if kind == MODELS and name in services.config.models:
        return training.model_told(services, name)
    return Chapter(ends=(f"it was about {subject}",) if subject else ())


def _arrived(services: Services, event_id: str) -> Chapter:
    """An event about a blob: it waits in a bundle, or a window has taken it in."""
    told = Chapter()
    for asset in services.config.data_assets:
        waiting = tuple(waiting_steps(services, asset, lambda receipt: receipt.event_id == event_id))
        found = _window_with(services, asset, event_id)
        if waiting:
            matched = match_step(services, asset, waiting[0])
            told += Chapter((*waiting, matched), (f"it waits for the next look at {asset}",))
        if found:
            window, steps = found
            told += Chapter((*steps, match_step(services, asset, steps[0]))) + window_told(services, asset, window)
    return told


def _in_a_row(services: Services, event_id: str) -> Chapter:
    """An event that no window of late has taken in, but a file's row names. The rows are read one by one: the last resort."""
    for asset in services.config.data_assets:
        for row in all_rows(services.ledger, index_of(services.ledger, asset)):
            if row.tells_of(event_id):
                return blob_told(services, asset, row.path)
    return Chapter()


def _window_with(services: Services, asset: str, event_id: str) -> tuple[str, tuple[Step, ...]] | None:
    """The newest window that took in the event, with the receipts. Its names sort by time."""
    for key in islice(_windows(services, asset), WINDOWS_SEARCHED):
        entry = services.ledger.get(key)
        steps = tuple(receipt_step(one, key) for one in receipts_of(entry.value) if one["event_id"] == event_id) if entry else ()
        if entry and steps:
            return str(entry.value["id"]), steps
    return None


def _windows(services: Services, asset: str) -> Iterator[str]:
    """The keys of an asset's windows, newest first. Those of a year month by month, so that most are never listed."""
    folder, now = f"windows/{asset}/{asset}-", services.now()
    of_the_year = list(months(now - timedelta(days=365), now))
    for month in reversed(of_the_year):
        yield from sorted(services.ledger.keys(f"{folder}{month}"), reverse=True)
    yield from sorted((key for key in services.ledger.keys(folder) if key < f"{folder}{of_the_year[0]}"), reverse=True)
