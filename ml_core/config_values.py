"""A section of tidegate.yaml, and the values in it: what is accepted, in which form, and what is said when it is not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

# The names that Azure accepts, checked here because Azure refuses them only after the data has been uploaded and trained on.
# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
CONTAINER_NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
ASSET_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$"
# As an asset's name, without the dot: the model's jobs are called after it, and a job's name may not hold one.
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,199}$"
ENDPOINT_NAME = r"^[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]$"

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_ISO_DURATION = re.compile(r"^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# Functions' NCRONTAB: five or six fields of numbers, names, '*', ',', '-' and '/'. Quartz's L, #, ? and @daily are refused.
_UNSAFE_IN_A_COMMAND = re.compile(r"['\"\\\x00-\x1f\x7f]|\$\{\{")
_MANIFEST = re.compile(r"^(cumulative|window|latest [1-9][0-9]{0,6})\Z")
_CRON_FIELD = re.compile(r"^[0-9A-Za-z*,/-]+$")
_WEEKLY = re.compile(r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([0-9]{2}:[0-9]{2})\Z")


class Section(BaseModel):
    """A section of the file. A key that is not in the schema is a typo, never a comment."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _duration(value: object) -> timedelta:
    text = value if isinstance(value, str) else ""
    if isinstance(value, timedelta):
        return value
    if short := _DURATION.match(text):
        return timedelta(**{_UNITS[short[2]]: float(short[1])})
    iso = _ISO_DURATION.match(text)
    if iso and any(iso.groups()):
        days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    raise ValueError("a duration such as 30s, 5m, 2h, 1d or PT1M")


def _label(value: object) -> str:
    # YAML 1.1 reads an unquoted Yes as a boolean, and str(True) would look for the label "True" in vain.
    if isinstance(value, bool):
        raise ValueError("the label in quotes: YAML reads a bare Yes, No, true or false as a boolean")
    if not isinstance(value, str | int | float) or value == "":
        raise ValueError("a label, as it stands in the column")
    return str(value)


def _travels_in_a_command(value: str) -> str:
    # Azure puts inputs into a component's command by text, between single quotes, and runs it by a shell.
    if _UNSAFE_IN_A_COMMAND.search(value):
        raise ValueError("text without quotes, backslashes, line breaks and ${{, for it travels in a job's command line")
    return value


def _listed_with_commas(value: str) -> str:
    if "," in value:
        raise ValueError("a column's name without a comma, for the names travel in one list, separated by commas")
    return value


def at_least(least: timedelta, told: str) -> AfterValidator:
    """A condition for an annotated duration; `told` is `least` as people write it."""

    def check(value: timedelta) -> timedelta:
        if value < least:
            raise ValueError(f"a duration of at least {told}")
        return value

    return AfterValidator(check)


def _steps(value: object) -> tuple[int, ...]:
    steps = value if isinstance(value, list | tuple) else ()
    if not steps or any(isinstance(step, bool) or not isinstance(step, int) for step in steps) or steps[-1] != 100:
        raise ValueError("ascending whole percentages that end in 100, such as [10, 25, 50, 100]")
    if list(steps) != sorted(set(steps)) or steps[0] < 1:
        raise ValueError("ascending whole percentages that end in 100, such as [10, 25, 50, 100]")
    return tuple(steps)


def _ncrontab(value: object) -> str:
    fields = value.split() if isinstance(value, str) else []
    from croniter import CroniterBadDateError, croniter

    six = " ".join(fields if len(fields) == 6 else ["0", *fields])
    if (
        len(fields) not in (5, 6)
        or not all(map(_CRON_FIELD.match, fields))
        or not croniter.is_valid(six, second_at_beginning=True)
    ):
        raise ValueError('five or six cron fields such as "0 0 2 * * *" (second minute hour day month weekday), in UTC')
    try:
        croniter(six, second_at_beginning=True, day_or=False).get_next()
    except CroniterBadDateError as error:
        # Whoever asks for its last time would be told the same, each minute.
        raise ValueError("cron fields that name a day which some year has: February has no 30th, April no 31st") from error
    return six


def _manifest(value: object) -> str:
    if not isinstance(value, str) or not _MANIFEST.match(value):
        raise ValueError("cumulative, window, or latest and a number of files, such as latest 30")
    return value


def _file_name(value: object) -> str:
    if not isinstance(value, str) or value in ("", ".", "..") or "/" in value:
        raise ValueError("a file's name without its folder, such as _SUCCESS")
    return value


def _moment(value: object) -> datetime:
    expected = "a time with its offset, such as 2026-12-23T18:00:00+01:00"
    try:
        # YAML reads an unquoted time as one, and a test may give one.
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(expected) from error
    raise ValueError(f"{expected}: without it nobody knows where it is that late")


def _weekly(value: object) -> str:
    found = _WEEKLY.match(value) if isinstance(value, str) else None
    try:
        if found and time.fromisoformat(found[2]):
            return found[0]
    except ValueError:
        pass  # 24:00 and 16:60 are no times: said below, as everything else
    raise ValueError("a day and a time in quotes, such as 'Fri 16:00' (Mon, Tue, Wed, Thu, Fri, Sat, Sun; 00:00 to 23:59)")


def _time_zone(value: object) -> str:
    try:
        return ZoneInfo(value if isinstance(value, str) else "").key
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("a time zone's name of the IANA database, such as Europe/Berlin, or UTC") from error


Duration = Annotated[
    timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "examples": ["30s", "5m", "2h", "PT1M"]})
]
Schedule = Annotated[str, BeforeValidator(_ncrontab), WithJsonSchema({"type": "string", "examples": ["0 0 2 * * *"]})]
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
Weekly = Annotated[
    str,
    BeforeValidator(_weekly),
    WithJsonSchema({"type": "string", "pattern": "^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [0-9]{2}:[0-9]{2}$", "examples": ["Fri 16:00"]}),
]
TimeZone = Annotated[str, BeforeValidator(_time_zone), WithJsonSchema({"type": "string", "examples": ["UTC", "Europe/Berlin"]})]
Manifest = Annotated[
    str, BeforeValidator(_manifest), WithJsonSchema({"type": "string", "pattern": "^(cumulative|window|latest [1-9][0-9]{0,6})$"})
]
FileName = Annotated[str, BeforeValidator(_file_name)]
Label = Annotated[
    str, BeforeValidator(_label), AfterValidator(_travels_in_a_command), WithJsonSchema({"type": ["string", "number"]})
]
Steps = Annotated[
    tuple[int, ...],
    BeforeValidator(_steps),
    WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 100}, "minItems": 1}),
]
AssetName = Annotated[str, StringConstraints(pattern=ASSET_NAME)]
ModelName = Annotated[str, StringConstraints(pattern=MODEL_NAME)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
Column = Annotated[NonEmpty, AfterValidator(_travels_in_a_command)]
IdColumn = Annotated[Column, AfterValidator(_listed_with_commas)]
Probability = Annotated[float, Field(ge=0, le=1)]
