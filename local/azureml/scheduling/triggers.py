"""Triggers: checked when a schedule is written, and asked for the moment at which it fires next. Pure: no clock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter

from local.azureml.errors import bad_request, not_emulated
from local.azureml.scheduling.recurrence import WEEK_DAYS, Frequency, Recurrence, occurrences
from local.azureml.scheduling.time_zones import zone_of

_CRON_FIELD = re.compile(r"[0-9A-Za-z*,/-]+")
_FREQUENCIES: dict[str, Frequency] = {"minute": "Minute", "hour": "Hour", "day": "Day", "week": "Week", "month": "Month"}
_DAY_NUMBERS = {name.lower(): number for number, name in enumerate(WEEK_DAYS)}
_MAX_INTERVAL = 1000
_YEARS = range(1970, 2201)
_CLOCK_CHANGE = timedelta(hours=3)
"""More than any clock change of our days: wall-clock times are looked for from this long before on."""


@dataclass(frozen=True)
class Cron:
    """Five fields; days of the month and months are ignored, as Azure does."""

    expression: str


@dataclass(frozen=True)
class Trigger:
    """`start` and `end` are aware; the pattern is read on the clocks of `zone`."""

    pattern: Cron | Recurrence
    start: datetime
    end: datetime | None
    zone: ZoneInfo

    def next_after(self, moment: datetime) -> datetime | None:
        """The first occurrence later than `moment`, in UTC; None when there is none any more."""
        found = next((at for at in self._from(max(moment, self.start)) if at > moment and at >= self.start), None)
        return found if found is None or self.end is None or found <= self.end else None

    def _from(self, moment: datetime) -> Iterator[datetime]:
        """Occurrences, ascending, from `moment` or a little earlier on."""
        elapsed = self.pattern.elapsed if isinstance(self.pattern, Recurrence) else None
        if elapsed is not None:
            at = self.start + max(0, (moment - self.start) // elapsed) * elapsed
            while True:
                yield at.astimezone(UTC)
                at += elapsed
        # Clocks that were turned back show a time twice, so that what is later may have an earlier wall-clock time.
        since = _wall(moment, self.zone) - _CLOCK_CHANGE
        yield from (_moment(wall, self.zone) for wall in self._walls(since))

    def _walls(self, since: datetime) -> Iterator[datetime]:
        if isinstance(self.pattern, Cron):
            yield from croniter(self.pattern.expression, since - timedelta(seconds=1), ret_type=datetime)
        else:
            yield from occurrences(self.pattern, _wall(self.start, self.zone), since)


def parse_trigger(trigger: Any, *, created: datetime) -> Trigger:
    """A trigger from its REST properties; AzureError 400 names what is wrong. Without a startTime it begins at `created`."""
    if not isinstance(trigger, Mapping):
        raise bad_request("A schedule needs a trigger.", "ValidationError")
    zone = zone_of(str(trigger.get("timeZone") or "UTC"))
    start, end = _time(trigger, "startTime", zone), _time(trigger, "endTime", zone)
    if start is not None and end is not None and end <= start:
        raise bad_request("The endTime of a trigger must be later than its startTime.", "ValidationError")
    kind = str(trigger.get("triggerType"))
    if kind not in ("Cron", "Recurrence"):
        raise bad_request(f"triggerType must be Cron or Recurrence, not '{kind}'.", "ValidationError")
    return Trigger(_cron(trigger) if kind == "Cron" else _recurrence(trigger), start or created, end, zone)


def _cron(trigger: Mapping[str, Any]) -> Cron:
    text = str(trigger.get("expression") or "")
    fields = text.split()
    if len(fields) != 5 or not all(map(_CRON_FIELD.fullmatch, fields)) or not croniter.is_valid(text):
        raise bad_request(
            f"'{text}' is no valid cron expression: MINUTES HOURS DAYS MONTHS DAYS-OF-WEEK, separated by blanks.",
            "ValidationError",
        )
    minutes, hours, _, _, week_days = fields
    return Cron(f"{minutes} {hours} * * {week_days}")


def _recurrence(trigger: Mapping[str, Any]) -> Recurrence:
    frequency = _FREQUENCIES.get(str(trigger.get("frequency")).lower())
    if frequency is None:
        raise bad_request(
            f"frequency must be one of {', '.join(_FREQUENCIES.values())}, not '{trigger.get('frequency')}'.", "ValidationError"
        )
    pattern = trigger.get("schedule") or {}
    if not isinstance(pattern, Mapping):
        raise bad_request("The schedule of a recurrence must be an object.", "ValidationError")
    found = Recurrence(
        frequency,
        _number("interval", trigger.get("interval"), 1, _MAX_INTERVAL),
        hours=_numbers(pattern, "hours", 0, 23),
        minutes=_numbers(pattern, "minutes", 0, 59),
        week_days=tuple(_week_day(name) for name in pattern.get("weekDays") or ()),
        month_days=_numbers(pattern, "monthDays", 1, 31),
    )
    _refuse_pattern(found)
    return found


def _refuse_pattern(found: Recurrence) -> None:
    """What Azure's documentation gives no meaning to."""
    if found.elapsed is not None and (found.hours or found.minutes or found.week_days or found.month_days):
        raise not_emulated(f"The emulator knows no pattern of a {found.frequency} recurrence.")
    if found.week_days and found.frequency not in ("Week", "Month"):
        raise bad_request(f"weekDays are for the frequencies Week and Month, not {found.frequency}.", "ValidationError")
    if found.month_days and found.frequency != "Month":
        raise bad_request(f"monthDays are for the frequency Month, not {found.frequency}.", "ValidationError")
    if found.week_days and found.month_days:
        raise not_emulated("The emulator does not combine weekDays with monthDays.")


def _numbers(pattern: Mapping[str, Any], name: str, low: int, high: int) -> tuple[int, ...]:
    return tuple(_number(name, value, low, high) for value in pattern.get(name) or ())


def _number(name: str, value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise bad_request(f"{name} must be whole numbers from {low} to {high}, not {value!r}.", "ValidationError")
    return value


def _week_day(name: Any) -> int:
    number = _DAY_NUMBERS.get(str(name).lower())
    if number is None:
        raise bad_request(f"weekDays must be names from Monday to Sunday, not '{name}'.", "ValidationError")
    return number


def _time(trigger: Mapping[str, Any], name: str, zone: ZoneInfo) -> datetime | None:
    """Without an offset, a time on the clocks of the trigger's zone."""
    text = trigger.get(name)
    if not text:
        return None
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise bad_request(f"{name} must be an ISO 8601 time like 2026-06-01T00:00:01, not '{text}'.", "ValidationError") from None
    if found.year not in _YEARS:
        raise bad_request(f"{name} must lie between {_YEARS[0]} and {_YEARS[-1]}, not in {found.year}.", "ValidationError")
    return _moment(found, zone) if found.tzinfo is None else found.astimezone(UTC)


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the clocks show `wall` (the first time, if they do twice); a time that they skip is the moment after the gap."""
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if _wall(moment, zone) == wall:
        return moment
    minute = wall.replace(second=0, microsecond=0)
    while _wall(moment := minute.replace(tzinfo=zone).astimezone(UTC), zone) != minute:
        minute += timedelta(minutes=1)
    return moment
