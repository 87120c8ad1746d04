"""Which events a subscription wants: event types, subject, advanced filters.

Source: learn.microsoft.com/azure/event-grid/event-filtering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local.eventgrid.errors import bad_request
from local.eventgrid.schema import CLOUD_EVENTS, EVENT_GRID, Event

MAX_FILTERS = 25
MAX_VALUES = 25
MAX_TEXT = 512

Number = int | float
_MISSING = object()

# What one value of the event must be to one value of the filter. The negative operators ask that it holds for none.
_TEXT: dict[str, Callable[[str, str], bool]] = {
    "StringIn": lambda found, wanted: found == wanted,
    "StringBeginsWith": lambda found, wanted: found.startswith(wanted),
    "StringEndsWith": lambda found, wanted: found.endswith(wanted),
    "StringContains": lambda found, wanted: wanted in found,
}
_NUMBER: dict[str, Callable[[Number, Number], bool]] = {
    "NumberIn": lambda found, wanted: found == wanted,
    "NumberLessThan": lambda found, wanted: found < wanted,
    "NumberLessThanOrEquals": lambda found, wanted: found <= wanted,
    "NumberGreaterThan": lambda found, wanted: found > wanted,
    "NumberGreaterThanOrEquals": lambda found, wanted: found >= wanted,
}
_NEGATIVE = {
    "StringNotIn": "StringIn",
    "StringNotBeginsWith": "StringBeginsWith",
    "StringNotEndsWith": "StringEndsWith",
    "StringNotContains": "StringContains",
    "NumberNotIn": "NumberIn",
    "NumberNotInRange": "NumberInRange",
}
_PRESENCE = ("IsNullOrUndefined", "IsNotNull")
_SINGLE_VALUE = (*(name for name in _NUMBER if name != "NumberIn"), "BoolEquals")
_OPERATORS = (*_TEXT, *_NUMBER, "NumberInRange", "BoolEquals", *_NEGATIVE, *_PRESENCE)
# The documentation names exactly these two as matching an event that lacks the key.
_MATCH_WHEN_MISSING = ("StringNotIn", "NumberNotIn")


@dataclass(frozen=True)
class AdvancedFilter:
    """One condition on one key; its values are alternatives."""

    operator: str
    key: str
    values: tuple[Any, ...]

    def matches(self, fields: dict[str, Any], arrays: bool) -> bool:
        """`fields`: the event by lower-case top-level names; `arrays`: enableAdvancedFilteringOnArrays."""
        found = _look_up(fields, self.key)
        absent = found is _MISSING or found is None
        if self.operator in _PRESENCE:
            return absent == (self.operator == "IsNullOrUndefined")
        candidates = found if isinstance(found, list) and arrays else [found]
        usable = [value for value in candidates if not absent and _fits(self.operator, value)]
        if not usable:
            return self.operator in _MATCH_WHEN_MISSING
        positive = _NEGATIVE.get(self.operator, self.operator)
        hit = any(_holds(positive, value, wanted) for value in usable for wanted in self.values)
        return hit != (self.operator in _NEGATIVE)


@dataclass(frozen=True)
class EventFilter:
    """A subscription's filter: all of its parts must hold."""

    included_types: tuple[str, ...] | None
    begins_with: str
    ends_with: str
    case_sensitive: bool
    advanced: tuple[AdvancedFilter, ...]
    arrays: bool

    def matches(self, event: Event) -> bool:
        if self.included_types is not None and event.type.lower() not in self.included_types:
            return False
        subject, begins, ends = event.subject, self.begins_with, self.ends_with
        if not self.case_sensitive:
            subject, begins, ends = subject.lower(), begins.lower(), ends.lower()
        if not (subject.startswith(begins) and subject.endswith(ends)):
            return False
        if not self.advanced:
            return True
        both = {**event.in_schema(CLOUD_EVENTS), **event.in_schema(EVENT_GRID)}
        fields = {name.lower(): value for name, value in both.items()}
        return all(condition.matches(fields, self.arrays) for condition in self.advanced)


