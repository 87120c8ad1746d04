"""Of blobs, windows and data versions: what was received, what it was taken for, and which version it went into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from ml_core.ingestion.arrivals import Receipt, pending
from ml_core.ingestion.catalogue import open_windows, row_of
from ml_core.ingestion.folding import limits_of
from ml_core.ingestion.rows import Row
from ml_core.ingestion.windows import closing
from ml_core.reconciling import DATA_ASSETS
from ml_core.services import Services
from ml_core.trail.looks import answer_of
from ml_core.trail.training import trainings_of
from ml_core.trail.values import Chapter, Step, clock, count, moment, some

# A blob's own name comes first among those that start with it, but for accounts that list folders in another order.
_LISTED_AT_MOST = 1000

_OUTCOMES = {
    "new": "a new file",
    "replaced": "a new content of a file that was there",
    "deleted": "the file is gone",
    "repeated": "known already: the same content was announced again, so nothing changed",
    "overtaken": "overtaken: something newer was known of the file, so nothing changed",
    "empty": "an empty file (0 bytes): noted, and never part of a version",
    "marker": "the marker file of its folder: it closes the window, and is never part of a version",
}


def blob_told(services: Services, asset: str, path: str) -> Chapter:
    """A file of a data asset: every arrival of it, and what came of the last one."""
    row = row_of(services.ledger, asset, path)
    told = Chapter(tuple(waiting_steps(services, asset, lambda receipt: receipt.path == path)))
    for window in _windows_of(row):
        told += Chapter(tuple(_received(services, asset, window, path))) + _closed(services, asset, window)
    if told.steps:
        told = Chapter(told.steps[:1]) + Chapter((match_step(services, asset, told.steps[0]),)) + told
    if row is None:
        unseen = () if told.steps else (_never_seen(services, asset, path),)
        waiting = (f"nobody has looked at it yet: {answer_of(services, DATA_ASSETS, asset)}",) if told.steps else ()
        return Chapter(told.steps, unseen + waiting)
    if not told.steps:
        told += Chapter((_known(row),))
    if row.window:
        told += window_told(services, asset, row.window)
    return told + Chapter(ends=tuple(_standing(row)))


def window_told(services: Services, asset: str, window: str) -> Chapter:
    """A window from its opening on, and what was made of the version that it closed into."""
    document = _window(services, asset, window)
    told = Chapter(tuple(_window_steps(asset, document)), (), (window,))
    closed = document.get("closed")
    if not closed:
        return told + Chapter(ends=tuple(_open(services, asset, window)))
    if not closed["version"]:
        reason = closed["reason"].removeprefix(f"{window} closes by its {closed['by']}: ")
        return told + Chapter(ends=(f"the window {window} made no version: {reason}",))
    return told + version_told(services, asset, str(closed["version"]))


def version_told(services: Services, asset: str, version: str) -> Chapter:
    """A data version: the windows that it was made of, its registration, and what was trained on it."""
    told = version_steps(services, asset, version)
    return told + trainings_of(services, asset, version) if told.steps else told


def version_steps(services: Services, asset: str, version: str) -> Chapter:
    """The windows that a data version was made of, and its registration."""
    entry = services.ledger.get(f"data-versions/{asset}/{version}.json")
    if entry is None:
        return Chapter(ends=(f"{asset}:{version} is not registered: {answer_of(services, DATA_ASSETS, asset)}",))
    document, steps = entry.value, list[Step]()
    for window in document.get("windows", ()):
        steps += _window_steps(asset, _window(services, asset, str(window)))
    told = f"{asset}:{version} was registered: {_content(document)}"
    steps.append(Step(moment(document, "registered_at"), "version", told, see=f"{asset}:{version}", document=entry.key))
    correlation = (str(document["correlation_id"]),) if document.get("correlation_id") else ()
    return Chapter(tuple(steps), (), correlation)


def asset_told(services: Services, asset: str) -> Chapter:
    """A data asset as it stands now, its open windows, and its newest version."""
    newest = services.ledger.get(f"data-versions/{asset}.json")
    waiting = sum(len(bundle.receipts) for bundle in pending(services, asset))
    told = [f"{asset}: {answer_of(services, DATA_ASSETS, asset)}"]
    told += [f"{asset}: {count(waiting, 'event')} not looked at yet"] if waiting else []
    told += [end for window in open_windows(services.ledger, asset) for end in _open(services, asset, window.id)]
    standing = Chapter(ends=tuple(told))
    return standing + version_told(services, asset, str(newest.value["version"])) if newest else standing


def not_watched(services: Services, container: str, path: str) -> str:
    """Which rule of the configuration leaves a blob out that belongs to no data asset."""
    here = {name: asset for name, asset in services.config.data_assets.items() if asset.container == container}
    if container in services.own_containers:
        return f"{container} is one of Tidegate's own containers: they are never watched, for a note about a note would never end"
    if not here:
        return f"no data asset of the configuration watches the container {container}, so its files lead to nothing"
    below = {name: asset for name, asset in here.items() if path.startswith(asset.prefix)}
    if not below:
        wanted = some([f"{asset.prefix!r} ({name})" for name, asset in here.items()])
        return f"{path} does not start with a prefix that is watched in {container}: {wanted}"
    name, asset = next(iter(below.items()))
    return f"{path} does not end with one of the suffixes that {name} takes: {', '.join(asset.suffixes)}"


def receipts_of(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The receipts of a window's document, each once: an event that was delivered twice may stand in two bundles."""
    noted = chain.from_iterable(document.get("receipts", {}).values())
    first: dict[tuple[str, str, str], dict[str, Any]] = {}
    for receipt in sorted(noted, key=lambda one: str(one["received_at"])):
        first.setdefault((receipt["event_id"], receipt["path"], receipt["etag"]), receipt)
    yield from first.values()


