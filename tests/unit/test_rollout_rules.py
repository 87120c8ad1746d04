"""The rules of a rollout by example: one look after the other. Nothing is faked: decisions are pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ml_core.config_rollout import Rollout as RolloutConfig
from ml_core.documents import from_document, to_document
from ml_core.ports import (
    Counts,
    DeploymentState,
    EndpointState,
    History,
    Interval,
    JobState,
    Measured,
    ModelVersion,
    SourceFailed,
)
from ml_core.reconciling import Rest
from ml_core.rollout.actions import (
    Action,
    CreateDeployment,
    CreateEndpoint,
    DeleteDeployment,
    Hold,
    MakePlan,
    Obey,
    RaiseAlert,
    Refuse,
    Settle,
    ShiftTraffic,
    StandStill,
    Weigh,
)
from ml_core.rollout.commands import Command, What
from ml_core.rollout.deadlines import Deadlines
from ml_core.rollout.decide import RULES, decide
from ml_core.rollout.evolve import evolve, refuse
from ml_core.rollout.freeze import FreezeWindow
from ml_core.rollout.judge.pairs import Pairs
from ml_core.rollout.judge.sequential import Tally
from ml_core.rollout.judge.values import Promises
from ml_core.rollout.provenance import Origin
from ml_core.rollout.smoke import SmokeTest
from ml_core.rollout.splits import weights
from ml_core.rollout.state import Observation, Phase, Rollout, RolloutRules, Served, Split, State

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TAGS = {"job": "train-m-v1", "data_version": "v1"}
OURS = Origin({"model": "m", "data_version": "v1"}, JobState("train-m-v1", "Completed"))
RULES_OF_TODAY = RolloutRules(
    steps=(10, 25, 50, 100),
    interval=10 * MINUTE,
    min_requests=20,
    bake=10 * MINUTE,
    bake_mirror=10,
    poll=timedelta(seconds=15),
    evidence_delay=timedelta(0),
    granularity=MINUTE,
    promises=Promises(),
    shadow=None,
    shadow_mirror=0,
    shadow_duration=timedelta(0),
    shadow_requests=0,
    smoke_required=True,
    deadlines=Deadlines(),
    supersede="before traffic",
    return_window=3,
)
GOOD, BAD = 0.0, 0.1


@dataclass
class World:
    """An endpoint that carries out what is decided, unless the step gets lost, and requests that both deployments answer."""

    rules: RolloutRules = RULES_OF_TODAY
    state: State = field(default_factory=State)
    now: datetime = START
    endpoint: EndpointState | None = None
    smoke: SmokeTest = field(default_factory=lambda: SmokeTest("passed", "answered"))
    requested: str | None = "1"
    failing: float = GOOD
    """The share of its requests that the candidate fails."""
    per_minute: int = 1200
    """How many live requests come."""
    source: SourceFailed | None = None
    command: Command | None = None
    pairs: Pairs | None = None
    made: int = 0
    actions: list[Any] = field(default_factory=list)

    def tick(self, *, lost: bool = False) -> Any:
        observation = self.observation()
        action = decide(self.state, observation, self.now)
        seen, stored = to_document(observation), to_document(self.state)
        assert decide(from_document(State, stored), from_document(Observation, seen), self.now) == action
        self.state = evolve(self.state, action, self.now)
        self.command = None
        self.actions.append(action)
        if not lost:
            self.carry_out(action)
        return action

    def observation(self) -> Observation:
        wanted = self.state.wanted.version if self.state.wanted and self.state.active is None else self.requested
        newer = wanted and (self.state.wanted or int(wanted) > self.state.settled)
        requested = ModelVersion("m", wanted, TAGS) if wanted and newer else None
        history = self.source or History(6000, 0, 3600.0, 25.0)
        return Observation(
            self.rules, "e", self.endpoint, requested, OURS, self.command, self.smoke, self.pairs, history, self.evidence()
        )

    def evidence(self) -> Measured | SourceFailed | None:
        rollout = self.state.active
        if rollout is None or rollout.met_at is None or rollout.stable is None:
            return None
        since = rollout.judged_until or rollout.met_at
        if self.source or since + MINUTE > self.now:
            return self.source
        found = []
        while since + MINUTE <= self.now:
            counts = {slot: self.counts(slot) for slot in (rollout.candidate, rollout.stable)}
            found.append(Interval(since, since + MINUTE, {slot: one for slot, one in counts.items() if one.requests}))
            since += MINUTE
        return Measured(tuple(found))

    def counts(self, slot: str) -> Counts:
        """What a slot answers in a minute."""
        copies = self.endpoint.mirror if self.endpoint else {}
        requests = self.per_minute * (self.traffic.get(slot, 0) + copies.get(slot, 0)) // 100
        return Counts(requests, round(requests * self.failing) if slot == self.active.candidate else 0)

    def carry_out(self, action: Action) -> None:
        if isinstance(action, CreateEndpoint):
            self.endpoint = EndpointState("e", "Succeeded")
        endpoint = self.endpoint
        if endpoint is None:
            return
        if isinstance(action, CreateDeployment):
            self.put(action.slot, f"{action.model}:{action.version}")
        elif isinstance(action, ShiftTraffic):
            live, copies = weights(action.split.weights), weights(action.split.mirror)
            self.endpoint = replace(endpoint, traffic=live, mirror=copies)
        elif isinstance(action, DeleteDeployment):
            rest = {slot: state for slot, state in endpoint.deployments.items() if slot != action.slot}
            self.endpoint = replace(endpoint, deployments=rest)

    def put(self, slot: str, model: str) -> None:
        """A deployment is made, by us or by somebody else."""
        assert self.endpoint is not None
        self.made += 1
        created = DeploymentState(slot, model, "Succeeded", created_at=f"{self.made}")
        self.endpoint = replace(self.endpoint, deployments={**self.endpoint.deployments, slot: created})

    def meddle(self, live: Mapping[str, int], copies: Mapping[str, int] | None = None) -> None:
        """Somebody else sets the traffic."""
        assert self.endpoint is not None
        self.endpoint = replace(self.endpoint, traffic=live, mirror=copies or {})

    def says(self, what: What, version: str = "", *, rollout: str = "") -> Any:
        """A person's word, carried out."""
        self.command = Command(self.state.commands + 1, what, "anna", "she knows why", self.now, rollout, version)
        return self.tick()

    def until(self, condition: Callable[[Any], bool], *, lost: bool = False) -> Any:
        """Let looks follow each other, a minute apart unless they are wanted at once."""
        for _ in range(1500):
            action = self.tick(lost=lost)
            if condition(action):
                return action
            if action.look_again_in != timedelta(0):
                self.now += MINUTE
        raise AssertionError(f"it never happens; the last: {self.actions[-5:]}")

    def rest(self) -> None:
        self.until(lambda action: isinstance(action, Rest))

    @property
    def active(self) -> Rollout:
        assert self.state.active is not None
        return self.state.active

    @property
    def traffic(self) -> dict[str, int]:
        return dict(self.endpoint.traffic) if self.endpoint else {}

    @property
    def splits(self) -> list[tuple[dict[str, int], dict[str, int]]]:
        asked = [action for action in self.actions if isinstance(action, ShiftTraffic)]
        return [(weights(one.split.weights), weights(one.split.mirror)) for one in asked]


