"""What holds in every phase: the endpoint is read back, the candidate is the tested one, evidence is weighed. Pure.

Each function answers with an action, or with None when nothing is to be done about its matter.
"""

from __future__ import annotations

from collections.abc import Sequence

from ml_core.ports import Counts, History, Interval, Measured, SourceFailed
from ml_core.rollout import judge, planner
from ml_core.rollout.actions import NOW, Action, MakePlan, Settle, Standing, Weigh
from ml_core.rollout.judge.values import Arms, Finding, Verdict
from ml_core.rollout.provenance import objection
from ml_core.rollout.situation import Since, Situation
from ml_core.rollout.splits import live, meets, same, share_of_candidate, told, weights
from ml_core.rollout.state import Pause, Phase, Split

BEFORE_THE_TEST = (Phase.REQUESTED, Phase.GATED, Phase.PROVISIONING, Phase.SMOKE)
JUDGED = (Phase.SHADOW, Phase.CANARY, Phase.PROMOTING, Phase.BAKING)


def read_back(situation: Situation) -> Action | None:
    """None when the endpoint carries what it is meant to carry, and that is known."""
    rollout, seen = situation.rollout, situation.seen
    in_conflict = rollout.pause is not None and rollout.pause.cause == "conflict"
    if situation.endpoint is None:
        gone = Settle(rollout.version, "failed", "the endpoint was deleted by somebody else")
        return None if rollout.phase in BEFORE_THE_TEST or rollout.stable is None else gone
    if same(seen, rollout.intended):
        met = meets(rollout.intended, rollout.candidate) and rollout.phase != Phase.ROLLING_BACK
        if in_conflict or (rollout.standing_since is None and met):
            return Standing(f"the endpoint carries {told(rollout.intended) if seen.weights else 'nothing'}", NOW)
        return None
    if seen.weights and not weights(rollout.intended.weights):
        # Nobody had any when it began. To ask for that again would take a serving deployment's traffic away.
        reason = f"somebody else has given the traffic to {told(seen)}, before this first deployment had any"
        return Settle(rollout.version, rollout.ends_as or "failed", reason)
    if in_conflict and rollout.pause is not None:
        return situation.stand_still("conflict", rollout.pause.reason)
    wanted_back = rollout.phase == Phase.ROLLING_BACK and meets(rollout.intended, rollout.candidate)
    if wanted_back and (same(seen, rollout.before) or same(seen, live(rollout, 0))):
        return None  # the way back was not asked for yet
    if any(same(seen, ours) for ours in (rollout.before, *rollout.unseen)):
        return _ask_again(situation)
    if situation.reads_may_lag and not same(rollout.intended, rollout.before):
        return situation.hold(f"{told(rollout.intended)} was just asked for, and the endpoint still says {told(seen)}")
    wanted = told(rollout.intended)
    reason = f"somebody else set the traffic to {told(seen)}; set it back to {wanted}, or resume to have that done"
    return situation.stand_still("conflict", reason)


def _ask_again(situation: Situation) -> Action:
    """The update was lost or failed, and it is still the intended one, unless the candidate is another one meanwhile."""
    if (action := same_candidate(situation)) is not None:
        return action
    rollout, candidate = situation.rollout, situation.rollout.candidate
    asked: Since = ("provisioning", rollout.since)
    more = rollout.intended.weights.get(candidate, 0) > situation.seen.weights.get(candidate, 0)
    if rollout.pause is not None and (more or situation.is_shut):
        return situation.hold(rollout.pause.reason, _unanswered(rollout.pause))
    if more:
        return situation.again(situation.give(rollout.intended, rollout.phase, rollout.reason), asked)
    return situation.again(situation.shift(rollout.intended, rollout.phase, rollout.reason, rollout.ends_as), asked)


def same_candidate(situation: Situation) -> Action | None:
    """Another deployment in the candidate's slot than the one that has passed the smoke test gets no request."""
    rollout, slot = situation.rollout, situation.rollout.candidate
    if rollout.phase not in JUDGED or situation.is_shut:
        return None
    deployment = situation.deployment(slot)
    if deployment is None:
        return situation.take_back(f"{slot} was deleted by somebody else", "failed")
    if deployment.model != f"{rollout.model}:{rollout.version}":
        return situation.take_back(f"{slot} holds {deployment.model}, which this rollout has not put there", "failed")
    if rollout.deployment and deployment.created_at and rollout.deployment != deployment.created_at:
        reason = f"{slot} was made anew at {deployment.created_at}; the one that passed the smoke test is of {rollout.deployment}"
        return situation.take_back(reason, "failed")
    if deployment.provisioning_state.lower() in ("failed", "canceled"):
        return situation.take_back(f"{slot} is {deployment.provisioning_state}: {deployment.error}", "failed")
    return None


