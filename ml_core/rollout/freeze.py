"""The calendar in which nothing is promoted. Rolling back is always allowed.

Pure, but for the time zones' rules, which `windows` reads for whoever observes: a decision sees moments only, so it is replayed
to the same answer on a machine whose time zones have changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:  # pydantic is only needed where the file is read
    from ml_core.config import Config
    from ml_core.config_rollout import WeeklyFreeze

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class FreezeWindow:
    """From when until when (aware; the end is not part of it), once."""

    starts_at: datetime
    ends_at: datetime
    reason: str


def frozen(windows: Iterable[FreezeWindow], now: datetime) -> FreezeWindow | None:
    """The window that holds promotions now; of several the one that ends last, for until then nothing moves."""
    open_now = [window for window in windows if window.starts_at <= now < window.ends_at]
    return max(open_now, key=lambda window: window.ends_at, default=None)


def windows(config: Config, now: datetime) -> tuple[FreezeWindow, ...]:
    """The windows of the configuration that are open or to come: all that are written with their dates, and of the weekly ones
    this week's and the next two. In the order of their beginnings."""
    dated = [FreezeWindow(one.starts_at, one.ends_at, one.reason) for one in config.freeze]
    weekly = [window for one in config.freeze_weekly for window in _occurrences(one, now)]
    ahead = [window for window in (*dated, *weekly) if window.ends_at > now]
    return tuple(sorted(ahead, key=lambda window: (window.starts_at, window.ends_at, window.reason)))


def _occurrences(freeze: WeeklyFreeze, now: datetime) -> Iterator[FreezeWindow]:
    """Last week's, which may last until now, and those up to the week after the next."""
    zone = ZoneInfo(freeze.time_zone)
    today = now.astimezone(zone).date()
    monday = today - timedelta(days=today.weekday())
    (first, starts), (last, ends) = _day_and_time(freeze.starts), _day_and_time(freeze.ends)
    if (last, ends) <= (first, starts):
        last += 7  # from Friday to Monday lies in two weeks
    for week in (-7, 0, 7, 14):
        starts_on, ends_on = monday + timedelta(days=week + first), monday + timedelta(days=week + last)
        # On the wall clock, so that it stays four in the afternoon when summer time ends.
        starts_at, ends_at = (datetime.combine(*moment, tzinfo=zone) for moment in ((starts_on, starts), (ends_on, ends)))
        yield FreezeWindow(starts_at.astimezone(UTC), ends_at.astimezone(UTC), freeze.reason)


def _day_and_time(text: str) -> tuple[int, time]:
    """`Fri 16:00`: days since Monday, and the time on the wall clock."""
    day, _, at = text.partition(" ")
    return _WEEKDAYS.index(day), time.fromisoformat(at)
