"""ISO 8601 durations, as Azure's REST API writes spans of time."""

from __future__ import annotations

import re
from typing import Any

from local.azureml.errors import bad_request

_DURATION = re.compile(r"PT(?=\d)(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?")


def seconds(duration: Any, name: str) -> float:
    """The seconds of e.g. `PT1M30S`; 400 names the field when it is no such duration."""
    match = _DURATION.fullmatch(str(duration))
    if match is None:
        raise bad_request(f"{name}: '{duration}' is not an ISO 8601 duration such as PT5S.")
    hours, minutes, rest = (float(match[unit] or 0) for unit in "hms")
    return hours * 3600 + minutes * 60 + rest
