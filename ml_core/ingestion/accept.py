"""Accepts storage events at the rate at which they come: invocations share bundles, and bundles share wakes.

Each invocation returns when its own receipt is in the ledger and a look that will see it is certain. Only then does Event Grid
get its answer, so the process may be killed at any time: what was not answered is delivered again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from ml_core import intake
from ml_core.errors import PermanentError
from ml_core.ingestion.arrivals import Receipt, put_bundle
from ml_core.ingestion.group_commit import GroupCommit
from ml_core.ingestion.record import Arrival, sort
from ml_core.intake import refused
from ml_core.reconciling import DATA_ASSETS, wake
from ml_core.services import Services

# Seconds without another event after which a bundle is written, and the longest that one waits for company, under load.
_LINGER, _LONGEST_LINGER = 0.005, 0.05
# A bundle stays a document that is read in one piece.
_LARGEST_BUNDLE = 500
# A wake that is hidden in the queue covers whatever is recorded until it shows. It counts a second less than it is hidden: the
# queue's clock has whole seconds.
_HIDDEN, _COVERS = timedelta(seconds=2), 1.0

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

    async def commit(self, arrival: Arrival) -> None:
        """Return when the arrival is recorded and its data asset will be looked at."""
        group = self._groups.get(arrival.asset)
        if group is None:
            write = partial(self._record, arrival.asset)
            group = GroupCommit(write, linger=_LINGER, longest=_LONGEST_LINGER, largest=_LARGEST_BUNDLE)
            self._groups[arrival.asset] = group
        await group.commit(arrival.receipt)

    def _record(self, asset: str, receipts: Sequence[Receipt]) -> None:
        put_bundle(self.services, asset, receipts)
        # After the bundle, and also when it was there: the first delivery may have died before its wake.
        self._wakes.wake(asset)


class CoalescedWakes:
    """At most about one message a second for each data asset, however many bundles are recorded: the first at once.

    `wake` is called after a bundle is durable. A message that shows later than that leads to a look that sees the bundle, so
    another message would add nothing. Per process: what another process has sent is not known here, and not relied on.
    """

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._services, self._clock = services, clock
        self._covered_until: dict[str, float] = {}

    def wake(self, asset: str) -> None:
        """See to it that the asset is looked at after now."""
        now, covered_until = self._clock(), self._covered_until.get(asset)
        if covered_until is not None and now < covered_until:
            return
        lately = covered_until is not None and now < covered_until + _COVERS
        wake(self._services, DATA_ASSETS, asset, delay=_HIDDEN if lately else timedelta(0))
        # Only after it is in the queue. `now` was read before: shown earlier than counted here, it is never.
        self._covered_until[asset] = now + _COVERS if lately else now


def _of(services: Services) -> Acceptance:
    """The acceptance of this process. Tests have many services and event loops; a process in Azure has one of each."""
    global _acceptance
    if _acceptance is None or _acceptance.services is not services or _acceptance.loop is not asyncio.get_running_loop():
        _acceptance = Acceptance(services)
    return _acceptance
