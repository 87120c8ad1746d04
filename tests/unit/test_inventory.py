"""Inventories of large containers: what they cost in memory, listings and reads.

Faked: the ports; a listing is made while it is read.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ml_core.ingestion import inventory
from ml_core.ingestion.catalogue import index_of, remove_leftovers, row_of
from ml_core.ingestion.inventory import take_inventory
from ml_core.ingestion.record import take_in
from ml_core.ingestion.tallies import SHARDS
from ml_core.ports import Blob
from tests.story import CONFIG, Story, blob_created

WRITTEN_AT = datetime(2026, 2, 1, tzinfo=UTC)
MANY = 50_000
MEGABYTE = 1 << 20


@dataclass
class LazyContainer:
    """So many blobs, none of which exists before it is listed; some are missing and some were replaced."""

    count: int
    missing: set[int] = field(default_factory=set)
    replaced: set[int] = field(default_factory=set)
    listings: int = 0

    def blobs(self, container: str, prefix: str) -> Iterator[Blob]:
        self.listings += 1
        for number in range(self.count):
            if number not in self.missing:
                path = f"{prefix}{number:06}.csv"
                etag = f"0x8D{number:012X}" + ("A" if number in self.replaced else "B")
                yield Blob(f"https://account.blob.core.windows.net/{container}/{path}", path, etag, 100, WRITTEN_AT)


class Counted:
    """Wraps the ledger and counts its calls by name."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.calls: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        self.calls[name] = self.calls.get(name, 0) + 1
        return getattr(self._port, name)


def story_of(container: LazyContainer) -> Story:
    story = Story(CONFIG.split("models:")[0])
    object.__setattr__(story.services, "containers", container)
    return story


def complete(story: Story, limit: int = 100) -> int:
    """Take inventories until one is complete; return how many it took."""
    for number in range(1, limit):
        take_inventory(story.services, "flights")
        if index_of(story.ledger, "flights").inventoried_at == story.clock():
            return number
    raise AssertionError("the inventory never comes to its end")


def peak_of(work: Callable[[], object]) -> float:
    """The most memory that was in use at once while it ran, in megabytes, beyond what was before and what it leaves behind."""
    tracemalloc.start()
    try:
        work()
        left, peak = tracemalloc.get_traced_memory()
        return (peak - left) / MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def known() -> Story:
    """A story whose catalogue knows of all blobs."""
    story = story_of(LazyContainer(MANY))
    complete(story)
    return story


def test_nothing_changed_costs_one_listing_one_read_and_no_memory_to_speak_of(known: Story) -> None:
    container = LazyContainer(MANY)
    ledger = Counted(known.ledger)
    object.__setattr__(known.services, "containers", container)
    object.__setattr__(known.services, "ledger", ledger)
    try:
        known.clock.advance(timedelta(hours=1))
        assert peak_of(lambda: take_inventory(known.services, "flights")) < 1
    finally:
        object.__setattr__(known.services, "ledger", known.ledger)
    assert container.listings == 1
    assert ledger.calls == {"get": 1, "put": 1}
    assert index_of(known.ledger, "flights").inventoried_at == known.clock()


def test_only_the_shards_that_differ_are_looked_at(known: Story) -> None:
    container = LazyContainer(MANY, missing={7}, replaced={40_000})
    ledger = Counted(known.ledger)
    object.__setattr__(known.services, "containers", container)
    object.__setattr__(known.services, "ledger", ledger)
    try:
        # Two of 64 shards: some 1,600 blobs.
        take_inventory(known.services, "flights")
    finally:
        object.__setattr__(known.services, "ledger", known.ledger)
    assert container.listings == 2
    assert ledger.calls["get"] == 4  # the index, two shards, the window's document
    gone, replaced = (row_of(known.ledger, "flights", f"incoming/{number:06}.csv") for number in (7, 40_000))
    assert gone is not None
    assert replaced is not None
    assert not gone.there
    assert (replaced.etag[-1], replaced.source, gone.window) == ("A", "inventory", replaced.window)
    assert len(replaced.before) == 1


def test_a_first_inventory_needs_memory_for_a_part_of_the_blobs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = []
    for count in (1_000, 2_500):
        monkeypatch.setattr(inventory, "MOST_AT_ONCE", 500)
        container = LazyContainer(count)
        story = story_of(container)
        looks = 0

        def look(story: Story = story) -> None:
            nonlocal looks
            looks = complete(story)

        peaks.append(peak_of(look))
        assert looks == pytest.approx(count / 500, abs=2)
        assert container.listings == 2 * looks
        assert sum(shard.tally.files for shard in index_of(story.ledger, "flights").shards.values()) == count
    # More than twice the blobs: what has to be in memory at once is a part of them, and the names of the shards.
    assert peaks[1] < peaks[0] * 1.5


def test_an_inventory_that_is_interrupted_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MOST_AT_ONCE", 200)
    story = story_of(LazyContainer(1_000))
    take_inventory(story.services, "flights")
    index = index_of(story.ledger, "flights")
    assert index.inventoried_at is None
    assert 0 < len(index.shards) < SHARDS
    story.sweep()
    story.rest()
    (manifest,) = [files["manifest.json"] for files in story.workspace.data.values()]
    assert manifest.count('"etag"') == 1_000


def test_an_inventory_during_which_something_is_told_leaves_that_to_the_next_one() -> None:
    container = LazyContainer(10)
    story = story_of(container)
    complete(story)
    told = Blob("https://account.blob.core.windows.net/flights/incoming/new.csv", "incoming/new.csv", "0xF0", 9, story.clock())
    listed = container.blobs

    def told_meanwhile(where: str, prefix: str) -> Iterator[Blob]:
        yield from listed(where, prefix)
        if container.listings == 4:
            take_in(story.services, [blob_created(told)])
            folding.fold_pending(story.services, "flights")

    from ml_core.ingestion import folding

    object.__setattr__(container, "blobs", told_meanwhile)
    container.replaced = set(range(10))
    take_inventory(story.services, "flights")
    row = row_of(story.ledger, "flights", told.path)
    assert row is not None
    assert row.there
    assert index_of(story.ledger, "flights").windows


def test_shards_of_looks_that_died_are_removed_once_they_are_old() -> None:
    story = story_of(LazyContainer(3))
    complete(story)
    current = set(story.ledger.keys("catalogue/flights/"))
    young = "catalogue/flights/07-20260301T115900.000000Z-0badcafe.json"
    old = "catalogue/flights/07-20260301T105900.000000Z-0badcafe.json"
    for key in (young, old):
        story.ledger.claim(key, {"rows": {}})
    remove_leftovers(story.ledger, index_of(story.ledger, "flights"), story.clock())
    assert set(story.ledger.keys("catalogue/flights/")) == {*current, young}
