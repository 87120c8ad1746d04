"""What becomes of events that are not ours, malformed, forged, or hostile. Faked: the ports."""

from __future__ import annotations

import json

import pytest

from ml_core import inbox
from ml_core.errors import PermanentError, TemporaryError
from ml_core.ingestion import record
from ml_core.ingestion.arrivals import pending
from ml_core.rollout import request
from ml_core.training import observe
from tests.fakes import Flaky
from tests.story import STORAGE_ACCOUNT_ID, Story, blob_created, blob_deleted, model_registered, run_status_changed


@pytest.fixture
def story() -> Story:
    return Story()


def notes(story: Story) -> list[dict[str, object]]:
    return [entry.value for entry in story.ledger.list("events/")]


@pytest.mark.parametrize("receive", [record.receive, observe.receive, request.receive])
@pytest.mark.parametrize("raw", ["", "{", "[]", "null", "{}", '{"eventType": "Microsoft.Storage.BlobCreated", "id": "1"}'])
def test_a_malformed_event_goes_to_the_inbox_with_the_reason_and_is_acknowledged(story: Story, receive: object, raw: str) -> None:
    for _ in range(2):
        receive(story.services, raw)  # type: ignore[operator]
    (item,) = inbox.items(story.ledger)
    assert (item.kind, item.payload, item.permanent, item.attempts) == ("event", raw, True, 2)
    assert item.error
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
def test_an_event_that_is_not_ours_is_noted_with_the_rule_and_wakes_nobody(story: Story, receive: object, raw: str) -> None:
    receive(story.services, raw)  # type: ignore[operator]
    (note,) = notes(story)
    assert (note["outcome"], note["subject"], note["event_id"]) == ("ignored", "", json.loads(raw)["id"])
    assert note["reason"]
    assert not story.queue.messages


@pytest.mark.parametrize(
    ("container", "path"), [("unknown", "incoming/a.csv"), ("flights", "outgoing/a.csv"), ("flights", "incoming/a.txt")]
)
def test_a_blob_outside_every_data_asset_is_noted_with_the_reason(story: Story, container: str, path: str) -> None:
    record.receive(story.services, blob_created(story.containers.upload(container, path)))
    (note,) = notes(story)
    assert note["reason"] == f"no data asset of the configuration holds {path!r} of the container {container!r}"
    assert not story.queue.messages


def test_a_note_of_the_ledger_causes_no_note_about_itself_whoever_announces_it(story: Story) -> None:
    blob = story.containers.upload("tidegate-ledger", "events/x.json")
    record.receive(story.services, blob_created(blob))
    record.receive(story.services, blob_created(blob).replace("/account.blob", "/another.blob"))
    assert not story.ledger.entries


def test_a_matched_event_is_noted_with_what_it_is_about(story: Story) -> None:
    story.model_registered("3")
    (note,) = notes(story)
    assert (note["outcome"], note["subject"]) == ("matched", "models/flight-delay:3")
    assert note["reason"] == "version 3 is asked for at the endpoint flight-delay"
    assert note["received_at"] == story.clock().isoformat()


@pytest.mark.parametrize(
    ("receive", "raw"),
    [
        (record.receive, lambda blob: blob_created(blob).replace("https://account.", "https://another.")),
        (record.receive, lambda blob: blob_deleted(blob).replace("https://account.", "https://another.")),
        (record.receive, lambda blob: blob_created(blob).replace(STORAGE_ACCOUNT_ID, STORAGE_ACCOUNT_ID + "2")),
        (request.receive, lambda _: model_registered("flight-delay", "1").replace("workspaces/w", "workspaces/another")),
        (observe.receive, lambda _: run_status_changed("r", "Completed").replace("workspaces/w", "workspaces/another")),
    ],
)
def test_a_forged_event_is_refused_recorded_and_wakes_nobody(story: Story, receive: object, raw: object) -> None:
    forged = raw(story.containers.upload("flights", "incoming/a.csv"))  # type: ignore[operator]
    receive(story.services, forged)  # type: ignore[operator]
    (note,), (item,) = notes(story), inbox.items(story.ledger)
    assert note["outcome"] == "refused"
    assert note["reason"] == item.error
    assert "another" in item.error or "account2" in item.error
    assert item.payload == forged
    assert not story.queue.messages
    assert not pending(story.services, "flights")


