"""What people are shown of a rollout's story: the shares over time, the evidence of each step, and who did what. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ml_core.documents import to_document
from ml_core.ports import Counts, Interval, Measured
from ml_core.rollout.actions import MakePlan, Obey, Weigh
from ml_core.rollout.state import Rollout
from ml_core.rollout.story import Decided, Story

# Holding and weighing are waiting; that a split stands is seen in the shares.
_NOT_WORTH_TELLING = ("rest", "hold", "weigh", "standing")
_WORDS = {
    "make plan": "plan",
    "shift traffic": "traffic",
    "stand still": "paused",
    "obey": "person",
    "raise alert": "alert",
    "refuse": "refused",
    "settle": "over",
}


@dataclass(frozen=True)
class Share:
    """What the candidate was seen with from this time on: live traffic and copies, in percent."""

    at: datetime
    phase: str
    live: int
    copies: int


@dataclass(frozen=True)
class StepEvidence:
    """What both deployments answered while the candidate had this share. `figures` are the judge's at its end, by name."""

    phase: str
    live: int
    copies: int
    since: datetime
    until: datetime
    intervals: int = 0
    candidate: Counts = field(default_factory=Counts)
    stable: Counts = field(default_factory=Counts)
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Happening:
    """Something that people should know. `what` is one word; `by` is the person, '' for the app's own doing."""

    at: datetime
    what: str
    told: str
    by: str = ""


def shares(story: Story) -> list[Share]:
    """The candidate's traffic as the endpoint was seen with it, foreign changes too; one for each time that it was another."""
    found: list[Share] = []
    for one, after in _looks(story):
        seen = one.observation.endpoint
        slot = after.candidate
        live, copies = (seen.traffic.get(slot, 0), seen.mirror.get(slot, 0)) if seen else (0, 0)
        share = Share(one.at, _phase(after), live, copies)
        if not found or replace(found[-1], at=share.at) != share:
            found.append(share)
    return found


def evidence(story: Story) -> list[StepEvidence]:
    """The steps in which something was counted, in their order. Each interval counts once, as it does for the judge."""
    steps: list[StepEvidence] = []
    counted: set[datetime] = set()
    for one in story.decisions:
        measured, rollout = one.observation.evidence, one.state.active
        if rollout is None or not isinstance(measured, Measured):
            continue
        fresh = [interval for interval in measured.intervals if interval.start not in counted]
        counted |= {interval.start for interval in fresh}
        figures = one.action.figures if isinstance(one.action, Weigh) else {}
        if fresh or figures:
            _into(steps, _step(rollout, one.at), rollout, fresh, figures)
    return steps


def happenings(story: Story) -> list[Happening]:
    """What was done, by whom and why, in the order of time."""
    found = []
    for one in story.decisions:
        document = to_document(one.action)
        if is_worth_telling(document):
            by = one.action.command.by if isinstance(one.action, Obey) else ""
            found.append(Happening(one.at, word(document), sentence(document), by))
    return found


def plan_of(story: Story) -> str:
    """What was expected before the first step, in words; '' where nobody asked."""
    return next((one.action.reason for one in story.decisions if isinstance(one.action, MakePlan)), "")


def is_worth_telling(action: Mapping[str, Any]) -> bool:
    """Whether a person would tell of it. Waiting is told once, as the end, when it still lasts."""
    return action["kind"] not in _NOT_WORTH_TELLING


def word(action: Mapping[str, Any]) -> str:
    """An action in one word."""
    return _WORDS.get(str(action["kind"]), "rollout")


def sentence(action: Mapping[str, Any]) -> str:
    """An action's document in a sentence without its full stop. Documents of earlier versions of the app are told as well."""
    kind, reason = str(action["kind"]), str(action["reason"])
    tell = _SENTENCES.get(kind)
    return tell(action, reason) if tell else f"{kind}: {reason}"


def _begun(action: Mapping[str, Any], reason: str) -> str:
    beside = f", beside {action['stable_model']} in {action['stable']}" if action.get("stable") else ""
    return f"the rollout of {action['model']}:{action['version']} began in {action['candidate']}{beside}: {reason}"


def _shifted(action: Mapping[str, Any], reason: str) -> str:
    split = action.get("split") or {"weights": action.get("weights", {}), "mirror": {}}
    parts = [f"{slot} {weight} %" for slot, weight in split["weights"].items()]
    parts += [f"copies of {weight} % to {slot}" for slot, weight in split["mirror"].items() if weight]
    return f"{action['phase']}: {', '.join(parts) or 'nothing'}, because {reason}"


def _obeyed(action: Mapping[str, Any], reason: str) -> str:
    command = action["command"]
    what = command["what"] + (f" to version {command['version']}" if command.get("version") else "")
    said = f"{command['by']} said {what}: {command['reason']}"
    return said if action["obeyed"] else f"{said}; it is not done: {reason}"


_SENTENCES: dict[str, Callable[[Mapping[str, Any], str], str]] = {
    "begin": _begun,
    "refuse": lambda action, reason: f"version {action['version']} was refused: {reason}",
    "enter": lambda action, reason: f"{action['phase']}: {reason}",
    "make plan": lambda _, reason: f"to be expected: {reason}",
    "create endpoint": lambda _, reason: f"the endpoint was asked for: {reason}",
    "create deployment": lambda action, reason: f"the deployment {action['slot']} was asked for: {reason}",
    "shift traffic": _shifted,
    "delete deployment": lambda action, reason: f"the deployment {action['slot']} was deleted: {reason}",
    "stand still": lambda action, reason: f"it stands still ({action['pause']['cause']}): {reason}",
    "obey": _obeyed,
    "raise alert": lambda action, reason: f"people were told ({action['alert']}): {reason}",
    "settle": lambda action, reason: f"the rollout ended: {action['outcome']}, because {reason}",
}


def _looks(story: Story) -> Iterator[tuple[Decided, Rollout]]:
    """Each decision with the rollout as it stood then."""
    for one in story.decisions:
        yield one, one.state.active or story.rollout


def _phase(rollout: Rollout) -> str:
    return rollout.phase.value


def _step(rollout: Rollout, at: datetime) -> StepEvidence:
    live, copies = rollout.intended.weights.get(rollout.candidate, 0), rollout.intended.mirror.get(rollout.candidate, 0)
    return StepEvidence(_phase(rollout), live, copies, rollout.since, at)


def _into(
    steps: list[StepEvidence], step: StepEvidence, rollout: Rollout, fresh: list[Interval], figures: Mapping[str, float]
) -> None:
    """Add intervals to the step they were weighed in."""
    if not steps or (steps[-1].phase, steps[-1].live, steps[-1].copies) != (step.phase, step.live, step.copies):
        steps.append(step)
    last = steps[-1]
    candidate, stable = last.candidate, last.stable
    for interval in fresh:
        candidate = _sum(candidate, interval.counts.get(rollout.candidate, Counts()))
        stable = _sum(stable, interval.counts.get(rollout.stable or "", Counts()))
    steps[-1] = replace(
        last,
        until=step.until,
        intervals=last.intervals + len(fresh),
        candidate=candidate,
        stable=stable,
        figures=figures or last.figures,
    )


def _sum(one: Counts, other: Counts) -> Counts:
    return Counts(**{name: number + getattr(other, name) for name, number in vars(one).items()})
