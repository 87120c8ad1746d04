"""The product's rollout on simulated stories: its own judge, with the steps, promises and budget of its default configuration.

What the rollout's state machine does with the judge's verdicts is told here in short, minute by minute: shadow, canary steps,
the hold before 100 %, baking (`tests/unit/test_simulated_rollouts.py` holds it against the state machine itself). Held-out rows
asked in the shadow, endpoints that take minutes to update and metrics that come late would add to every rule's minutes alike:
they are left out on all sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

from benchmarks.rivals import MINUTES, Verdicts
from benchmarks.traffic import Scenario, Stories, history, simulate
from ml_core import config
from ml_core.adapters.azure_monitor import PERCENTILES, bracket
from ml_core.ports import Counts, History
from ml_core.rollout import judge
from ml_core.rollout.judge.values import Arms, Finding, Promises, Ruling, Verdict
from ml_core.rollout.observe import rules_of
from ml_core.rollout.state import RolloutRules

BEYOND = 450
"""Minutes after these: more than the longest hold and all steps take."""

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

DEFAULTS = """
data_assets: {simulated: {container: simulated}}
models: {simulated: {data_asset: simulated, target: {column: y, positive_value: "1"}, endpoint: {name: simulated}}}
"""


@dataclass(frozen=True)
class Stage:
    """A part of the rollout: the candidate's live traffic and copies, in percent. At 100 % the old deployment gets the copies."""

    minutes: int
    live: int
    mirror: int = 0

    @property
    def share(self) -> float:
        """The candidate's intended part of what both answer."""
        if self.live == 100:
            return 100 / (100 + self.mirror)
        return self.mirror / (100 + self.mirror) if self.mirror else self.live / 100


@dataclass(frozen=True)
class Plan:
    """What the configuration makes of a rollout."""

    stages: tuple[Stage, ...]
    promises: Promises
    min_requests: int
    no_verdict: int
    """Minutes after which a step without a verdict asks a person."""


def default_rules() -> RolloutRules:
    """The product's, where tidegate.yaml says nothing else."""
    return rules_of(config.parse(DEFAULTS), "simulated", BEGAN)


def plan(rules: RolloutRules, *, shadow: bool = True) -> Plan:
    """The plan of this configuration, with its shadow or without."""
    stages = [Stage(_minutes(rules.interval), weight) for weight in rules.steps if weight < 100]
    if shadow and rules.shadow is not None and rules.shadow_mirror:
        stages.insert(0, Stage(_minutes(rules.shadow_duration), 0, rules.shadow_mirror))
    stages.append(Stage(_minutes(rules.bake), 100, rules.bake_mirror))
    return Plan(tuple(stages), rules.promises, rules.min_requests, _minutes(rules.deadlines.no_verdict))


def _minutes(span: timedelta) -> int:
    return round(span / timedelta(minutes=1))


class Traffic:
    """What one story's deployments answer, minute by minute. What lies beyond `MINUTES` is drawn when somebody gets there."""

    def __init__(self, scenario: Scenario, stories: Stories, number: int, seed: tuple[int, ...]) -> None:
        self._scenario, self._stories, self._number, self._seed = scenario, stories, number, seed
        self._first = 0
        self._rows: dict[Stage, list[list[int]]] = {}

    def minute(self, minute: int, stage: Stage) -> tuple[Arms, int]:
        """Both arms, and how many errors clients got from the candidate."""
        if minute - self._first >= self._stories.requests.shape[1]:
            self._first, self._number, self._rows = MINUTES, 0, {}
            self._stories = simulate(self._scenario, self._seed, 1, range(MINUTES, MINUTES + BEYOND))
        if stage not in self._rows:
            self._rows[stage] = self._read(stage)
        asked, failed, slow, others, others_failed, others_slow = self._rows[stage][minute - self._first]
        bounds = by_percentiles if self._scenario.percentiles else exactly
        candidate = Counts(asked, failed, 0, *bounds(asked, slow))
        stable = Counts(others, others_failed, 0, *bounds(others, others_slow))
        return Arms(BEGAN + timedelta(minutes=minute), candidate, stable, stage.share), failed if stage.live else 0

    def _read(self, stage: Stage) -> list[list[int]]:
        """Requests, errors and slow ones of the candidate and of the stable deployment, by minute."""
        s, edge = self._stories, self._scenario.column
        candidate = [counts[self._number, :, edge(stage.live or stage.mirror)] for counts in (s.requests, s.c_errors, s.c_slow)]
        stable = [counts[self._number] for counts in (s.requests, s.b_errors, s.b_slow)]
        if stage.live == 100:
            others = [counts[:, edge(stage.mirror)] for counts in stable]
        elif stage.mirror:
            others = [counts[:, -1] for counts in stable]
        else:
            others = [counts[:, -1] - counts[:, edge(stage.live)] for counts in stable]
        rows: list[list[int]] = np.stack(candidate + others, axis=1).tolist()
        return rows


