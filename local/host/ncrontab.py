"""NCRONTAB, the schedule language of Azure Functions: `{second} {minute} {hour} {day} {month} {day of week}`, seconds optional.

The rules are NCrontab's (the .NET library that the Functions host uses): day AND day of week must both match, Sunday is 0 only,
a range that runs backwards is swapped, names may be shortened to three letters or written out. Times are UTC here.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_HORIZON_DAYS = 366 * 9  # 29 February comes again within eight years, also over 2100


class InvalidSchedule(ValueError):
    """The expression is not NCRONTAB; the text says which field and why."""


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS),
)


@dataclass(frozen=True)
class Schedule:
    """A parsed expression; each field holds its allowed values, sorted."""

    expression: str
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence strictly after `moment` (aware), in UTC. Raises InvalidSchedule when there is none."""
        start = moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        day = start.replace(hour=0, minute=0, second=0)
        for offset in range(_HORIZON_DAYS):
            candidate = day + timedelta(days=offset)
            if not self._runs_on(candidate):
                continue
            at = self._first_time(start.hour, start.minute, start.second) if offset == 0 else self._first_time(0, 0, 0)
            if at is not None:
                return candidate.replace(hour=at[0], minute=at[1], second=at[2])
        raise InvalidSchedule(f"schedule {self.expression!r} never occurs")

    def more_than_once_a_minute(self) -> bool:
        """The host keeps no status for such timers (useMonitor is switched off)."""
        return len(self.seconds) > 1

    def _runs_on(self, day: datetime) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def _first_time(self, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
        """The first allowed time of day at or after the given one."""
        if hour in self.hours:
            if minute in self.minutes:
                index = bisect_left(self.seconds, second)
                if index < len(self.seconds):
                    return hour, minute, self.seconds[index]
            index = bisect_left(self.minutes, minute + 1)
            if index < len(self.minutes):
                return hour, self.minutes[index], self.seconds[0]
        index = bisect_left(self.hours, hour + 1)
        return (self.hours[index], self.minutes[0], self.seconds[0]) if index < len(self.hours) else None


def parse(expression: str) -> Schedule:
    """Parse 6 fields, or 5 (then at second 0). Raises InvalidSchedule; an expression that can never occur is refused too."""
    fields = expression.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        hint = " (a TimeSpan works on App Service plans only)" if expression.count(":") == 2 else ""
        raise InvalidSchedule(f"schedule {expression!r} has {len(fields)} fields; NCRONTAB has 6, or 5 without seconds{hint}")
    values = [_parse_field(text, field, expression) for text, field in zip(fields, _FIELDS, strict=True)]
    schedule = Schedule(expression, *values)
    schedule.next_after(datetime(2000, 1, 1, tzinfo=UTC))
    return schedule


def _parse_field(text: str, field: _Field, expression: str) -> tuple[int, ...]:
    allowed: set[int] = set()
    for part in text.split(","):
        try:
            allowed.update(_parse_part(part, field))
        except ValueError as error:
            raise InvalidSchedule(f"schedule {expression!r}: field {field.name} has {part!r}: {error}") from None
    return tuple(sorted(allowed))


def _parse_part(part: str, field: _Field) -> range:
    base, slash, step_text = part.partition("/")
    step = 1
    if slash:
        step = _number(step_text)
        if step < 1:
            raise ValueError("a step must be 1 or more")
    if base == "*":
        return range(field.low, field.high + 1, step)
    first_text, dash, last_text = base.partition("-")
    first = _value(first_text, field)
    # "5/15" means from 5 to the end in steps of 15; "5" alone is one value.
    last = _value(last_text, field) if dash else (field.high if slash else first)
    return range(min(first, last), max(first, last) + 1, step)


def _value(text: str, field: _Field) -> int:
    if text[:1].isalpha() and field.names:
        matches = [index for index, name in enumerate(field.names) if len(text) >= 3 and name.startswith(text.lower())]
        if len(matches) != 1:
            raise ValueError(f"is no {field.name} name; use for example {field.names[0][:3]}")
        return matches[0] + field.low
    value = _number(text)
    if not field.low <= value <= field.high:
        raise ValueError(f"must lie in {field.low}-{field.high}")
    return value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("is not a number")
    return int(text)
