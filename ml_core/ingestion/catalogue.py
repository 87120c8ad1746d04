"""What the ledger knows of a data asset's blobs: an index, and rows in 64 shards by the hash of their path.

Shards are written copy-on-write, and the index names the current ones: putting it, on condition that nobody else did, is the
one commit. So a look that dies leaves the catalogue as it was, and of two looks at the same time one has done nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ml_core.documents import from_document, time_name, to_document
from ml_core.errors import Conflict
from ml_core.ingestion.rows import Row, from_json, to_json
from ml_core.ingestion.tallies import RunningTally, Tally, shard_of
from ml_core.ingestion.windows import OpenWindow
from ml_core.ports import Ledger

if TYPE_CHECKING:
    from ml_core.config import DataAsset

# Long after Event Grid has given up on an event (a day at most). What is deleted longer than that is forgotten; should its
# creation be told once more even then, the next inventory corrects it.
FORGOTTEN_AFTER = timedelta(days=7)
# People who ask meet looks that change it; looks themselves come again.
_ATTEMPTS = 5


@dataclass(frozen=True)
class Shard:
    """A shard's current document, and the tally of the blobs in it that are there."""

    document: str
    tally: Tally


class ShardMissing(Conflict):
    """A shard is not where the index says. Another look has replaced it meanwhile, or somebody has deleted it."""

    def __init__(self, asset: str, number: int, document: str) -> None:
        super().__init__(f"{document} of the ledger is not there: the catalogue of {asset} was changed while it was read.")
        self.number, self.document = number, document


@dataclass(frozen=True)
class ClosedWindow:
    """A window that the last closing has closed."""

    id: str
    folder: str
    opened_at: datetime
    by: str
    due_at: datetime


@dataclass(frozen=True)
class LastClosing:
    """The last time that windows were closed, and what it has come to. `number`: how often that happened so far.

    `version` is the one that it made, or found again; '' when there was no file. `registered`: it made it the newest version.
    """

    number: int = 0
    closed: tuple[ClosedWindow, ...] = ()
    version: str = ""
    registered: bool = False
    reason: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Index:
    """The catalogue's head. `etag` None: it has never been written."""

    asset: str
    etag: str | None = None
    shards: Mapping[int, Shard] = field(default_factory=dict)
    windows: Mapping[str, OpenWindow] = field(default_factory=dict)
    version: str = ""
    """The newest version."""
    last: LastClosing = LastClosing()
    inventoried_at: datetime | None = None
    inventories_asked: int = 0
    inventories_made: int = 0
    """As many as had been asked for when the last one began."""
    tidied_at: datetime | None = None
    fold_again_at: datetime | None = None
    """Until then nothing need be folded in, as long as a window is open."""

    def tally(self, shard: int) -> Tally:
        found = self.shards.get(shard)
        return found.tally if found else Tally()

    @property
    def inventory_asked(self) -> bool:
        return self.inventories_asked > self.inventories_made


def index_of(ledger: Ledger, asset: str) -> Index:
    """The index as it is now; an empty one when there is none."""
    entry = ledger.get(_index_key(asset))
    if entry is None:
        return Index(asset)
    document = entry.value
    shards = {
        int(number): Shard(shard["document"], Tally(shard["files"], int(shard["digest"], 16)))
        for number, shard in document["shards"].items()
    }
    head = from_document(_Head, document)
    return Index(asset, entry.etag, shards, **vars(head))


def rows_of(ledger: Ledger, index: Index, shard: int) -> dict[str, dict[str, Any]]:
    """The rows of a shard by path, as JSON (`rows.from_json`). ShardMissing: another look has replaced it meanwhile."""
    found = index.shards.get(shard)
    if found is None:
        return {}
    entry = ledger.get(found.document)
    if entry is None:
        raise ShardMissing(index.asset, shard, found.document)
    rows: dict[str, dict[str, Any]] = entry.value["rows"]
    return rows


def all_rows(ledger: Ledger, index: Index) -> Iterator[Row]:
    """Every row, shard by shard. ShardMissing: another look has changed the catalogue meanwhile."""
    for shard in sorted(index.shards):
        yield from map(from_json, rows_of(ledger, index, shard).values())


def row_of(ledger: Ledger, asset: str, path: str) -> Row | None:
    """What is known of one blob. Conflict: the catalogue changes too fast to be read."""
    for _ in range(_ATTEMPTS):
        try:
            row = rows_of(ledger, index_of(ledger, asset), shard_of(path)).get(path)
            return from_json(row) if row else None
        except Conflict:
            continue
    raise _in_motion(asset)


def open_windows(ledger: Ledger, asset: str) -> tuple[OpenWindow, ...]:
    """The windows that still collect, oldest first."""
    return tuple(sorted(index_of(ledger, asset).windows.values(), key=lambda window: window.opened_at))


def ask_for_inventory(ledger: Ledger, asset: str) -> None:
    """Let the next look compare what is known with what is there. Conflict: the catalogue changes too fast; ask again."""
    for _ in range(_ATTEMPTS):
        index = index_of(ledger, asset)
        try:
            _put(ledger, replace(index, inventories_asked=index.inventories_asked + 1))
        except Conflict:
            continue
        return
    raise _in_motion(asset)


