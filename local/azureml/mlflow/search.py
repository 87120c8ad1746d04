"""MLflow's searches of the registry: filter strings, orders, pages.

Azure ML's own registry knows equality of names only; here is what MLflow's documentation describes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from local.azureml.mlflow.entities import milliseconds, source_of, tags_of
from local.azureml.mlflow.errors import invalid
from local.azureml.queries import Query
from local.azureml.store import Record

Value = str | int | None
RunOf = Callable[[Record], str | None]
"""The id of the MLflow run that made a version."""

_CLAUSE = re.compile(
    r"""\s*(?P<tag>tags?\s*\.\s*)?(?P<key>`[^`]+`|"[^"]+"|[\w.\-/]+)\s*"""
    r"""(?P<op>!=|<=|>=|=|<|>|I?LIKE\b|IN\b)\s*"""
    r"""(?P<value>'[^']*'|"[^"]*"|-?\d+|\([^()]*\))\s*""",
    re.IGNORECASE,
)
_AND = re.compile(r"AND\b", re.IGNORECASE)
_LISTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_OF_MODELS = {"name"}
_OF_VERSIONS = {"name", "run_id", "source_path", "version_number"}
_NUMBERS = {"version_number"}


@dataclass(frozen=True)
class Condition:
    """`tags.stage = 'live'` and the like; all of a filter must hold."""

    key: str
    is_tag: bool
    op: str
    value: str | int | tuple[str, ...]

    def holds(self, found: Value) -> bool:
        # Who lacks a tag has another value than the one asked for; anything else needs a value to compare.
        if found is None:
            return self.op == "!=" and self.is_tag
        if self.op == "IN":
            return isinstance(self.value, tuple) and found in self.value
        if self.op in ("LIKE", "ILIKE"):
            return _like(str(found), str(self.value), ignore_case=self.op == "ILIKE")
        return _COMPARE[self.op](found, self.value)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda found, value: bool(found == value),
    "!=": lambda found, value: bool(found != value),
    "<": lambda found, value: bool(found < value),
    "<=": lambda found, value: bool(found <= value),
    ">": lambda found, value: bool(found > value),
    ">=": lambda found, value: bool(found >= value),
}


def narrowed(query: Query, filter_string: str) -> Query:
    """`query` for what the store can find by itself: a name and tags that are equal to something."""
    equal = [one for one in _parse(filter_string, _OF_VERSIONS) if one.op == "="]
    names = [str(one.value) for one in equal if one.key == "name" and not one.is_tag]
    tags = tuple((one.key, str(one.value)) for one in equal if one.is_tag)
    return replace(query, name=names[0] if names else query.name, tags=(*query.tags, *tags))


def models(records: Sequence[Record], filter_string: str, order_by: Sequence[str]) -> list[Record]:
    """Registered models that meet the filter; by name unless `order_by` says otherwise."""
    conditions = _parse(filter_string, _OF_MODELS)
    found = [one for one in records if all(each.holds(_value(one, each, lambda _: None)) for each in conditions)]
    keys: dict[str, Callable[[Record], Any]] = {"name": lambda one: one.name, **_TIMES}
    return _ordered(found, order_by or ["name ASC"], keys)


def versions(records: Sequence[Record], filter_string: str, order_by: Sequence[str], run_of: RunOf) -> list[Record]:
    """Model versions that meet the filter; the last changed first unless `order_by` says otherwise."""
    conditions = _parse(filter_string, _OF_VERSIONS)
    found = [one for one in records if all(each.holds(_value(one, each, run_of)) for each in conditions)]
    keys: dict[str, Callable[[Record], Any]] = {"name": lambda one: one.name, "version_number": _number, **_TIMES}
    return _ordered(found, order_by or ["last_updated_timestamp DESC", "name ASC", "version_number DESC"], keys)


_TIMES: dict[str, Callable[[Record], Any]] = {
    "creation_timestamp": lambda one: milliseconds(one.created),
    "last_updated_timestamp": lambda one: milliseconds(one.updated),
    "timestamp": lambda one: milliseconds(one.updated),
}


def page(items: Sequence[Record], size: int, token: str) -> tuple[list[Record], str]:
    """At most `size` items and the token of the next page, "" when there is none."""
    try:
        start = int(base64.urlsafe_b64decode(token.encode())) if token else 0
    except ValueError as error:
        raise invalid("The page_token is not one that this service issued.") from error
    end = start + size
    following = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(items) else ""
    return list(items[max(0, start) : end]), following


def _parse(filter_string: str, known: set[str]) -> list[Condition]:
    conditions, rest = [], filter_string.strip()
    while rest:
        match = _CLAUSE.match(rest)
        if match is None:
            raise invalid(f"The filter cannot be read from here on: {rest!r}.")
        conditions.append(_condition(match, known))
        rest = rest[match.end() :]
        if rest:
            joint = _AND.match(rest)
            if joint is None or not rest[joint.end() :].strip():
                raise invalid(f"The filter's conditions are joined by AND, not by {rest!r}.")
            rest = rest[joint.end() :]
    return conditions


def _condition(match: re.Match[str], known: set[str]) -> Condition:
    key, op, value = match["key"].strip('`"'), match["op"].upper(), match["value"]
    if not match["tag"] and key not in known:
        raise invalid(f"A filter may ask for {', '.join(sorted(known))} and tags.<key>, not for '{key}'.")
    numeric = not match["tag"] and key in _NUMBERS
    ordering, pattern, listed = op in ("<", "<=", ">", ">="), op in ("LIKE", "ILIKE"), op == "IN"
    if (ordering and not numeric) or (pattern and numeric) or (listed and key != "run_id"):
        raise invalid(f"'{op}' cannot be used with '{key}'.")
    return Condition(key, bool(match["tag"]), op, _literal(key, op, value, numeric=numeric))