def planned(situation: Situation) -> Action | None:
    """Before the candidate meets its first request: what is to be expected, and by which thresholds it will be judged."""
    rollout, history = situation.rollout, situation.observation.history
    if rollout.phase not in JUDGED or rollout.plan is not None or rollout.stable is None or rollout.pause is not None:
        return None
    # Who goes back to what served does not wait for a source of metrics.
    if isinstance(history, SourceFailed) and rollout.road != "return":
        return situation.hold(f"the metrics cannot be read: {history.reason}", ("source failed", rollout.since))
    expected = planner.plan(history, situation.rules)
    promises = judge.promises_for(situation.rules.promises, history)
    p95 = history.p95_ms if isinstance(history, History) else None
    reason = planner.told(expected, promises.psi)
    if rollout.road == "return":
        reason = "it has served before: no shadow and no canary; the bake is judged by the old deployment's past"
    return MakePlan(expected, p95, promises, reason)


def judged(situation: Situation) -> Action | None:
    """Weigh what is new; take the traffic back when all of it together says so."""
    rollout, evidence = situation.rollout, situation.observation.evidence
    if rollout.phase not in JUDGED or rollout.stable is None:
        return None
    if isinstance(evidence, Measured) and evidence.intervals:
        return _weigh(situation, evidence.intervals)
    if situation.is_shut:
        return None
    ruling = judge.rule(rollout.tally, rollout.promises)
    if ruling.verdict is Verdict.ROLL_BACK:
        return situation.take_back(f"{where(situation)}: {ruling.reason}")
    return None


def _weigh(situation: Situation, intervals: Sequence[Interval]) -> Weigh:
    """Each whole interval counts once; one in which the traffic changed counts not at all."""
    rollout, nothing = situation.rollout, Counts()
    arms, counted, heard_at = [], rollout.counted, rollout.heard_at
    for interval in intervals:
        candidate = interval.counts.get(rollout.candidate, nothing)
        stable = interval.counts.get(rollout.stable or "", nothing)
        split = _split_of(situation, interval)
        if split is None:
            continue
        if split is rollout.intended:
            counted += candidate.requests
        if candidate.requests:
            heard_at = interval.end
        share = share_of_candidate(split, rollout)
        if 0 < share < 1:
            arms.append(Arms(interval.start, candidate, stable, share))
    tally = judge.weigh(rollout.tally, arms, rollout.promises, since=rollout.met_at)
    ruling = judge.rule(tally, rollout.promises)
    until = intervals[-1].end
    reason = f"{where(situation)}, up to {until:%H:%M:%S}: {ruling.reason}"
    return Weigh(tally, until, rollout.pairs, counted, heard_at, reason, NOW, ruling.figures)


def _split_of(situation: Situation, interval: Interval) -> Split | None:
    """The split that held through the whole interval; None when there was none."""
    rollout = situation.rollout
    if rollout.standing_since is not None and interval.start >= rollout.standing_since:
        return rollout.intended
    if rollout.before_since is not None and interval.start >= rollout.before_since and interval.end <= rollout.since:
        return rollout.before
    return None


def trouble(situation: Situation) -> tuple[str, Since] | None:
    """Why the evidence cannot be trusted, and since when: nothing goes on without it, and nobody is blamed."""
    rollout, evidence = situation.rollout, situation.observation.evidence
    ruling = judge.rule(rollout.tally, rollout.promises)
    if isinstance(evidence, SourceFailed):
        read_until = rollout.judged_until or rollout.met_at or rollout.since
        since = read_until + situation.rules.evidence_delay + situation.rules.granularity
        return f"the metrics cannot be read: {evidence.reason}", ("source failed", since)
    if ruling.finding is Finding.ERROR:
        return ruling.reason, ("source failed", rollout.standing_since or rollout.since)
    return None


def superseded(situation: Situation) -> Action | None:
    """A newer version that may go live ends a rollout under way, as far as the configuration wants that."""
    rollout, newer, origin = situation.rollout, situation.observation.requested, situation.observation.origin
    if newer is None or rollout.wanted_by:
        return None
    if not newer_ends_it(rollout.phase, rollout.road, situation.rules.supersede, situation.share):
        return None
    if int(newer.version) <= int(rollout.version) or objection(newer, origin) or not (origin.job and origin.job.completed):
        return None
    return situation.take_back(f"{newer.name}:{newer.version} was registered", "superseded")


def newer_ends_it(phase: Phase, road: str, supersede: str, share: int) -> bool:
    """Whether it is still to be asked for a newer version."""
    if road == "return" or supersede == "never" or phase in (Phase.BAKING, Phase.ARCHIVING, Phase.ROLLING_BACK):
        return False
    return share == 0 or (supersede == "always" and share < 100)


def standing_still(situation: Situation) -> Action | None:
    """A person's word, or nobody's yet."""
    pause = situation.rollout.pause
    if pause is None or (situation.rollout.phase == Phase.ROLLING_BACK and not situation.is_shut):
        return None
    by = f" ({pause.by})" if pause.by else ""
    return situation.hold(f"paused{by}: {pause.reason}", _unanswered(pause))


def _unanswered(pause: Pause) -> Since:
    """It waits for a person's approval when the evidence was too little for the judge's; otherwise it just stands still."""
    return ("approval" if pause.cause == "inconclusive" else "paused", pause.at)


def where(situation: Situation) -> str:
    """`at 10 %`, or what stands for it where the candidate has no live traffic."""
    rollout = situation.rollout
    if rollout.phase == Phase.BAKING:
        return "baking"
    return f"at {situation.share} %" if situation.share else rollout.phase.value
