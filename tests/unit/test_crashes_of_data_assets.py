"""Decisions about data assets are pure; between the step and the state a process may die. What the next ones make of that.

Nothing is faked but the world, which is a handful of values. TIDEGATE_STORIES=2000 tries so many stories.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from ml_core.ingestion import decide as ingestion
from ml_core.ingestion.windows import Change, Limits, OpenWindow, taken_in
from ml_core.naming import data_version

STORIES = os.environ.get("TIDEGATE_STORIES")
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPANS = st.sampled_from([0, 1, 10, 31, 130, 700, 4000]).map(lambda seconds: timedelta(seconds=seconds))
LIMITS = Limits(timedelta(seconds=30), timedelta(minutes=10), 4)
INVENTORY = timedelta(minutes=20)
Killed = Literal["no", "before anything", "after the registration", "before the state"]


@dataclass
class Asset:
    """What the container, the catalogue and the workspace hold of one data asset."""

    there: dict[str, str] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    window_of: dict[str, str] = field(default_factory=dict)
    windows: dict[str, OpenWindow] = field(default_factory=dict)
    inventoried_at: datetime | None = None
    asked: bool = False
    closings: int = 0
    came_to: str = ""
    newest: str = ""
    registered: set[str] = field(default_factory=set)
    pointer: str = ""
    woken: int = 0

    def seen(self, now: datetime) -> ingestion.Observation:
        windows = tuple(self.windows.values())
        seen = ingestion.Observation(
            windows, LIMITS, INVENTORY, self.inventoried_at, self.asked, self.closings, self.came_to, self.newest
        )
        due = ingestion.closings_due(windows, LIMITS, now)
        if not due or ingestion.inventory_due(seen, due, now):
            return seen
        ids = tuple(one.window for one in due)
        held = self.held(set(self.windows) - set(ids))
        version = data_version(held) if held else ""
        return replace(seen, draft=ingestion.Draft(ids, version, len(held), version in self.registered))

    def held(self, still_open: set[str]) -> list[tuple[str, str, int]]:
        return [(path, etag, 1) for path, etag in self.known.items() if self.window_of[path] not in still_open]

    def tell(self, path: str, now: datetime) -> None:
        """What is there of a path becomes known, and its folder's window takes that in."""
        folder = path.split("/")[0]
        if self.there.get(path) == self.known.get(path):
            return
        open_now = next((window for window in self.windows.values() if window.folder == folder), None)
        again = open_now is not None and self.window_of.get(path) == open_now.id
        window = taken_in(self.windows, "a", Change(path, folder, now, now, again), LIMITS)
        self.windows[window.id] = window
        self.window_of[path] = window.id
        if path in self.there:
            self.known[path] = self.there[path]
        else:
            del self.known[path]

    def act(self, action: ingestion.Action, killed: Killed, now: datetime) -> None:
        if killed == "before anything":
            return
        if isinstance(action, ingestion.TakeInventory):
            for path in sorted({*self.there, *self.known}):
                self.tell(path, now)
            self.inventoried_at, self.asked = now, False
        elif isinstance(action, ingestion.Register | ingestion.Close):
            self._close(action, killed, now)
        elif isinstance(action, ingestion.Announce):
            self.pointer = self.newest
            self.woken += 1

    def _close(self, action: ingestion.Register | ingestion.Close, killed: Killed, now: datetime) -> None:
        for one in action.closings:
            assert one.at <= now, "it closes before its time"
            assert self.inventoried_at is not None
            assert self.inventoried_at >= one.at, "what was told is not compared with what is there"
        if isinstance(action, ingestion.Register):
            self.registered.add(action.version)
            if killed == "after the registration":
                return
            self.newest = action.version
        for one in action.closings:
            del self.windows[one.window]
        self.closings += 1
        self.came_to = action.version


class AssetsWhoseLooksDie(RuleBasedStateMachine):
    """The state is written down last, so a process dies with a step done, or half done, that the next one knows nothing of."""

    def __init__(self) -> None:
        super().__init__()
        self.world, self.state, self.now = Asset(), ingestion.State(), START
        self.written = 0

    @rule(path=st.sampled_from(["x/a", "x/b", "y/a"]), told=st.booleans())
    def a_file_is_written(self, path: str, told: bool) -> None:
        self.written += 1
        self.world.there[path] = f"0x{self.written}"
        if told:
            self.world.tell(path, self.now)

    @rule(path=st.sampled_from(["x/a", "x/b", "y/a"]), told=st.booleans())
    def a_file_is_deleted(self, path: str, told: bool) -> None:
        self.world.there.pop(path, None)
        if told:
            self.world.tell(path, self.now)

    @rule()
    def an_inventory_is_asked_for(self) -> None:
        self.world.asked = True

    @rule(span=SPANS)
    def time_passes(self, span: timedelta) -> None:
        self.now += span

    @rule(span=SPANS)
    def looks_go_on(self, span: timedelta) -> None:
        until, looks = self.now + span, 0
        while self.now + (again := self.look()) <= until:
            self.now, looks = self.now + again, looks + 1
            assert looks < 60, "it looks again and again"
        self.now = until

    @rule(killed=st.sampled_from(["no", "before anything", "after the registration", "before the state"]))
    def it_is_looked_at(self, killed: Killed) -> None:
        self.look(killed)

    @rule()
    def azure_refuses(self) -> None:
        action = ingestion.decide(self.state, self.world.seen(self.now), self.now)
        if isinstance(action, ingestion.Register):
            self.state = ingestion.refuse(ingestion.evolve(self.state, action, self.now), action, "a policy", self.now)

    def look(self, killed: Killed = "no") -> timedelta:
        action = ingestion.decide(self.state, self.world.seen(self.now), self.now)
        self.world.act(action, killed, self.now)
        if killed == "no":
            self.state = ingestion.evolve(self.state, action, self.now)
        assert action.look_again_in is not None, "nobody would look again"
        return action.look_again_in

    def teardown(self) -> None:
        """It comes to rest by the looks that it asks for itself: no event, no sweep, and no haste."""
        until, looks = self.now + timedelta(hours=3), 0
        while self.now <= until:
            self.now, looks = self.now + self.look(), looks + 1
            assert looks < 60, "it looks again and again"
        world = self.world
        assert not world.windows
        assert world.known == world.there
        assert self.state.announced == world.closings
        assert self.state.registered == world.newest == world.pointer
        assert world.woken <= world.closings * 30
        if world.there:
            assert world.newest == data_version((path, etag, 1) for path, etag in world.there.items())


TestAssetsWhoseLooksDie = AssetsWhoseLooksDie.TestCase
TestAssetsWhoseLooksDie.settings = settings(
    max_examples=int(STORIES or 300), stateful_step_count=30, derandomize=STORIES is None, deadline=None
)
