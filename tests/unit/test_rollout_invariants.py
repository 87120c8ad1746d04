"""Ten things that hold of every rollout, wherever a process dies and whatever Azure, people and the portal do meanwhile.

Stories are made by Hypothesis; each ends with everything healed, and must then end right. TIDEGATE_STORIES=2000 tells so many
others. Faked: the ports and time. Real: the reconciler, what people ask, the queue's looks.
"""

from __future__ import annotations

import os
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ml_core.rollout.actions import Settle
from ml_core.rollout.commands import What
from tests.faults import Fault
from tests.rollout_checks import (
    after_all_has_healed_every_rollout_ends_and_one_version_serves,
    i1_weights_are_whole_and_sum_to_a_hundred,
    i2_a_candidate_gets_live_traffic_only_after_that_very_deployment_has_passed_the_smoke_test,
    i3_no_slot_is_ever_live_and_mirrored_to_and_a_mirror_is_one_of_at_most_fifty_percent,
    i4_the_old_deployment_is_kept_until_the_new_one_has_had_all_traffic_for_the_whole_bake,
    i5_what_rolls_back_never_rises_again,
    i6_a_change_of_somebody_elses_is_never_overwritten_unless_a_person_says_so,
    i7_one_rollout_at_a_time_and_a_newer_version_ends_it_by_policy_only,
    i8_what_comes_twice_or_late_is_done_once,
    i9_every_step_was_decided_first_and_is_decided_again_alike,
    i10_nothing_stands_still_for_long_without_people_being_told,
    in_a_freeze_no_candidate_gets_more_traffic,
)
from tests.rollout_world import FREEZE, MODEL, Kind, RolloutWorld
from tests.story import ENDPOINT

STORIES = os.environ.get("TIDEGATE_STORIES")
KINDS: st.SearchStrategy[Kind] = st.sampled_from(
    ["good", "good", "good", "erring", "slow", "failing at the smoke test", "other decisions"]
)
WORDS: st.SearchStrategy[What] = st.sampled_from(["pause", "resume", "promote", "abort"])
MEDDLING = st.sampled_from(
    [
        "removes the mirror",
        "sets a split of their own",
        "sets everything back",
        "deletes the other deployment",
        "makes the other deployment anew",
    ]
)


class Rollouts(RuleBasedStateMachine):
    """What can happen around an endpoint, in any order."""

    world: RolloutWorld

    @initialize(supersede=st.sampled_from(["before traffic", "always", "never"]), serves=st.booleans())
    def an_endpoint(self, supersede: str, serves: bool) -> None:
        self.world = RolloutWorld(supersede)
        if serves:
            self.world.a_model_comes("good")
            self.world.pass_time(timedelta(minutes=30))
            self.world.a_model_comes("good")

    @precondition(lambda self: len(self.world.kinds) < 6)
    @rule(kind=KINDS)
    def a_model_comes(self, kind: Kind) -> None:
        self.world.a_model_comes(kind)

    @precondition(lambda self: self.world.kinds)
    @rule(data=st.data())
    def an_event_comes_once_more(self, data: st.DataObject) -> None:
        self.world.told_of(data.draw(st.sampled_from(sorted(self.world.kinds))))

    @rule(minutes=st.sampled_from([1, 3, 3, 7, 7, 15, 40]))
    def time_passes(self, minutes: int) -> None:
        self.world.pass_time(timedelta(minutes=minutes))

    @rule(times=st.integers(1, 3))
    def looks_come_out_of_turn(self, times: int) -> None:
        self.world.a_look_comes_out_of_turn(times)

    @rule(
        fault=st.sampled_from([fault for fault in Fault if fault is not Fault.REFUSED]),
        port=st.sampled_from(["ledger", "ledger", "workspace", "workspace", "queue"]),
        writes_until=st.integers(0, 9),
    )
    def something_will_fail(self, fault: Fault, port: str, writes_until: int) -> None:
        self.world.faults.arm(fault, port, writes_until)

    @rule(what=WORDS)
    def a_person_speaks(self, what: What) -> None:
        self.world.somebody_says(what)

    @precondition(lambda self: self.world.kinds)
    @rule(data=st.data())
    def a_person_wants_a_version_back(self, data: st.DataObject) -> None:
        self.world.somebody_says("roll back", data.draw(st.sampled_from(sorted(self.world.kinds))))

    @rule(meddle=MEDDLING)
    def somebody_has_the_portal_open(self, meddle: str) -> None:
        self.world.somebody_meddles(meddle)

    @rule(what=st.sampled_from(["fail", "hang", "be told late", "go well"]))
    def from_now_on_changes(self, what: str) -> None:
        workspace = self.world.workspace
        workspace.change_error = workspace.deployment_error = "out of capacity" if what == "fail" else ""
        workspace.hangs = what == "hang"
        workspace.reads_lag = timedelta(seconds=100 if what == "be told late" else 0)
        if what == "go well":
            workspace.let_go()

    @rule(what=st.sampled_from(["is down", "tells nothing", "comes late", "is well"]))
    def the_evidence(self, what: str) -> None:
        evidence = self.world.evidence
        evidence.broken, evidence.silent = what == "is down", what == "tells nothing"
        evidence.late = timedelta(seconds=100 if what == "comes late" else 0)

    @rule(per_minute=st.sampled_from([0, 30, 3000]))
    def traffic_changes(self, per_minute: int) -> None:
        self.world.evidence.per_minute = per_minute

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.everything_heals()
        decided = self.world.decided()
        i1_weights_are_whole_and_sum_to_a_hundred(self.world)
        i2_a_candidate_gets_live_traffic_only_after_that_very_deployment_has_passed_the_smoke_test(self.world, decided)
        i3_no_slot_is_ever_live_and_mirrored_to_and_a_mirror_is_one_of_at_most_fifty_percent(self.world)
        i4_the_old_deployment_is_kept_until_the_new_one_has_had_all_traffic_for_the_whole_bake(self.world, decided)
        i5_what_rolls_back_never_rises_again(self.world, decided)
        i6_a_change_of_somebody_elses_is_never_overwritten_unless_a_person_says_so(self.world, decided)
        i7_one_rollout_at_a_time_and_a_newer_version_ends_it_by_policy_only(self.world, decided)
        i8_what_comes_twice_or_late_is_done_once(self.world, decided)
        i9_every_step_was_decided_first_and_is_decided_again_alike(self.world, decided)
        i10_nothing_stands_still_for_long_without_people_being_told(self.world, decided)
        in_a_freeze_no_candidate_gets_more_traffic(self.world, decided)
        after_all_has_healed_every_rollout_ends_and_one_version_serves(self.world, decided)


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(
    max_examples=int(STORIES or 20),
    stateful_step_count=30,
    deadline=None,
    derandomize=STORIES is None,
    suppress_health_check=list(HealthCheck),
)


