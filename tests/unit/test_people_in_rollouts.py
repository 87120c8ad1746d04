"""People decide, the calendar holds, and everybody is told: whole rollouts in simulated time.

Faked: the ports and time. Real: the reconciler, what people ask, the judge, the smoke test and the shadow, the notices.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import get_args

import pytest

from ml_core import audit
from ml_core.ports import Notice
from ml_core.rollout import people
from ml_core.rollout.actions import Hold, Obey, RaiseAlert
from ml_core.rollout.deadlines import AlertKind
from ml_core.rollout.notices import WHAT_HELPS, notice
from ml_core.rollout.state import Phase
from ml_core.rollout.telling import told
from tests.rollout_world import FREEZE, MODEL, RolloutWorld, first_version_serves
from tests.story import ENDPOINT

WEEKEND = """
freeze_weekly:
  - {starts: "Sun 18:00", ends: "Sun 21:00", time_zone: Europe/Berlin, reason: "nobody is there"}
"""


@pytest.fixture
def world() -> RolloutWorld:
    """The first version serves, and the calendar holds nobody: Sunday, 15:30 UTC."""
    return first_version_serves()


def serving(world: RolloutWorld) -> dict[str, int]:
    """The live traffic in percent by model version."""
    endpoint = world.endpoint()
    assert endpoint is not None
    return {endpoint.deployments[slot].model.rpartition(":")[2]: share for slot, share in endpoint.traffic.items()}


def is_in(world: RolloutWorld, phase: Phase) -> Callable[[], bool]:
    return lambda: (active := world.state().active) is not None and active.phase == phase


def is_over(world: RolloutWorld) -> Callable[[], bool]:
    return lambda: world.state().active is None and world.state().wanted is None


def comes_and_stays(world: RolloutWorld) -> None:
    """The next version takes over."""
    world.a_model_comes("good")
    world.until(lambda: world.state().active is not None)
    world.until(is_over(world))
    assert world.state().outcome == "succeeded"


def phases(world: RolloutWorld, version: str) -> list[Phase]:
    """Those that the version's newest rollout came through, in order."""
    states = [one.state.active for one in world.decided()]
    newest = next(active.id for active in reversed(states) if active and active.version == version)
    return list(dict.fromkeys(active.phase for active in states if active and active.id == newest))


# ---- people -----------------------------------------------------------------------------------------------------------


def test_a_person_promotes_what_the_judge_cannot_decide(world: RolloutWorld) -> None:
    world.evidence.per_minute = 12  # some, but far too few for a verdict
    world.a_model_comes("good")
    world.until(lambda: serving(world).get("2") == 50)
    assert world.somebody_says("promote")
    world.until(lambda: serving(world) == {"2": 100}, timedelta(minutes=10))
    world.until(is_over(world))
    assert world.state().outcome == "succeeded"
    (note,) = audit.entries(world.ledger)
    assert (note.value["by"], note.value["what"], note.value["reason"]) == ("ada", "promote rollout", "she has her reasons")


def test_without_a_verdict_the_rollout_asks_a_person_and_waits_again_when_that_is_the_answer(world: RolloutWorld) -> None:
    world.evidence.per_minute = 12
    world.a_model_comes("good")
    world.until(lambda: (active := world.state().active) is not None and active.pause is not None)
    paused = world.state().active
    assert paused is not None
    assert paused.pause is not None
    assert paused.pause.cause == "inconclusive"
    assert serving(world) == {"1": 50, "2": 50}
    asked_at = world.clock()
    assert world.somebody_says("resume")
    world.until(lambda: (active := world.state().active) is not None and active.pause is None)
    world.until(lambda: (active := world.state().active) is not None and active.pause is not None)
    assert world.clock() - asked_at >= timedelta(hours=2)


