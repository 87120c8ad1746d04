"""The candidate meets requests: copies of them, held-out rows, then live ones, step by step. Pure."""

from __future__ import annotations

from ml_core.rollout import judge
from ml_core.rollout.actions import NOW, Action, Enter, Weigh
from ml_core.rollout.judge.pairs import PairsPromises, flips_in_doubt, rule_pairs, weigh_pairs
from ml_core.rollout.judge.values import Finding, Ruling, Verdict
from ml_core.rollout.situation import Since, Situation
from ml_core.rollout.splits import copied, live
from ml_core.rollout.state import Phase, Rollout, RolloutRules
from ml_core.rollout.watching import trouble, where


def shadow(situation: Situation) -> Action:
    """Rows that both are asked, then copies of live requests to the candidate: nobody sees its answers yet.

    One after the other: a source of evidence may count our own questions as it counts clients' requests.
    """
    rollout, rules = situation.rollout, situation.rules
    if rules.shadow is None:
        return Enter(Phase.CANARY, "the configuration wants no shadow any more")
    if rollout.promoted_by:
        return Enter(Phase.CANARY, rollout.promoted_by)
    pairs = situation.observation.pairs
    if pairs is not None and (tally := weigh_pairs(rollout.pairs, pairs)) != rollout.pairs:
        ruling = rule_pairs(tally, rules.shadow)
        look = rules.poll if tally.error else NOW
        weighed = rollout.tally, rollout.judged_until, tally, rollout.counted, rollout.heard_at
        return Weigh(*weighed, f"shadow: {ruling.reason}", look, ruling.figures)
    ruling = rule_pairs(rollout.pairs, rules.shadow)
    if ruling.verdict is Verdict.ROLL_BACK:
        return situation.take_back(f"shadow: {ruling.reason}")
    if more_pairs(rollout, rules):
        failed = (("source failed", rollout.since),) if ruling.finding is Finding.ERROR else ()
        return situation.hold(f"shadow: {ruling.reason}", *failed)
    return _copies(situation, ruling, rules.shadow)


def _copies(situation: Situation, ruling: Ruling, promises: PairsPromises) -> Action:
    rollout, rules = situation.rollout, situation.rules
    if flips_in_doubt(rollout.pairs, promises) and rollout.resumed_at is None:
        return situation.stand_still("inconclusive", f"shadow: {ruling.reason}; resume lets it go on, abort ends it")
    if rules.shadow_mirror and rules.shadow_duration:
        if not situation.meets_requests:
            return situation.shift(copied(rollout, rules.shadow_mirror), Phase.SHADOW, f"shadow: {ruling.reason}")
        if found := trouble(situation):
            return situation.hold(f"shadow: {found[0]}", found[1])
        ends_at = (rollout.standing_since or situation.now) + rules.shadow_duration
        if situation.now < ends_at:
            return situation.hold(f"shadow: copies are sent until {ends_at:%H:%M:%S}", until=ends_at)
        # What comes late counts as well: what the copies were for is that no client meets what they have shown.
        told_until = ends_at - rules.granularity
        if rollout.judged_until is None or rollout.judged_until < told_until:
            known_at = ends_at + rules.evidence_delay
            reason = f"shadow: what the copies were answered is told after {known_at:%H:%M:%S}"
            until = known_at if situation.now < known_at else None
            return situation.hold(reason, ("source failed", known_at), until=until)
    return Enter(Phase.CANARY, f"shadow: {ruling.reason}")


def more_pairs(rollout: Rollout, rules: RolloutRules) -> bool:
    """Whether there are held-out rows to be asked of both, and a reason to."""
    if rules.shadow is None or not rules.shadow_requests or rollout.pairs.over or rollout.phase != Phase.SHADOW:
        return False
    return rule_pairs(rollout.pairs, rules.shadow).verdict is Verdict.UNDECIDED


def canary(situation: Situation) -> Action:
    """Live requests, a share more at each step. The last step before 100 % is left by the judge's word, or a person's."""
    rollout, rules, share = situation.rollout, situation.rules, situation.share
    if rollout.promoted_by:
        return situation.give(live(rollout, 100), Phase.PROMOTING, rollout.promoted_by)
    following = next((step for step in rules.steps if step > share), 100)
    phase = Phase.PROMOTING if following == 100 else Phase.CANARY
    if share == 0:
        return situation.give(live(rollout, following), phase, rollout.reason)
    stood = rollout.standing_since or situation.now
    unheard: Since = ("no traffic", max(rollout.heard_at or stood, stood))
    if found := trouble(situation):
        return situation.hold(f"{where(situation)}: {found[0]}", found[1])
    if situation.now < (ends_at := stood + rules.interval):
        return situation.hold(f"{where(situation)}, watched until {ends_at:%H:%M:%S}", unheard, until=ends_at)
    if rollout.counted < rules.min_requests:
        counted = f"{rollout.counted} requests" if rollout.counted else "no request was seen"
        return situation.hold(f"{where(situation)}: {counted}, and {rules.min_requests} are needed", unheard)
    ruling = judge.rule(rollout.tally, rollout.promises)
    needs_verdict = following == 100 and ruling.verdict is not Verdict.PROMOTE
    if needs_verdict or ruling.finding is Finding.BAD:
        return _undecided(situation, ruling)
    reason = f"{where(situation)}: {rollout.counted} requests, {ruling.reason}"
    return situation.give(live(rollout, following), phase, reason)


def _undecided(situation: Situation, ruling: Ruling) -> Action:
    """Wait for more requests; after a while ask a person."""
    rollout = situation.rollout
    stood = rollout.standing_since or situation.now
    since = max(stood, rollout.resumed_at or stood)
    if situation.now >= since + situation.rules.deadlines.no_verdict:
        waited = f"{where(situation)}, no verdict since {since:%Y-%m-%d %H:%M}: {ruling.reason}"
        return situation.stand_still("inconclusive", f"{waited}; promote lets it go on, abort ends it, resume waits longer")
    return situation.hold(f"{where(situation)}: {ruling.reason}", ("no verdict", since))
