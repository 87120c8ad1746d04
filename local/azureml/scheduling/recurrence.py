"""Recurrences as pure calendar arithmetic: wall-clock times without a zone, which triggers.py turns into moments.

Rules: https://learn.microsoft.com/azure/machine-learning/how-to-schedule-pipeline-job
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal

Frequency = Literal["Minute", "Hour", "Day", "Week", "Month"]
WEEK_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
HORIZON_YEARS = 50
"""How far ahead is looked for an occurrence: the 31st of every 12th month from a February on never comes."""


@dataclass(frozen=True)
class Recurrence:
    """Every `interval` units of `frequency`, counted from a start.

    Empty parts of the pattern are taken from the start: its minute, hour, day of the week or of the month.
    Week days are 0 (Monday) to 6. Pattern parts are only for Day, Week and Month.
    """

    frequency: Frequency
    interval: int
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    week_days: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()

    @property
    def elapsed(self) -> timedelta | None:
        """The time between two occurrences, when it is time that passes and not the calendar that counts."""
        return {"Minute": timedelta(minutes=self.interval), "Hour": timedelta(hours=self.interval)}.get(self.frequency)


def occurrences(recurrence: Recurrence, start: datetime, since: datetime) -> Iterator[datetime]:
    """The wall-clock times of a Day, Week or Month recurrence, ascending, none before `start` or `since`; naive datetimes."""
    earliest = max(start, since)
    times = _times(recurrence, start)
    for day in _days(recurrence, start.date(), earliest.date()):
        for clock in times:
            moment = datetime.combine(day, clock)
            if moment >= earliest:
                yield moment


def _times(recurrence: Recurrence, start: datetime) -> list[time]:
    if not recurrence.hours and not recurrence.minutes:
        return [start.time()]
    hours, minutes = recurrence.hours or (start.hour,), recurrence.minutes or (start.minute,)
    return sorted({time(hour, minute) for hour in hours for minute in minutes})


def _days(recurrence: Recurrence, start: date, since: date) -> Iterator[date]:
    """The days of the recurrence from the period on in which `since` lies."""
    if recurrence.frequency == "Month":
        yield from _days_of_months(recurrence, start, since)
        return
    in_week = recurrence.frequency == "Week"
    length = recurrence.interval * (7 if in_week else 1)
    first = start - timedelta(days=start.weekday()) if in_week else start
    offsets = sorted(set(recurrence.week_days or (start.weekday(),))) if in_week else [0]
    period = first + timedelta(days=max(0, (since - first).days // length) * length)
    while period.year <= since.year + HORIZON_YEARS:
        yield from (period + timedelta(days=offset) for offset in offsets)
        period += timedelta(days=length)


def _days_of_months(recurrence: Recurrence, start: date, since: date) -> Iterator[date]:
    begin, now = _month_number(start), _month_number(since)
    month = begin + max(0, (now - begin) // recurrence.interval) * recurrence.interval
    while month <= now + 12 * HORIZON_YEARS:
        first = date(month // 12, month % 12 + 1, 1)
        days = (first + timedelta(days=day) for day in range(31))
        yield from (day for day in days if day.month == first.month and _in_pattern(recurrence, start, day))
        month += recurrence.interval


def _in_pattern(recurrence: Recurrence, start: date, day: date) -> bool:
    """As Azure: a month that is too short for its day has no occurrence."""
    if recurrence.week_days:
        return day.weekday() in recurrence.week_days
    return day.day in (recurrence.month_days or (start.day,))


def _month_number(day: date) -> int:
    return day.year * 12 + day.month - 1