def parse_filter(document: Any) -> EventFilter:
    """Read the `filter` object of an event subscription; RefusedError (400) names what Azure would not take."""
    document = document or {}
    if not isinstance(document, dict):
        raise bad_request("'filter' must be an object.")
    types = document.get("includedEventTypes")
    if types is not None and not (isinstance(types, list) and all(isinstance(name, str) for name in types)):
        raise bad_request("'filter.includedEventTypes' must be an array of strings.")
    # "All" is the old spelling of no restriction.
    included = None if not types or "All" in types else tuple(name.lower() for name in types)
    return EventFilter(
        included,
        _text(document, "subjectBeginsWith"),
        _text(document, "subjectEndsWith"),
        _flag(document, "isSubjectCaseSensitive"),
        _parse_advanced(document.get("advancedFilters") or []),
        _flag(document, "enableAdvancedFilteringOnArrays"),
    )


def _parse_advanced(documents: Any) -> tuple[AdvancedFilter, ...]:
    if not isinstance(documents, list):
        raise bad_request("'filter.advancedFilters' must be an array.")
    filters = tuple(_parse_one(item, f"filter.advancedFilters[{index}]") for index, item in enumerate(documents))
    if len(filters) > MAX_FILTERS:
        raise bad_request(f"'filter.advancedFilters' holds {len(filters)} filters; {MAX_FILTERS} are the limit.")
    values = sum(len(item.values) for item in filters)
    if values > MAX_VALUES:
        raise bad_request(f"'filter.advancedFilters' holds {values} values in all; {MAX_VALUES} are the limit.")
    return filters


def _parse_one(document: Any, path: str) -> AdvancedFilter:
    if not isinstance(document, dict):
        raise bad_request(f"'{path}' must be an object.")
    operator, key = document.get("operatorType"), document.get("key")
    if operator not in _OPERATORS:
        raise bad_request(f"'{path}.operatorType' is '{operator}'; known are {', '.join(_OPERATORS)}.")
    if not isinstance(key, str) or not key:
        raise bad_request(f"'{path}.key' is required and must be a non-empty string.")
    if operator in _PRESENCE:
        return AdvancedFilter(operator, key, ())
    name = "value" if operator in _SINGLE_VALUE else "values"
    values = [document.get(name)] if name == "value" else document.get(name)
    if not isinstance(values, list) or not values:
        raise bad_request(f"'{path}.values' is required and must be an array with at least one value.")
    for value in values:
        if not _wanted_fits(operator, value):
            raise bad_request(f"'{path}.{name}' holds {value!r}, which {operator} cannot compare with (text: {MAX_TEXT}).")
    return AdvancedFilter(operator, key, tuple(value.lower() if isinstance(value, str) else value for value in values))


def _wanted_fits(operator: str, value: Any) -> bool:
    if operator.endswith("InRange"):
        pair = isinstance(value, list) and len(value) == 2 and all(_fits(operator, edge) for edge in value)
        return pair and bool(value[0] <= value[1])
    return _fits(operator, value) and (not isinstance(value, str) or len(value) <= MAX_TEXT)


def _fits(operator: str, value: Any) -> bool:
    """Whether a value has the type that the operator compares; Python's bool is an int, JSON's is not."""
    if operator == "BoolEquals":
        return isinstance(value, bool)
    if operator.startswith("Number"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str)


def _holds(operator: str, found: Any, wanted: Any) -> bool:
    if operator in _TEXT:
        return _TEXT[operator](found.lower(), wanted)
    if operator in _NUMBER:
        return _NUMBER[operator](found, wanted)
    if operator == "NumberInRange":
        return bool(wanted[0] <= found <= wanted[1])
    return bool(found == wanted)  # BoolEquals


def _look_up(fields: dict[str, Any], key: str) -> Any:
    """Follow `data.key1.key2` without regard to case; a name that holds a dot itself cannot be reached, as in Azure."""
    found: Any = fields
    for part in key.lower().split("."):
        if not isinstance(found, dict):
            return _MISSING
        found = next((value for name, value in found.items() if name.lower() == part), _MISSING)
    return found


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name) or ""
    if not isinstance(value, str):
        raise bad_request(f"'filter.{name}' must be a string.")
    return value


def _flag(document: dict[str, Any], name: str) -> bool:
    value = document.get(name) or False
    if not isinstance(value, bool):
        raise bad_request(f"'filter.{name}' must be true or false.")
    return value
