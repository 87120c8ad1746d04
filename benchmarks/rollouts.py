"""The product's rollout against the rules of others, on the same simulated stories: who is rolled back or promoted, and when.

A story is decided by the seed, its scenario's name, its batch and its number therein, so more stories of a scenario begin with
the same ones, and a new scenario changes no other. `traffic` makes the stories, `rivals` and `ramp` play them.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks import ramp, rivals, traffic
from benchmarks.binomial import interval
from benchmarks.measure import Comparison
from benchmarks.rivals import Verdicts
from benchmarks.traffic import SCENARIOS, Scenario
from ml_core import config_rollout

SEED = 20260101
STORIES = 2000
BATCH = 100
OURS, WITHOUT_SHADOW = "Tidegate", "without shadow"
RULES = (OURS, WITHOUT_SHADOW, *rivals.RIVALS)

Played = dict[str, Verdicts]


@dataclass(frozen=True)
class Outcome:
    """What became of all stories of a scenario under one rule."""

    verdicts: Verdicts
    kind: str

    @property
    def stories(self) -> int:
        return len(self.verdicts.minutes)

    @property
    def rolled_back(self) -> int:
        return int(self.verdicts.rolled_back.sum())

    @property
    def promoted(self) -> int:
        return int(self.verdicts.promoted.sum())

    def share(self, count: int) -> float:
        """In percent."""
        return 100 * count / self.stories

    def minutes(self, percentile: int) -> float:
        """Until the right verdict, over the stories that got it; NaN when none did."""
        right = self.verdicts.rolled_back if self.kind == "worse" else self.verdicts.promoted
        return float(np.percentile(self.verdicts.minutes[right], percentile)) if right.any() else float("nan")

    @property
    def errors(self) -> float:
        """The median of the candidate's failed answers to clients until the verdict, in all stories."""
        return float(np.median(self.verdicts.errors))

    @property
    def distrusted(self) -> int:
        return int(self.verdicts.distrusted.sum())


Report = dict[str, dict[str, Outcome]]
"""By scenario and rule."""


def run(stories: int = STORIES, show: Callable[[str], object] = print) -> list[Comparison]:
    """Play all scenarios, show the tables as Markdown, and compare with the goals."""
    report = play_all(stories)
    show(tables(report))
    return goals(report)