def serving(rules: RolloutRules = RULES_OF_TODAY) -> World:
    """Version 1 serves, in blue, and version 2 is asked for."""
    world = World(rules)
    world.rest()
    world.requested = "2"
    world.actions.clear()
    return world


def at(share: int, rules: RolloutRules = RULES_OF_TODAY) -> World:
    """Version 2 at so much live traffic."""
    world = serving(rules)
    world.until(lambda action: isinstance(action, ShiftTraffic) and action.split.weights.get("green") == share)
    world.until(lambda _: world.active.standing_since is not None)
    return world


def test_the_first_deployment_goes_from_its_smoke_test_to_all_traffic() -> None:
    world = World()
    world.rest()
    assert world.splits == [({"blue": 100}, {})]
    assert (world.state.outcome, world.state.settled) == ("succeeded", 1)
    assert [one.version for one in world.state.served] == ["1"]


def test_a_second_version_is_ramped_up_baked_beside_the_old_one_and_the_old_one_archived() -> None:
    world = serving()
    world.rest()
    assert world.splits == [
        ({"blue": 90, "green": 10}, {}),
        ({"blue": 75, "green": 25}, {}),
        ({"blue": 50, "green": 50}, {}),
        ({"green": 100}, {}),
        ({"green": 100}, {"blue": 10}),
        ({"green": 100}, {}),
    ]
    assert world.endpoint is not None
    assert set(world.endpoint.deployments) == {"green"}
    assert [one.version for one in world.state.served] == ["1", "2"]


