"""What a trail is made of: steps in the order of time, and sentences about where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ml_core.errors import PermanentError


class NothingKnown(PermanentError):
    """Neither the ledger, nor the configuration, nor the workspace knows anything of that name."""


@dataclass(frozen=True)
class Step:
    """Something that happened."""

    at: datetime | None
    """When; None where nobody kept the time."""

    what: str
    """One word for people and programs: received, window, version, request, job, model, rollout, traffic, inbox, ..."""

    told: str
    """A sentence without its full stop."""

    see: str = ""
    """What can be asked about next."""

    document: str = ""
    """The key of the ledger's document that says so."""


@dataclass(frozen=True)
class Chapter:
    """A part of a trail. `ends` are sentences: how it stands now, or why nothing more has run."""

    steps: tuple[Step, ...] = ()
    ends: tuple[str, ...] = ()
    correlation_ids: tuple[str, ...] = ()

    def __add__(self, other: Chapter) -> Chapter:
        return Chapter(
            self.steps + tuple(step for step in other.steps if step not in self.steps),
            self.ends + tuple(end for end in other.ends if end not in self.ends),
            self.correlation_ids + tuple(one for one in other.correlation_ids if one not in self.correlation_ids),
        )


@dataclass(frozen=True)
class Trail:
    """All that is known about one thing. `about` names it in words, `kind` in one word."""

    kind: str
    about: str
    correlation_ids: tuple[str, ...]
    steps: tuple[Step, ...]
    ends: tuple[str, ...]


def trail(kind: str, about: str, chapter: Chapter) -> Trail:
    """The chapter as a trail: its steps in the order of time. A step without a time stays behind the one it was told after."""
    placed: list[tuple[datetime, Step]] = []
    last = datetime.min.replace(tzinfo=UTC)
    for step in chapter.steps:
        last = step.at or last
        placed.append((last, step))
    ordered = tuple(step for _, step in sorted(placed, key=lambda one: one[0]))
    return Trail(kind, about, chapter.correlation_ids, ordered, chapter.ends)


def moment(document: Mapping[str, Any], field: str) -> datetime | None:
    """A time of a document of the ledger; None when the document has none."""
    text = document.get(field)
    return datetime.fromisoformat(text) if text else None


def clock(at: datetime) -> str:
    """A time within a sentence."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def count(number: int, word: str) -> str:
    """'1 file', '2 files'."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def some(names: list[str]) -> str:
    """The first three names of a list, and how many more there are."""
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest:,} more" if rest > 0 else "")
