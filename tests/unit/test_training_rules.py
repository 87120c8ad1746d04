"""What a model is trained on next, and which causes a job answers. Nothing is faked: decisions are pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.documents import from_document, to_document
from ml_core.ports import JobState, ModelVersion
from ml_core.reconciling import Rest
from ml_core.training.decide import PATIENCE_FOR_THE_MODEL, RETRY_A_REFUSED_ONE_AFTER, decide, evolve, forgive, refuse
from ml_core.training.request import last_due
from ml_core.training.values import (
    Action,
    Cause,
    Conclude,
    DataVersion,
    Follow,
    Observation,
    Outcome,
    Pending,
    Refused,
    RequestRollout,
    Run,
    State,
    Submit,
    Wait,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLL = timedelta(seconds=15)
DATA = Cause("data", "v1 has not been trained on", "tidegate", START)
RUN = Run("train-m-v1", "v1", (DATA,), START, "a-1")
DONE = State(last=Outcome(RUN, "Completed", "1"))
V1 = DataVersion("v1", START, "a-1")
V2 = DataVersion("v2", START, "a-2")
TRAINED_ON = replace(V1, answered_by="train-m-v1")


def asked(cause: str, minute: int = 0) -> Cause:
    return Cause(cause, f"because of {cause}", "ann", START + timedelta(minutes=minute))


def of_data(version: str) -> Cause:
    return Cause("data", f"{version} has not been trained on", "tidegate", START)


def observed(**changes: object) -> Observation:
    usual = Observation("m", V1, (), data_noted=True, job=None, registered=None, rollout_requested=False, poll=POLL)
    return replace(usual, **changes)  # type: ignore[arg-type]


def running(**changes: object) -> Observation:
    return observed(job=JobState("train-m-v1", "Running"), **changes)


COMPLETED = JobState("train-m-v1", "Completed")
REGISTERED = ModelVersion("m", "7")


@pytest.mark.parametrize(
    ("state", "seen", "expected"),
    [
        (State(), observed(data=None), Rest("there is no data version yet")),
        (State(), observed(), Submit(RUN, None, "v1 has not been trained on", POLL)),
        (DONE, observed(data=TRAINED_ON), Rest("v1 has been trained on: Completed")),
        (State(running=RUN), observed(), Submit(RUN, None, "train-m-v1 is not to be found in the workspace", POLL)),
        (
            State(running=RUN),
            running(data=V2),
            Follow(RUN, Pending("v2", (of_data("v2"),), START), "train-m-v1 is Running", POLL),
        ),
        (
            State(running=RUN),
            observed(job=JobState("train-m-v1", "Failed", "why")),
            Conclude(Outcome(RUN, "Failed", error="why"), None, "train-m-v1 ended as Failed: why"),
        ),
        (
            State(running=RUN),
            observed(job=COMPLETED, registered=REGISTERED),
            RequestRollout(RUN, "7", None, "train-m-v1 registered version 7"),
        ),
        (
            State(running=RUN),
            observed(job=COMPLETED, registered=REGISTERED, rollout_requested=True),
            Conclude(Outcome(RUN, "Completed", "7"), None, "train-m-v1 registered version 7"),
        ),
    ],
)
def test_one_job_at_a_time_is_followed_to_its_end(state: State, seen: Observation, expected: Action) -> None:
    assert decide(state, seen, START) == expected


def test_a_job_that_completes_without_a_model_is_waited_for_and_then_failed() -> None:
    state, seen = State(running=RUN), observed(job=COMPLETED)
    action = decide(state, seen, START)
    assert isinstance(action, Follow)
    state = evolve(state, action, START)
    action = decide(state, seen, START + PATIENCE_FOR_THE_MODEL)
    assert isinstance(action, Conclude)
    assert "no model version carries its name" in action.outcome.error


def test_a_request_trains_again_on_the_same_version() -> None:
    action = decide(DONE, observed(data=TRAINED_ON, requests=(asked("schedule-1"),)), START)
    assert isinstance(action, Submit)
    assert action.run == Run("train-m-v1-schedule-1", "v1", (asked("schedule-1"),), START, "a-1")
    assert action.reason == "because of schedule-1"


def test_all_that_waits_is_one_job_on_the_newest_version_whose_name_tells_its_causes() -> None:
    requests = (asked("schedule-1", 1), asked("rerun-1", 2))
    action = decide(DONE, observed(data=V2, requests=requests), START)
    assert isinstance(action, Submit)
    assert action.run.job == "train-m-v2-data_schedule-1_rerun-1"
    assert action.run.causes == (of_data("v2"), *requests)
    assert action.run.correlation_id == "a-2"


def test_a_newer_cause_merges_into_the_pending_training_and_never_queues_up_behind_it() -> None:
    state = State(running=RUN)
    for minute, seen in enumerate(
        (running(data=V2), running(data=V2, requests=(asked("rerun-1"),)), running(data=replace(V2, version="v3")))
    ):
        now = START + timedelta(minutes=minute)
        state = evolve(state, decide(state, seen, now), now)
        assert state.running == RUN
    # It waits since the first of them came; v2, which nothing will be trained on, is told with it.
    assert state.pending == Pending("v3", (of_data("v3"),), START, ("v2",))
    ended = running(data=replace(V2, version="v3"), requests=(asked("rerun-1"),))
    state = evolve(state, decide(state, replace(ended, job=JobState("train-m-v1", "Canceled")), START), START)
    action = decide(state, replace(ended, job=None), START)
    assert isinstance(action, Submit)
    assert (action.run.data_version, action.run.superseded) == ("v3", ("v2",))
    assert [cause.cause for cause in action.run.causes] == ["data", "rerun-1"]


def test_what_comes_after_the_run_was_fixed_is_pending_also_when_the_job_was_never_submitted() -> None:
    action = decide(State(running=RUN), observed(data=V2, requests=(asked("rerun-1"),)), START)
    assert isinstance(action, Submit)
    assert action.run == RUN
    assert action.pending == Pending("v2", (of_data("v2"), asked("rerun-1")), START)


def test_a_job_does_not_end_before_its_answers_are_noted() -> None:
    run = Run("train-m-v1-rerun-1", "v1", (asked("rerun-1"),), START)
    for status in ("Running", "Completed", "Failed"):
        seen = observed(job=JobState(run.job, status), requests=(asked("rerun-1"),), registered=REGISTERED)
        action = decide(replace(DONE, running=run), seen, START)
        assert action == Submit(run, None, "train-m-v1-rerun-1 answers rerun-1, which is not noted yet", POLL)


def test_a_job_does_not_end_before_it_is_noted_that_it_was_given_its_data() -> None:
    # Also when the data is newer by now, or back at what it was.
    for data in (V1, V2):
        action = decide(State(running=RUN), observed(data=data, data_noted=False, job=COMPLETED), START)
        assert isinstance(action, Submit)
        assert (action.run, action.reason) == (RUN, "train-m-v1 answers data, which is not noted yet")


def test_data_that_is_again_what_it_was_is_not_new_and_takes_part_in_no_job_as_that() -> None:
    last = State(last=Outcome(replace(RUN, job="train-m-v2", data_version="v2"), "Completed", "2"))
    action = decide(last, observed(data=TRAINED_ON), START)
    assert action == Rest(
        "the data is that of v1 again, which train-m-v1 was given some time ago."
        " The newer version 2 stays; ask for a training to get a model of the older data"
    )
    action = decide(last, observed(data=TRAINED_ON, requests=(asked("rerun-1"),)), START)
    assert isinstance(action, Submit)
    assert (action.run.job, action.run.causes) == ("train-m-v1-rerun-1", (asked("rerun-1"),))


def test_a_request_before_there_is_data_waits_for_it_and_can_be_seen() -> None:
    action = decide(State(), observed(data=None, requests=(asked("rerun-1"),)), START)
    assert isinstance(action, Wait)
    assert action.reason == "there is no data version yet, and rerun-1 waits for one"
    assert evolve(State(), action, START).pending == Pending("", (asked("rerun-1"),), START)
    action = decide(evolve(State(), action, START), observed(requests=(asked("rerun-1"),)), START)
    assert isinstance(action, Submit)
    assert (action.run.job, action.run.superseded) == ("train-m-v1-data_rerun-1", ())


def test_a_job_that_azure_refused_is_tried_again_after_an_hour() -> None:
    action = decide(State(), observed(), START)
    # The state was written before Azure was asked, or a tick died in between: it makes no difference.
    for state in (State(), evolve(State(), action, START)):
        refused = refuse(state, action, "there is no compute cpu-cluster", START)
        waiting = decide(refused, observed(), START)
        assert isinstance(waiting, Wait)
        assert waiting.reason == "train-m-v1 was refused; tried again after 13:00: there is no compute cpu-cluster"
        later = START + RETRY_A_REFUSED_ONE_AFTER
        again = decide(evolve(refused, waiting, START), observed(), later)
        assert isinstance(again, Submit)
        assert again.run == replace(RUN, started_at=later)
        submitted = evolve(refused, again, later)
        # Azure may refuse it once more: only a job that is seen was taken.
        assert submitted.refused == refused.refused
        assert evolve(submitted, decide(submitted, running(), later), later).refused is None


def test_a_job_that_was_refused_after_newer_data_had_come_merges_into_the_next_one() -> None:
    state = State(running=RUN)
    seen = observed(data=V2, requests=(asked("rerun-1"),))
    refused = refuse(state, decide(state, seen, START), "there is no compute cpu-cluster", START)
    action = decide(refused, seen, START)
    assert isinstance(action, Submit)
    assert (action.run.job, action.run.superseded) == ("train-m-v2-data_rerun-1", ("v1",))


def test_a_job_that_was_refused_is_submitted_at_once_when_it_is_forgiven() -> None:
    refused = refuse(State(), decide(State(), observed(), START), "there is no compute cpu-cluster", START)
    assert isinstance(decide(forgive(refused), observed(), START), Submit)
    assert forgive(DONE) == DONE


def test_newer_data_and_further_causes_do_not_wait_for_a_job_that_was_refused() -> None:
    refused = State(refused=Refused(RUN, "there is no compute cpu-cluster", START))
    for seen in (observed(data=V2), observed(requests=(asked("rerun-1"),))):
        action = decide(refused, seen, START)
        assert isinstance(action, Submit)
        assert action.run.job != RUN.job


def test_a_version_without_a_correlation_id_gets_one_that_says_what_it_began_with() -> None:
    seen = observed(data=DataVersion("v1", START))
    action = decide(State(), seen, START)
    assert isinstance(action, Submit)
    assert action.run.correlation_id == "m-v1"
    answered = DataVersion("v1", START, answered_by="train-m-v1")
    action = decide(DONE, observed(data=answered, requests=(asked("rerun-3"),)), START)
    assert isinstance(action, Submit)
    assert action.run.correlation_id == "m-rerun-3"


def test_a_long_job_over_data_that_comes_all_the_time_keeps_a_short_state() -> None:
    state = State(running=RUN)
    for number in range(2, 200):
        state = evolve(state, decide(state, running(data=DataVersion(f"v{number}", START)), START), START)
    assert state.pending is not None
    assert state.pending.superseded == tuple(f"v{number}" for number in range(179, 199))


WORLDS = st.lists(
    st.tuples(
        st.sampled_from(["v1", "v2", "v3", ""]),
        st.lists(st.sampled_from(["schedule-1", "schedule-2", "rerun-1"]), unique=True),
        st.sampled_from([None, "Running", "Completed", "Failed"]),
    ),
    max_size=12,
)


@settings(deadline=None)  # the first example pays for pydantic
@given(WORLDS)
def test_nothing_that_waits_is_left_out_whatever_the_world_does(worlds: list[tuple[str, list[str], str | None]]) -> None:
    state, now = State(), START
    for version, causes, status in worlds:
        now += timedelta(minutes=1)
        seen = observed(
            data=DataVersion(version, START) if version else None,
            requests=tuple(asked(cause) for cause in causes),
            job=JobState(state.running.job, status) if state.running and status else None,
        )
        action = decide(state, seen, now)
        state = evolve(state, action, now)
        assert from_document(State, to_document(state)) == state
        answered = {cause.cause for cause in state.running.causes} if state.running else set()
        waiting = {cause.cause for cause in state.pending.causes} if state.pending else set()
        assert set(causes) <= answered | waiting
        assert state.pending is None or state.pending.data_version == version
        if state.running and version and state.running.data_version != version:
            assert "data" in waiting


@pytest.mark.parametrize(
    ("schedule", "now", "due"),
    [
        ("0 0 3 * * *", "2026-03-02T03:00:00Z", "2026-03-02T03:00:00Z"),
        ("0 0 3 * * *", "2026-03-02T02:59:59Z", "2026-03-01T03:00:00Z"),
        # NCRONTAB: day AND weekday, so only a Friday the 13th.
        ("0 0 9 13 * 5", "2026-03-20T00:00:00Z", "2026-03-13T09:00:00Z"),
    ],
)
def test_the_last_due_time_of_a_schedule(schedule: str, now: str, due: str) -> None:
    assert last_due(schedule, datetime.fromisoformat(now)) == datetime.fromisoformat(due)