def receipt_step(receipt: Mapping[str, Any], document: str) -> Step:
    """One change of a file that a window took in, who told of it, and what it was taken for."""
    taken_for, event = _OUTCOMES.get(receipt["outcome"], receipt["outcome"]), receipt["event_id"]
    teller = f"the event {event} said" if event else "the inventory found; no event had told of it"
    told = f"{receipt['path']} was {receipt['what']}, {teller}{_etag(receipt['etag'])}: {taken_for}"
    return Step(moment(receipt, "received_at"), "received", told, see=event, document=document)


def waiting_steps(services: Services, asset: str, wanted: Callable[[Receipt], bool]) -> Iterator[Step]:
    """The events that are recorded, and that no look has taken in yet."""
    for bundle in pending(services, asset):
        yield from (_waiting(receipt, bundle.key) for receipt in bundle.receipts if wanted(receipt))


def _waiting(receipt: Receipt, key: str) -> Step:
    told = (
        f"{receipt.path} was {receipt.what}, the event {receipt.event_id} said{_etag(receipt.etag)}: it waits for the next look"
    )
    return Step(receipt.received_at, "received", told, see=receipt.event_id, document=key)


def match_step(services: Services, asset: str, received: Step) -> Step:
    """By which rule of the configuration the data asset takes what was received."""
    rule = services.config.data_assets[asset]
    ends = f" and end with {' or '.join(rule.suffixes)}" if rule.suffixes else ""
    starts = f"that start with {rule.prefix!r}" if rule.prefix else "of any name"
    told = f"it belongs to the data asset {asset}: files of the container {rule.container} {starts}{ends}"
    return Step(received.at, "matched", told, see=asset)


def _etag(etag: str) -> str:
    return f" (eTag {etag})" if etag else ""


def _windows_of(row: Row | None) -> list[str]:
    """The windows that know of the file, oldest first, each once."""
    if row is None:
        return []
    windows = [arrival.window for arrival in row.before] + [row.window]
    return [window for window in dict.fromkeys(windows) if window]


def _received(services: Services, asset: str, window: str, path: str) -> Iterator[Step]:
    key = _window_key(asset, window)
    for receipt in receipts_of(_window(services, asset, window)):
        if receipt["path"] == path:
            yield receipt_step(receipt, key)


def _closed(services: Services, asset: str, window: str) -> Chapter:
    """How a window ended, and the version that it closed into; without what was made of that, which can be asked for."""
    document = _window(services, asset, window)
    version = (document.get("closed") or {}).get("version")
    return version_steps(services, asset, str(version)) if version else Chapter(tuple(_window_steps(asset, document)))


