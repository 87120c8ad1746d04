"""What must hold of every story of an endpoint: ten invariants, each checked against what really happened.

The truth is the fake workspace's: what it was asked, when, and how the endpoint was at that moment. The decisions are the
ledger's: those that were taken, in their order.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from ml_core.documents import to_document
from ml_core.ports import Measured
from ml_core.reconciling import ROLLOUTS
from ml_core.rollout.actions import (
    Begin,
    CreateDeployment,
    DeleteDeployment,
    Hold,
    Obey,
    RaiseAlert,
    Refuse,
    Settle,
    ShiftTraffic,
    Standing,
    Weigh,
)
from ml_core.rollout.commands import What
from ml_core.rollout.decide import RULES
from ml_core.rollout.state import Phase, Rollout, Split
from ml_core.rollout.story import Decided
from tests.fake_workspace import AskedTraffic
from tests.rollout_world import BAKE, EVIDENCE_DELAY, FREEZE, MODEL, RolloutWorld
from tests.story import ENDPOINT

_LONGEST_SILENCE = timedelta(hours=2, minutes=20)
"""The longest deadline of the configuration, and some looks."""


def i1_weights_are_whole_and_sum_to_a_hundred(world: RolloutWorld) -> None:
    """Weights are ints, none is negative, they sum to 100; all are 0 only before the first deployment of all."""
    for one in world.asked():
        weights = list(one.weights.values())
        assert all(type(weight) is int and weight >= 0 for weight in weights), one
        assert sum(weights) == 100 or not weights or not one.found.traffic, one


def i2_a_candidate_gets_live_traffic_only_after_that_very_deployment_has_passed_the_smoke_test(
    world: RolloutWorld, decided: list[Decided]
) -> None:
    """Green never gets live traffic before the smoke test has passed on that deployment and that model."""
    for one, rollout in asked_by_rollouts(world, decided):
        deployment = one.found.deployments.get(rollout.candidate)
        if one.weights.get(rollout.candidate, 0) <= one.found.traffic.get(rollout.candidate, 0) or deployment is None:
            continue
        assert deployment.model == f"{rollout.model}:{rollout.version}", one
        assert deployment.created_at in world.workspace.answered, one
        assert rollout.deployment == deployment.created_at, (one, rollout)
        assert world.kinds[rollout.version] != "failing at the smoke test", one


def i3_no_slot_is_ever_live_and_mirrored_to_and_a_mirror_is_one_of_at_most_fifty_percent(world: RolloutWorld) -> None:
    """Never mirror and live at once."""
    for one in world.asked():
        copies = {slot: share for slot, share in one.mirror.items() if share}
        assert len(copies) <= 1, one
        assert all(type(share) is int and 0 < share <= 50 and not one.weights.get(slot) for slot, share in copies.items()), one


def i4_the_old_deployment_is_kept_until_the_new_one_has_had_all_traffic_for_the_whole_bake(
    world: RolloutWorld, decided: list[Decided]
) -> None:
    """Blue is not deleted before the bake has passed: whoever served before the one that serves now is the way back."""
    for one in world.workspace.deleted:
        rollout = rollout_at(decided, one.at)
        way_back = rollout is not None and rollout.stable == one.deployment.name and rollout.ends_as is None
        came, serving_came = (first_live(world, slot, one.at) for slot in (one.deployment.name, serving(world, one.at)))
        if not way_back and not older(came, serving_came):
            continue
        assert one.at - all_traffic_since(world, one.at) >= BAKE, one


def i5_what_rolls_back_never_rises_again(world: RolloutWorld, decided: list[Decided]) -> None:
    """A rollback is monotone: once it is decided, the candidate's weight does not rise for the rest of the rollout."""
    going_back: set[str] = set()
    for one, rollout in asked_by_rollouts(world, decided):
        slot = rollout.candidate
        if rollout.id in going_back:
            assert one.weights.get(slot, 0) <= one.found.traffic.get(slot, 0), one
        if rollout.phase == Phase.ROLLING_BACK:
            going_back.add(rollout.id)
    for before, after in pairwise(decided):
        if before.state.active and after.state.active and before.state.active.id == after.state.active.id:
            rolling = before.state.active.phase == Phase.ROLLING_BACK
            assert not rolling or after.state.active.phase == Phase.ROLLING_BACK, after