def test_a_forged_event_cannot_overwrite_the_note_of_a_true_one(story: Story) -> None:
    story.model_registered("3")
    request.receive(story.services, model_registered("flight-delay", "3").replace("workspaces/w", "workspaces/another"))
    (note,) = notes(story)
    assert note["outcome"] == "matched"


def test_an_event_that_is_matched_after_a_correction_is_noted_so(story: Story) -> None:
    raw = model_registered("flight-delay", "3")
    observe.receive(story.services, raw)  # a subscription that led to the wrong function
    request.receive(story.services, raw)
    assert [note["outcome"] for note in notes(story)] == ["matched"]


def test_a_temporary_error_passes_so_that_the_event_is_delivered_again(story: Story) -> None:
    raw = blob_created(story.containers.upload("flights", "incoming/a.csv"))
    object.__setattr__(story.services, "queue", Flaky(story.queue, {"enqueue": 1}))
    with pytest.raises(TemporaryError):
        record.receive(story.services, raw)
    # The arrival is recorded already; the second delivery must wake the asset all the same.
    record.receive(story.services, raw)
    assert [json.loads(message) for _, _, message in story.queue.messages] == [{"key": "flights"}]
    assert len(pending(story.services, "flights")) == 1


def test_an_event_that_the_ledger_refuses_for_good_goes_to_the_inbox(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermanentError("Could not write it (status 400).")

    monkeypatch.setattr(story.queue, "enqueue", refuse)
    raw = blob_created(story.containers.upload("flights", "incoming/a.csv"))
    record.receive(story.services, raw)
    (item,) = inbox.items(story.ledger)
    assert (item.payload, item.error) == (raw, "Could not write it (status 400).")


def test_a_name_with_dots_and_slashes_stays_inside_its_note(story: Story) -> None:
    blob = story.containers.upload("flights", "incoming/../../decisions/x.csv")
    record.receive(story.services, blob_created(blob, event_id="../../../etc"))
    record.receive(story.services, blob_created(story.containers.upload("unknown", "x"), event_id="../../../etc"))
    assert len(story.ledger.entries) == 2
    assert all(".." not in key for key in story.ledger.entries)


def test_events_that_are_taken_in_together_are_one_bundle_for_each_data_asset(story: Story) -> None:
    blobs = [story.containers.upload("flights", f"incoming/{number}.csv") for number in range(3)]
    stranger = blob_created(story.containers.upload("unknown", "x"), event_id="stranger")
    record.take_in(story.services, [*(blob_created(blob) for blob in blobs), stranger, "{", blob_created(blobs[0])])
    (bundle,) = pending(story.services, "flights")
    assert {receipt.path for receipt in bundle.receipts} == {blob.path for blob in blobs}
    assert len(bundle.receipts) == 3
    assert len(story.queue.messages) == 1
    assert [note["event_id"] for note in notes(story)] == ["stranger"]
    assert [item.payload for item in inbox.items(story.ledger)] == ["{"]


def test_the_same_events_again_are_the_same_bundle_in_whatever_order(story: Story) -> None:
    raws = [blob_created(story.containers.upload("flights", f"incoming/{number}.csv")) for number in range(3)]
    record.take_in(story.services, raws)
    story.clock.moment = story.clock.moment.replace(hour=13)
    record.take_in(story.services, raws[::-1])
    assert len(pending(story.services, "flights")) == 1


def test_a_receipt_is_read_back_as_it_was_received(story: Story) -> None:
    blob = story.containers.upload("flights", "incoming/a b.csv", size=7)
    created, deleted = blob_created(blob, sequencer="0A"), blob_deleted(blob, sequencer="")
    record.take_in(story.services, [created, deleted])
    (bundle,) = pending(story.services, "flights")
    by_what = {receipt.what: receipt for receipt in bundle.receipts}
    assert (by_what["created"].etag, by_what["created"].size, by_what["created"].path) == (blob.etag, 7, "incoming/a b.csv")
    assert by_what["created"].sequencer.endswith("0a")
    assert by_what["created"].occurred_at == blob.modified_at
    assert by_what["created"].received_at == story.clock()
    assert (by_what["deleted"].etag, by_what["deleted"].size, by_what["deleted"].sequencer) == ("", 0, "")
    assert (bundle.source, f"arrivals/flights/{bundle.name}.json") == ("event", bundle.key)
