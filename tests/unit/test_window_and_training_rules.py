"""When files become a version, and what a model is trained on next. Nothing is faked: decisions are pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ml_core.ingestion import decide as window
from ml_core.ingestion.manifest import version_folder
from ml_core.naming import data_version
from ml_core.ports import Blob, JobState, ModelVersion
from ml_core.training import decide as training
from ml_core.training.request import last_due

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUIET = timedelta(seconds=30)
POLL = timedelta(seconds=15)


def blob(name: str, *, at: datetime = START, etag: str = "0x1", size: int = 10) -> Blob:
    return Blob(f"https://a.blob.core.windows.net/c/{name}", name, etag, size, at)


def look(state: window.State, blobs: list[Blob], now: datetime) -> tuple[window.State, window.Action]:
    action = window.decide(state, window.Observation(tuple(blobs), QUIET), now)
    return window.evolve(state, action, now), action


ARRIVALS = st.lists(st.tuples(st.integers(0, 100), st.sampled_from("abcdef"), st.integers(0, 3)), min_size=1, max_size=20)


@given(ARRIVALS)
def test_a_version_is_made_once_the_files_have_been_quiet_and_never_before(arrivals: list[tuple[int, str, int]]) -> None:
    state, now, blobs = window.State(), START, dict[str, Blob]()
    for wait, name, size in arrivals:
        now += timedelta(seconds=wait)
        blobs[name] = blob(name, at=now, etag=f"0x{now.timestamp()}", size=size)
        state, action = look(state, list(blobs.values()), now)
        # A write of an empty file changes nothing that counts; any other begins the quiet period anew.
        assert not isinstance(action, window.Register) or size == 0
    now += QUIET
    state, action = look(state, list(blobs.values()), now)
    files = [(found.url, found.etag, found.size) for found in blobs.values() if found.size]
    if files:
        assert state.registered == data_version(files)
    assert isinstance(look(state, list(blobs.values()), now)[1], window.Rest)


@given(st.permutations(list("abcde")))
def test_the_version_does_not_depend_on_the_order_of_the_listing(names: list[str]) -> None:
    _, action = look(window.State(), [blob(name) for name in names], START + QUIET)
    assert isinstance(action, window.Register)
    assert action == look(window.State(), [blob(name) for name in "abcde"], START + QUIET)[1]


def test_a_deletion_begins_the_quiet_period_anew() -> None:
    state, _ = look(window.State(), [blob("a"), blob("b")], START + QUIET)
    later = START + timedelta(hours=1)
    state, action = look(state, [blob("a")], later)
    # A deletion leaves no time behind: all that is known is when it was seen.
    assert isinstance(action, window.KeepOpen)
    assert action.changed_at == later
    assert isinstance(look(state, [blob("a")], later + QUIET)[1], window.Register)


def test_a_version_that_azure_refused_is_tried_again_after_an_hour_and_other_files_at_once() -> None:
    now = START + QUIET
    _, action = look(window.State(), [blob("a")], now)
    refused = window.refuse(window.State(), action, "a policy forbids it", now)
    resting = look(refused, [blob("a")], now)[1]
    assert isinstance(resting, window.Rest)
    assert resting.reason.endswith("was refused; tried again after 13:00: a policy forbids it")
    assert isinstance(look(refused, [blob("a")], now + window.RETRY_A_REFUSED_ONE_AFTER)[1], window.Register)
    assert isinstance(look(refused, [blob("a", etag="0x2")], now)[1], window.Register)


def test_a_job_that_azure_refused_is_tried_again_after_an_hour() -> None:
    action = training.decide(training.State(), observed(), START)
    refused = training.refuse(training.State(), action, "there is no compute cpu-cluster", START)
    resting = training.decide(refused, observed(), START)
    assert resting == training.Rest("train-m-v1 was refused; tried again after 13:00: there is no compute cpu-cluster")
    later = START + training.RETRY_A_REFUSED_ONE_AFTER
    again = training.decide(refused, observed(), later)
    assert isinstance(again, training.Submit)
    assert again.run == training.Run("train-m-v1", "v1", "data", later)


def test_the_folder_of_a_version_is_the_same_bytes_for_the_same_blobs() -> None:
    blobs = [blob("b.csv"), blob("a.csv")]
    folder = version_folder("flights", "v1", blobs)
    assert folder == version_folder("flights", "v1", blobs[::-1])
    manifest = json.loads(folder["manifest.json"])
    assert manifest["blobs"][0] == {"url": "https://a.blob.core.windows.net/c/a.csv", "etag": "0x1", "size": 10}
    table = yaml.safe_load(folder["MLTable"])
    assert [path["file"] for path in table["paths"]] == [entry["url"] for entry in manifest["blobs"]]
    assert "read_delimited" in table["transformations"][0]


def test_files_of_different_kinds_have_no_common_reader() -> None:
    assert "transformations" not in yaml.safe_load(version_folder("x", "v1", [blob("a.csv"), blob("b.parquet")])["MLTable"])


def observed(**changes: object) -> training.Observation:
    usual: dict[str, object] = {"model": "m", "data_version": "v1", "request": "", "job": None, "registered": None, "poll": POLL}
    return training.Observation(**{**usual, **changes})  # type: ignore[arg-type]


RUN = training.Run("train-m-v1", "v1", "data", START)
DONE = training.State(last=training.Outcome(RUN, "Completed", "1"))


@pytest.mark.parametrize(
    ("state", "seen", "expected"),
    [
        (training.State(), observed(data_version=""), training.Rest("there is no data version yet")),
        (training.State(), observed(), training.Submit(RUN, "v1 has not been trained on", POLL)),
        (DONE, observed(), training.Rest("v1 has been trained on: Completed")),
        (training.State(running=RUN), observed(), training.Submit(RUN, "train-m-v1 is not to be found in the workspace", POLL)),
        (
            training.State(running=RUN),
            observed(job=JobState("train-m-v1", "Running"), data_version="v2"),
            training.Follow(RUN, "train-m-v1 is Running", POLL),
        ),
        (
            training.State(running=RUN),
            observed(job=JobState("train-m-v1", "Failed", "why")),
            training.Conclude(training.Outcome(RUN, "Failed", error="why"), "train-m-v1 ended as Failed: why"),
        ),
        (
            training.State(running=RUN),
            observed(job=JobState("train-m-v1", "Completed"), registered=ModelVersion("m", "7")),
            training.Conclude(training.Outcome(RUN, "Completed", "7"), "train-m-v1 registered version 7"),
        ),
    ],
)
def test_one_job_at_a_time_is_followed_to_its_end(
    state: training.State, seen: training.Observation, expected: training.Action
) -> None:
    assert training.decide(state, seen, START) == expected


def test_a_job_that_completes_without_a_model_is_waited_for_and_then_failed() -> None:
    state, seen = training.State(running=RUN), observed(job=JobState("train-m-v1", "Completed"))
    action = training.decide(state, seen, START)
    assert isinstance(action, training.Follow)
    state = training.evolve(state, action, START)
    action = training.decide(state, seen, START + training.PATIENCE_FOR_THE_MODEL)
    assert isinstance(action, training.Conclude)
    assert "no model version carries its name" in action.outcome.error


def test_a_request_trains_again_on_the_same_version_and_is_answered_once() -> None:
    action = training.decide(DONE, observed(request="schedule-1"), START)
    assert isinstance(action, training.Submit)
    assert action.run.job == "train-m-v1-schedule-1"
    answered = training.evolve(DONE, action, START)
    ended = training.evolve(answered, training.Conclude(training.Outcome(action.run, "Completed", "2"), ""), START)
    assert isinstance(training.decide(ended, observed(request="schedule-1"), START), training.Rest)


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