def i6_a_change_of_somebody_elses_is_never_overwritten_unless_a_person_says_so(
    world: RolloutWorld, decided: list[Decided]
) -> None:
    """Every change is read back: the next one replaces what the app itself has asked for, or what a person has seen and given up.

    An update that was lost leaves what was there before it, and then it is asked for again.
    """
    allowed: list[Split] = []
    of = ""
    for one, rollout in asked_by_rollouts(world, decided):
        found = split(one.found.traffic, one.found.mirror)
        if rollout.id != of:
            of, allowed = rollout.id, []
        nobodys_or_one_slots = not found.mirror and list(found.weights.values()) in ([], [100])
        ours = found in (*allowed, split(one.weights, one.mirror)) if allowed else nobodys_or_one_slots
        if not ours:
            approved = [
                split(obeyed.action.seen.weights, obeyed.action.seen.mirror)
                for obeyed in decided
                if obeyed.at <= one.at and isinstance(obeyed.action, Obey) and obeyed.action.obeyed and obeyed.action.seen
            ]
            assert found in approved, (one, allowed)
        allowed = [found, split(one.weights, one.mirror)]


def i7_one_rollout_at_a_time_and_a_newer_version_ends_it_by_policy_only(world: RolloutWorld, decided: list[Decided]) -> None:
    """One active rollout per endpoint; a newer model version supersedes it as the configuration says, never by a race."""
    begun = [one.action for one in decided if isinstance(one.action, Begin)]
    assert all(one.state.active is None for one in decided if isinstance(one.action, Begin))
    assert len({one.rollout for one in begun}) == len(begun)
    stories = set(world.ledger.keys(f"rollout-stories/{ENDPOINT}/"))
    assert {f"rollout-stories/{ENDPOINT}/{one.rollout}.json" for one in begun} <= stories
    superseded: set[str] = set()
    for one in decided:
        action, rollout = one.action, one.state.active
        if rollout is None or rollout.id in superseded:
            continue
        if is_obeyed(one, "roll back"):
            superseded.add(rollout.id)  # a person's word, whatever the configuration says
        elif (action.outcome if isinstance(action, Settle) else getattr(action, "ends_as", None)) == "superseded":
            superseded.add(rollout.id)
            assert world.supersede != "never", one
            assert not rollout.wanted_by, one
            assert world.supersede == "always" or not was_live(world, rollout, one.at), one


def i8_what_comes_twice_or_late_is_done_once(world: RolloutWorld, decided: list[Decided]) -> None:
    """Looks, events and commands come at least once; their effects come exactly once."""
    obeyed = [one.action.command.number for one in decided if isinstance(one.action, Obey)]
    assert obeyed == list(range(1, len(obeyed) + 1))
    asked = [one.step or 0 for one in world.asked() if not one.refused]
    assert asked == sorted(asked), "an older step came after a newer one"
    begun = [one.action.version for one in decided if isinstance(one.action, Begin)]
    wanted = [one.action.command.version for one in decided if isinstance(one.action, Obey) and is_obeyed(one, "roll back")]
    created = [spec.version for _, spec in world.workspace.created]
    for version in world.kinds:
        assert begun.count(version) <= 1 + wanted.count(version), version
        # What somebody else has deleted before it was tested is made again.
        assert world.meddled_at or created.count(version) <= begun.count(version), version
    last = next((one for one in reversed(decided) if is_obeyed(one, "roll back")), None)
    if last is not None and isinstance(last.action, Obey):
        assert world.state().wanted is None, "a version that a person wants back was forgotten"
        assert any(is_about(one, last.action.command.version) for one in decided if one.at >= last.at), last
    for one in decided:
        if isinstance(one.observation.evidence, Measured) and isinstance(one.action, Weigh) and one.state.active:
            judged = one.state.active.judged_until
            starts = [interval.start for interval in one.observation.evidence.intervals]
            assert judged is None or all(start >= judged for start in starts), one
            assert one.action.judged_until is None or one.action.judged_until <= one.at - EVIDENCE_DELAY, one
    sent = {notice.id: notice for notice in world.notifier.notices}
    assert all(sent[notice.id] == notice for notice in world.notifier.notices)
    assert {notice.id for notice in world.state().notices} <= sent.keys()