def test_every_step_is_watched_for_its_whole_interval_from_when_the_endpoint_carries_it() -> None:
    world = serving()
    first = world.until(lambda action: isinstance(action, ShiftTraffic))
    asked_at = world.now
    world.now += 5 * MINUTE  # Azure takes its time
    world.until(lambda action: isinstance(action, ShiftTraffic))
    assert first.split.weights == {"blue": 90, "green": 10}
    assert world.now - asked_at >= 15 * MINUTE


def test_steps_carry_a_fencing_token_that_only_grows() -> None:
    world = serving()
    world.rest()
    steps = [action.step for action in world.actions if isinstance(action, ShiftTraffic)]
    assert steps == list(range(2, 8)), "the first deployment took step 1"


def test_before_the_first_request_there_is_a_plan_and_the_promises_are_fixed() -> None:
    world = serving()
    plan = world.until(lambda action: isinstance(action, MakePlan))
    assert not world.splits
    assert plan.slower_than_ms == 25.0
    world.rules = replace(RULES_OF_TODAY, promises=Promises(alpha=0.4))
    world.tick()
    assert world.active.promises.alpha == 0.01


def test_a_candidate_that_fails_is_rolled_back_before_its_step_is_over_and_stays_for_people_to_look_at() -> None:
    world = at(10)
    world.failing = BAD
    world.until(lambda action: isinstance(action, ShiftTraffic) and action.phase is Phase.ROLLING_BACK)
    assert world.now - world.actions[-1].look_again_in <= START + 60 * MINUTE
    world.rest()
    assert world.state.outcome == "rolled back"
    assert "fails more often than the stable deployment" in world.state.reason
    assert world.endpoint is not None
    assert (world.traffic, set(world.endpoint.deployments)) == ({"blue": 100}, {"blue", "green"})


def test_without_evidence_a_step_is_held_and_people_are_told() -> None:
    for per_minute, source, alert in ((0, None, "no traffic"), (1200, SourceFailed("503"), "source failed")):
        world = at(10)
        world.per_minute, world.source = per_minute, source
        raised = world.until(lambda action: isinstance(action, RaiseAlert))
        assert raised.alert == alert
        assert world.traffic == {"blue": 90, "green": 10}
        first = world.now
        assert world.until(lambda action: isinstance(action, RaiseAlert)).times == 2
        assert world.now - first >= RULES_OF_TODAY.deadlines.repeat
        assert world.traffic == {"blue": 90, "green": 10}


def test_the_last_step_is_held_until_the_verdict_and_then_asks_a_person() -> None:
    world = at(50)
    world.per_minute = 2
    world.state = replace(world.state, active=replace(world.active, tally=Tally()))
    paused = world.until(lambda action: isinstance(action, StandStill))
    assert paused.pause.cause == "inconclusive"
    assert world.traffic == {"blue": 50, "green": 50}
    world.says("promote")
    world.until(lambda _: world.traffic == {"green": 100})
    assert "anna" in world.active.reason


def test_while_paused_nothing_goes_on_but_a_bad_candidate_is_rolled_back() -> None:
    world = at(10)
    world.says("pause")
    for _ in range(60):
        world.now += MINUTE
        world.tick()
    assert world.traffic == {"blue": 90, "green": 10}
    world.failing = BAD
    world.until(lambda _: world.traffic == {"blue": 100})
    world.rest()
    assert world.state.outcome == "rolled back"


def test_after_a_pause_it_goes_on_where_it_stood() -> None:
    world = at(10)
    world.says("pause")
    world.now += 60 * MINUTE
    world.says("resume")
    world.rest()
    assert world.traffic == {"green": 100}