def test_a_paused_rollout_keeps_its_traffic_and_goes_on_where_it_stood(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.until(lambda: serving(world).get("2") == 20)
    assert world.somebody_says("pause")
    world.pass_time(timedelta(hours=3))
    assert serving(world) == {"1": 80, "2": 20}
    assert world.somebody_says("resume")
    world.until(is_over(world))
    assert serving(world) == {"2": 100}


def test_a_candidate_that_proves_worse_is_rolled_back_although_a_person_has_paused_it(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.until(lambda: serving(world).get("2") == 20)
    assert world.somebody_says("pause")
    world.pass_time(timedelta(minutes=30))
    world.evidence.behaves(f"{MODEL}:2", errors=0.2)
    world.until(is_over(world), timedelta(minutes=30))
    assert (world.state().outcome, serving(world)) == ("rolled back", {"1": 100})


def test_a_version_that_served_not_long_ago_comes_back_without_shadow_and_canary(world: RolloutWorld) -> None:
    comes_and_stays(world)
    assert world.somebody_says("roll back", "1")
    world.until(lambda: world.state().active is not None)
    world.until(lambda: serving(world) == {"1": 100}, timedelta(minutes=30))
    world.until(is_over(world))
    assert not {Phase.SHADOW, Phase.CANARY} & set(phases(world, "1"))
    assert Phase.SMOKE in phases(world, "1")


def test_a_version_that_has_all_traffic_needs_not_be_asked_back(world: RolloutWorld) -> None:
    with pytest.raises(people.NotNow, match=f"{MODEL}:1 serves already: .* has all traffic of {ENDPOINT}"):
        people.ask(world.services, ENDPOINT, "roll back", "ada", "she has not looked", "1")


def test_who_wants_a_version_back_is_told_and_named_in_its_rollout(world: RolloutWorld) -> None:
    comes_and_stays(world)
    world.somebody_says("roll back", "1")
    world.until(lambda: (active := world.state().active) is not None and active.version == "1")
    titles = {notice.title: notice.text for notice in world.state().notices}
    assert titles["roll back to version 1"] == "ada: roll back to 1 (she has her reasons)"
    assert f"{MODEL}:1 is wanted by ada: she has her reasons" in titles[f"{MODEL}:1 is being rolled out"]


def test_while_the_old_deployment_is_warm_going_back_takes_the_traffic_only(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.until(is_in(world, Phase.BAKING))
    made = dict(world.workspace.specs)
    assert world.somebody_says("roll back", "1")
    world.until(lambda: serving(world) == {"1": 100}, timedelta(minutes=10))
    world.until(is_over(world))
    assert world.workspace.specs == made


def test_a_command_that_comes_too_late_does_not_strike_the_next_rollout(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.until(is_in(world, Phase.BAKING))
    rollout = world.state().active
    assert rollout is not None
    # It is taken down, and nobody looks before the rollout is over: as if the app had been away.
    late = people.ask(world.services, ENDPOINT, "abort", "ada", "odd scores")
    world.ledger.delete(f"rollout-commands/{ENDPOINT}/{late.number:06d}.json")
    world.until(is_over(world))
    world.a_model_comes("good")
    world.until(is_in(world, Phase.CANARY))
    world.ledger.claim(f"rollout-commands/{ENDPOINT}/{late.number:06d}.json", {**vars(late), "at": late.at.isoformat()})
    world.until(is_over(world))
    (obeyed,) = [one.action for one in world.decided() if isinstance(one.action, Obey)]
    assert not obeyed.obeyed
    assert f"it was said about {rollout.id}" in obeyed.reason
    assert "not carried out: abort, said by ada" in titles(world.notifier.notices)
    assert serving(world) == {"3": 100}


# ---- the calendar -----------------------------------------------------------------------------------------------------


@pytest.fixture
def weekend() -> RolloutWorld:
    """Sunday, 16:50 UTC: in ten minutes nothing is promoted any more until 20:00 UTC."""
    return first_version_serves(WEEKEND, lasts=timedelta(minutes=110))


def test_in_a_freeze_no_candidate_gets_more_traffic_not_even_by_a_person(weekend: RolloutWorld) -> None:
    weekend.a_model_comes("good")
    weekend.pass_time(timedelta(minutes=40))
    before = serving(weekend)
    assert weekend.somebody_says("promote")
    weekend.pass_time(timedelta(hours=2))
    assert (f"{weekend.clock():%a %H:%M}", serving(weekend)) == ("Sun 19:30", before)
    held = [one.action for one in weekend.decided() if isinstance(one.action, Hold)]
    assert "nothing is promoted until 2026-03-01 20:00 UTC (nobody is there)" in held[-1].reason
    weekend.pass_time(timedelta(minutes=75))
    assert (weekend.state().outcome, serving(weekend)) == ("succeeded", {"2": 100})


def test_in_a_freeze_a_bad_candidate_is_rolled_back_all_the_same() -> None:
    weekend = RolloutWorld(more=WEEKEND)
    weekend.clock.moment = FREEZE[1]
    weekend.a_model_comes("good")
    # Early enough for the first canary step, too late for the second.
    weekend.pass_time(timedelta(minutes=104))
    weekend.a_model_comes("good")
    weekend.until(lambda: serving(weekend).get("2") == 20)
    weekend.until(lambda: f"{weekend.clock():%H:%M}" == "17:05")
    weekend.evidence.behaves(f"{MODEL}:2", errors=0.2)
    weekend.until(is_over(weekend), timedelta(hours=1))
    assert (weekend.state().outcome, serving(weekend)) == ("rolled back", {"1": 100})


def test_in_a_freeze_a_person_may_abort(weekend: RolloutWorld) -> None:
    weekend.a_model_comes("good")
    weekend.pass_time(timedelta(minutes=40))
    assert weekend.somebody_says("abort")
    weekend.until(is_over(weekend), timedelta(minutes=30))
    assert (weekend.state().outcome, serving(weekend)) == ("rolled back", {"1": 100})


def test_in_a_freeze_a_version_that_has_served_comes_back() -> None:
    weekend = RolloutWorld(more=WEEKEND)
    weekend.clock.moment = FREEZE[1]
    weekend.a_model_comes("good")
    weekend.pass_time(timedelta(minutes=30))
    comes_and_stays(weekend)
    weekend.until(lambda: f"{weekend.clock():%H:%M}" == "17:05")
    assert weekend.somebody_says("roll back", "1")
    weekend.until(lambda: serving(weekend) == {"1": 100}, timedelta(minutes=30))


# ---- telling ----------------------------------------------------------------------------------------------------------


def titles(notices: list[Notice]) -> list[str]:
    return [one.title for one in notices]


def test_people_are_told_of_a_rollout_from_its_beginning_to_its_end(world: RolloutWorld) -> None:
    before = len(world.notifier.notices)
    comes_and_stays(world)
    world.a_model_comes("erring")
    world.until(lambda: world.state().active is not None)
    world.until(is_over(world))
    world.pass_time(timedelta(minutes=5))
    notices = world.notifier.notices[before:]
    assert titles(notices)[:4] == [
        f"{MODEL}:2 is being rolled out",
        f"{MODEL}:2 gets all traffic",
        f"{MODEL}:2: succeeded",
        f"{MODEL}:3 is being rolled out",
    ]
    assert titles(notices)[-1] == f"{MODEL}:3: rolled back"
    assert (notices[-1].level, notices[-1].endpoint) == ("critical", ENDPOINT)
    assert len({one.id for one in notices}) == len(notices)


def test_a_version_that_waits_for_somebody_elses_split_is_told_of_at_once_and_again(world: RolloutWorld) -> None:
    comes_and_stays(world)
    world.a_model_comes("erring")
    world.until(is_over(world))  # its deployment stays for people to look at
    stable, other = ("green", "blue") if "green" in world.workspace.endpoints[ENDPOINT].traffic else ("blue", "green")
    world.workspace.somebody_sets_traffic(ENDPOINT, {stable: 65, other: 35})
    world.pass_time(world.workspace.reads_lag + timedelta(minutes=2))
    began_at = world.clock()
    world.a_model_comes("good")
    world.pass_time(timedelta(hours=4))
    waits = [one for one in world.notifier.notices if one.title == "a version waits to be rolled out"]
    assert len(waits) == 3
    assert {one.endpoint for one in waits} == {ENDPOINT}
    raised = [one.at - began_at for one in world.decided() if isinstance(one.action, RaiseAlert) and one.at >= began_at]
    assert [round(after / timedelta(minutes=10)) for after in raised] == [0, 6, 18]
    world.workspace.somebody_sets_traffic(ENDPOINT, {stable: 100, other: 0})
    world.until(lambda: serving(world) == {"4": 100})


def test_a_broken_channel_holds_no_rollout_and_hears_everything_once_it_is_back(world: RolloutWorld) -> None:
    sound = RolloutWorld()
    sound.clock.moment = FREEZE[1]
    sound.a_model_comes("good")
    sound.pass_time(timedelta(minutes=30))
    world.notifier.broken = True
    for one in (world, sound):
        comes_and_stays(one)
    assert abs(world.clock() - sound.clock()) < timedelta(seconds=1)
    assert len(world.notifier.notices) < len(sound.notifier.notices)
    assert told(world.services, ENDPOINT).failed
    world.notifier.broken = False
    for _ in range(30):
        world.tick_timers()
        world.pass_time(timedelta(minutes=5))
    assert titles(world.notifier.notices) == titles(sound.notifier.notices)
    assert not told(world.services, ENDPOINT).failed


def test_an_alert_says_how_often_it_was_raised_and_what_helps(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.until(is_in(world, Phase.CANARY))
    active = world.state()
    for kind in get_args(AlertKind):
        told_of = notice(active, RaiseAlert(kind, 3, "it lasts", timedelta(0)), world.clock())
        assert told_of is not None
        assert (told_of.facts["told"], told_of.facts["what helps"]) == ("3 times", WHAT_HELPS[kind])
        assert told_of.facts["rollout"]
