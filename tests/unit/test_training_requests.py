"""Requests to train from the asking to the answer, and what a death between any two writes leaves of them.

Faked: the ports. Real: the requests, the reconciler of models, the loop.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import product

import pytest

from ml_core import operations
from ml_core.errors import PermanentError, TemporaryError
from ml_core.naming import is_job_name
from ml_core.ports import ModelVersion
from ml_core.reconciling import MODELS
from ml_core.training.reconcile import reconcile
from ml_core.training.request import request_due_training, request_rerun, request_training, unanswered
from tests.faults import Died, Fault, Faults
from tests.story import ENDPOINT, Story, first_canary_step_takes, first_model_serves

MODEL = "flight-delay"


class Training(Story):
    """A story of one model alone: its data versions are there, and only its own key is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults(others_work=self.work)
        self.services = self.faults.beneath(self.services)

    def new_data(self, version: str) -> None:
        note = {"version": version, "correlation_id": f"of-{version}", "registered_at": self.clock().isoformat()}
        self.workspace.data["flights", version] = {}
        self.ledger.overwrite("data-versions/flights.json", note)

    def work(self, until: timedelta = timedelta(days=1)) -> None:
        """Look at the model as often as it wants to be looked at."""
        end = self.clock() + until
        while self.clock() < end and (wait := reconcile(self.services, MODEL)) is not None:
            self.clock.advance(max(wait, timedelta(seconds=1)))

    def jobs(self) -> dict[str, str]:
        """What each submitted job was for, by its name."""
        return {name: job.cause for name, (job, _) in self.workspace.submitted.items()}

    def causes(self) -> list[str]:
        """All causes of all jobs; that of data with its version, since it is another one with each."""
        return [
            f"data {job.data_version}" if cause == "data" else cause
            for job, _ in self.workspace.submitted.values()
            for cause in job.cause.split(",")
        ]

    def rerun(self, reason: str = "the label was corrected") -> int:
        return request_rerun(self.services, MODEL, reason=reason, by="ann")


@pytest.fixture
def training() -> Training:
    """The first version has been trained on."""
    story = Training()
    story.new_data("v1")
    story.work()
    return story


def test_a_rerun_is_a_generation_with_a_reason_and_each_is_one_more_job(training: Training) -> None:
    for number in (1, 2):
        assert training.rerun() == number
        training.work()
    assert list(training.jobs()) == [f"train-{MODEL}-v1", f"train-{MODEL}-v1-rerun-1", f"train-{MODEL}-v1-rerun-2"]
    request = training.ledger.entries[f"training-requests/{MODEL}/rerun-2.json"].value
    assert request.pop("at").startswith("2026-03-01T12:")
    assert request == {
        "cause": "rerun-2",
        "kind": "rerun",
        "reason": "the label was corrected",
        "by": "ann",
        "answered_by": f"train-{MODEL}-v1-rerun-2",
    }
    assert not list(training.ledger.keys("training-queue/"))


@pytest.mark.parametrize(
    ("model", "reason", "by", "told"),
    [
        (
            "flight-dealy",
            "why not",
            "ann",
            "There is no model 'flight-dealy' in the configuration; the models are: flight-delay.",
        ),
        (MODEL, " ", "ann", "A re-run needs a reason"),
        (MODEL, "why not", "", "A re-run needs a reason"),
    ],
)
def test_a_rerun_of_nothing_or_for_nothing_is_refused(training: Training, model: str, reason: str, by: str, told: str) -> None:
    with pytest.raises(PermanentError, match=told):
        request_rerun(training.services, model, reason=reason, by=by)
    assert not list(training.ledger.keys("training-queue/"))


@pytest.mark.parametrize("cause", ["", "data", "data-v1", "a b", "../x", "a_b", "'; rm", "c" * 101])
def test_a_cause_that_could_not_stand_in_a_name_is_refused(training: Training, cause: str) -> None:
    with pytest.raises(PermanentError, match="cannot name a cause of training"):
        request_training(training.services, MODEL, cause, reason="because", by="ann")


def test_a_cause_is_answered_once_however_often_it_is_asked_for(training: Training) -> None:
    for _ in range(2):
        for _ in range(3):
            request_training(training.services, MODEL, "drift-1", reason="the data drifted", by="monitor")
        training.work()
    assert list(training.jobs().values()) == ["data", "drift-1"]