@pytest.mark.parametrize("share", [10, 50, 100])
def test_an_abort_is_noted_while_azure_is_at_work_and_followed_as_soon_as_it_can_be(share: int) -> None:
    world = at(share)
    assert world.endpoint is not None
    world.endpoint = replace(world.endpoint, provisioning_state="Updating")
    assert world.says("abort").obeyed
    assert isinstance(world.tick(), Hold)
    world.endpoint = replace(world.endpoint, provisioning_state="Succeeded")
    assert isinstance(world.tick(), ShiftTraffic)
    assert world.traffic == {"blue": 100}
    world.rest()
    assert (world.state.outcome, world.state.settled) == ("rolled back", 2)
    assert "anna" in world.state.reason


def test_an_abort_before_any_traffic_ends_it_without_a_step() -> None:
    world = serving()
    world.until(lambda action: isinstance(action, CreateDeployment))
    world.says("abort")
    world.rest()
    assert world.state.outcome == "rolled back"
    assert world.splits == []


def test_a_command_about_another_rollout_is_not_obeyed() -> None:
    world = at(10)
    action = world.says("abort", rollout="e-1-20250101T000000.000000Z")
    assert isinstance(action, Obey)
    assert (action.obeyed, world.active.phase, world.state.commands) == (False, Phase.CANARY, 1)


def test_a_version_that_served_not_long_ago_is_gone_back_to_without_a_canary() -> None:
    world = serving()
    world.rest()
    world.requested = None
    world.actions.clear()
    world.says("roll back", "1")
    world.rest()
    assert [live for live, _ in world.splits[:1]] == [{"blue": 100}]
    assert world.traffic == {"blue": 100}
    assert world.endpoint is not None
    assert world.endpoint.deployments["blue"].model == "m:1"
    assert (world.state.settled, world.state.wanted) == (2, None)
    assert [one.version for one in world.state.served] == ["2", "1"]


def test_while_the_old_deployment_is_warm_going_back_is_one_change_of_traffic() -> None:
    world = at(100)
    world.actions.clear()
    world.says("roll back", "1")
    world.rest()
    assert world.splits == [({"blue": 100}, {})]
    assert not any(isinstance(action, CreateDeployment) for action in world.actions)
    assert world.state.wanted is None


def test_a_version_that_never_served_goes_the_whole_way_when_a_person_wants_it() -> None:
    world = World(requested="3")
    world.rest()
    world.requested = None
    world.says("roll back", "2")
    world.actions.clear()
    world.rest()
    assert world.splits[0][0] == {"blue": 90, "green": 10}
    assert world.state.settled == 3


def test_an_older_version_than_the_live_one_does_not_begin_by_itself() -> None:
    world = World(requested="3")
    world.rest()
    world.state = State()  # a ledger that was lost
    world.requested = "2"
    action = world.tick()
    assert isinstance(action, Refuse)
    assert "m:2 is older than m:3, which serves" in action.reason


def test_a_foreign_change_pauses_and_is_never_overwritten_until_a_person_says_so() -> None:
    world = at(10)
    world.meddle({"blue": 60, "green": 40})
    world.now += 5 * MINUTE
    paused = world.until(lambda action: isinstance(action, StandStill))
    assert "somebody else set the traffic to blue 60 %, green 40 %" in paused.reason
    for _ in range(60):
        world.now += MINUTE
        world.tick()
    assert world.traffic == {"blue": 60, "green": 40}
    world.says("resume")
    world.until(lambda _: world.traffic == {"blue": 90, "green": 10})
    world.rest()
    assert world.state.outcome == "succeeded"


def test_a_foreign_change_that_is_undone_needs_nobodys_word() -> None:
    world = at(10)
    world.meddle({"blue": 60, "green": 40})
    world.now += 5 * MINUTE
    world.until(lambda action: isinstance(action, StandStill))
    world.meddle({"blue": 90, "green": 10})
    world.rest()
    assert world.state.outcome == "succeeded"


def test_a_mirror_that_somebody_added_is_a_conflict_too() -> None:
    world = at(10)
    world.meddle({"blue": 90, "green": 10}, {"red": 5})
    world.now += 5 * MINUTE
    assert "copies of 5 % to red" in world.until(lambda action: isinstance(action, StandStill)).reason


def test_a_lost_shift_is_asked_for_again_under_the_next_token() -> None:
    world = at(10)
    action = world.until(lambda action: isinstance(action, ShiftTraffic), lost=True)
    again = world.until(lambda action: isinstance(action, ShiftTraffic))
    assert (again.split, again.step) == (action.split, action.step + 1)
    assert world.traffic == {"blue": 75, "green": 25}


