"""What people see: trails, tables and inbox items on a terminal; whole lines without colours in a pipe.

What is shown was partly written by strangers (a blob's name, an event's payload): whatever could steer the terminal is shown as
its code point.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, timedelta
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from ml_core.inbox import Item
from ml_core.trail.values import Step, Trail

_UNBOUNDED = 100_000
# A column of free text that is narrower than this is harder to read than a line that the terminal breaks.
_NARROWEST = 30
_STYLES = {"received": "cyan", "inbox": "red", "traffic": "green", "model": "magenta", "job": "yellow", "request": "yellow"}


def as_json(value: Any) -> None:
    """One JSON document on standard output, in ASCII."""
    typer.echo(json.dumps(value, indent=1, default=_plain))


def line(*parts: str | tuple[str, str], indent: int = 0) -> None:
    """One line of text pieces, each plain or with a style, made harmless. On a terminal the last one is a column at `indent`."""
    console = _console()
    styled = (part if isinstance(part, tuple) else (part, "") for part in parts)
    *before, last = (Text(harmless(text), style) for text, style in styled)
    room = console.width - indent
    pieces = last.wrap(console, room) if room >= _NARROWEST else [last]
    for number, piece in enumerate(pieces):
        start = Text.assemble(*before) if number == 0 else Text(" " * indent)
        piece.rstrip()
        console.print(start.append_text(piece), soft_wrap=True)


def trail(told: Trail) -> None:
    """A trail as a person would tell it: what happened in the order of time, and where it stands."""
    line((told.about, "bold"))
    if told.correlation_ids:
        line(("correlation id ", "dim"), (", ".join(told.correlation_ids), "dim"))
    day: date | None = None
    for step in told.steps:
        if step.at is not None and step.at.date() != day:
            day = step.at.date()
            line("")
            line((f"{day:%A, %Y-%m-%d} (UTC)", "dim"))
        _step(step)
    if told.ends:
        line("")
    for end in told.ends:
        _sentence(end)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as what is in them; the last one is free text."""
    cells = [[harmless(cell) for cell in row] for row in rows]
    widths = [max([len(header), *(len(row[place]) for row in cells)]) for place, header in enumerate(headers)]
    before_last = sum(widths[:-1]) + 2 * (len(widths) - 1)
    _row(headers, widths, before_last, style="dim")
    for row in cells:
        _row(row, widths, before_last)


def item(found: Item) -> None:
    """An item of the inbox in full."""
    facts = {
        "kind": found.kind + (" (permanent: it fails for ever in the same way)" if found.permanent else ""),
        "source": found.source,
        "key": found.key,
        "status": found.status,
        "attempts": str(found.attempts),
        "first at": found.first_at,
        "last at": found.last_at,
        "error": found.error,
    }
    line((f"inbox item {found.id}", "bold"))
    for name, fact in facts.items():
        if fact:
            line((f"{name:<10}", "dim"), fact, indent=10)
    line("")
    line(("payload, as it came:", "dim"))
    for one in _pretty(found.payload).split("\n"):
        line(f"  {one}")
    line("")
    line(("history:", "dim"))
    for happened in found.history:
        line(f"  {happened.at[:19]}  {happened.what}  by {happened.by}: {happened.reason}", indent=4)


def harmless(text: str) -> str:
    """The text with everything that is no letter, sign or blank as its code point: escape sequences, reversed writing, and line
    breaks, with which a name could pass for a line of ours."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)


def width() -> int | None:
    """The terminal's, in characters; None in a pipe."""
    console = _console()
    return console.width if console.is_terminal else None


def _console() -> Console:
    # Made for each line: standard output may be a pipe, and a terminal's width changes.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNBOUNDED
    return console


def _step(step: Step) -> None:
    at = f"{step.at:%H:%M:%S}" if step.at else "        "
    line("  ", (at, "dim"), "  ", (f"{step.what:<9}", _STYLES.get(step.what, "bold")), " ", step.told, indent=22)


def _sentence(end: str) -> None:
    line("=> ", (end + ("" if end.endswith((".", "?")) else "."), "bold"), indent=3)


def _row(row: Sequence[str], widths: Sequence[int], before_last: int, style: str = "") -> None:
    fixed = "".join(f"{cell:<{width}}  " for cell, width in zip(row[:-1], widths[:-1], strict=True))
    line((fixed, style), (row[-1], style), indent=before_last)


def _pretty(payload: str) -> str:
    """JSON with a line for each field; anything else in one line."""
    try:
        return json.dumps(json.loads(payload), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        return harmless(payload)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
