"""Reads the fields of an event, which others have written: in any case, as numbers or text, and never trusted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ml_core.errors import EventError

# Digits of a size: more than any blob has, and few enough to be read as a number.
_LONGEST_SIZE = 18


class Fields:
    """A JSON object whose keys are read in any case, with errors that name the field in full."""

    def __init__(self, values: Mapping[str, Any], prefix: str) -> None:
        self._values = {key.lower(): value for key, value in values.items()}
        self._prefix = prefix

    def find(self, *names: str) -> Any:
        """The value of the first of these fields that is there and not null."""
        for name in names:
            if (value := self._values.get(name.lower())) is not None:
                return value
        return None

    def text(self, *names: str) -> str:
        """Text that is not empty, or a whole number as text."""
        value = self.find(*names)
        # Versions come as numbers too ("ModelVersion": 20); a bool or a container is a mistake.
        if isinstance(value, bool) or not isinstance(value, str | int) or not _writable(text := str(value)):
            raise self.error(names, value, "text")
        return text

    def optional_text(self, *names: str) -> str:
        """'' when the field is missing or empty."""
        return "" if self.find(*names) in (None, "") else self.text(*names)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object, which may be empty."""
        value = self.find(name)
        if not isinstance(value, dict):
            raise self.error((name,), value, "an object")
        return value

    def size(self, name: str) -> int:
        """A number, or its digits as text."""
        text = self.text(name) if self.find(name) is not None else ""
        if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_SIZE):
            raise self.error((name,), self.find(name), "a number of bytes")
        return int(text)

    def moment(self, *names: str) -> datetime | None:
        """An aware time in UTC, None when it is missing. Event Grid writes 0 to 9 fractional digits; Python keeps 6."""
        if self.find(*names) is None:
            return None
        text = self.text(*names)
        try:
            moment = datetime.fromisoformat(text.upper())
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            raise self.error(names, text, "an ISO 8601 time") from None

    def error(self, names: tuple[str, ...], found: object, expected: str) -> EventError:
        """What to raise when one of these fields holds something else than it should."""
        fields = " or ".join(self._prefix + name for name in names)
        return EventError(f"The event's field {fields} holds {shown(found)}; expected {expected}.")


def _writable(text: str) -> bool:
    """Not empty, and no half of a surrogate pair: JSON can say it, but no blob, header or terminal takes it."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def shown(found: object) -> str:
    """A value from outside in a message: at most a line or two of it."""
    text = repr(found)
    return text if len(text) <= 200 else f"{text[:200]}…"