# ---- what the stories have found --------------------------------------------------------------------------------------


def test_a_version_that_is_wanted_back_while_its_own_rollout_goes_back_is_not_forgotten() -> None:
    world = RolloutWorld()
    world.clock.moment = FREEZE[1]
    world.a_model_comes("good")
    world.pass_time(timedelta(minutes=30))
    world.a_model_comes("good")
    world.pass_time(timedelta(minutes=15))
    assert world.somebody_says("abort")
    world.pass_time(timedelta(seconds=1))
    assert world.somebody_says("roll back", "2")
    world.everything_heals()
    assert world.workspace.serving(ENDPOINT) == {f"{MODEL}:2": "green 100 %"}


def test_a_version_that_a_person_wants_is_ended_by_no_newer_one() -> None:
    world = RolloutWorld("always")
    world.clock.moment = FREEZE[1]
    for version in ("1", "2"):
        world.a_model_comes("good")
        world.pass_time(timedelta(minutes=15 if version == "2" else 30))
    assert world.somebody_says("abort")
    world.pass_time(timedelta(minutes=10))
    assert world.somebody_says("roll back", "2")
    world.pass_time(timedelta(minutes=10))
    world.a_model_comes("good")
    world.everything_heals()
    ended = [(one.action.version, one.action.outcome) for one in world.decided() if isinstance(one.action, Settle)]
    assert ended == [("1", "succeeded"), ("2", "rolled back"), ("2", "succeeded"), ("3", "succeeded")]


def test_traffic_that_somebody_gives_before_the_first_deployment_has_any_is_not_taken_away() -> None:
    world = RolloutWorld()
    world.clock.moment = FREEZE[1]
    world.a_model_comes("good")
    while not ((endpoint := world.endpoint()) and endpoint.deployments) or world.workspace.busy(ENDPOINT):
        world.pass_time(timedelta(seconds=15))
    assert not endpoint.traffic, "it stands, and the next look is still to come"
    world.workspace.somebody_makes_anew(ENDPOINT, "green", f"{MODEL}:1")
    world.workspace.somebody_sets_traffic(ENDPOINT, {"green": 100})
    world.pass_time(timedelta(minutes=1))
    world.somebody_says("abort")
    world.everything_heals()
    assert world.workspace.serving(ENDPOINT) == {f"{MODEL}:1": "green 100 %"}
    assert "somebody else has given the traffic to green 100 %" in world.state().reason