def exactly(_: int, slow: int) -> tuple[int, int]:
    """The least and the most that were slow, where each request is counted."""
    return slow, slow


@lru_cache(maxsize=100_000)
def by_percentiles(requests: int, slow: int) -> tuple[int, int]:
    """The same where only percentiles are known: each is above the threshold or not; the adapter makes bounds of them."""
    above = {percent: requests - slow < math.ceil(percent * requests / 100) for percent in PERCENTILES.values()}
    return bracket(requests, {percent: float(slower) for percent, slower in above.items()} if requests else {}, 0.5)


@dataclass
class Story:
    """One rollout under way."""

    tally: judge.Tally = field(default_factory=judge.Tally)
    minute: int = 0
    errors: int = 0
    """That clients got from the candidate."""

    asked: int = 0
    """Requests to the candidate in this stage."""

    distrusted: bool = False
    """Whether the judge has said that the evidence cannot be right."""

    promoted_after: tuple[int, int] = (0, 0)
    """Minutes and errors until it had all the traffic."""


def play(plan: Plan, scenario: Scenario, stories: Stories, seed: tuple[int, ...]) -> Verdicts:
    """All stories, one after the other."""
    count = len(stories.requests)
    plan = replace(plan, no_verdict=min(plan.no_verdict, scenario.patience))
    verdicts = Verdicts(*(np.zeros(count, dtype=kind) for kind in (bool, bool, float, np.int64, bool)))
    for number in range(count):
        requests, errors = history(scenario, (*seed, number, 1))
        past = History(requests, errors, 86_400.0, 250.0)
        story = Story()
        traffic = Traffic(scenario, stories, number, (*seed, number, 2))
        end = roll_out(replace(plan, promises=judge.promises_for(plan.promises, past)), traffic, story)
        verdicts.rolled_back[number], verdicts.promoted[number] = end == "rolled back", end == "promoted"
        until = story.promoted_after if end == "promoted" else (story.minute, story.errors)
        verdicts.minutes[number], verdicts.errors[number] = until
        verdicts.distrusted[number] = story.distrusted
    return verdicts


def roll_out(plan: Plan, traffic: Traffic, story: Story) -> str:
    """`rolled back`, `promoted` (it stayed through baking) or `held` (a person is asked)."""
    for number, stage in enumerate(plan.stages):
        last_step = number == len(plan.stages) - 2
        if stage.live == 100:
            story.promoted_after = story.minute, story.errors
        story.asked = 0
        for minute in range(1, plan.no_verdict + 1):
            ruling = _look(plan, traffic, story, stage)
            if ruling.verdict is Verdict.ROLL_BACK:
                return "rolled back"
            if minute >= stage.minutes and _goes_on(plan, story, stage, ruling, last_step):
                break
        else:
            return "held"
    return "promoted"


def _look(plan: Plan, traffic: Traffic, story: Story, stage: Stage) -> Ruling:
    arms, failed = traffic.minute(story.minute, stage)
    story.minute += 1
    story.asked += arms.candidate.requests
    story.errors += failed
    story.tally = judge.weigh(story.tally, [arms], plan.promises, since=BEGAN)
    ruling = judge.rule(story.tally, plan.promises)
    story.distrusted |= ruling.finding is Finding.ERROR
    return ruling


def _goes_on(plan: Plan, story: Story, stage: Stage, ruling: Ruling, last_step: bool) -> bool:
    """A stage that has lasted long enough is left, unless something is missing or speaks against it."""
    if ruling.finding is Finding.ERROR:
        return False
    if stage.mirror:  # shadow and baking
        return True
    enough = story.asked >= plan.min_requests and ruling.finding is not Finding.BAD
    return enough and (not last_step or ruling.verdict is Verdict.PROMOTE)
