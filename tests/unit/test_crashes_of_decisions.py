"""Decisions are pure; between deciding, acting and writing the state down a process may die. What the next ones make of that.

Nothing is faked but the world, which is a handful of values. TIDEGATE_STORIES=2000 tries so many stories of each.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ml_core.ingestion import decide as ingestion
from ml_core.ingestion.windows import Change, Limits, OpenWindow, taken_in
from ml_core.naming import data_version
from ml_core.ports import JobState, ModelVersion
from ml_core.reconciling import Rest
from ml_core.training import decide as training
from ml_core.training.values import DATA, Cause, Conclude, DataVersion, Observation, Pending, RequestRollout, State, Submit, Wait

STORIES = os.environ.get("TIDEGATE_STORIES")
SETTINGS = settings(
    max_examples=int(STORIES or 100), stateful_step_count=30, derandomize=STORIES is None, deadline=None, print_blob=False
)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPANS = st.sampled_from([0, 1, 10, 31, 130, 700, 4000]).map(lambda seconds: timedelta(seconds=seconds))


# ---- training ---------------------------------------------------------------------------------------------------------

TAKES, POLL = timedelta(minutes=10), timedelta(seconds=15)
Death = Literal["none", "before the job", "after the job", "after one answer"]


@dataclass
class Trainings:
    """What the workspace and the ledger hold of one model."""

    data: str = ""
    asked: dict[str, datetime] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    """Of every request, and of every data version as such: the jobs that were made for it."""
    noted: dict[str, str] = field(default_factory=dict)
    """Which job answers it, as far as that is written down."""
    jobs: dict[str, datetime] = field(default_factory=dict)
    lead_to_no_model: set[str] = field(default_factory=set)
    rollouts: set[str] = field(default_factory=set)

    def seen(self, state: State, now: datetime) -> Observation:
        job = self._job(state.running.job, now) if state.running else None
        requests = [Cause(cause, f"{cause} was asked for", "ada", at) for cause, at in self.asked.items()]
        registered = None
        if job and job.completed and job.name not in self.lead_to_no_model:
            registered = ModelVersion("m", str(list(self.jobs).index(job.name) + 1))
        return Observation(
            model="m",
            data=DataVersion(self.data, START, "window-1", self.noted.get(self.data, "")) if self.data else None,
            requests=tuple(one for one in requests if one.cause not in self.noted),
            data_noted=state.running is not None and state.running.data_version in self.noted,
            job=job,
            registered=registered,
            rollout_requested=registered is not None and registered.version in self.rollouts,
            poll=POLL,
        )

    def submit(self, action: Submit, death: Death, now: datetime) -> None:
        run = action.run
        answered = [run.data_version if cause.cause == DATA else cause.cause for cause in run.causes]
        if death == "before the job":
            return
        if run.job not in self.jobs:
            assert all(now - at >= TAKES for at in self.jobs.values()), "two jobs at once"
            self.jobs[run.job] = now
            self.answers.update(answered)
        if death == "after the job":
            return
        for cause in answered[: 1 if death == "after one answer" else None]:
            self.noted.setdefault(cause, run.job)

    def _job(self, name: str, now: datetime) -> JobState | None:
        if name not in self.jobs:
            return None
        return JobState(name, "Completed" if now - self.jobs[name] >= TAKES else "Running")


class TrainingsThatDie(RuleBasedStateMachine):
    """The state is written down first (`commit_first`), so a process dies with a step decided on and not, or half, done."""

    def __init__(self) -> None:
        super().__init__()
        self.world, self.state, self.now = Trainings(), State(), START
        self.versions = 0

    @rule()
    def new_data_comes(self) -> None:
        self.versions += 1
        self.world.data = f"v{self.versions}"

    @rule(version=st.integers(1, 5))
    def data_goes_back_to_what_it_was(self, version: int) -> None:
        if version <= self.versions:
            self.world.data = f"v{version}"

    @rule(cause=st.sampled_from(["schedule-1", "schedule-2", "rerun-1", "drift-1"]))
    def a_training_is_asked_for(self, cause: str) -> None:
        self.world.asked.setdefault(cause, self.now)

    @rule(span=SPANS)
    def time_passes(self, span: timedelta) -> None:
        self.now += span

    @rule(span=SPANS)
    def looks_go_on(self, span: timedelta) -> None:
        until = self.now + span
        while (again := self.look()) is not None and self.now + again <= until:
            self.now += again
        self.now = until

    @rule(death=st.sampled_from(["none", "before the job", "after the job", "after one answer"]), model=st.booleans())
    def it_is_looked_at(self, death: Death, model: bool) -> None:
        self.look(death, model)

    @rule()
    def azure_refuses(self) -> None:
        action = training.decide(self.state, self.world.seen(self.state, self.now), self.now)
        evolved = training.evolve(self.state, action, self.now)
        # A job that is there already is not refused any more.
        refused = isinstance(action, Submit) and action.run.job not in self.world.jobs
        self.state = training.refuse(evolved, action, "no quota", self.now) if refused else self.state

    def look(self, death: Death = "none", model: bool = True) -> timedelta | None:
        action = training.decide(self.state, self.world.seen(self.state, self.now), self.now)
        self.state = training.evolve(self.state, action, self.now)
        if isinstance(action, Submit):
            if not model:
                self.world.lead_to_no_model.add(action.run.job)
            self.world.submit(action, death, self.now)
        elif isinstance(action, RequestRollout) and death == "none":
            self.world.rollouts.add(action.model_version)
        elif isinstance(action, Conclude) and action.outcome.model_version:
            assert action.outcome.model_version in self.world.rollouts
        if isinstance(action, Rest | Wait):
            # Two looks after another see the same.
            assert training.decide(self.state, self.world.seen(self.state, self.now), self.now) == action
        return action.look_again_in

    @invariant()
    def nothing_is_trained_for_twice(self) -> None:
        assert set(self.world.answers.values()) <= {1}, self.world.answers

    @invariant()
    def what_is_pending_is_one_training_on_the_newest_data(self) -> None:
        action = training.decide(self.state, self.world.seen(self.state, self.now), self.now)
        state = training.evolve(self.state, action, self.now)
        pending: Pending | None = state.pending
        if pending:
            causes = [cause.cause for cause in (*pending.causes, *(state.running.causes if state.running else ()))]
            causes = [cause for cause in causes if cause != DATA]
            assert len(causes) == len(set(causes))
            assert pending.data_version == self.world.data

    def teardown(self) -> None:
        self.now += training.RETRY_A_REFUSED_ONE_AFTER
        for _ in range(1000):
            again = self.look()
            if again is None:
                break
            self.now += again
        assert (self.state.running, self.state.pending) == (None, None) or not self.world.data
        if self.world.data:
            assert set(self.world.asked) | {self.world.data} <= set(self.world.answers)
            assert set(self.world.noted) == set(self.world.answers)


TestTrainingsThatDie = TrainingsThatDie.TestCase
TestTrainingsThatDie.settings = SETTINGS


# ---- data assets ------------------------------------------------------------------------------------------------------

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

    @rule(path=st.sampled_from(["x/a", "x/b", "y/a", "y/b"]), told=st.booleans())
    def a_file_is_written(self, path: str, told: bool) -> None:
        self.written += 1
        self.world.there[path] = f"0x{self.written}"
        if told:
            self.world.tell(path, self.now)

    @rule(path=st.sampled_from(["x/a", "x/b", "y/a", "y/b"]), told=st.booleans())
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
TestAssetsWhoseLooksDie.settings = SETTINGS
