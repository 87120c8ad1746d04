"""Decisions about trainings are pure; between the state and the step a process may die. What the next ones make of that.

Nothing is faked but the world, which is a handful of values. TIDEGATE_STORIES=2000 tries so many stories.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ml_core.ports import JobState, ModelVersion
from ml_core.reconciling import Rest
from ml_core.training import decide as training
from ml_core.training.values import DATA, Cause, Conclude, DataVersion, Observation, RequestRollout, State, Submit, Wait

STORIES = os.environ.get("TIDEGATE_STORIES")
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPANS = st.sampled_from([0, 1, 10, 31, 130, 700, 4000]).map(lambda seconds: timedelta(seconds=seconds))
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
        pending = state.pending
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
TestTrainingsThatDie.settings = settings(
    max_examples=int(STORIES or 300), stateful_step_count=30, derandomize=STORIES is None, deadline=None
)