def test_a_rollback_that_is_lost_is_asked_for_again_even_if_requests_look_well_now() -> None:
    world = at(10)
    world.failing = BAD
    world.until(lambda action: isinstance(action, ShiftTraffic) and action.phase is Phase.ROLLING_BACK, lost=True)
    world.failing = GOOD
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "rolled back")


def test_a_deployment_that_was_made_anew_after_the_smoke_test_gets_no_more_requests() -> None:
    world = at(25)
    world.put("green", "m:2")
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "failed")
    assert "the one that passed the smoke test" in world.state.reason


def test_a_slot_that_holds_another_model_gets_no_traffic() -> None:
    """Somebody puts a deployment by hand, or a process that stood still puts that of an earlier rollout."""
    world = World()
    world.until(lambda action: isinstance(action, CreateDeployment))
    world.put("blue", "m:77")
    world.tick()
    assert (world.state.outcome, world.state.active) == ("failed", None)
    assert "blue holds m:77" in world.state.reason
    assert world.splits == []


def test_a_candidate_that_fails_its_smoke_test_never_gets_traffic() -> None:
    world = serving()
    world.smoke = SmokeTest("failed", "row 3: 0.7 instead of 0.2")
    world.rest()
    assert (world.state.outcome, world.splits) == ("failed", [])
    assert world.state.reason == "smoke test: row 3: 0.7 instead of 0.2"


def test_a_freeze_holds_promotions_and_no_rollback() -> None:
    world = at(10)
    world.rules = replace(RULES_OF_TODAY, freeze=(FreezeWindow(world.now, world.now + 120 * MINUTE, "holidays"),))
    held_since = world.now
    world.until(lambda action: isinstance(action, Hold) and world.now > held_since + 60 * MINUTE)
    assert world.traffic == {"blue": 90, "green": 10}
    assert "nothing is promoted until" in world.actions[-1].reason
    world.failing = BAD
    world.until(lambda _: world.traffic == {"blue": 100})


@pytest.mark.parametrize(
    ("supersede", "share", "ends"), [("before traffic", 10, False), ("always", 10, True), ("never", 0, False)]
)
def test_a_newer_version_ends_a_rollout_as_the_configuration_wants_it(supersede: Any, share: int, ends: bool) -> None:
    world = (
        at(share, replace(RULES_OF_TODAY, supersede=supersede))
        if share
        else serving(replace(RULES_OF_TODAY, supersede=supersede))
    )
    if not share:
        world.until(lambda action: isinstance(action, CreateDeployment))
    world.requested = "3"
    world.now += MINUTE
    world.until(lambda _: world.state.active is None)
    assert (world.state.outcome == "superseded") == ends
    assert world.state.settled == 2
    world.rest()
    assert world.state.settled == 3


def test_a_candidate_that_stands_at_zero_is_told_again_and_again() -> None:
    frozen = replace(RULES_OF_TODAY, freeze=(FreezeWindow(START, START + timedelta(days=9), "the quarter closes"),))
    world = serving()
    world.rules = frozen
    for times in (1, 2, 3):
        alert = world.until(lambda action: isinstance(action, RaiseAlert))
        assert (alert.alert, alert.times) == ("at zero", times)
    assert world.traffic == {"blue": 100}


def test_a_deployment_that_takes_too_long_is_told() -> None:
    world = serving()
    world.until(lambda action: isinstance(action, CreateDeployment))
    assert world.endpoint is not None
    world.endpoint = replace(world.endpoint, provisioning_state="Updating")
    assert world.until(lambda action: isinstance(action, RaiseAlert)).alert == "provisioning"


def test_what_azure_refuses_for_good_takes_the_candidates_traffic_away() -> None:
    world = at(25)
    world.now += MINUTE
    shift = ShiftTraffic(Split({"blue": 50, "green": 50}), Split(), Phase.CANARY, 9, "on", MINUTE)
    world.state = refuse(world.state, shift, "the quota is used up (status 400)", world.now)
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "failed")
    assert world.state.reason == "the quota is used up (status 400)"
    assert any(notice.level == "critical" for notice in world.state.notices)


