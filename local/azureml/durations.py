"""ISO 8601 durations, as Azure's REST API writes spans of time: days and less, for a month has no length."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from local.azureml.errors import bad_request

_NUMBER = r"\d+(?:\.\d+)?"
_DURATION = re.compile(
    rf"P(?=[\dT])(?:(?P<days>{_NUMBER})D)?"
    rf"(?:T(?=\d)(?:(?P<hours>{_NUMBER})H)?(?:(?P<minutes>{_NUMBER})M)?(?:(?P<seconds>{_NUMBER})S)?)?"
)


def span(text: str) -> timedelta | None:
    """What `PT1M30S` means; None for what is no duration, the largest one there is for what is longer than that."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    try:
        return timedelta(**{unit: float(number) for unit, number in match.groupdict().items() if number})
    except OverflowError:
        return timedelta.max


def seconds(duration: Any, name: str) -> float:
    """The seconds of e.g. `PT1M30S`; 400 names the field when it is no such duration."""
    found = span(str(duration))
    if found is None:
        raise bad_request(f"{name}: '{str(duration)[:64]}' is not an ISO 8601 duration such as PT5S.")
    return found.total_seconds()
