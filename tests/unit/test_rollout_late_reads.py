"""Azure goes on telling what was, for a while after it was asked for something else. Faked: the ports and time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from ml_core.rollout.state import Phase, Rollout
from tests.rollout_world import MODEL, first_version_serves
from tests.story import ENDPOINT


def copies_are_asked_for(rollout: Rollout) -> bool:
    return rollout.phase is Phase.SHADOW and bool(rollout.intended.mirror)


def a_share_is_asked_for(rollout: Rollout) -> bool:
    return rollout.intended.weights.get(rollout.candidate) == 20


def all_is_asked_for(rollout: Rollout) -> bool:
    return rollout.phase is Phase.PROMOTING and rollout.intended.weights.get(rollout.candidate) == 100


@pytest.mark.parametrize("step", [copies_are_asked_for, a_share_is_asked_for, all_is_asked_for])
@pytest.mark.parametrize("seconds_later", [1, 70, 100, 130])
def test_a_step_that_lands_after_the_abort_is_taken_back_all_the_same(
    step: Callable[[Rollout], bool], seconds_later: int
) -> None:
    world = first_version_serves()
    world.workspace.reads_lag = timedelta(seconds=100)
    world.a_model_comes("good")
    while not ((rollout := world.state().active) and step(rollout)):
        world.pass_time(timedelta(seconds=5))
    world.pass_time(timedelta(seconds=seconds_later))
    assert world.somebody_says("abort")
    for _ in range(200):
        world.pass_time(timedelta(seconds=15))
        if world.state().active is None:
            break
    over_at = world.clock()
    world.pass_time(timedelta(minutes=30))
    carried = [(at, (dict(one.traffic), dict(one.mirror))) for at, one in world.workspace.history(ENDPOINT)]
    assert [split for at, split in carried if at > over_at] == [], "it was over before the endpoint had come to rest"
    assert carried[-1][1] == ({"blue": 100}, {})
    assert world.state().outcome == "rolled back"
    assert world.workspace.serving(ENDPOINT) == {f"{MODEL}:1": "blue 100 %"}
