"""When do a data asset's files become a version? Pure: no clock, no network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from ml_core.naming import data_version
from ml_core.ports import Blob
from ml_core.reconciling import DATA_ASSETS, Rest, Rules

# What made Azure refuse a version (a name, a policy, a missing datastore) is corrected by people, and not within minutes.
RETRY_A_REFUSED_ONE_AFTER = timedelta(hours=1)


@dataclass(frozen=True)
class Refusal:
    """A version that Azure refused for good, as things stood then."""

    version: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class State:
    """What is remembered of a data asset between two looks."""

    registered: str = ""
    """The newest registered version."""

    pending: str = ""
    """The version that the blobs would make, as last seen."""

    changed_at: datetime | None = None
    """When the blobs last became others, as far as it was seen."""

    refused: Refusal | None = None
    """The last refusal. The sweep has the same files tried again after a while; other files are tried at once."""


@dataclass(frozen=True)
class Observation:
    """The asset's blobs as they are now, and its window. `known`: these very blobs have been a version before."""

    blobs: tuple[Blob, ...]
    quiet_period: timedelta
    known: bool = False


@dataclass(frozen=True)
class KeepOpen:
    """The window is open: files may still be on their way."""

    version: str
    changed_at: datetime
    reason: str
    look_again_in: timedelta
    kind: Literal["keep open"] = "keep open"


@dataclass(frozen=True)
class Register:
    """The window is closed: these blobs are a version. `left_out` are paths of empty files."""

    version: str
    changed_at: datetime
    blobs: tuple[Blob, ...]
    left_out: tuple[str, ...]
    reason: str
    # Blobs may have changed while it was being registered, and the event that said so may have been lost.
    look_again_in: timedelta | None = timedelta(0)
    kind: Literal["register"] = "register"


Action = Rest | KeepOpen | Register


def decide(state: State, observation: Observation, now: datetime) -> Action:
    """Close the window when what is there has stopped changing; the version is named by what is there."""
    blobs = held(observation.blobs)
    if not blobs:
        return Rest("there is no file that is not empty")
    version = version_of(blobs)
    if version == state.registered:
        return Rest(f"the files are those of version {version}")
    if state.refused and state.refused.version == version and now - state.refused.at < RETRY_A_REFUSED_ONE_AFTER:
        again_at = state.refused.at + RETRY_A_REFUSED_ONE_AFTER
        return Rest(f"version {version} was refused; tried again after {again_at:%H:%M}: {state.refused.reason}")
    changed_at = state.changed_at if version == state.pending and state.changed_at else _changed_at(state, blobs, now)
    remaining = changed_at + observation.quiet_period - now
    if remaining > timedelta(0):
        return KeepOpen(version, changed_at, f"the files last changed at {changed_at:%H:%M:%S}; waiting for more", remaining)
    left_out = tuple(blob.path for blob in observation.blobs if blob.size == 0)
    again = f"; they are those of the earlier version {version} again" if observation.known else ""
    reason = f"{len(blobs)} files have not changed for {now - changed_at}{again}"
    return Register(version, changed_at, blobs, left_out, reason)


def held(blobs: Iterable[Blob]) -> tuple[Blob, ...]:
    """The blobs that a version of these would hold: those that are not empty, by url."""
    return tuple(sorted((blob for blob in blobs if blob.size > 0), key=lambda blob: blob.url))


def version_of(blobs: Iterable[Blob]) -> str:
    """The name of the version that holds these blobs."""
    return data_version((blob.url, blob.etag, blob.size) for blob in blobs)


def evolve(state: State, action: Action, _now: datetime) -> State:
    """The state after the action was taken."""
    if isinstance(action, KeepOpen):
        return replace(state, pending=action.version, changed_at=action.changed_at)
    if isinstance(action, Register):
        return State(registered=action.version, changed_at=action.changed_at)
    # What was pending has gone back to what is registered, or to nothing.
    return replace(state, pending="")


def refuse(state: State, action: Action, error: str, now: datetime) -> State:
    """Azure refused this version: the same files would be refused again, until somebody has corrected something."""
    return replace(state, refused=Refusal(action.version, error, now)) if isinstance(action, Register) else state


def _changed_at(state: State, blobs: tuple[Blob, ...], now: datetime) -> datetime:
    """When the set became what it is: the newest write, unless a deletion made it so (which leaves no time behind)."""
    newest = max(blob.modified_at for blob in blobs)
    seen_before = state.changed_at is not None and newest <= state.changed_at
    return now if seen_before else min(newest, now)


# Registering is idempotent by name, so the state follows the step.
RULES = Rules(DATA_ASSETS, State, Observation, Action, decide, evolve, refuse, commit_first=False)
