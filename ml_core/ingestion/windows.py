"""A window collects the changes of a data asset until it closes. Pure: no clock, no network.

Its id is the correlation id of all that follows from it: the data version, the training job, the model, the rollout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from ml_core.naming import fingerprint

ClosedBy = Literal["quiet period", "max wait", "max files", "marker"]


@dataclass(frozen=True)
class Limits:
    """When a window closes: whichever comes first. None: not by this."""

    quiet_period: timedelta | None
    max_wait: timedelta
    max_files: int | None = None


@dataclass(frozen=True)
class OpenWindow:
    """A window that still collects. `files` counts the paths that changed in it, each once."""

    id: str
    folder: str
    opened_at: datetime
    changed_at: datetime
    files: int = 0
    filled_at: datetime | None = None
    """When `files` reached max files."""
    marker_at: datetime | None = None
    """When its folder's marker was told."""


@dataclass(frozen=True)
class Closing:
    """What closes a window, and since when it is due."""

    window: str
    by: ClosedBy
    at: datetime


@dataclass(frozen=True)
class Change:
    """A change that a window takes in, told at `at`. `again`: of a path that has changed in this window before.

    `changed_at`: since when it is quiet around it. A file that an inventory finds late may have been quiet for long.
    """

    path: str
    folder: str
    at: datetime
    changed_at: datetime
    again: bool = False
    marker: bool = False


def closing(window: OpenWindow, limits: Limits) -> Closing:
    """What closes the window if nothing more changes, and when: the earliest of its reasons."""
    due: list[tuple[datetime, ClosedBy]] = [(window.opened_at + limits.max_wait, "max wait")]
    if window.marker_at is not None:
        due.append((window.marker_at, "marker"))
    if window.filled_at is not None:
        due.append((window.filled_at, "max files"))
    if limits.quiet_period is not None:
        due.append((window.changed_at + limits.quiet_period, "quiet period"))
    at, by = min(due, key=lambda one: one[0])
    return Closing(window.id, by, at)


def taken_in(windows: Mapping[str, OpenWindow], asset: str, change: Change, limits: Limits) -> OpenWindow:
    """The window of the change's folder after it; a new one when none is open."""
    window = open_in(windows, change.folder) or _opened(asset, change)
    files = window.files if change.again or change.marker else window.files + 1
    full = limits.max_files is not None and files >= limits.max_files
    return replace(
        window,
        changed_at=max(window.changed_at, change.changed_at),
        files=files,
        filled_at=(window.filled_at or change.at) if full else None,
        marker_at=change.at if change.marker else window.marker_at,
    )


def open_in(windows: Mapping[str, OpenWindow], folder: str) -> OpenWindow | None:
    """The open window of a folder."""
    return next((window for window in windows.values() if window.folder == folder), None)


def _opened(asset: str, change: Change) -> OpenWindow:
    # By what opened it, not by chance: a fold that is repeated after a crash opens the same window.
    unique = fingerprint(asset, change.folder, change.path, change.at.isoformat())[:6]
    return OpenWindow(f"{asset}-{change.at:%Y%m%dT%H%M%SZ}-{unique}", change.folder, change.at, change.changed_at)
