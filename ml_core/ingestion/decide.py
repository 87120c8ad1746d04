"""When do a data asset's files become a version? Pure: no clock, no network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from ml_core.ingestion.windows import Closing, Limits, OpenWindow, closing
from ml_core.reconciling import DATA_ASSETS, Rest, Rules

# What made Azure refuse a version (a name, a policy, a missing datastore) is corrected by people, and not within minutes.
RETRY_A_REFUSED_ONE_AFTER = timedelta(hours=1)
NO_FILE = "there is no file that is not empty"
_AT_ONCE = timedelta(0)


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

    announced: int = 0
    """The number of the last closing that models and documents have been told of."""

    refused: Refusal | None = None
    """The last refusal. The same files are tried again after a while; other files are tried at once."""


@dataclass(frozen=True)
class Draft:
    """What a version would hold if these windows closed. `version` is '' without a file; `known`: it was one before."""

    windows: tuple[str, ...]
    version: str
    files: int
    known: bool


@dataclass(frozen=True)
class Observation:
    """The asset's open windows, and what the catalogue says of its closings and inventories.

    `newest` is the newest version, `came_to` the one that the last of the `closings` has made or found again ('': no file).
    `draft` belongs to the windows that are to be closed; it is made when there are such.
    """

    windows: tuple[OpenWindow, ...]
    limits: Limits
    inventory: timedelta
    inventoried_at: datetime | None
    inventory_asked: bool
    closings: int
    came_to: str
    newest: str
    draft: Draft | None = None


@dataclass(frozen=True)
class KeepOpen:
    """A window is open: files may still be on their way."""

    windows: tuple[str, ...]
    reason: str
    look_again_in: timedelta
    kind: Literal["keep open"] = "keep open"


@dataclass(frozen=True)
class TakeInventory:
    """Compare what was told with what is there."""

    reason: str
    look_again_in: timedelta | None = _AT_ONCE
    kind: Literal["take inventory"] = "take inventory"


@dataclass(frozen=True)
class Register:
    """These windows close, and what is there is a version."""

    version: str
    files: int
    closings: tuple[Closing, ...]
    reason: str
    look_again_in: timedelta | None = _AT_ONCE
    kind: Literal["register"] = "register"


@dataclass(frozen=True)
class Close:
    """These windows close without a new version: there is no file (`version` is ''), or the files are those of the newest one."""

    version: str
    closings: tuple[Closing, ...]
    reason: str
    look_again_in: timedelta | None = _AT_ONCE
    kind: Literal["close"] = "close"


@dataclass(frozen=True)
class Announce:
    """Tell the windows' documents and the models what the last closing has come to."""

    number: int
    version: str
    reason: str
    look_again_in: timedelta | None = _AT_ONCE
    kind: Literal["announce"] = "announce"


Action = Rest | KeepOpen | TakeInventory | Register | Close | Announce


def decide(state: State, seen: Observation, now: datetime) -> Action:
    """Close the windows that are due, once an inventory has seen what is there; the version is named by what is there."""
    if seen.closings != state.announced:
        found = f"version {seen.came_to}" if seen.came_to else "no version"
        return Announce(seen.closings, seen.newest, f"closing {seen.closings} has come to {found}")
    due = closings_due(seen.windows, seen.limits, now)
    if reason := inventory_due(seen, due, now):
        return TakeInventory(reason)
    if not due or seen.draft is None or set(seen.draft.windows) != {one.window for one in due}:
        return _wait(seen, now)
    return _close(state, seen, seen.draft, due, now)


def closings_due(windows: tuple[OpenWindow, ...], limits: Limits, now: datetime) -> tuple[Closing, ...]:
    """The windows that are to be closed, each with what came first."""
    return tuple(one for one in (closing(window, limits) for window in windows) if one.at <= now)


def inventory_due(seen: Observation, due: tuple[Closing, ...], now: datetime) -> str:
    """Why the container is to be listed now, or ''."""
    if seen.inventoried_at is None:
        return "what is there has not been listed yet"
    if seen.inventory_asked:
        return "an inventory was asked for"
    since = [one for one in due if one.at > seen.inventoried_at]
    if since:
        return f"{since[0].window} closes by its {since[0].by}: what was told is compared with what is there"
    if now - seen.inventoried_at >= seen.inventory:
        return f"it is time for the inventory of every {seen.inventory}"
    return ""


def evolve(state: State, action: Action, _now: datetime) -> State:
    """The state after the action was taken."""
    if isinstance(action, Announce):
        return replace(state, registered=action.version, announced=action.number)
    if isinstance(action, Register | Close):
        return replace(state, refused=None)
    return state


def refuse(state: State, action: Action, error: str, now: datetime) -> State:
    """Azure refused this version: the same files would be refused again, until somebody has corrected something."""
    return replace(state, refused=Refusal(action.version, error, now)) if isinstance(action, Register) else state


def forgive(state: State) -> State:
    """A person says that what made Azure refuse the version is corrected."""
    return replace(state, refused=None)


def _close(state: State, seen: Observation, draft: Draft, due: tuple[Closing, ...], now: datetime) -> Action:
    told = "; ".join(f"{one.window} closes by its {one.by}" for one in due)
    if draft.version == "":
        return Close("", due, f"{told}: {NO_FILE}")
    if draft.version == seen.newest:
        return Close(draft.version, due, f"{told}: the files are those of version {draft.version}")
    refused = state.refused
    if refused and refused.version == draft.version and now - refused.at < RETRY_A_REFUSED_ONE_AFTER:
        again_at = refused.at + RETRY_A_REFUSED_ONE_AFTER
        reason = f"version {draft.version} was refused; tried again after {again_at:%H:%M}: {refused.reason}"
        return KeepOpen(draft.windows, reason, min(again_at - now, _until_next_inventory(seen, now)))
    again = f"; they are those of the earlier version {draft.version} again" if draft.known else ""
    return Register(draft.version, draft.files, due, f"{told}: {draft.files} files{again}")


def _wait(seen: Observation, now: datetime) -> Action:
    next_inventory = _until_next_inventory(seen, now)
    if not seen.windows:
        reason = f"the files are those of version {seen.newest}" if seen.came_to else NO_FILE
        return Rest(reason, next_inventory)
    until = min(closing(window, seen.limits).at for window in seen.windows)
    # Without numbers and times: it is asked for with each event, and the same answer is kept once.
    reason = f"{', '.join(window.id for window in seen.windows[:5])}: more files may be on their way"
    return KeepOpen(tuple(window.id for window in seen.windows), reason, max(_AT_ONCE, min(until - now, next_inventory)))


def _until_next_inventory(seen: Observation, now: datetime) -> timedelta:
    return max(_AT_ONCE, (seen.inventoried_at or now) + seen.inventory - now)


# Registering is idempotent by name, so the state follows the step.
RULES = Rules(DATA_ASSETS, State, Observation, Action, decide, evolve, refuse, commit_first=False, forgive=forgive)
