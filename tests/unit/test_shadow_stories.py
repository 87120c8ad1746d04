"""What the smoke test and the shadow find, over whole rollouts: no client meets a candidate that they find wanting.

Faked: the ports and time. Real: the reconciler, the smoke test, the pairs and their judge.
"""

from __future__ import annotations

import json

import pytest

from ml_core.rollout.actions import Settle, ShiftTraffic, Weigh
from ml_core.rollout.state import Rollout
from tests.fake_scoring import Scoring, offline_scores
from tests.rollout_world import MODEL, RolloutWorld, first_version_serves

GOLDEN, SHADOW = "golden_requests.json", "shadow_requests.json"
PERSON = "Mrs Miller"


@pytest.fixture
def world() -> RolloutWorld:
    """The first version serves, and the calendar holds nobody."""
    return first_version_serves()


def is_over(world: RolloutWorld) -> bool:
    return world.state().settled == 2


def under_way(world: RolloutWorld) -> Rollout:
    active = world.state().active
    assert active is not None
    return active


def paused(world: RolloutWorld) -> bool:
    active = world.state().active
    return active is not None and active.pause is not None


def met(world: RolloutWorld) -> set[str]:
    """How candidates met requests of clients: live, copied."""
    asked = [one for one in world.asked() if one.weights.get("green") or one.mirror.get("green")]
    return {"live" if one.weights.get("green") else "copied" for one in asked}


def test_a_candidate_that_scores_otherwise_than_offline_meets_nobody_and_every_wrong_row_is_in_the_record(
    world: RolloutWorld,
) -> None:
    world.workspace.files[MODEL, "2", GOLDEN] = world.workspace.model_file(MODEL, "1", GOLDEN, at_most=10_000)
    world.workspace.scoring[f"{MODEL}:2"] = Scoring(shift=0.001)
    world.a_model_comes("good")
    world.until(lambda: is_over(world))
    assert (world.state().outcome, met(world)) == ("failed", set())
    assert "golden requests failed: row " in world.state().reason
    (ended,) = [one for one in world.decided() if isinstance(one.action, Settle) and one.action.outcome == "failed"]
    assert ended.observation.smoke is not None
    assert ended.observation.smoke.largest_difference == pytest.approx(0.001)


def test_a_model_without_golden_requests_is_refused_by_default(world: RolloutWorld) -> None:
    world.workspace.files[MODEL, "2", GOLDEN] = None
    world.a_model_comes("good")
    world.until(lambda: is_over(world))
    assert (world.state().outcome, met(world)) == ("failed", set())
    assert f"the model {MODEL}:2 brings no {GOLDEN}" in world.state().reason


def test_a_candidate_that_decides_otherwise_too_often_meets_nobody(world: RolloutWorld) -> None:
    world.workspace.scoring[f"{MODEL}:2"] = Scoring(shift=0.6, shifts_all=True)
    world.a_model_comes("good")
    world.until(lambda: is_over(world))
    assert (world.state().outcome, met(world)) == ("rolled back", set())
    assert "more decisions flip than are allowed: of 50 held-out rows" in world.state().reason


def test_more_flips_than_allowed_by_too_few_rows_to_be_sure_are_a_persons_to_judge(world: RolloutWorld) -> None:
    world.workspace.scoring[f"{MODEL}:2"] = Scoring(shift=0.6)
    world.a_model_comes("good")
    world.until(lambda: paused(world))
    pause = under_way(world).pause
    assert pause is not None
    assert (pause.cause, met(world)) == ("inconclusive", set())
    assert "14 of 60 decisions flipped (allowed 10.00%)" in pause.reason
    assert world.somebody_says("resume")
    world.until(lambda: is_over(world))
    assert (world.state().outcome, met(world)) == ("succeeded", {"copied", "live"})


def test_every_held_out_row_is_weighed_once_and_before_any_copy_of_a_request(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.until(lambda: is_over(world))
    assert world.state().outcome == "succeeded"
    second = [one for one in world.decided() if one.state.active and one.state.active.version == "2"]
    pairs = [one.action.pairs.asked for one in second if isinstance(one.action, Weigh) and one.observation.pairs]
    first_shift = next(at for at, one in enumerate(second) if isinstance(one.action, ShiftTraffic))
    last_pairs = max(at for at, one in enumerate(second) if one.observation.pairs)
    assert pairs[-1] in (50, 60)
    assert pairs == sorted(set(pairs))
    assert last_pairs < first_shift
    assert met(world) == {"copied", "live"}


def test_a_model_without_held_out_rows_goes_on_and_the_record_says_that_nothing_was_compared(world: RolloutWorld) -> None:
    world.workspace.files[MODEL, "2", SHADOW] = None
    world.a_model_comes("good")
    world.until(lambda: is_over(world))
    assert world.state().outcome == "succeeded"
    reasons = [one.action.reason for one in world.decided()]
    assert any(f"no held-out rows were compared: the model {MODEL}:2 brings no {SHADOW}" in reason for reason in reasons)


@pytest.mark.parametrize("error", ["", f"column carrier, row 0: expected a number, found '{PERSON}'"])
def test_nobody_of_the_rows_is_named_in_the_ledger_the_log_or_a_notice(
    world: RolloutWorld, caplog: pytest.LogCaptureFixture, error: str
) -> None:
    caplog.set_level("DEBUG")
    rows = [[f"{PERSON} {number}"] for number in range(40)]
    request, few = ({"input_data": {"columns": ["carrier"], "data": chosen}} for chosen in (rows, rows[:5]))
    files = {GOLDEN: {"request": few, "scores": offline_scores(few)}, SHADOW: {"request": request}}
    for name, document in files.items():
        world.workspace.files[MODEL, "2", name] = json.dumps(document).encode()
    world.workspace.scoring_error = error
    world.a_model_comes("good")
    world.until(lambda: is_over(world))
    assert world.state().outcome == ("failed" if error else "succeeded")
    kept = [json.dumps(entry.value) for entry in world.ledger.entries.values()]
    told = [str(notice) for notice in world.notifier.notices]
    assert any("golden requests" in one for one in kept)
    assert told
    assert not [one for one in [*kept, *told, caplog.text] if PERSON in one]