def test_whatever_comes_while_a_job_runs_is_one_job_on_the_newest_data(training: Training) -> None:
    training.rerun()
    training.work(until=timedelta(minutes=1))
    for version in ("v2", "v3"):
        training.new_data(version)
        training.rerun()
        training.work(until=timedelta(minutes=1))
    pending = operations.status(training.services)[MODELS][MODEL]["state"]["pending"]
    assert (pending["data_version"], pending["superseded"]) == ("v3", ["v2"])
    assert [cause["cause"] for cause in pending["causes"]] == ["data", "rerun-2", "rerun-3"]
    training.work()
    assert list(training.jobs())[2:] == [f"train-{MODEL}-v3-data_rerun-2_rerun-3"]
    note = training.ledger.entries[f"training-jobs/train-{MODEL}-v3-data_rerun-2_rerun-3.json"].value
    assert [(cause["cause"], cause["by"]) for cause in note["causes"]] == [
        ("data", "tidegate"),
        ("rerun-2", "ann"),
        ("rerun-3", "ann"),
    ]
    assert (note["data_version"], note["correlation_id"], note["superseded"]) == ("v3", "of-v3", ["v2"])


def test_many_causes_make_a_name_and_a_tag_that_azure_takes(training: Training) -> None:
    for _ in range(60):
        training.rerun()
        training.clock.advance(timedelta(seconds=1))
    training.work()
    (job, cause) = list(training.jobs().items())[1]
    assert is_job_name(job)
    assert cause.startswith("rerun-1,rerun-2,")
    assert cause.endswith(" and others")
    assert len(cause) <= 256
    assert unanswered(training.services, MODEL) == ()
    assert len(training.ledger.entries[f"training-jobs/{job}.json"].value["causes"]) == 60


def test_a_schedule_that_died_between_its_two_writes_still_trains(training: Training) -> None:
    for fault in (Fault.DIES_BEFORE, Fault.DIES_AFTER, Fault.ANSWER_LOST):
        for write in range(3):
            training.clock.moment = training.clock().replace(hour=3, minute=0, second=30) + timedelta(days=1)
            training.faults.arm(fault, "", write)
            with pytest.raises((Died, TemporaryError)):
                request_due_training(training.services)
            before = len(training.jobs())
            training.clock.advance(timedelta(minutes=1))
            request_due_training(training.services)
            training.work(until=timedelta(hours=2))
            assert len(training.jobs()) == before + 1, (fault, write)
    assert not list(training.ledger.keys("training-queue/"))


def test_a_rerun_whose_asking_died_counts_or_never_was(training: Training) -> None:
    for fault in (Fault.DIES_BEFORE, Fault.DIES_AFTER):
        for write in range(3):
            before, counts = len(training.jobs()), write > 0 or fault is Fault.DIES_AFTER
            training.faults.arm(fault, "", write)
            with pytest.raises(Died):
                training.rerun()
            training.work()
            assert len(training.jobs()) == before + counts, (fault, write)
    assert training.rerun() == 6


def deaths() -> list[tuple[Fault, int]]:
    """Every write of a training from its beginning to its model: counted in one to which nothing happens."""
    story = Training()
    story.new_data("v1")
    story.rerun()
    story.faults.arm(Fault.FAILS, "", 10_000)
    story.work()
    count = 10_000 - story.faults.armed[0].writes_until
    assert count >= 12
    return list(product((Fault.DIES_BEFORE, Fault.DIES_AFTER, Fault.ANSWER_LOST), range(count)))


def test_a_death_at_any_write_trains_for_every_cause_exactly_once() -> None:
    for fault, write in deaths():
        story = Training()
        story.new_data("v1")
        story.rerun()
        story.faults.arm(fault, "", write)
        with pytest.raises((Died, TemporaryError)):
            story.work()
        # Whoever looks next finds more causes than the one that died has seen.
        story.new_data("v2")
        story.rerun()
        story.work()
        assert list(story.workspace.submitted.values())[-1][0].data_version == "v2"
        # And the data goes back to what it was, which is nothing new.
        story.new_data("v1")
        story.rerun()
        story.work()
        trained = Counter(story.causes())
        assert {"rerun-1", "rerun-2", "rerun-3", "data v2"} <= set(trained), (fault, write)
        assert set(trained.values()) == {1}, (fault, write, trained)
        assert not list(story.ledger.keys("training-queue/"))
        for number in (1, 2, 3):
            answered_by = story.ledger.entries[f"training-requests/{MODEL}/rerun-{number}.json"].value["answered_by"]
            assert f"rerun-{number}" in story.jobs()[answered_by]
        # Every model that was made is asked to be rolled out.
        assert len(list(story.ledger.keys(f"rollout-requests/{ENDPOINT}/"))) == len(story.jobs())