def _literal(key: str, op: str, value: str, *, numeric: bool) -> str | int | tuple[str, ...]:
    if op == "IN":
        if not value.startswith("("):
            raise invalid(f"'{key} IN' needs a list in parentheses.")
        return tuple(first or second for first, second in _LISTED.findall(value))
    is_number = value.lstrip("-").isdecimal()
    if numeric != is_number or value.startswith("("):
        raise invalid(f"'{key}' is compared with a {'number' if numeric else 'string in quotes'}, not with {value}.")
    return int(value) if numeric else value[1:-1]


def _value(record: Record, condition: Condition, run_of: RunOf) -> Value:
    if condition.is_tag:
        return tags_of(record).get(condition.key)
    if condition.key == "name":
        return record.name
    if condition.key == "run_id":
        return run_of(record)
    return source_of(record) if condition.key == "source_path" else _number(record)


def _number(record: Record) -> int:
    # A version that is no number (Azure allows it) has none: below all others.
    return int(record.version) if record.version.isdecimal() else -1


def _like(found: str, pattern: str, *, ignore_case: bool) -> bool:
    """`%` is any text, `_` any character. Part by part, each as early as it can be: many `%` take no more time than few."""
    first, *others = (_literally(part, ignore_case=ignore_case) for part in pattern.split("%"))
    if not others:
        return first.fullmatch(found) is not None
    match, end = first.match(found), len(found) - len(pattern.rpartition("%")[2])
    for part in others[:-1]:
        match = part.search(found, match.end()) if match else None
    return match is not None and match.end() <= end and others[-1].fullmatch(found, end) is not None


def _literally(text: str, *, ignore_case: bool) -> re.Pattern[str]:
    wanted = "".join("." if char == "_" else re.escape(char) for char in text)
    return re.compile(wanted, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _ordered(records: list[Record], order_by: Sequence[str], keys: dict[str, Callable[[Record], Any]]) -> list[Record]:
    for clause in reversed(order_by):
        key, _, direction = clause.strip().partition(" ")
        if key.strip("`") not in keys or direction.strip().upper() not in ("", "ASC", "DESC"):
            raise invalid(f"Results can be ordered by {', '.join(keys)} with ASC or DESC, not by '{clause}'.")
        records = sorted(records, key=keys[key.strip("`")], reverse=direction.strip().upper() == "DESC")
    return records
