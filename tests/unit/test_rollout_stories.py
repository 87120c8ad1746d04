"""A rollout can be ended from every state, nobody waits in silence, and what the portal does is respected.

Faked: the ports and time. Real: the reconciler, what people ask, the judge, the smoke test and the shadow.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest

from ml_core.rollout.actions import Obey, RaiseAlert, StandStill
from ml_core.rollout.state import Phase
from tests.faults import Fault
from tests.rollout_world import MODEL, Kind, RolloutWorld, first_version_serves
from tests.story import ENDPOINT


@pytest.fixture
def world() -> RolloutWorld:
    """The first version serves, and the calendar holds nobody."""
    return first_version_serves()


def is_in(world: RolloutWorld, phase: Phase) -> bool:
    active = world.state().active
    return active is not None and active.phase == phase


def a_second_model_reaches(world: RolloutWorld, phase: Phase) -> None:
    world.a_model_comes("good")
    world.until(lambda: is_in(world, phase))


def alerts(world: RolloutWorld, kind: str) -> list[RaiseAlert]:
    return [one.action for one in world.decided() if isinstance(one.action, RaiseAlert) and one.action.alert == kind]


# ---- back from every state --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("phase", [Phase.PROVISIONING, Phase.SHADOW, Phase.CANARY, Phase.PROMOTING, Phase.BAKING])
def test_an_abort_takes_the_traffic_back_from_every_phase_paused_or_not(world: RolloutWorld, phase: Phase, paused: bool) -> None:
    a_second_model_reaches(world, phase)
    if paused:
        world.somebody_says("pause")
        world.until(lambda: bool((active := world.state().active) and active.pause))
    assert world.somebody_says("abort")
    world.until(lambda: world.state().active is None)
    assert world.state().outcome == "rolled back"
    assert world.workspace.serving(ENDPOINT) == {f"{MODEL}:1": "blue 100 %"}
    endpoint = world.endpoint()
    assert endpoint is not None
    assert not endpoint.mirror


def test_an_abort_is_noted_while_azure_is_at_work_and_carried_out_as_soon_as_it_can_be(world: RolloutWorld) -> None:
    a_second_model_reaches(world, Phase.CANARY)
    world.workspace.hangs = True
    world.until(lambda: world.workspace.busy(ENDPOINT))
    assert world.somebody_says("abort")
    world.pass_time(timedelta(minutes=5))
    assert [one.action.obeyed for one in world.decided() if isinstance(one.action, Obey)] == [True]
    assert is_in(world, Phase.ROLLING_BACK)
    world.workspace.hangs = False
    world.workspace.let_go()
    let_go_at = world.clock()
    world.until(lambda: world.state().active is None)
    assert world.clock() - let_go_at < timedelta(minutes=15)
    assert world.workspace.serving(ENDPOINT) == {f"{MODEL}:1": "blue 100 %"}


def test_a_change_that_stood_still_for_minutes_undoes_nothing_that_was_asked_since(world: RolloutWorld) -> None:
    a_second_model_reaches(world, Phase.SHADOW)
    world.until(lambda: not world.workspace.busy(ENDPOINT))
    world.faults.arm(Fault.STALLED, "workspace", 0)
    world.until(lambda: bool(world.faults.struck))
    assert world.faults.struck[0].startswith("workspace.set_traffic")
    steps = [one.step or 0 for one in world.asked() if not one.refused]
    assert steps == sorted(steps)
    world.until(lambda: world.state().active is None)
    assert world.workspace.serving(ENDPOINT) == {f"{MODEL}:2": "green 100 %"}


# ---- nobody waits in silence ------------------------------------------------------------------------------------------


def hanging(world: RolloutWorld) -> None:
    world.until(lambda: is_in(world, Phase.GATED) or is_in(world, Phase.PROVISIONING))
    world.workspace.hangs = True


def unheard(world: RolloutWorld) -> None:
    world.until(lambda: is_in(world, Phase.CANARY))
    world.evidence.per_minute = 0


def unmeasured(world: RolloutWorld) -> None:
    world.until(lambda: is_in(world, Phase.CANARY))
    world.evidence.broken = True


def paused(world: RolloutWorld) -> None:
    world.until(lambda: is_in(world, Phase.CANARY))
    world.somebody_says("pause")


def inconclusive(world: RolloutWorld) -> None:
    world.evidence.per_minute = 12
    world.until(lambda: (active := world.state().active) is not None and active.pause is not None)


def paused_at_zero(world: RolloutWorld) -> None:
    world.until(lambda: is_in(world, Phase.SHADOW))
    world.somebody_says("pause")


def meddled_with(world: RolloutWorld) -> None:
    world.until(lambda: is_in(world, Phase.CANARY) and not world.workspace.busy(ENDPOINT))
    world.somebody_meddles("sets a split of their own")


@pytest.mark.parametrize(
    ("makes", "kind", "after"),
    [
        (hanging, "provisioning", timedelta(minutes=30)),
        (paused_at_zero, "at zero", timedelta(hours=1)),
        (unheard, "no traffic", timedelta(minutes=20)),
        (unmeasured, "source failed", timedelta(minutes=10)),
        (paused, "paused", timedelta(hours=1)),
        (inconclusive, "approval", timedelta(hours=1)),
        (meddled_with, "conflict", timedelta(hours=1)),
    ],
)
def test_what_takes_too_long_is_told_and_told_again_ever_more_rarely(
    world: RolloutWorld, makes: Callable[[RolloutWorld], None], kind: str, after: timedelta
) -> None:
    world.a_model_comes("good")
    makes(world)
    began_at = world.clock()
    world.pass_time(timedelta(hours=5))
    told = [one for one in world.decided() if isinstance(one.action, RaiseAlert) and one.action.alert == kind]
    assert len(told) >= 3
    assert after - timedelta(minutes=1) <= told[0].at - began_at <= after + timedelta(minutes=20)
    gaps = [later.at - earlier.at for earlier, later in pairwise(told)]
    assert gaps[0] >= timedelta(hours=1)
    assert gaps[1] >= timedelta(hours=2)
    assert len({notice.id for notice in world.notifier.notices}) >= len(told)


def heard_again(world: RolloutWorld) -> None:
    world.evidence.per_minute = 600


def measured_again(world: RolloutWorld) -> None:
    world.evidence.broken = False


def resumed(world: RolloutWorld) -> None:
    world.somebody_says("resume")


@pytest.mark.parametrize(
    ("makes", "mends", "kind"),
    [
        (unheard, heard_again, "no traffic"),
        (unmeasured, measured_again, "source failed"),
        (paused, resumed, "paused"),
        (meddled_with, resumed, "conflict"),
    ],
)
def test_an_alert_is_over_when_its_cause_is(
    world: RolloutWorld, makes: Callable[[RolloutWorld], None], mends: Callable[[RolloutWorld], object], kind: str
) -> None:
    world.a_model_comes("good")
    makes(world)
    world.until(lambda: kind in world.state().alerts)
    mends(world)
    world.until(lambda: kind not in world.state().alerts)
    assert world.state().active is not None, "the rollout is not over for that"


# ---- what the portal does ---------------------------------------------------------------------------------------------


def test_a_mirror_that_an_old_client_has_removed_is_seen(world: RolloutWorld) -> None:
    a_second_model_reaches(world, Phase.BAKING)
    world.until(lambda: bool((endpoint := world.endpoint()) and endpoint.mirror))
    world.pass_time(timedelta(minutes=3))
    asked = len(world.asked())
    world.somebody_meddles("removes the mirror")
    world.pass_time(timedelta(minutes=4))
    still = [one.action.pause.cause for one in world.decided() if isinstance(one.action, StandStill)]
    assert still == ["conflict"] or len(world.asked()) > asked


def test_a_split_of_somebody_elses_stands_until_a_person_lets_it_go_on(world: RolloutWorld) -> None:
    a_second_model_reaches(world, Phase.CANARY)
    world.until(lambda: world.workspace.serving(ENDPOINT).get(f"{MODEL}:2") == "green 20 %")
    world.somebody_meddles("sets a split of their own")
    world.pass_time(timedelta(hours=3))
    assert world.workspace.serving(ENDPOINT) == {f"{MODEL}:1": "blue 65 %", f"{MODEL}:2": "green 35 %"}
    assert world.somebody_says("resume")
    world.until(lambda: world.state().active is None)
    assert world.workspace.serving(ENDPOINT) == {f"{MODEL}:2": "green 100 %"}


@pytest.mark.parametrize("kind", ["erring", "slow"])
def test_what_the_copies_have_shown_no_client_meets_though_it_is_told_late(world: RolloutWorld, kind: Kind) -> None:
    world.a_model_comes(kind)
    world.until(lambda: is_in(world, Phase.SHADOW))
    world.until(lambda: world.state().active is None)
    assert world.state().outcome == "rolled back"
    assert [one for one in world.workspace.traffic_history if one.get("green")] == []
