"""Brings the catalogue in line with what is there: events may be lost or forged, the container's own listing is neither.

One listing is streamed into 64 running tallies. Only the shards whose tally differs are looked at, in a second listing, and not
more of them at once than fit into memory: what is left over is for the next look. Nothing changed costs one listing, one read and
one write.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ml_core.errors import Conflict
from ml_core.ingestion.catalogue import Edit, Index, index_of, remove_leftovers
from ml_core.ingestion.folding import Fold
from ml_core.ingestion.rows import Row, found, gone
from ml_core.ingestion.tallies import SHARDS, RunningTally, shard_of
from ml_core.ingestion.window_notes import note_findings
from ml_core.ports import Blob
from ml_core.services import Services

# Some 60 MB of blobs and rows.
MOST_AT_ONCE = 50_000
_TIDY_EVERY = timedelta(days=1)
_ATTEMPTS = 3


@dataclass(frozen=True)
class _Survey:
    """Which shards are to be looked at now, and whether these are all that differ."""

    shards: tuple[int, ...]
    complete: bool


def take_inventory(services: Services, name: str) -> None:
    """One inventory, or as much of it as one look may do. Conflict: another look has changed the catalogue too often."""
    began_at = services.now()
    base = index_of(services.ledger, name)
    survey = _survey(services, name, base)
    blobs = _blobs_of(services, name, survey.shards)
    index = base
    for _ in range(_ATTEMPTS):
        try:
            _correct(services, name, base, index, survey, blobs, began_at)
        except Conflict:
            index = index_of(services.ledger, name)
        else:
            return
    raise Conflict(f"The catalogue of {name} changes faster than its inventory can be written down.")


def _survey(services: Services, name: str, base: Index) -> _Survey:
    asset = services.config.data_assets[name]
    running = [RunningTally(by_time=asset.newest_files is not None) for _ in range(SHARDS)]
    for blob in _listed(services, name):
        marker = asset.window.is_marker(blob.path)
        running[shard_of(blob.path)].add(blob.path, blob.etag, blob.size, blob.modified_at, marker=marker)
    tallies = [tally.result() for tally in running]
    differing = [shard for shard in range(SHARDS) if tallies[shard] != base.tally(shard)]
    chosen, files = list[int](), 0
    for shard in differing:
        files += tallies[shard].files
        if chosen and files > MOST_AT_ONCE:
            break
        chosen.append(shard)
    return _Survey(tuple(chosen), complete=len(chosen) == len(differing))


def _blobs_of(services: Services, name: str, shards: tuple[int, ...]) -> dict[int, dict[str, Blob]]:
    """The blobs of these shards by path."""
    blobs: dict[int, dict[str, Blob]] = defaultdict(dict)
    if shards:
        for blob in _listed(services, name):
            if (shard := shard_of(blob.path)) in shards:
                blobs[shard][blob.path] = blob
    return blobs


def _correct(
    services: Services,
    name: str,
    base: Index,
    index: Index,
    survey: _Survey,
    blobs: dict[int, dict[str, Blob]],
    began_at: datetime,
) -> None:
    """Correct the rows of these shards and commit it. What others have changed since the listing began is left to the next one:
    it may be newer than the listing."""
    work = Fold(services, name, Edit(services.ledger, index, services.config.data_assets[name], services.now()))
    findings: dict[str, list[Row]] = defaultdict(list)
    untouched = [shard for shard in survey.shards if index.shards.get(shard) == base.shards.get(shard)]
    for shard in untouched:
        for corrected, before in _corrected(work, blobs[shard], shard, began_at):
            row = corrected
            if _matters(row, before):
                changed_at = min(row.modified_at, began_at) if row.there else began_at
                row = work.taken_in(row, before, changed_at)
                findings[row.window].append(row)
            work.edit.put(row)
        work.edit.write(shard)
    if survey.complete and len(untouched) == len(survey.shards):
        work.edit.commit(inventoried_at=began_at, inventories_made=base.inventories_asked, **_tidied(services, index, began_at))
    else:
        work.edit.commit()
    for id_, found_now in findings.items():
        note_findings(services.ledger, name, work.edit.windows[id_], found_now, all_of_them=False)


def _corrected(work: Fold, blobs: dict[str, Blob], shard: int, now: datetime) -> Iterator[tuple[Row, Row | None]]:
    """The rows of a shard that the listing contradicts, as they should be and as they were."""
    for path, blob in blobs.items():
        before = work.edit.row(path)
        row = found(before, blob, work.url(path), now, marker=work.asset.window.is_marker(path))
        if row is not before:
            yield row, before
    for path in work.edit.paths(shard):
        before = work.edit.row(path)
        if before is not None and before.there and path not in blobs:
            yield gone(before, now), before


def _matters(row: Row, before: Row | None) -> bool:
    """Whether a version may be another one by this difference, or a folder complete."""
    if before is not None and before.counts and row.counts and (row.etag, row.size) == (before.etag, before.size):
        return False  # only its time was told otherwise
    return row.counts or (row.marker and row.there) or (before is not None and before.counts)


def _tidied(services: Services, index: Index, now: datetime) -> dict[str, datetime]:
    """Once a day what dead looks have left behind is removed."""
    if index.tidied_at is not None and now - index.tidied_at < _TIDY_EVERY:
        return {}
    remove_leftovers(services.ledger, index, now)
    return {"tidied_at": now}


def _listed(services: Services, name: str) -> Iterator[Blob]:
    """The asset's blobs as they are now."""
    asset = services.config.data_assets[name]
    return (blob for blob in services.containers.blobs(asset.container, asset.prefix) if asset.holds(asset.container, blob.path))
