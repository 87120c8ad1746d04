"""What is in the inbox is done again: work that Azure refused, events, trainings and windows. Faked: the ports."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ml_core import operations
from ml_core.errors import PermanentError, TemporaryError
from ml_core.ingestion import record
from ml_core.training.request import unanswered
from tests.fakes import Flaky
from tests.inboxes import notes, only_item, put
from tests.story import (
    ENDPOINT,
    Story,
    blob_created,
    blob_deleted,
    first_model_serves,
    model_registered,
)


@pytest.fixture
def story() -> Story:
    return Story()


def refusing(error: str = "The cluster is missing (status 400).") -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermanentError(error)

    return refuse


# ---- work that Azure refuses ------------------------------------------------------------------------------------------


def break_and_mend(story: Story, call: str) -> Any:
    """Have the workspace refuse a call; the result mends it."""
    setattr(story.workspace, call, refusing())
    return lambda: delattr(story.workspace, call)


REFUSALS = [
    ("register_data_version", "data-assets/flights"),
    ("submit_training", "models/flight-delay"),
    ("create_deployment", f"rollouts/{ENDPOINT}"),
]


@pytest.mark.parametrize(("call", "key"), REFUSALS)
def test_a_refused_step_waits_in_the_inbox_and_a_replay_has_it_tried_at_once(story: Story, call: str, key: str) -> None:
    mend = break_and_mend(story, call)
    story.upload("incoming/january.csv")
    story.rest()
    item = only_item(story)
    assert (item.kind, item.key, item.permanent, item.status) == ("work", key, True, "open")
    assert item.error == "The cluster is missing (status 400)."
    mend()
    done = operations.replay(story.services, item.id[:5], "anna", "the cluster is there now")
    assert (done.status, done.history[-1].by, done.history[-1].reason) == ("replayed", "anna", "the cluster is there now")
    before = story.clock()
    story.until(lambda: story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"})
    assert story.clock() - before < timedelta(hours=1)
    assert only_item(story) == done
    assert notes(story) == [("anna", "replay", f"inbox/{item.id}", "the cluster is there now")]


@pytest.mark.parametrize(("call", "key"), REFUSALS)
def test_a_replay_before_anything_is_corrected_opens_the_item_again(story: Story, call: str, key: str) -> None:
    break_and_mend(story, call)
    story.upload("incoming/january.csv")
    story.rest()
    operations.replay(story.services, only_item(story).id, "anna")
    assert only_item(story).status == "replayed"
    story.rest()
    assert (only_item(story).status, only_item(story).attempts, only_item(story).key) == ("open", 2, key)


@pytest.mark.parametrize(("call", "key"), REFUSALS[:2])
def test_a_refused_step_that_is_corrected_closes_its_item_without_anybody(story: Story, call: str, key: str) -> None:
    mend = break_and_mend(story, call)
    story.upload("incoming/january.csv")
    story.rest()
    mend()
    story.clock.advance(timedelta(hours=2))
    story.sweep()
    story.until(story.settled(1))
    assert (only_item(story).key, only_item(story).status) == (key, "succeeded")
    assert not notes(story)


@pytest.mark.parametrize(("call", "key"), REFUSALS[:2])
def test_an_item_whose_end_died_before_it_was_written_is_closed_by_the_sweep(story: Story, call: str, key: str) -> None:
    mend = break_and_mend(story, call)
    story.upload("incoming/january.csv")
    story.rest()
    number = only_item(story).id
    mend()
    story.clock.advance(timedelta(hours=2))
    story.sweep()
    assert only_item(story).status == "open"
    open_item = story.ledger.get(f"inbox/{number}.json")
    story.until(story.settled(1))
    assert open_item is not None
    # As if the process had died just before the item was closed.
    story.ledger.overwrite(f"inbox/{number}.json", open_item.value)
    story.clock.advance(timedelta(minutes=10))
    story.sweep()
    assert only_item(story).status == "succeeded"
    assert only_item(story).history[-1].reason == f"a later look at {key} succeeded"


def test_a_rollout_that_was_refused_is_over_once_a_newer_version_serves(story: Story) -> None:
    mend = break_and_mend(story, "create_deployment")
    story.upload("incoming/january.csv")
    story.rest()
    assert only_item(story).status == "open"
    mend()
    story.upload("incoming/february.csv")
    story.until(story.settled(2))
    assert only_item(story).status == "succeeded"


def test_what_cannot_be_looked_at_waits_in_the_inbox_until_it_can(story: Story) -> None:
    first_model_serves(story)
    blobs = story.containers.blobs
    object.__setattr__(story.containers, "blobs", refusing("The container's name is not one (status 400)."))
    for attempt in range(1, 4):
        story.clock.advance(timedelta(hours=2))
        story.sweep()
        story.rest()
        assert (only_item(story).attempts >= attempt, only_item(story).status) == (True, "open")
    assert (only_item(story).key, only_item(story).permanent) == ("data-assets/flights", True)
    object.__setattr__(story.containers, "blobs", blobs)
    story.clock.advance(timedelta(hours=2))
    story.sweep()
    story.rest()
    assert only_item(story).status == "succeeded"


def test_work_that_left_the_configuration_cannot_be_done_again(story: Story) -> None:
    put(story, kind="work", key="models/long-gone")
    with pytest.raises(PermanentError, match=r"models/long-gone is not in the configuration. Discard it"):
        operations.replay(story.services, only_item(story).id, "anna")
    assert only_item(story).status == "open"
    assert not story.queue.messages


def test_a_message_that_nobody_of_us_wrote_cannot_be_done_again(story: Story) -> None:
    operations.keep_poison_message(story.services, "models", "hello")
    with pytest.raises(PermanentError, match=r"names nothing that Tidegate works on. Discard it"):
        operations.replay(story.services, only_item(story).id, "anna")


def test_a_replay_needs_a_name(story: Story) -> None:
    put(story, kind="work", key="models/flight-delay")
    with pytest.raises(PermanentError, match="say who it is"):
        operations.replay(story.services, only_item(story).id, " ")
    assert not story.queue.messages


# ---- events -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", ["{", '{"eventType": "Microsoft.Storage.BlobCreated", "id": "1"}'])
def test_an_event_that_cannot_be_read_can_only_be_discarded(story: Story, raw: str) -> None:
    record.receive(story.services, raw)
    with pytest.raises(PermanentError, match=r"cannot be taken in: .* Discard it with a reason"):
        operations.replay(story.services, only_item(story).id, "anna")
    assert (only_item(story).status, only_item(story).attempts) == ("open", 1)
    assert notes(story) == [("anna", "replay", f"inbox/{only_item(story).id}", "")]


def test_an_event_of_an_account_that_is_configured_only_later_is_replayed_then(story: Story) -> None:
    blob = story.containers.upload("flights", "incoming/january.csv")
    elsewhere = replace(story.services, data_account_url="https://elsewhere.blob.core.windows.net")
    record.receive(elsewhere, blob_created(blob))
    assert "another storage account" in only_item(story).error
    with pytest.raises(PermanentError, match="another storage account"):
        operations.replay(elsewhere, only_item(story).id, "anna")
    operations.replay(story.services, only_item(story).id, "anna", "the account's name was mistyped")
    assert only_item(story).status == "replayed"
    story.until(story.settled(1))


@pytest.mark.parametrize(
    ("raw", "trace"),
    [
        ("blob", "arrivals/flights/"),
        ("deletion", "arrivals/flights/"),
        ("model", f"rollout-requests/{ENDPOINT}/7.json"),
        ("foreign", "events/"),
    ],
)
def test_an_event_is_replayed_the_way_that_it_would_have_come(story: Story, raw: str, trace: str) -> None:
    blob = story.containers.upload("flights", "incoming/january.csv")
    texts = {
        "blob": blob_created(blob),
        "deletion": blob_deleted(blob),
        "model": model_registered("flight-delay", "7"),
        "foreign": '{"id": "x", "eventType": "Somebody.Else", "data": {}}',
    }
    put(story, kind="dead letter", payload=texts[raw])
    for _ in range(2):
        assert operations.replay(story.services, only_item(story).id, "anna").status == "replayed"
    assert len(list(story.ledger.keys(trace))) == 1


def test_an_event_that_was_delivered_and_dead_lettered_is_replayed_without_harm(story: Story) -> None:
    first_model_serves(story)
    (blob,) = story.containers.content.values()
    put(story, kind="dead letter", payload=blob_created(blob))
    operations.replay(story.services, only_item(story).id, "anna")
    story.rest()
    assert len(story.workspace.data) == len(story.workspace.submitted) == 1
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"}


def test_an_event_whose_replay_finds_the_ledger_away_stays_open(story: Story) -> None:
    blob = story.containers.upload("flights", "incoming/january.csv")
    put(story, kind="dead letter", payload=blob_created(blob))
    queue_away = replace(story.services, queue=Flaky(story.queue, {"enqueue": 1}))
    with pytest.raises(TemporaryError):
        operations.replay(queue_away, only_item(story).id, "anna")
    assert only_item(story).status == "open"


def test_a_training_is_asked_for_again_by_name_and_with_a_reason(story: Story) -> None:
    first_model_serves(story)
    assert operations.retrain(story.services, "flight-delay", "the base image was patched", "anna") == 1
    (cause,) = unanswered(story.services, "flight-delay")
    assert (cause.cause, cause.reason, cause.by) == ("rerun-1", "the base image was patched", "anna")
    assert notes(story) == [("anna", "retrain", "models/flight-delay", "the base image was patched")]
    story.until(lambda: len(story.workspace.submitted) == 2)


def test_a_window_is_replayed_by_name_and_nothing_is_done_twice(story: Story) -> None:
    first_model_serves(story)
    since, until = story.clock() - timedelta(days=1), story.clock()
    assert operations.replay_window(story.services, "flights", since, until, "anna", "the network was down") == 1
    story.until(lambda: not list(story.ledger.keys("arrivals/flights/")))
    story.rest()
    assert len(story.workspace.data) == len(story.workspace.submitted) == 1
    assert notes(story) == [("anna", "replay window", "data-assets/flights", "the network was down")]
    for asset, name in (("unknown", "anna"), ("flights", "")):
        with pytest.raises(PermanentError, match=r"no data asset 'unknown'|say who it is"):
            operations.replay_window(story.services, asset, since, until, name)