def test_somebody_who_asks_again_in_the_moment_of_the_answer_changes_nothing(training: Training) -> None:
    training.rerun()
    (marker,) = training.ledger.list("training-queue/")
    training.work()
    training.ledger.claim(marker.key, marker.value)  # read before the answer, written after it
    training.work()
    assert len(training.jobs()) == 2
    training.rerun()
    training.work()
    assert len(training.jobs()) == 3
    assert not list(training.ledger.keys("training-queue/"))


def test_a_job_that_azure_refuses_answers_nothing_until_it_is_taken(training: Training) -> None:
    training.new_data("v2")
    del training.workspace.data["flights", "v2"]
    training.rerun()
    training.work()
    assert len(training.jobs()) == 1
    assert [cause.cause for cause in unanswered(training.services, MODEL)] == ["rerun-1"]
    shown = operations.status(training.services)[MODELS][MODEL]["state"]
    assert shown["refused"]["error"].endswith("its data does not exist (status 400).")
    assert [cause["cause"] for cause in shown["pending"]["causes"]] == ["data", "rerun-1"]
    training.workspace.data["flights", "v2"] = {}
    training.clock.advance(timedelta(hours=1))
    training.work()
    assert list(training.jobs().values()) == ["data", "data,rerun-1"]
    assert unanswered(training.services, MODEL) == ()


def test_a_rerun_that_is_answered_while_it_is_asked_for_is_one_job(training: Training) -> None:
    training.faults.arm(Fault.STALLED, "ledger", 1)  # between its two writes
    assert training.rerun() == 1
    training.work()
    assert list(training.jobs().values()) == ["data", "rerun-1"]
    assert not list(training.ledger.keys("training-queue/"))


def test_a_model_is_looked_at_without_reading_all_that_was_ever_asked(training: Training) -> None:
    for _ in range(30):
        training.rerun()
        training.work()
    read: list[str] = []
    get = training.ledger.get
    training.ledger.get = lambda key: (read.append(key), get(key))[1]  # type: ignore[method-assign,func-returns-value]
    reconcile(training.services, MODEL)
    # One note is read whatever was asked for: whether the data was given to a job.
    assert [key for key in read if key.startswith("training-requests/")] == [f"training-requests/{MODEL}/data-v1.json"]


def test_one_correlation_id_travels_from_the_data_to_the_endpoint() -> None:
    story = Story()
    first_model_serves(story)
    (window,) = story.ledger.list("windows/flights/")
    (job, _) = next(iter(story.workspace.submitted.values()))
    assert job.correlation_id == window.value["id"]
    assert story.ledger.entries[f"training-jobs/{job.name}.json"].value["correlation_id"] == job.correlation_id
    assert story.workspace.specs[ENDPOINT, "blue"].correlation_id == job.correlation_id
    assert story.workspace.tags[ENDPOINT]["tidegate.correlation_id"] == job.correlation_id


def test_a_canary_step_and_a_rollback_tell_whose_they_are() -> None:
    story = Story()
    first_canary_step_takes(story)
    first, second = (job.correlation_id for job, _ in story.workspace.submitted.values())
    assert first != second
    assert story.workspace.tags[ENDPOINT]["tidegate.correlation_id"] == second
    story.evidence.per_minute = 600
    story.evidence.behaves("flight-delay:2", errors=0.3)
    story.rest()
    assert story.rollout()["outcome"] == "rolled back"
    assert story.workspace.tags[ENDPOINT]["tidegate.correlation_id"] == second


def test_a_model_that_pretends_to_a_correlation_id_gets_that_of_its_job() -> None:
    story = Story()
    story.upload("incoming/january.csv")
    story.until(lambda: len(story.workspace.submitted) == 1)
    (job, _) = next(iter(story.workspace.submitted.values()))
    tags = {"job": job.name, "data_version": job.data_version, "correlation_id": "of-somebody-else"}
    story.workspace.register_model(ModelVersion(MODEL, "1", tags))
    story.until(story.settled(1))
    assert story.workspace.specs[ENDPOINT, "blue"].correlation_id == job.correlation_id