def give_up(ledger: Ledger, asset: str, missing: ShardMissing) -> None:
    """Take a shard that somebody has deleted out of the index: an inventory makes it anew. One that was replaced stays."""
    index = index_of(ledger, asset)
    found = index.shards.get(missing.number)
    if found is not None and found.document == missing.document:
        shards = {number: shard for number, shard in index.shards.items() if number != missing.number}
        _put(ledger, replace(index, shards=shards, inventories_asked=index.inventories_asked + 1))


def _in_motion(asset: str) -> Conflict:
    return Conflict(f"The catalogue of {asset} is being changed; ask again in a moment.")


class Edit:
    """Changes of the catalogue that become true together, by `commit`, or not at all.

    `by_time`: whether a version depends on when its blobs were written, so that the tallies must tell it.
    """

    def __init__(self, ledger: Ledger, index: Index, asset: DataAsset, now: datetime) -> None:
        self._ledger, self.index, self._now = ledger, index, now
        self._by_time = asset.newest_files is not None
        self.windows = dict(index.windows)
        self._rows: dict[int, dict[str, dict[str, Any]]] = {}
        self._changed: set[int] = set()
        self._written: dict[int, Shard | None] = {}
        self.inventory_wanted = False

    def paths(self, shard: int) -> Iterator[str]:
        yield from list(self._shard(shard))

    def row(self, path: str) -> Row | None:
        found = self._shard(shard_of(path)).get(path)
        return from_json(found) if found else None

    def put(self, row: Row) -> None:
        shard = shard_of(row.path)
        self._shard(shard)[row.path] = to_json(row)
        self._changed.add(shard)

    def write(self, shard: int) -> None:
        """Write the shard, should it have changed, and let go of its rows."""
        rows = self._rows.pop(shard, {})
        if shard in self._changed:
            self._changed.discard(shard)
            self._written[shard] = self._write(shard, rows)

    def commit(self, **head: Any) -> None:
        """Make it true. Conflict: another look was first, and nothing has changed."""
        for shard in sorted(self._rows):
            self.write(shard)
        if not self._written and not head and not self.inventory_wanted and self.windows == self.index.windows:
            return
        shards = {number: shard for number, shard in {**self.index.shards, **self._written}.items() if shard is not None}
        asked = self.index.inventories_asked + int(self.inventory_wanted)
        # What was written is left alone on a conflict: perhaps this very commit was made, and only its answer got lost.
        _put(self._ledger, replace(self.index, shards=shards, windows=self.windows, inventories_asked=asked, **head))
        for number in self._written.keys() & self.index.shards.keys():
            self._ledger.delete(self.index.shards[number].document)

    def _shard(self, shard: int) -> dict[str, dict[str, Any]]:
        if shard not in self._rows:
            self._rows[shard] = rows_of(self._ledger, self.index, shard)
        return self._rows[shard]

    def _write(self, number: int, rows: dict[str, dict[str, Any]]) -> Shard | None:
        tally, kept = RunningTally(by_time=self._by_time), {}
        for path, row in rows.items():
            if row["deleted_at"] is None:
                modified_at = datetime.fromisoformat(row["modified_at"])
                tally.add(path, row["etag"], row["size"], modified_at, marker=row["marker"])
            elif row["window"] not in self.windows and self._now - datetime.fromisoformat(row["deleted_at"]) > FORGOTTEN_AFTER:
                continue
            kept[path] = row
        if not kept:
            return None
        document = f"{_folder(self.index.asset)}{number:02d}-{time_name(self._now)}-{uuid4().hex[:8]}.json"
        self._ledger.overwrite(document, {"rows": kept})
        return Shard(document, tally.result())


def remove_leftovers(ledger: Ledger, index: Index, now: datetime) -> None:
    """Delete shards that a look wrote and died with. Young ones may be about to be committed."""
    current = {shard.document for shard in index.shards.values()}
    youngest = time_name(now - timedelta(hours=1))
    for key in list(ledger.keys(_folder(index.asset))):
        written_at = key.rsplit("/", 1)[1].split("-")[1]
        if key not in current and written_at < youngest:
            ledger.delete(key)


@dataclass(frozen=True)
class _Head:
    """The index without its shards and etag, as a document."""

    windows: dict[str, OpenWindow]
    version: str
    last: LastClosing
    inventoried_at: datetime | None
    inventories_asked: int
    inventories_made: int
    tidied_at: datetime | None
    fold_again_at: datetime | None = None


def _put(ledger: Ledger, index: Index) -> None:
    head = to_document(_Head(**{name: getattr(index, name) for name in _Head.__dataclass_fields__}))
    shards = {
        f"{number:02d}": {
            "document": shard.document,
            "files": shard.tally.files,
            "digest": f"{shard.tally.digest:032x}",
        }
        for number, shard in sorted(index.shards.items())
    }
    ledger.put(_index_key(index.asset), {"shards": shards, **head}, etag=index.etag)


def _index_key(asset: str) -> str:
    return f"catalogue/{asset}.json"


def _folder(asset: str) -> str:
    return f"catalogue/{asset}/"