def i9_every_step_was_decided_first_and_is_decided_again_alike(world: RolloutWorld, decided: list[Decided]) -> None:
    """Each decision is kept with what it was made from, before it is carried out, and comes out the same once more."""
    for one in decided:
        again = RULES.decide(one.state, one.observation, one.at)
        assert to_document(again) == to_document(one.action), one.document
    shifts = {one.action.step: one for one in decided if isinstance(one.action, ShiftTraffic)}
    for asked in world.asked():
        assert asked.step in shifts, asked
        kept = shifts[asked.step]
        assert isinstance(kept.action, ShiftTraffic)
        assert kept.at <= asked.at
        assert split(kept.action.split.weights, kept.action.split.mirror) == split(asked.weights, asked.mirror), asked
    for at, spec in world.workspace.created:
        creations = [one for one in decided if isinstance(one.action, CreateDeployment) and one.at <= at]
        assert any(one.action == CreateDeployment(**{**vars(one.action), "version": spec.version}) for one in creations), spec
    for gone in world.workspace.deleted:
        ends = [one.action for one in decided if isinstance(one.action, DeleteDeployment) and one.at <= gone.at]
        assert any((end.slot, end.model) == (gone.deployment.name, gone.deployment.model) for end in ends), gone


def i10_nothing_stands_still_for_long_without_people_being_told(world: RolloutWorld, decided: list[Decided]) -> None:
    """Every state has its deadline: what is under way moves, ends, or raises an alert."""
    last: Decided | None = None
    for one in decided:
        if isinstance(one.action, Hold | Weigh | Standing):
            continue
        if last is not None and one.state.active is not None and not isinstance(last.action, RaiseAlert):
            assert one.at - last.at <= _LONGEST_SILENCE, (last, one)
        last = one


def in_a_freeze_no_candidate_gets_more_traffic(world: RolloutWorld, decided: list[Decided]) -> None:
    """A freeze holds what gives a candidate more live traffic. Going back is always allowed, also to a version that is wanted."""
    for one, rollout in asked_by_rollouts(world, decided):
        more = one.weights.get(rollout.candidate, 0) > one.found.traffic.get(rollout.candidate, 0)
        at = next(kept.at for kept in decided if isinstance(kept.action, ShiftTraffic) and kept.action.step == one.step)
        assert not more or rollout.road == "return" or not FREEZE[0] <= at < FREEZE[1], one


def after_all_has_healed_every_rollout_ends_and_one_version_serves(world: RolloutWorld, decided: list[Decided]) -> None:
    """Whatever happened: once it is over, nothing hangs, nothing is mirrored, and only what may serve does."""
    state, endpoint = world.state(), world.endpoint()
    answer = world.ledger.entries[f"{ROLLOUTS}/{ENDPOINT}.json"].value["answer"] if world.kinds else None
    assert state.active is None, (answer, state)
    assert state.settled == max(map(int, world.kinds), default=0), answer
    for one in decided:
        if isinstance(one.action, Settle) and one.action.outcome == "succeeded" and one.state.active:
            rollout = one.state.active
            assert world.kinds[rollout.version] != "failing at the smoke test", one
            promoted = any(was_promoted(earlier, rollout) for earlier in decided)
            as_bad = world.kinds.get(rollout.stable_model.rpartition(":")[2]) == "erring"
            assert rollout.road != "canary" or promoted or as_bad or world.kinds[rollout.version] != "erring", one
    if endpoint is None or world.meddled_at:
        return
    assert not endpoint.mirror
    assert sorted(endpoint.traffic.values()) in ([], [100])
    if state.served:
        (serving,) = endpoint.traffic
        assert endpoint.deployments[serving].model == f"{MODEL}:{state.served[-1].version}"


