"""Events that come faster than the ledger writes: they share bundles and wakes, and none is answered before it is durable.

Faked: the ports. The event loop and the threads are real; what is slow is held back by an event, never by a time.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from ml_core import inbox
from ml_core.errors import PermanentError, TemporaryError
from ml_core.ingestion.accept import CoalescedWakes, accept
from ml_core.ingestion.arrivals import pending
from ml_core.ingestion.group_commit import GroupCommit
from tests.fakes import FakeLedger
from tests.story import Story, blob_created


class GatedLedger(FakeLedger):
    """Bundles wait at a gate before they are written; `failing` are raised instead, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.reached = threading.Event(), threading.Event()
        self.failing: list[Exception] = []

    def claim(self, key: str, value: Any) -> bool:
        if key.startswith("arrivals/"):
            self.reached.set()
            assert self.gate.wait(timeout=30)
            if self.failing:
                raise self.failing.pop(0)
        return super().claim(key, value)


class Burst:
    """A story whose events arrive at the same time."""

    def __init__(self) -> None:
        self.story, self.ledger = Story(), GatedLedger()
        object.__setattr__(self.story.services, "ledger", self.ledger)

    def event(self, name: str) -> str:
        return blob_created(self.story.containers.upload("flights", f"incoming/{name}.csv"), event_id=name)

    def invoke(self, raw: str) -> asyncio.Task[None]:
        return asyncio.ensure_future(accept(self.story.services, raw))

    async def held_back(self, names: Sequence[str]) -> list[asyncio.Task[None]]:
        """Invocations of which the first is being written, and the others wait for the next write."""
        first = self.invoke(self.event(names[0]))
        await asyncio.to_thread(self.ledger.reached.wait, 30)
        others = [self.invoke(self.event(name)) for name in names[1:]]
        await asyncio.sleep(0)  # each runs until it waits
        return [first, *others]

    def bundles(self) -> list[set[str]]:
        found = [{receipt.event_id for receipt in bundle.receipts} for bundle in pending(self.story.services, "flights")]
        return sorted(found, key=len)


def run(story: Callable[[Burst], Any]) -> Burst:
    burst = Burst()
    asyncio.run(story(burst))
    return burst


def test_what_arrives_during_a_write_is_one_bundle_and_nobody_is_answered_before_its_own_write() -> None:
    async def story(burst: Burst) -> None:
        invocations = await burst.held_back(["a", "b", "c", "d"])
        assert not any(invocation.done() for invocation in invocations)
        burst.ledger.gate.set()
        await asyncio.gather(*invocations)

    assert run(story).bundles() == [{"a"}, {"b", "c", "d"}]


def test_an_error_reaches_every_invocation_of_its_write_and_no_other() -> None:
    async def story(burst: Burst) -> None:
        invocations = await burst.held_back(["a", "b", "c"])
        burst.ledger.failing = [TemporaryError("the first write fails")]
        burst.ledger.gate.set()
        results = await asyncio.gather(*invocations, return_exceptions=True)
        assert [str(result) for result in results] == ["the first write fails", "None", "None"]
        burst.ledger.failing = [OSError("nobody knows why")]
        burst.ledger.gate.clear()
        burst.ledger.reached.clear()
        invocations = await burst.held_back(["d", "e", "f"])
        burst.ledger.failing = [TemporaryError("of d"), OSError("of e and f")]
        burst.ledger.gate.set()
        results = await asyncio.gather(*invocations, return_exceptions=True)
        assert [str(result) for result in results] == ["of d", "of e and f", "of e and f"]

    assert run(story).bundles() == [{"b", "c"}]


def test_after_a_failed_write_the_same_events_are_taken_in_by_their_next_delivery() -> None:
    async def story(burst: Burst) -> None:
        raw = burst.event("a")
        burst.ledger.gate.set()
        burst.ledger.failing = [TemporaryError("for a moment")]
        with pytest.raises(TemporaryError):
            await accept(burst.story.services, raw)
        await accept(burst.story.services, raw)

    burst = run(story)
    assert burst.bundles() == [{"a"}]
    assert len(burst.story.queue.messages) == 1


def test_when_the_wake_fails_the_invocation_fails_and_the_next_delivery_wakes() -> None:
    async def story(burst: Burst) -> None:
        raw, enqueue = burst.event("a"), burst.story.queue.enqueue
        burst.ledger.gate.set()

        def fail(*_: object, **__: object) -> None:
            raise TemporaryError("the queue is busy")

        burst.story.queue.enqueue = fail  # type: ignore[method-assign]
        with pytest.raises(TemporaryError):
            await accept(burst.story.services, raw)
        burst.story.queue.enqueue = enqueue  # type: ignore[method-assign]
        await accept(burst.story.services, raw)

    burst = run(story)
    assert burst.bundles() == [{"a"}]
    assert len(burst.story.queue.messages) == 1


