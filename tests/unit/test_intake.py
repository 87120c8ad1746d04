"""What becomes of events that are not ours, malformed, or hostile. Faked: the ports."""

from __future__ import annotations

import json

import pytest

from ml_core.errors import TemporaryError
from ml_core.ingestion import record
from ml_core.rollout import request
from ml_core.training import observe
from tests.fakes import Flaky
from tests.story import Story, blob_created, model_registered, run_status_changed


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.mark.parametrize("receive", [record.receive, observe.receive, request.receive])
@pytest.mark.parametrize("raw", ["", "{", "[]", "null", "{}", '{"eventType": "Microsoft.Storage.BlobCreated", "id": "1"}'])
def test_a_malformed_event_is_kept_with_the_reason_and_acknowledged(story: Story, receive: object, raw: str) -> None:
    receive(story.services, raw)  # type: ignore[operator]
    (note,) = [entry.value for entry in story.ledger.list("rejected/events/")]
    assert note["event"] == raw
    assert note["reason"]
    assert not story.queue.messages


@pytest.mark.parametrize(
    ("receive", "raw"),
    [
        (record.receive, run_status_changed("r", "Completed")),
        (record.receive, model_registered("flight-delay", "1")),
        (observe.receive, model_registered("flight-delay", "1")),
        (request.receive, run_status_changed("r", "Completed")),
        (request.receive, model_registered("somebody-elses", "1")),
        (request.receive, model_registered("flight-delay", "2.0")),
        (request.receive, model_registered("flight-delay", "../../x")),
    ],
)
def test_an_event_that_is_not_ours_is_kept_with_the_reason_and_wakes_nobody(story: Story, receive: object, raw: str) -> None:
    receive(story.services, raw)  # type: ignore[operator]
    (note,) = [entry.value for entry in story.ledger.list("ignored/")]
    assert note["reason"]
    assert not story.queue.messages


@pytest.mark.parametrize(
    ("container", "path"), [("unknown", "incoming/a.csv"), ("flights", "outgoing/a.csv"), ("flights", "incoming/a.txt")]
)
def test_a_blob_outside_every_data_asset_is_kept_with_the_reason(story: Story, container: str, path: str) -> None:
    record.receive(story.services, blob_created(story.containers.upload(container, path)))
    (note,) = [entry.value for entry in story.ledger.list("ignored/")]
    assert note["reason"] == f"no data asset of the configuration holds {path!r} of the container {container!r}"
    assert not story.queue.messages


def test_a_note_of_the_ledger_causes_no_note_about_itself(story: Story) -> None:
    record.receive(story.services, blob_created(story.containers.upload("tidegate-ledger", "ignored/x.json")))
    assert not story.ledger.entries


def test_a_temporary_error_passes_so_that_the_event_is_delivered_again(story: Story) -> None:
    raw = blob_created(story.containers.upload("flights", "incoming/a.csv"))
    object.__setattr__(story.services, "queue", Flaky(story.queue, {"enqueue": 1}))
    with pytest.raises(TemporaryError):
        record.receive(story.services, raw)
    # The arrival is noted already; the second delivery must wake the asset all the same.
    record.receive(story.services, raw)
    assert [json.loads(message) for _, _, message in story.queue.messages] == [{"key": "flights"}]


def test_a_name_with_dots_and_slashes_stays_inside_its_note(story: Story) -> None:
    blob = story.containers.upload("flights", "incoming/../../decisions/x.csv")
    record.receive(story.services, blob_created(blob, event_id="../../../etc"))
    assert all(".." not in key for key in story.ledger.entries)
