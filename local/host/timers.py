"""Timer triggers: one run per occurrence, never two at a time, and one past-due run when the host was down at the time.

The status of each timer (`Last`, `Next`, `LastUpdated`, as the host writes it to a blob) is a small file in the state folder.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from azure.functions.meta import Datum

from local.host import ncrontab
from local.host.function import HostFunction
from local.host.invoker import Invoker

_log = logging.getLogger("tidegate.host")
_LONGEST_SLEEP = 30.0  # the wall clock may jump (a laptop that slept)

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class TimerStatus:
    """`last` is the occurrence that ran last (None: never), `next` the one that is due."""

    last: datetime | None
    next: datetime
    updated: datetime

    def document(self) -> dict[str, str]:
        last = self.last.isoformat() if self.last else "0001-01-01T00:00:00+00:00"
        return {"Last": last, "Next": self.next.isoformat(), "LastUpdated": self.updated.isoformat()}


class StatusFile:
    """Keeps a TimerStatus; written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> TimerStatus | None:
        """None when there is none, or none that can be read: the timer then starts afresh."""
        try:
            document = json.loads(self._path.read_text())
            last, due, updated = (datetime.fromisoformat(document[key]) for key in ("Last", "Next", "LastUpdated"))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            _log.error("timer status %s cannot be read (%s); the timer starts afresh", self._path.name, error)
            return None
        return TimerStatus(None if last.year == 1 else last, due, updated)

    def write(self, status: TimerStatus) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".tmp")
        fresh.write_text(json.dumps(status.document()))
        fresh.replace(self._path)


def recover(schedule: ncrontab.Schedule, recorded: TimerStatus | None, now: datetime) -> tuple[TimerStatus, bool]:
    """What a starting host makes of the recorded status: (status to go on with, is it past due).

    A schedule that was changed meanwhile is rebased on now and is not past due.
    """
    fresh = TimerStatus(recorded.last if recorded else None, schedule.next_after(now), now)
    if recorded is None or recorded.next != schedule.next_after(recorded.last or recorded.updated):
        return fresh, False
    return recorded, now > recorded.next


class TimerListener:
    """Runs one timer function until it is stopped."""

    def __init__(self, function: HostFunction, invoker: Invoker, folder: Path, clock: Clock = utc_now) -> None:
        self.schedule = ncrontab.parse(function.trigger["schedule"])
        self._function, self._invoker, self._clock = function, invoker, clock
        self._monitored = bool(function.trigger.get("useMonitor", True)) and not self.schedule.more_than_once_a_minute()
        self._file = StatusFile(folder / "timers" / f"{function.name}.json")
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Nothing to prepare: a timer needs no storage here."""

    async def run(self) -> None:
        status, past_due = self._recover()
        if past_due:
            _log.warning("timer %s is past due: it should have run at %s", self._function.name, status.next.isoformat())
            status = await self._fire(status, past_due=True)
        elif self._function.trigger.get("runOnStartup"):
            status = await self._fire(status, past_due=False)
        while await self._due(status.next):
            status = await self._fire(status, past_due=False)

    async def stop(self) -> None:
        self._stopping.set()

    def payload(self, status: TimerStatus | None, *, past_due: bool) -> Datum:
        """TimerInfo as the host sends it; without monitoring there is no ScheduleStatus."""
        info: dict[str, object] = {"Schedule": {"AdjustForDST": True}, "IsPastDue": past_due}
        if status is not None and self._monitored:
            info["ScheduleStatus"] = status.document()
        return Datum(json.dumps(info), "json")

    def _recover(self) -> tuple[TimerStatus, bool]:
        now = self._clock()
        if not self._monitored:
            return TimerStatus(None, self.schedule.next_after(now), now), False
        status, past_due = recover(self.schedule, self._file.read(), now)
        self._file.write(status)
        return status, past_due

    async def _fire(self, status: TimerStatus, *, past_due: bool) -> TimerStatus:
        """Run once; a function that fails does not stop its schedule. The status is written after the run."""
        started = self._clock()
        await self._invoker.invoke(self._function, self.payload(status, past_due=past_due))
        # From the start, not from now: an occurrence that came while the function ran is run next, the others are dropped.
        after = TimerStatus(started, self.schedule.next_after(started), self._clock())
        if self._monitored:
            self._file.write(after)
        return after

    async def _due(self, moment: datetime) -> bool:
        """Wait until `moment`; False when the host stops first."""
        while not self._stopping.is_set():
            remaining = (moment - self._clock()).total_seconds()
            if remaining <= 0:
                return True
            try:
                await asyncio.wait_for(self._stopping.wait(), min(remaining, _LONGEST_SLEEP))
            except TimeoutError:
                continue
        return False