def test_an_endpoint_that_is_updating_is_left_alone() -> None:
    world = at(10)
    assert world.endpoint is not None
    world.endpoint = replace(world.endpoint, provisioning_state="Updating")
    world.failing = BAD
    assert world.tick() == Hold("the endpoint is Updating", RULES_OF_TODAY.poll)


def test_versions_are_compared_as_numbers() -> None:
    world = World(requested="9")
    world.rest()
    world.requested = "10"
    world.rest()
    assert world.state.settled == 10


def test_without_a_bake_the_old_deployment_is_archived_at_once() -> None:
    world = serving(replace(RULES_OF_TODAY, bake=timedelta(0)))
    world.rest()
    assert world.splits[-1] == ({"green": 100}, {})
    assert isinstance(world.actions[-2], Settle)


def test_people_are_told_once_of_everything_that_matters() -> None:
    world = serving()
    told = {notice.id for notice in world.state.notices}
    world.rest()
    new = [notice for notice in world.state.notices if notice.id not in told]
    assert [notice.title for notice in new] == ["m:2 is being rolled out", "m:2 gets all traffic", "m:2: succeeded"]
    assert len({notice.id for notice in world.state.notices}) == len(world.state.notices)


def test_a_state_goes_through_json_and_back() -> None:
    world = at(50)
    assert from_document(State, to_document(world.state)) == world.state
    assert RULES.read(to_document(world.state)) == world.state


def test_only_so_many_versions_as_the_configuration_knows_are_gone_back_to_fast() -> None:
    world = World(replace(RULES_OF_TODAY, return_window=1))
    world.rest()
    world.state = replace(world.state, served=(Served("7", START), Served("8", START), *world.state.served), settled=9)
    for version, road in (("8", "return"), ("7", "canary")):
        other = replace(world, state=world.state, actions=[])
        other.says("roll back", version)
        other.tick()
        assert other.active.road == road


def test_the_configuration_cannot_keep_more_versions_than_are_remembered() -> None:
    with pytest.raises(ValueError, match="return_window"):
        RolloutConfig(return_window=11)


def test_a_split_that_azure_never_takes_is_asked_for_again_and_told() -> None:
    world = at(10)
    first = world.until(lambda action: isinstance(action, ShiftTraffic), lost=True)
    alert = world.until(lambda action: isinstance(action, RaiseAlert), lost=True)
    assert (alert.alert, alert.times) == ("provisioning", 1)
    again = world.until(lambda action: isinstance(action, ShiftTraffic), lost=True)
    assert again.split == first.split


def test_without_a_way_back_people_are_told_and_it_is_taken_as_soon_as_it_opens() -> None:
    world = at(25)
    assert world.endpoint is not None
    deployments = world.endpoint.deployments
    failed = replace(deployments["blue"], provisioning_state="Failed")
    world.endpoint = replace(world.endpoint, deployments={**deployments, "blue": failed})
    world.failing = BAD
    paused = world.until(lambda action: isinstance(action, StandStill))
    assert "there is no way back: blue is Failed" in paused.reason
    for _ in range(10):
        world.now += MINUTE
        world.tick()
    assert world.traffic == {"blue": 75, "green": 25}
    world.endpoint = replace(world.endpoint, deployments=deployments)
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "rolled back")


def test_a_way_back_that_azure_refuses_is_tried_again_after_a_while_and_at_once_when_a_person_says_so() -> None:
    world = at(25)
    world.says("abort")
    shift = world.tick(lost=True)
    world.state = refuse(world.state, shift, "the subscription is disabled (status 400)", world.now)
    refused_at = world.now
    again = world.until(lambda action: isinstance(action, ShiftTraffic), lost=True)
    assert world.now - refused_at >= RULES_OF_TODAY.deadlines.repeat
    world.state = refuse(world.state, again, "the subscription is disabled (status 400)", world.now)
    world.says("resume")
    assert isinstance(world.tick(), ShiftTraffic)
    world.rest()
    assert (world.traffic, world.state.outcome) == ({"blue": 100}, "rolled back")


