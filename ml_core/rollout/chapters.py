"""What people are shown of a rollout's story: the shares over time, the evidence of each step, and who did what. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ml_core.documents import to_document
from ml_core.ports import Counts
from ml_core.rollout import splits
from ml_core.rollout.actions import MakePlan, Obey, Weigh
from ml_core.rollout.judge import Tally
from ml_core.rollout.state import Rollout, Split
from ml_core.rollout.story import Decided, Story

# Holding and weighing are waiting; that a split stands is seen in the shares.
_NOT_WORTH_TELLING = ("rest", "hold", "weigh", "standing")
_WORDS = {
    "make plan": "plan",
    "shift traffic": "traffic",
    "stand still": "paused",
    "obey": "person",
    "raise alert": "alert",
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
    """What both deployments answered, as far as it was judged, while the candidate had this share of live traffic, or copies were
    sent to it (baking: to the other). `figures` are the judge's at its end, by name."""

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
    """The steps in which something was judged, in their order: what each added to the judge's tally."""
    steps: list[StepEvidence] = []
    for one in story.decisions:
        before = one.state.active
        if before is None or not isinstance(one.action, Weigh) or one.action.tally == before.tally:
            continue
        # What happened before the traffic was changed is told late, and belongs to the step before.
        late = one.action.judged_until is not None and one.action.judged_until <= before.since
        if not steps or not (late or _is_of(steps[-1], before)):
            steps.append(_step(before))
        steps[-1] = _with(steps[-1], before.tally, one.action)
    return steps


def happenings(story: Story) -> list[Happening]:
    """What was done, by whom and why, in the order of time."""
    found: list[Happening] = []
    whole, reason, times = "", "", 1
    for one in story.decisions:
        document = to_document(one.action)
        if not is_worth_telling(document):
            continue
        told = sentence(document)
        times = times + 1 if told == whole else 1
        if times > 1:
            # Asked for again, since it was lost or Azure failed.
            found[-1] = replace(found[-1], told=f"{found[-1].told.removesuffix(_times(times - 1))}{_times(times)}")
            continue
        by = one.action.command.by if isinstance(one.action, Obey) else ""
        # A step's reason is often the one before, word for word: it is told once.
        short = told.removesuffix(f", because {reason}") if reason else told
        found.append(Happening(one.at, word(document), short, by))
        whole, reason = told, one.action.reason
    return found


def _times(times: int) -> str:
    return f" ({times} times)" if times > 1 else ""


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


def stands_at(active: Mapping[str, Any]) -> str:
    """Where the document of a rollout under way stands: `canary 25 %`, and whether it stands still."""
    intended = active.get("intended") or {}
    share = intended.get("weights", intended).get(active["candidate"], 0)
    copies = sum((intended.get("mirror") or {}).values()) if "weights" in intended else 0
    parts = [str(active["phase"]), f"{share} %" if share else f"copies of {copies} %" if copies else ""]
    pause = active.get("pause")
    return " ".join(part for part in parts if part) + (f", stands still ({pause['cause']})" if pause else "")


def _begun(action: Mapping[str, Any], reason: str) -> str:
    beside = f", beside {action['stable_model']} in {action['stable']}" if action.get("stable") else ""
    where = f" at {action['endpoint']}" if action.get("endpoint") else ""
    return f"the rollout of {action['model']}:{action['version']} began{where}, in {action['candidate']}{beside}: {reason}"


def _shifted(action: Mapping[str, Any], reason: str) -> str:
    split = Split(**action["split"]) if "split" in action else Split(action.get("weights", {}))
    return f"{action['phase']}: {splits.told(split)}, because {reason}"


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


def _step(rollout: Rollout) -> StepEvidence:
    return StepEvidence(_phase(rollout), *_share(rollout), rollout.since, rollout.since)


def _is_of(step: StepEvidence, rollout: Rollout) -> bool:
    return (step.phase, step.live, step.copies) == (_phase(rollout), *_share(rollout))


def _share(rollout: Rollout) -> tuple[int, int]:
    """The candidate's live traffic, and the copies that either of the two gets, in percent."""
    return rollout.intended.weights.get(rollout.candidate, 0), sum(rollout.intended.mirror.values())


def _with(step: StepEvidence, before: Tally, weighed: Weigh) -> StepEvidence:
    after = weighed.tally
    return replace(
        step,
        until=weighed.judged_until or step.until,
        intervals=step.intervals + after.intervals - before.intervals,
        candidate=_more(step.candidate, before.candidate, after.candidate),
        stable=_more(step.stable, before.stable, after.stable),
        figures=weighed.figures,
    )


def _more(so_far: Counts, before: Counts, after: Counts) -> Counts:
    return Counts(**{name: number + getattr(after, name) - getattr(before, name) for name, number in vars(so_far).items()})
