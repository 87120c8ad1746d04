"""The candidate has all traffic, or loses it: promoting, baking, archiving, rolling back. Pure."""

from __future__ import annotations

from ml_core.rollout.actions import Action, DeleteDeployment, Enter, Settle
from ml_core.rollout.beginning import since_when
from ml_core.rollout.planner import span
from ml_core.rollout.situation import Situation, busy
from ml_core.rollout.splits import controlled, live, same, told, weights
from ml_core.rollout.state import Phase
from ml_core.rollout.watching import trouble


def promoting(situation: Situation) -> Action:
    """All live traffic for the candidate. The first deployment of an endpoint is done then."""
    rollout, rules = situation.rollout, situation.rules
    if situation.share != 100:
        return situation.give(live(rollout, 100), Phase.PROMOTING, rollout.reason)
    if rollout.stable is None:
        return Settle(rollout.version, "succeeded", f"{rollout.candidate} is the first deployment and has all traffic")
    if not rules.bake or situation.deployment(rollout.stable) is None:
        return Enter(Phase.ARCHIVING, f"{rollout.candidate} has all traffic")
    baking = f"{rollout.candidate} has all traffic; {rollout.stable} stays warm for {span(rules.bake)}"
    if rules.bake_mirror:
        return situation.shift(controlled(rollout, rules.bake_mirror), Phase.BAKING, baking)
    return Enter(Phase.BAKING, baking)


def baking(situation: Situation) -> Action:
    """The old deployment stays warm, and copies of the requests to it are the control that the new one is compared with."""
    rollout, rules = situation.rollout, situation.rules
    if situation.deployment(rollout.stable) is None:
        return _unmirrored(situation, f"{rollout.stable} was deleted by somebody else")
    if found := trouble(situation):
        # Without evidence nothing is archived: it is the only way back.
        return situation.hold(f"baking: {found[0]}", found[1])
    ends_at = rollout.since + rules.bake
    if situation.now < ends_at:
        return situation.hold(f"baking until {ends_at:%Y-%m-%d %H:%M:%S}", until=ends_at)
    return _unmirrored(situation, f"{rollout.candidate} has all traffic, and nothing spoke against it for {span(rules.bake)}")


def _unmirrored(situation: Situation, reason: str) -> Action:
    if weights(situation.rollout.intended.mirror):
        return situation.shift(live(situation.rollout, 100), Phase.ARCHIVING, reason)
    return Enter(Phase.ARCHIVING, reason)


def archiving(situation: Situation) -> Action:
    """Delete the old deployment, whose weight was just read back as 0; then the rollout is over."""
    rollout, poll = situation.rollout, situation.rules.poll
    old = situation.deployment(rollout.stable)
    if old is None:
        return Settle(rollout.version, "succeeded", f"{rollout.candidate} has all traffic")
    if busy(old.provisioning_state):
        return situation.hold(f"{old.name} is {old.provisioning_state}", since_when(situation))
    if rollout.stable_model and old.model != rollout.stable_model:
        reason = f"{rollout.candidate} has all traffic; {old.name} holds {old.model}, which somebody else has put there"
        return Settle(rollout.version, "succeeded", reason)
    deleted = DeleteDeployment(old.name, old.model, f"{rollout.candidate} has all traffic", poll)
    return situation.again(deleted, since_when(situation))


def rolling_back(situation: Situation) -> Action:
    """The candidate's traffic is taken away, and never given back; its deployment stays for people to look at."""
    rollout, ends_as = situation.rollout, situation.rollout.ends_as or "rolled back"
    if same(rollout.intended, live(rollout, 0)) and same(situation.seen, rollout.intended):
        if rollout.unseen and situation.reads_may_lag:
            # It looks as it did before anything was asked for, and so it proves nothing: an earlier step may be on its way.
            return situation.hold(f"{rollout.reason}; {told(rollout.unseen[-1])} was asked for, and may still come")
        return Settle(rollout.version, ends_as, rollout.reason)
    return situation.take_back(rollout.reason, ends_as)
