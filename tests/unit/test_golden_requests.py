"""The smoke test and the shadow's pairs: what is asked of whom, what counts as wrong, and what is never told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ml_core.documents import to_document
from ml_core.ports import DeploymentSpec, ModelVersion, Question, Reply
from ml_core.rollout.golden import next_pairs, smoke_test
from ml_core.rollout.judge.pairs import PairsTally, weigh_pairs
from ml_core.rollout.slices import slices_of
from ml_core.rollout.smoke import Rows, compare, scores_in
from ml_core.rollout.state import Phase, Rollout
from ml_core.services import Services
from tests.fake_scoring import Scoring, offline_scores
from tests.fakes import Flaky
from tests.story import CONFIG, ENDPOINT, Story

MODEL = "flight-delay"
SECRET = "Mrs Miller, 12 Main Street"


def rollout(story: Story, **changes: Any) -> Rollout:
    under_way = Rollout(
        id=f"{ENDPOINT}-2-x",
        endpoint=ENDPOINT,
        model=MODEL,
        version="2",
        road="canary",
        phase=Phase.SMOKE,
        candidate="green",
        stable="blue",
        stable_model=f"{MODEL}:1",
        began_at=story.clock(),
        since=story.clock(),
    )
    return replace(under_way, **changes)


def told(rollout_section: str = "") -> Story:
    """Version 1 serves from blue, version 2 stands in green."""
    text = CONFIG.replace("rollout: {steps", f"rollout: {{{rollout_section}steps")
    story = Story(text)
    workspace = story.workspace
    workspace.change_takes = timedelta(0)
    workspace.create_endpoint(ENDPOINT, {})
    for slot, version in (("blue", "1"), ("green", "2")):
        workspace.register_model(ModelVersion(MODEL, version))
        workspace.create_deployment(DeploymentSpec(ENDPOINT, slot, MODEL, version, "t", 1, "i"))
    return story


def asked_by(story: Story, ask: Callable[..., list[Reply]]) -> Services:
    """Services whose workspace asks in another way."""

    class Workspace:
        def __getattr__(self, name: str) -> Any:
            return ask if name == "ask" else getattr(story.workspace, name)

    workspace: Any = Workspace()
    return replace(story.services, workspace=workspace)


def flaky(story: Story, call: str) -> Any:
    return Flaky(story.workspace, {call: 1})


def brings(story: Story, name: str, document: Any, version: str = "2") -> None:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    story.workspace.files[MODEL, version, name] = content


def table(rows: list[list[Any]], columns: tuple[str, ...] = ("carrier", "distance")) -> dict[str, Any]:
    return {"request": {"input_data": {"columns": list(columns), "data": rows}}}


# ---- smoke test -------------------------------------------------------------------------------------------------------


def test_a_candidate_that_answers_as_offline_passes() -> None:
    story = told()
    test = smoke_test(story.services, ENDPOINT, rollout(story))
    assert (test.outcome, test.requests, test.largest_difference) == ("passed", 6, 0.0)
    assert test.slowest_seconds == pytest.approx(0.02)


def test_a_score_that_differs_from_the_offline_one_is_named_with_its_row() -> None:
    for section, outcome in (("", "failed"), ("smoke: {tolerance: 0.01}, ", "passed")):
        story, golden = told(section), table([["AA", 1], ["UA", 2], ["DL", 3]])
        scores = offline_scores(golden["request"])
        brings(story, "golden_requests.json", {**golden, "scores": [scores[0], scores[1] + 0.001, scores[2]]})
        test = smoke_test(story.services, ENDPOINT, rollout(story))
        assert (test.outcome, test.requests) == (outcome, 4)
        assert test.largest_difference == pytest.approx(0.001)
        # In one request with the others and alone: twice wrong, told once.
        told_so = "2 of 4 golden requests failed: row 1: the score is 0.001 away from the offline one (allowed 1e-06)"
        assert (test.reason == told_so) == (outcome == "failed")


def test_a_candidate_that_is_too_slow_or_silent_fails_and_is_not_waited_for_again_and_again() -> None:
    story = told("smoke: {timeout: 2s}, ")
    story.workspace.scoring[f"{MODEL}:2"] = Scoring(seconds=3)
    test = smoke_test(story.services, ENDPOINT, rollout(story))
    assert (test.outcome, test.requests) == ("failed", 3)
    assert "no answer within 2 s" in test.reason


def test_one_slow_start_is_forgiven_and_a_failure_that_stays_is_not() -> None:
    story = told()
    story.workspace.scoring[f"{MODEL}:2"] = Scoring(fails_every=4)
    test = smoke_test(story.services, ENDPOINT, rollout(story))
    assert "1 of 6 golden requests failed: row 2: the answer's status was 424" in test.reason

    cold, asked = told(), []

    def slow_at_first(*question: Any) -> list[Reply]:
        asked.append(question)
        return [Reply(0, 5.0, error="no answer within 5 s")] if len(asked) == 1 else cold.workspace.ask(*question)

    assert smoke_test(asked_by(cold, slow_at_first), ENDPOINT, rollout(cold)).outcome == "passed"


def test_a_model_without_golden_requests_is_neither_good_nor_bad() -> None:
    story = told()
    story.workspace.files[MODEL, "2", "golden_requests.json"] = None
    test = smoke_test(story.services, ENDPOINT, rollout(story))
    assert (test.outcome, test.requests) == ("none", 0)
    assert test.reason == f"the model {MODEL}:2 brings no golden_requests.json"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"\xff", "expected JSON in UTF-8"),
        ([1], "expected a JSON object, found list"),
        ({"scores": []}, 'expected {"request": {"input_data"'),
        ({**table([]), "scores": []}, "expected at least one row"),
        ({**table([["AA"]]), "scores": [0.5]}, "row 0: expected a list of 2 values"),
        ({**table([[SECRET, 1]]), "scores": [1.5]}, "scores: expected 1 numbers from 0 to 1"),
        ({**table([[SECRET, 1]]), "scores": [True]}, "scores: expected 1 numbers from 0 to 1"),
        ({**table([[SECRET, 1]] * 51), "scores": [0.5] * 51}, "expected at most 50 rows, found 51"),
        (b" " * 1_000_001, "has 1000001 bytes, and 1000000 are allowed"),
    ],
)
def test_golden_requests_that_cannot_be_used_fail_the_test_with_a_reason(document: Any, reason: str) -> None:
    story = told()
    brings(story, "golden_requests.json", document)
    test = smoke_test(story.services, ENDPOINT, rollout(story))
    assert test.outcome == "failed"
    assert reason in test.reason
    assert SECRET not in test.reason


def test_nothing_is_said_of_a_candidate_that_cannot_be_asked() -> None:
    story = told()
    for call in ("ask", "model_file"):
        services = replace(story.services, workspace=flaky(story, call))
        test = smoke_test(services, ENDPOINT, rollout(story))
        assert (test.outcome, test.reason) == ("error", f"{call} failed for a moment")
    nowhere = smoke_test(story.services, ENDPOINT, rollout(story, candidate="red"))
    assert nowhere.outcome == "error"
    assert "does not know the deployment red" in nowhere.reason


@pytest.mark.parametrize(
    ("reply", "wrong"),
    [
        (Reply(200, 0.1, None), "expected {"),
        (Reply(200, 0.1, {"scores": 0.5}), "found no list"),
        (Reply(200, 0.1, {"scores": [0.5, 0.5], "model": "m:2"}), "of length 1, found 2"),
        (Reply(200, 0.1, {"scores": [1.01], "model": "m:2"}), "a score is no number from 0 to 1"),
        (Reply(200, 0.1, {"scores": [float("nan")], "model": "m:2"}), "a score is no number from 0 to 1"),
        (Reply(200, 0.1, {"scores": ["0.5"], "model": "m:2"}), "a score is no number from 0 to 1"),
        (Reply(200, 0.1, {"scores": [0.5], "model": "m:1"}), "another model answered: expected m:2, found 'm:1'"),
        (Reply(200, 0.1, {"scores": [0.5]}), "another model answered"),
        (Reply(424, 0.1, error=f"column name, row 0: found {SECRET}"), "status was 424"),
    ],
)
def test_an_answer_that_is_not_as_agreed_is_told_without_what_was_asked(reply: Reply, wrong: str) -> None:
    found = scores_in(reply, 1, "m:2")
    assert isinstance(found, str)
    assert wrong in found
    golden = Rows(("a",), (("x",),), (0.5,))
    test = compare(golden, [((0,), reply)], "m:2", 1e-6, timedelta(seconds=5))
    assert test.outcome == "failed"
    assert test.reason.startswith("1 of 1 golden requests failed: row 0: ")
    assert SECRET not in test.reason


def test_an_answer_at_the_tolerance_and_in_the_last_moment_is_good_and_beyond_it_is_not() -> None:
    golden = Rows(("a",), (("x",),), (0.5,))

    def outcome(score: float, seconds: float) -> str:
        reply = Reply(200, seconds, {"scores": [score], "model": "m:2"})
        return compare(golden, [((0,), reply)], "m:2", 0.25, timedelta(seconds=5)).outcome

    assert [outcome(0.75, 5), outcome(0.7501, 5), outcome(0.75, 5.01)] == ["passed", "failed", "failed"]


# ---- pairs ------------------------------------------------------------------------------------------------------------


def all_pairs(story: Story) -> PairsTally:
    """Chunk by chunk until the rows are over, as the reconciler asks."""
    tally = PairsTally()
    while not tally.over:
        pairs = next_pairs(story.services, ENDPOINT, rollout(story, pairs=tally))
        assert pairs.rows or pairs.last, pairs.error
        tally = weigh_pairs(tally, pairs)
    return tally


def test_every_row_is_asked_of_both_once_and_equal_models_differ_in_nothing() -> None:
    tally = all_pairs(told())
    assert (tally.asked, tally.timed, tally.flips, tally.slower, tally.sum_of_distances) == (60, 60, 0, 0, 0.0)


def test_a_chunk_ends_after_fifty_rows_or_fifteen_seconds_and_with_as_many_rows_as_are_wanted() -> None:
    story = told("shadow: {requests: 55}, ")
    first = next_pairs(story.services, ENDPOINT, rollout(story))
    rest = next_pairs(story.services, ENDPOINT, rollout(story, pairs=PairsTally(asked=50)))
    assert [(one.first, one.rows, one.last) for one in (first, rest)] == [(0, 50, False), (50, 5, True)]
    for version in ("1", "2"):
        story.workspace.scoring[f"{MODEL}:{version}"] = Scoring(seconds=2)
    slow = next_pairs(story.services, ENDPOINT, rollout(story))
    assert (slow.rows, slow.last) == (4, False)


def test_who_is_asked_first_changes_so_that_no_chunk_favours_one() -> None:
    story, asked = told(), []

    def watched(endpoint: str, questions: list[Question], timeout: timedelta) -> list[Reply]:
        asked.append("".join(question.deployment[0] for question in questions))
        return story.workspace.ask(endpoint, questions, timeout)

    next_pairs(asked_by(story, watched), ENDPOINT, rollout(story))
    assert asked[:8] == ["gb", "bg", "bg", "gb"] * 2
    assert len(asked) == 50


def test_failures_slowness_and_flips_are_counted_each_for_itself() -> None:
    story = told("shadow: {decision_threshold: 0.9}, ")
    story.workspace.scoring = {f"{MODEL}:2": Scoring(fails_every=10, seconds=0.05)}
    tally = all_pairs(story)
    assert (tally.candidate_failed, tally.stable_failed, tally.both_failed) == (6, 0, 0)
    assert (tally.timed, tally.slower, tally.flips) == (54, 54, 0)
    assert tally.note == "for example: the answer's status was 424"


def test_differences_are_told_by_slices_that_many_rows_share() -> None:
    story = told("shadow: {slices: [carrier, age]}, ")
    rows = [["AA", 1]] * 30 + [["UA", 2]] * 25 + [[SECRET, 3]]
    brings(story, "shadow_requests.json", table(rows))
    first = next_pairs(story.services, ENDPOINT, rollout(story))
    assert {name: one.rows for name, one in first.slices.items()} == {
        "carrier = AA": 30,
        "carrier = UA": 20,
        "carrier: others": 0,
    }
    tally = all_pairs(story)
    assert tally.slices["carrier: others"].rows == 1
    assert tally.note == "no slices by age: the rows have no such column"
    assert SECRET not in json.dumps(to_document(tally))


def test_rows_are_in_nothing_that_is_kept_or_told() -> None:
    story = told()
    brings(story, "shadow_requests.json", table([[SECRET, number] for number in range(30)]))
    story.workspace.scoring_error = f"column carrier, row 0: expected a number, found {SECRET!r}"
    pairs = next_pairs(story.services, ENDPOINT, rollout(story))
    assert pairs.both_failed == 30
    assert "Miller" not in json.dumps(to_document(pairs))
    assert "Miller" not in json.dumps(to_document(smoke_test(story.services, ENDPOINT, rollout(story))))


@pytest.mark.parametrize(
    ("document", "note"),
    [
        (None, f"the model {MODEL}:2 brings no shadow_requests.json"),
        (b"{", "expected JSON in UTF-8"),
        (table([]), "holds no rows"),
        (table([[1]]), "row 0: expected a list of 2 values"),
        (b" " * 20_000_001, "20000000 are allowed"),
    ],
)
def test_without_rows_that_can_be_used_the_comparison_is_over_and_says_why(document: Any, note: str) -> None:
    story = told()
    brings(story, "shadow_requests.json", document) if document else None
    if document is None:
        story.workspace.files[MODEL, "2", "shadow_requests.json"] = None
    pairs = next_pairs(story.services, ENDPOINT, rollout(story))
    assert (pairs.rows, pairs.last, pairs.error) == (0, True, "")
    assert note in pairs.note


def test_nothing_is_asked_where_nothing_is_wanted_or_nobody_is_there_to_compare_with() -> None:
    for section, changes in (("shadow: null, ", {}), ("shadow: {requests: 0}, ", {}), ("", {"stable": None})):
        story = told(section)
        pairs = next_pairs(story.services, ENDPOINT, rollout(story, **changes))
        assert (pairs.rows, pairs.last, pairs.note) == (0, True, "none are asked for")


def test_pairs_that_cannot_be_asked_are_an_error_of_nobody_and_are_asked_again() -> None:
    story = told()
    services = replace(story.services, workspace=flaky(story, "ask"))
    broken = next_pairs(services, ENDPOINT, rollout(story))
    assert (broken.rows, broken.last, broken.error) == (0, False, "ask failed for a moment")
    gone = next_pairs(story.services, ENDPOINT, rollout(story, stable="red"))
    assert (gone.rows, gone.last) == (0, False)
    assert "does not know the deployments green and red" in gone.error
    assert next_pairs(services, ENDPOINT, rollout(story)).rows == 50


def test_differing_scores_flip_decisions_on_the_threshold_only() -> None:
    story = told()
    story.workspace.scoring[f"{MODEL}:2"] = Scoring(shift=0.3)
    tally = all_pairs(story)
    assert 0 < tally.flips < tally.timed == 60
    assert tally.sum_of_differences == pytest.approx(tally.sum_of_distances)
    assert tally.sum_of_distances / 60 < 0.3


def test_an_unknown_fault_is_not_taken_for_a_reply() -> None:
    story = told()

    def broken(*_: Any) -> list[Reply]:
        raise ZeroDivisionError

    for asks in (smoke_test, next_pairs):
        with pytest.raises(ZeroDivisionError):
            asks(asked_by(story, broken), ENDPOINT, rollout(story))


# ---- slices -----------------------------------------------------------------------------------------------------------


def test_numbers_are_told_by_quarters_and_few_values_by_themselves() -> None:
    rows = Rows(("amount", "paid", "grade"), tuple((number, number % 2 == 0, number % 3) for number in range(200)))
    found = slices_of(rows, ["amount", "paid", "grade", "nothing"])
    assert found[0] == ("amount = lowest quarter", "paid = true", "grade = 0")
    assert found[199] == ("amount = highest quarter", "paid = false", "grade = 1")
    assert {one[0] for one in found} == {
        f"amount = {quarter}" for quarter in ("lowest quarter", "second quarter", "third quarter", "highest quarter")
    }


def test_a_value_that_few_rows_share_names_no_slice_and_missing_values_are_one() -> None:
    values = ["rare"] * 19 + ["common"] * 20 + [None] * 20 + ["control\n" + "x" * 60] * 20
    names = [one[0] for one in slices_of(Rows(("c",), tuple((value,) for value in values)), ["c"])]
    assert set(names) == {"c: others", "c = common", "c = missing", "c = control?" + "x" * 32 + "…"}