def play_all(stories: int, scenarios: Iterable[Scenario] = SCENARIOS, workers: int | None = None) -> Report:
    """The outcomes of each scenario under each rule. Two processes or more share the batches; the order changes nothing."""
    chosen = [(SCENARIOS.index(scenario), batch) for scenario in scenarios for batch in range(-(-stories // BATCH))]
    batches = [(scenario, batch, min(BATCH, stories - batch * BATCH)) for scenario, batch in chosen]
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        played = [play_batch(*batch) for batch in batches]
    else:
        with ProcessPoolExecutor(workers) as pool:
            played = list(pool.map(play_batch, *zip(*batches, strict=True), chunksize=1))
    together: dict[int, list[Played]] = {}
    for (scenario, *_), one in zip(batches, played, strict=True):
        together.setdefault(scenario, []).append(one)
    return {SCENARIOS[number].name: _outcomes(SCENARIOS[number], parts) for number, parts in together.items()}


def play_batch(number: int, batch: int, stories: int) -> Played:
    """Some stories of a scenario under each rule."""
    scenario = SCENARIOS[number]
    seed = (SEED, zlib.crc32(scenario.name.encode()), batch)
    simulated = traffic.simulate(scenario, seed, stories, range(rivals.MINUTES))
    rules = ramp.default_rules()
    played = {OURS: ramp.play(ramp.plan(rules), scenario, simulated, seed)}
    if _without_shadow(scenario):
        played[WITHOUT_SHADOW] = ramp.play(ramp.plan(rules, shadow=False), scenario, simulated, seed)
    for name, rule in rivals.RIVALS.items():
        played[name] = rivals.play(rule(stories), simulated, scenario)
    return played


def _without_shadow(scenario: Scenario) -> bool:
    """Whether the variant is played as well: where it shows what the shadow is good for, and does not mostly wait."""
    return scenario.kind == "worse" and not scenario.percentiles and scenario.per_second >= 1


def _outcomes(scenario: Scenario, parts: list[Played]) -> dict[str, Outcome]:
    def joined(rule: str) -> Verdicts:
        return Verdicts(
            *(np.concatenate([getattr(part[rule], name) for part in parts]) for name in Verdicts.__dataclass_fields__)
        )

    return {rule: Outcome(joined(rule), scenario.kind) for rule in parts[0]}


# ---- goals ------------------------------------------------------------------------------------------------------------

ALPHA, BETA = (100 * getattr(config_rollout.Judge(), name) for name in ("alpha", "beta"))


def goals(report: Report) -> list[Comparison]:
    """The promises in every scenario that they are about, and how soon a regression is found."""
    lines = [_worst(report, OURS, "good"), _worst(report, OURS, "worse"), _worst(report, WITHOUT_SHADOW, "worse")]
    for rule, (name, least) in product((OURS, WITHOUT_SHADOW), CAUGHT.items()):
        outcome = report[name][rule]
        caught = outcome.share(outcome.rolled_back)
        lines.append(_line(report, name, rule, "caught", caught, least, "at least", "%"))
    for rule, (name, most) in product((OURS, WITHOUT_SHADOW), MINUTES.items()):
        lines.append(_line(report, name, rule, "median", report[name][rule].minutes(50), most, "at most", "min"))
    return lines


CAUGHT = {"3 times worse inside the objective: 0.2 to 0.6 %": 99.0}
MINUTES = {"20 times worse: 0.5 to 10 %": 2.0, "4 times worse: 0.5 to 2 %": 13.0}
"""Whole minutes: less than 14 is at most 13."""

TOLERATED = "3 times worse below it: 0.01 to 0.03 %"
"""Here the candidate is worse, and may be promoted all the same: its own rate is tolerable."""


def _worst(report: Report, rule: str, kind: str) -> Comparison:
    """The scenario in which a promise fares worst."""
    of_kind = {name: outcomes for name, outcomes in report.items() if rule in outcomes and outcomes[rule].kind == kind}
    of_kind.pop(TOLERATED, None)

    def wrong(name: str, by: str) -> float:
        outcome = of_kind[name][by]
        return outcome.share(outcome.rolled_back if kind == "good" else outcome.promoted)

    worst = max(of_kind, key=lambda name: wrong(name, rule))
    what, goal = ("rolled back though as good", ALPHA) if kind == "good" else ("promoted though worse", BETA)
    theirs = ", ".join(f"{name} {max(wrong(one, name) for one in of_kind):.1f}" for name in rivals.RIVALS)
    return Comparison(f"{what}, worst scenario, {rule}", wrong(worst, rule), goal, "at most", "%", worst, theirs)


def _line(report: Report, name: str, rule: str, what: str, value: float, goal: float, bound: str, unit: str) -> Comparison:
    ours = f"p95 {report[name][rule].minutes(95):.0f} min, {report[name][rule].errors:.0f} bad answers"
    theirs = ", ".join(f"{rival} {_short(report[name][rival])}" for rival in rivals.RIVALS)
    return Comparison(f"{name}, {rule}: {what}", value, goal, bound, unit, ours, theirs)


# ---- tables -----------------------------------------------------------------------------------------------------------


def tables(report: Report) -> str:
    """All that was measured, as Markdown."""
    return "\n\n".join([_good(report), _worse(report), _details(report)])


def _good(report: Report) -> str:
    rows = [
        [name, *(f"{outcome.share(outcome.rolled_back):.1f}" for outcome in outcomes.values())]
        for name, outcomes in report.items()
        if outcomes[OURS].kind == "good"
    ]
    return _markdown(["rolled back though as good, %", OURS, *rivals.RIVALS], rows)


def _worse(report: Report) -> str:
    rows = [
        [name, *(_short(outcomes[rule]) if rule in outcomes else "" for rule in RULES)]
        for name, outcomes in report.items()
        if outcomes[OURS].kind == "worse"
    ]
    return _markdown(["caught, % / median minutes / bad answers", *RULES], rows)


def _short(outcome: Outcome) -> str:
    caught = outcome.share(outcome.rolled_back)
    return f"{caught:.1f} / {_whole(outcome.minutes(50))} / {outcome.errors:.0f}"


def _details(report: Report) -> str:
    rows = [
        [name, rule, *_detail(outcomes[rule])]
        for name, outcomes in report.items()
        for rule in (OURS, WITHOUT_SHADOW)
        if rule in outcomes
    ]
    titles = ["scenario", "", "rolled back, %", "promoted, %", "held, %", "not trusted, %", "minutes: median, p95", "bad answers"]
    return _markdown(titles, rows)


def _detail(outcome: Outcome) -> list[str]:
    held = outcome.stories - outcome.rolled_back - outcome.promoted
    return [
        _bounded(outcome, outcome.rolled_back),
        _bounded(outcome, outcome.promoted),
        f"{outcome.share(held):.1f}",
        f"{outcome.share(outcome.distrusted):.1f}",
        f"{_whole(outcome.minutes(50))}, {_whole(outcome.minutes(95))}",
        f"{outcome.errors:.0f}",
    ]


def _bounded(outcome: Outcome, count: int) -> str:
    low, high = interval(count, outcome.stories)
    return f"{outcome.share(count):.2f} [{100 * low:.2f}-{100 * high:.2f}]"


def _whole(minutes: float) -> str:
    return "-" if np.isnan(minutes) else f"{minutes:.0f}"


def _markdown(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