def test_an_invocation_that_is_given_up_leaves_its_neighbours_their_answer() -> None:
    async def story(burst: Burst) -> None:
        invocations = await burst.held_back(["a", "b", "c"])
        invocations[0].cancel()
        invocations[1].cancel()
        burst.ledger.gate.set()
        await invocations[2]

    # What was given up was received all the same: to record it is right, and to deliver it again is harmless.
    assert run(story).bundles() == [{"a"}, {"b", "c"}]


def test_a_bundle_that_is_refused_for_good_leaves_each_of_its_events_in_the_inbox() -> None:
    async def story(burst: Burst) -> None:
        invocations = await burst.held_back(["a", "b", "c"])
        burst.ledger.failing = [PermanentError("status 400"), PermanentError("status 400")]
        burst.ledger.gate.set()
        await asyncio.gather(*invocations)

    burst = run(story)
    assert {json.loads(item.payload)["id"] for item in inbox.items(burst.ledger)} == {"a", "b", "c"}
    assert not burst.bundles()


def test_malformed_and_foreign_events_are_settled_beside_a_write_that_takes_long() -> None:
    async def story(burst: Burst) -> None:
        invocations = await burst.held_back(["a", "b"])
        await accept(burst.story.services, "{")
        await accept(burst.story.services, blob_created(burst.story.containers.upload("unknown", "x"), event_id="stranger"))
        assert not any(invocation.done() for invocation in invocations)
        burst.ledger.gate.set()
        await asyncio.gather(*invocations)

    burst = run(story)
    assert [item.payload for item in inbox.items(burst.ledger)] == ["{"]
    assert [entry.value["event_id"] for entry in burst.ledger.list("events/")] == ["stranger"]


def test_a_thousand_events_at_once_are_few_bundles_and_few_wakes() -> None:
    async def story(burst: Burst) -> None:
        burst.ledger.gate.set()
        await asyncio.gather(*(accept(burst.story.services, burst.event(str(number))) for number in range(1000)))

    burst = run(story)
    assert sum(len(bundle) for bundle in burst.bundles()) == 1000
    assert len(burst.bundles()) <= 20
    assert 1 <= len(burst.story.queue.messages) <= 5


def test_a_group_is_never_larger_than_it_may_be() -> None:
    sizes: list[int] = []

    async def story() -> None:
        group = GroupCommit[int](lambda items: sizes.append(len(items)), linger=0.0, longest=0.05, largest=7)
        await asyncio.gather(*(group.commit(number) for number in range(50)))

    asyncio.run(story())
    assert sum(sizes) == 50
    assert max(sizes) == 7


class Wakes:
    """Coalesced wakes on a clock that is told its time."""

    def __init__(self) -> None:
        self.story, self.time = Story(), 100.0
        self.wakes = CoalescedWakes(self.story.services, clock=lambda: self.time)

    def at(self, time: float, asset: str = "flights") -> list[tuple[str, float]]:
        """Wake at a time; what is in the queue after it, as (asset, seconds that it is hidden)."""
        self.time = time
        self.wakes.wake(asset)
        start = self.story.clock()
        return [(json.loads(text)["key"], (shows - start).total_seconds()) for shows, _, text in self.story.queue.messages]


def test_the_first_wake_is_sent_at_once_and_so_is_one_after_a_pause() -> None:
    wakes = Wakes()
    assert wakes.at(100.0) == [("flights", 0.0)]
    assert wakes.at(103.0) == [("flights", 0.0), ("flights", 0.0)]


def test_a_hidden_wake_covers_all_that_is_recorded_before_it_shows() -> None:
    wakes = Wakes()
    wakes.at(100.0)
    # The first may have been worked off already, so another is needed; it is hidden, and covers those that follow.
    assert wakes.at(100.1) == [("flights", 0.0), ("flights", 4.0)]
    assert len(wakes.at(100.5)) == len(wakes.at(103.0)) == 2


def test_while_a_burst_goes_on_looks_are_asked_for_ever_more_rarely_and_after_a_pause_at_once_again() -> None:
    wakes = Wakes()
    for tenth in range(600):
        wakes.at(100.0 + tenth / 10)
    assert [hidden for _, hidden in wakes.at(160.0)][:5] == [0.0, 4.0, 8.0, 16.0, 16.0]
    assert len(wakes.at(160.0)) <= 8
    assert wakes.at(200.0)[-1] == ("flights", 0.0)


def test_every_data_asset_has_wakes_of_its_own() -> None:
    wakes = Wakes()
    wakes.at(100.0)
    assert wakes.at(100.1, "loans") == [("flights", 0.0), ("loans", 0.0)]


def test_whatever_the_times_each_wake_is_followed_by_a_message_that_shows_later() -> None:
    wakes, shown = Wakes(), list[float]()
    enqueue = wakes.story.queue.enqueue

    def watched(kind: str, message: str, *, delay: timedelta = timedelta(0)) -> None:
        shown.append(wakes.time + delay.total_seconds())
        enqueue(kind, message, delay=delay)

    wakes.story.queue.enqueue = watched  # type: ignore[method-assign]
    time = 100.0
    for step in range(400):
        time += (step * 7 % 31) / 20
        wakes.at(time)
        # Either just now, or hidden for at least a second more.
        assert shown[-1] == time or shown[-1] >= time + 1.0