# ---- what really happened ---------------------------------------------------------------------------------------------


def asked_by_rollouts(world: RolloutWorld, decided: list[Decided]) -> list[tuple[AskedTraffic, Rollout]]:
    """What Azure took of the app's changes of traffic, each with its rollout as the decision left it."""
    after = {
        one.action.step: RULES.evolve(one.state, one.action, one.at).active
        for one in decided
        if isinstance(one.action, ShiftTraffic)
    }
    return [(one, rollout) for one in world.asked() if not one.refused and (rollout := after.get(one.step or 0))]


def rollout_at(decided: list[Decided], at: datetime) -> Rollout | None:
    """The rollout that was under way then."""
    before = [one for one in decided if one.at <= at]
    return RULES.evolve(before[-1].state, before[-1].action, before[-1].at).active if before else None


def split(weights: object, mirror: object) -> Split:
    """In a comparable form."""
    parts = ({slot: share for slot, share in dict(one).items() if share} for one in (weights, mirror))  # type: ignore[call-overload]
    return Split(*parts)


def first_live(world: RolloutWorld, slot: str, until: datetime) -> datetime | None:
    """When what is in the slot got its first live traffic. That somebody has made it anew meanwhile, of the same model, is not
    the app's doing."""
    model, since = "", None
    for at, state in world.workspace.history(ENDPOINT):
        if at > until:
            break
        held = state.deployments[slot].model if slot in state.deployments else ""
        if held != model:
            model, since = held, None
        if since is None and state.traffic.get(slot):
            since = at
    return since


def serving(world: RolloutWorld, until: datetime) -> str:
    """The slot that has most of the traffic; '' when nobody has any."""
    state = [state for at, state in world.workspace.history(ENDPOINT) if at <= until][-1]
    return max(state.traffic, key=lambda slot: state.traffic[slot], default="")


def is_obeyed(one: Decided, what: What) -> bool:
    """Whether a person has said that, and it was done."""
    return isinstance(one.action, Obey) and one.action.obeyed and one.action.command.what == what


def was_promoted(one: Decided, rollout: Rollout) -> bool:
    return one.state.active is not None and one.state.active.id == rollout.id and is_obeyed(one, "promote")


def is_about(one: Decided, version: str) -> bool:
    """Whether something comes of the wish for that version: its rollout, its refusal, or that what serves it is left in peace."""
    if isinstance(one.action, Begin | Refuse | Settle) and one.action.version == version:
        return True
    return one.state.active is not None and one.state.active.stable_model == f"{MODEL}:{version}"


def older(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


def all_traffic_since(world: RolloutWorld, until: datetime) -> datetime:
    """Since when the traffic has been with the one deployment that has it, without a break; `until` when it is split."""
    since, whole = until, None
    for at, state in world.workspace.history(ENDPOINT):
        if at > until:
            break
        all_to = next((slot for slot, weight in state.traffic.items() if weight == 100), None)
        if all_to is None or all_to != whole:
            since = at
        whole = all_to
    return since if whole is not None else until


def was_live(world: RolloutWorld, rollout: Rollout, until: datetime) -> bool:
    """Whether the rollout's candidate had live traffic before then."""
    return any(
        state.traffic.get(rollout.candidate, 0)
        for at, state in world.workspace.history(ENDPOINT)
        if rollout.began_at < at <= until
    )