def test_going_back_to_what_served_waits_for_no_calendar_and_no_metrics() -> None:
    world = serving()
    world.rest()
    world.requested, world.source = None, SourceFailed("503")
    world.rules = replace(RULES_OF_TODAY, freeze=(FreezeWindow(world.now, world.now + timedelta(days=9), "the quarter closes"),))
    asked_at = world.now
    world.says("roll back", "1")
    world.until(lambda _: world.traffic == {"blue": 100})
    assert world.now - asked_at < 10 * MINUTE


def test_a_mirror_that_somebody_removed_is_asked_for_again() -> None:
    world = at(100)
    world.until(lambda _: world.active.phase is Phase.BAKING and world.active.standing_since is not None)
    world.meddle({"green": 100})
    again = world.until(lambda action: isinstance(action, ShiftTraffic))
    assert (weights(again.split.mirror), again.phase) == ({"blue": 10}, Phase.BAKING)


def test_an_interval_in_which_the_traffic_changed_is_weighed_not_at_all_and_every_other_one_once() -> None:
    world = serving()
    world.rest()
    weighed = [action for action in world.actions if isinstance(action, Weigh)]
    splits = [action for action in world.actions if isinstance(action, ShiftTraffic)]
    until = [action.judged_until for action in weighed]
    assert until == sorted(set(until))
    assert weighed[-1].tally.intervals <= sum((action.judged_until is not None) for action in weighed)
    assert len(splits) == 6


def test_a_word_is_noted_though_azure_cannot_be_asked() -> None:
    world = at(10)
    said = Command(1, "abort", "anna", "she knows why", world.now)
    action = decide(world.state, Observation(RULES_OF_TODAY, "e", command=said), world.now)
    assert isinstance(action, Obey)
    assert action.obeyed
    assert world.active.phase is Phase.CANARY
    taken = evolve(world.state, action, world.now)
    assert taken.active is not None
    assert (taken.active.phase, taken.active.intended) == (Phase.ROLLING_BACK, world.active.intended)


def test_a_wish_of_a_person_is_not_ended_by_a_newer_version() -> None:
    world = World(requested="3")
    world.rest()
    world.says("roll back", "2")
    world.requested = None
    world.until(lambda action: isinstance(action, CreateDeployment))
    world.requested = "4"
    world.until(lambda _: world.state.active is None)
    assert world.state.outcome == "succeeded"
    assert [one.version for one in world.state.served] == ["3", "2"]


@pytest.mark.parametrize(
    ("tags", "origin", "told"),
    [
        ({}, OURS, "m:7 does not say where it comes from: it has no tag job and no tag data_version"),
        ({"job": "train-m-v1"}, OURS, "m:7 does not say where it comes from: it has no tag data_version"),
        (TAGS, Origin(), "m:7 says that the job train-m-v1 made it, and that is no training job of ours for this model"),
        (
            TAGS,
            replace(OURS, noted={"model": "other", "data_version": "v1"}),
            "m:7 says that the job train-m-v1 made it, and that is no training job of ours for this model",
        ),
        (
            {**TAGS, "data_version": "v2"},
            OURS,
            "m:7 says that it learned from v2, and the job train-m-v1 was given v1",
        ),
        (TAGS, replace(OURS, job=None), "m:7 was made by the job train-m-v1, which is not to be found in the workspace"),
        (
            TAGS,
            replace(OURS, job=JobState("train-m-v1", "Failed")),
            "m:7 was made by the job train-m-v1, which ended as Failed",
        ),
    ],
)
def test_a_version_that_no_job_of_ours_has_made_is_refused_in_plain_words(
    tags: dict[str, str], origin: Origin, told: str
) -> None:
    seen = Observation(RULES_OF_TODAY, "e", requested=ModelVersion("m", "7", tags), origin=origin)
    action = decide(State(), seen, START)
    assert action == Refuse("e", "7", told)
    state = evolve(State(), action, START)
    assert (state.outcome, state.reason, state.settled, state.refused) == ("refused", told, 0, {"7": told})


def test_a_version_whose_job_is_still_running_waits_for_its_end() -> None:
    running = replace(OURS, job=JobState("train-m-v1", "Running"))
    seen = Observation(RULES_OF_TODAY, "e", requested=ModelVersion("m", "7", TAGS), origin=running)
    action = decide(State(), seen, START)
    assert isinstance(action, Hold)
    assert action.reason == "m:7 is registered; its job train-m-v1 has not completed"
