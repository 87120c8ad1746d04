"""Accepts storage events at the rate at which they come: invocations share bundles, and bundles share wakes.

Each invocation returns when its own receipt is in the ledger and a look that will see it is certain. Only then does Event Grid
get its answer, so the process may be killed at any time: what was not answered is delivered again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from ml_core import intake
from ml_core.errors import PermanentError
from ml_core.ingestion.arrivals import LARGEST_BUNDLE, Receipt, put_bundle
from ml_core.ingestion.group_commit import GroupCommit
from ml_core.ingestion.record import Arrival, sort
from ml_core.intake import refused
from ml_core.reconciling import DATA_ASSETS, wake
from ml_core.services import Services

# Seconds that a bundle waits for the next event, and for all of them, under load.
_LINGER, _LONGEST_LINGER = 0.05, 0.25
# Seconds that a wake is hidden in the queue under load. Looks cost what accepting needs too, so they become rarer as a burst
# goes on; the limit is what a look may be late by.
_HIDDEN_FIRST, _HIDDEN_LONGEST = 4.0, 16.0
# Seconds after which a thread that computes lets another one run. A look computes in the same process, while an event needs the
# interpreter some dozens of times, for microseconds each; with Python's own 5 ms it would wait that long every time.
_SWITCH_INTERVAL = 0.0005
# A hidden wake counts a second less than it is hidden, for the queue's clock may have whole seconds; and a burst goes on as long
# as no more than a second passes without an event.
_MARGIN, _PAUSE = 1.0, 1.0

_acceptance: Acceptance | None = None


async def accept(services: Services, raw: str) -> None:
    """Take in one storage event, together with whatever else arrives in these milliseconds."""
    event, found = sort(services, raw)
    if isinstance(found, Arrival):
        try:
            await _of(services).commit(found)
            return
        except PermanentError as error:
            found = refused(str(error))
    await asyncio.to_thread(intake.settle, services, raw, event, found)


class Acceptance:
    """The arrivals of one process and event loop that are on their way into the ledger."""

    def __init__(self, services: Services) -> None:
        self.services, self.loop = services, asyncio.get_running_loop()
        self._wakes = CoalescedWakes(services)
        self._groups: dict[str, GroupCommit[Receipt]] = {}
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL))

    async def commit(self, arrival: Arrival) -> None:
        """Return when the arrival is recorded and its data asset will be looked at."""
        group = self._groups.get(arrival.asset)
        if group is None:
            write = partial(self._record, arrival.asset)
            group = GroupCommit(write, linger=_LINGER, longest=_LONGEST_LINGER, largest=LARGEST_BUNDLE)
            self._groups[arrival.asset] = group
        await group.commit(arrival.receipt)

    def _record(self, asset: str, receipts: Sequence[Receipt]) -> None:
        put_bundle(self.services, asset, receipts)
        # After the bundle, and also when it was there: the first delivery may have died before its wake.
        self._wakes.wake(asset)


@dataclass(frozen=True)
class _Wake:
    """A message in the queue: what is recorded until `covers_until` is seen by the look that it leads to."""

    covers_until: float
    hidden: float


class CoalescedWakes:
    """One message for many bundles: the first at once, and while a burst goes on, hidden ones that are sent ever more rarely.

    `wake` is called after a bundle is durable. A message that shows later than that leads to a look that sees the bundle, so
    another message would add nothing. Per process: what another process has sent is not known here, and not relied on.
    """

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._services, self._clock = services, clock
        self._last: dict[str, _Wake] = {}

    def wake(self, asset: str) -> None:
        """See to it that the asset is looked at after now."""
        # Before the message is sent: it shows later than is counted here, never earlier.
        now, last = self._clock(), self._last.get(asset)
        if last is not None and now < last.covers_until:
            return
        hidden = 0.0
        if last is not None and now < last.covers_until + _PAUSE:
            hidden = min(max(2 * last.hidden, _HIDDEN_FIRST), _HIDDEN_LONGEST)
        wake(self._services, DATA_ASSETS, asset, delay=timedelta(seconds=hidden))
        # After it is in the queue: had that failed, nothing would be covered.
        self._last[asset] = _Wake(now + max(0.0, hidden - _MARGIN), hidden)


def _of(services: Services) -> Acceptance:
    """The acceptance of this process. Tests have many services and event loops; a process in Azure has one of each."""
    global _acceptance
    if _acceptance is None or _acceptance.services is not services or _acceptance.loop is not asyncio.get_running_loop():
        _acceptance = Acceptance(services)
    return _acceptance