def _open(services: Services, asset: str, window: str) -> Iterator[str]:
    """What a window that is open waits for."""
    found = next((one for one in open_windows(services.ledger, asset) if one.id == window), None)
    if found is None:
        yield f"the window {window} is being closed: {answer_of(services, DATA_ASSETS, asset)}"
        return
    limits = limits_of(services.config.data_assets[asset])
    due = closing(found, limits)
    waits = f"it is closed by its {due.by} at {clock(due.at)}"
    if due.by == "quiet period":
        waits += f" if nothing more changes, and at {clock(found.opened_at + limits.max_wait)} at the latest"
    sooner = [f"{limits.max_files:,} changed files close it"] if limits.max_files else []
    if marker := services.config.data_assets[asset].window.marker:
        sooner.append(f"the marker {f'{found.folder}/{marker}'.lstrip('/')} does")
    sooner_told = f"; sooner, {' or '.join(sooner)}" if sooner and due.by in ("quiet period", "max wait") else ""
    told = f"the window {window} is open since {clock(found.opened_at)}, with {count(found.files, 'file')}"
    yield f"{told}: {waits}{sooner_told}"


def _known(row: Row) -> Step:
    """The last arrival of a file that no window has taken in: an empty one, or one of too many that an inventory has found."""
    what = "deleted" if row.deleted_at else "created"
    if row.source == "inventory":
        told = f"the inventory found {row.path} as the container had it{_etag(row.etag)}: no event had told of that"
    else:
        told = f"{row.path} was {what}, the event {row.event_id} said{_etag(row.etag)}: no window took it in"
    return Step(row.received_at, "received", told, see=row.event_id)


def _standing(row: Row) -> Iterator[str]:
    if row.deleted_at is not None:
        yield f"{row.path} was deleted ({clock(row.deleted_at)}): later versions do not hold it"
    elif row.marker:
        yield f"{row.path} is a marker file: it closes its folder's window and is never part of a version"
    elif row.size == 0:
        yield f"{row.path} is empty (0 bytes), so it is never part of a version"


def _never_seen(services: Services, asset: str, path: str) -> str:
    container = services.config.data_assets[asset].container
    listed = islice(services.containers.blobs(container, path), _LISTED_AT_MOST)
    if any(blob.path == path for blob in listed):
        return (
            f"{path} is in the container and no event has told of it: the next inventory of {asset} takes it in"
            f" ({answer_of(services, DATA_ASSETS, asset)})"
        )
    return f"the container {container} holds no {path}, and no event has ever told of it"


def _window(services: Services, asset: str, window: str) -> dict[str, Any]:
    entry = services.ledger.get(_window_key(asset, window))
    return entry.value if entry else {"id": window}


def _window_key(asset: str, window: str) -> str:
    return f"windows/{asset}/{window}.json"


def _window_steps(asset: str, document: Mapping[str, Any]) -> Iterator[Step]:
    window, key = str(document["id"]), _window_key(asset, str(document["id"]))
    if not document.get("opened_at"):
        return
    folder = f" for the folder {document['folder']}" if document.get("folder") else ""
    opened = f"a window of {asset} was opened{folder}: {window}"
    yield Step(moment(document, "opened_at"), "window", opened, see=window, document=key)
    closed = document.get("closed")
    if closed:
        outcomes = Counter(str(receipt["outcome"]) for receipt in receipts_of(document))
        outcomes["not listed"] = int(document.get("not_listed", 0))
        taken = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.most_common() if number)
        told = f"the window was closed by its {closed['by']}" + (f"; it had taken in {taken}" if taken else "")
        # When it was due: the look that closed it came a little later, and names the version's registration by its beginning.
        yield Step(moment(closed, "due_at") or moment(closed, "at"), "window", told, see=window, document=key)


def _content(document: Mapping[str, Any]) -> str:
    """'12 files (3 added, 1 replaced, 2 deleted: a.csv, b.csv), 1 empty file left out (c.csv)'."""
    deleted, left_out = list(document.get("deleted", ())), list(document.get("left_out", ()))
    changes = [f"{document[what]:,} {what}" for what in ("added", "replaced") if document.get(what)]
    changes += [f"{len(deleted):,} deleted: {some(deleted)}"] if deleted else []
    told = count(int(document.get("files", 0)), "file") + (f" ({', '.join(changes)})" if changes else "")
    return told + (f", {count(len(left_out), 'empty file')} left out ({some(left_out)})" if left_out else "")
