"""Delivery to a real webhook: headers, batches, retry, dead ends, handshakes, what survives a kill."""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from local.eventgrid.client import STORAGE_ACCOUNTS, EventGridError, Metrics, TopicAccess
from local.eventgrid.schema import CLOUD_EVENTS
from tests.local.eventgrid.grid_under_test import Answer, Received, Receiver, RunningGrid, agree, answering
from tests.waiting import wait_until

ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/devstoreaccount1"
SCALE = 0.001  # of shared_grid


def event(n: int = 0, **changes: Any) -> dict[str, Any]:
    made = {
        "id": str(uuid.uuid4()),
        "subject": f"s{n}",
        "eventType": "Made",
        "eventTime": "2026-01-01T00:00:00Z",
        "data": {"n": n},
    }
    return {**made, "dataVersion": "1.0", **changes}


@pytest.fixture
def topic(shared_grid: RunningGrid, topic_name: str) -> TopicAccess:
    return shared_grid.client.create_topic(topic_name, topic_type=STORAGE_ACCOUNTS, source=ACCOUNT)


def settled(grid: RunningGrid, topic: TopicAccess) -> Metrics:
    """The counts of `sub` once nothing is pending for it."""
    grid.client.wait_until_idle()
    return grid.client.metrics(topic.name, "sub")


def test_an_event_comes_as_an_array_of_one_with_event_grids_headers(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver
) -> None:
    shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url)
    shared_grid.client.publish(topic, [event(1), event(2)])
    receiver.wait_for(lambda it: len(it.notifications) == 2)
    headers = receiver.notifications[0].headers
    assert [len(item.body) for item in receiver.notifications] == [1, 1]
    assert headers["aeg-event-type"] == "Notification"
    assert headers["aeg-subscription-name"] == "SUB"
    assert headers["aeg-delivery-count"] == "0"
    assert headers["aeg-data-version"] == "1.0"
    assert headers["aeg-metadata-version"] == "1"
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert receiver.events[0]["topic"] == ACCOUNT
    assert settled(shared_grid, topic) == Metrics(2, 2, 2, 0, 0, 0, 0)


def test_cloud_events_come_one_by_one_as_an_object_after_their_own_handshake(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver
) -> None:
    shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url, schema=CLOUD_EVENTS)
    assert receiver.requests[0].method == "OPTIONS"
    assert receiver.requests[0].headers["webhook-request-origin"] == "eventgrid.azure.net"
    sent = event(1)
    shared_grid.client.publish(topic, [sent])
    receiver.wait_for(lambda it: len(it.notifications) == 1)
    assert receiver.notifications[0].headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert receiver.notifications[0].body == {
        "id": sent["id"],
        "source": ACCOUNT,
        "specversion": "1.0",
        "type": "Made",
        "subject": "s1",
        "time": "2026-01-01T00:00:00Z",
        "data": {"n": 1},
        "dataversion": "1.0",
    }


@pytest.mark.parametrize(
    ("schema", "content_type"),
    [("EventGridSchema", "application/json"), (CLOUD_EVENTS, "application/cloudevents-batch+json")],
)
def test_batches_hold_no_more_events_than_asked_for(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver, schema: str, content_type: str
) -> None:
    shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url, max_events_per_batch=4, schema=schema)
    shared_grid.client.publish(topic, [event(n) for n in range(10)])
    receiver.wait_for(lambda it: len(it.events) == 10)
    assert sorted(len(item.body) for item in receiver.notifications) == [2, 4, 4]
    assert receiver.notifications[0].headers["content-type"].startswith(content_type + ";")


def test_batches_stay_near_their_preferred_size_but_a_large_event_still_goes(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver
) -> None:
    shared_grid.client.create_subscription(
        topic.name, "sub", endpoint_url=receiver.url, max_events_per_batch=100, preferred_batch_kilobytes=1
    )
    shared_grid.client.publish(topic, [event(n, data="x" * 400) for n in range(2)] + [event(2, data="x" * 5000)])
    receiver.wait_for(lambda it: len(it.events) == 3)
    assert sum(len(event["data"]) == 5000 for event in receiver.events) == 1
    assert all(len(item.body) == 1 or len(json.dumps(item.body)) <= 1024 for item in receiver.notifications)


def test_only_matching_subscriptions_get_an_event(shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver) -> None:
    wanted = {"includedEventTypes": ["Made"], "subjectBeginsWith": "s1"}
    shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url, filter=wanted)
    shared_grid.client.publish(topic, [event(1), event(2), event(1, eventType="Lost")])
    assert settled(shared_grid, topic) == Metrics(3, 1, 1, 0, 0, 0, 0)
    assert [item["subject"] for item in receiver.events] == ["s1"]


def test_a_failed_delivery_is_tried_again_on_the_schedule(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver
) -> None:
    shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url)
    receiver.answer = answering(500, 503, 500, 202)
    shared_grid.client.publish(topic, [event()])
    assert settled(shared_grid, topic) == Metrics(1, 1, 1, 3, 0, 0, 0)
    assert [item.headers["aeg-delivery-count"] for item in receiver.notifications] == ["0", "1", "2", "3"]
    times = [item.at for item in receiver.notifications]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    # Lower bounds only: a busy machine may be late, it must never be early.
    assert all(wait >= seconds * SCALE * 0.95 for wait, seconds in zip(waits, (10, 30, 60), strict=True))
    assert len({json.dumps(item.body) for item in receiver.notifications}) == 1


def test_a_slow_subscriber_times_out_and_gets_the_event_again(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver
) -> None:
    shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url)
    release = threading.Event()

    def slow_once(request: Received) -> Answer:
        if request.headers["aeg-delivery-count"] == "0":
            release.wait(10)
        return agree(request)

    receiver.answer = slow_once
    shared_grid.client.publish(topic, [event()])
    receiver.wait_for(lambda it: len(it.notifications) == 2)
    release.set()
    assert settled(shared_grid, topic) == Metrics(1, 1, 1, 1, 0, 0, 0)


@pytest.mark.parametrize("status", [400, 401, 403, 413])
def test_a_final_answer_drops_the_event_when_there_is_no_dead_letter_container(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver, status: int
) -> None:
    shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url)
    receiver.answer = answering(status)
    shared_grid.client.publish(topic, [event()])
    assert settled(shared_grid, topic) == Metrics(1, 1, 0, 1, 0, 1, 0)
    assert len(receiver.notifications) == 1


def test_attempts_end_with_the_policys_maximum(shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver) -> None:
    shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url, retry_policy={"maxDeliveryAttempts": 3})
    receiver.answer = answering(500)
    shared_grid.client.publish(topic, [event()])
    assert settled(shared_grid, topic) == Metrics(1, 1, 0, 3, 0, 1, 0)
    assert len(receiver.notifications) == 3


def test_an_event_past_its_time_to_live_is_not_sent_again(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver
) -> None:
    shared_grid.client.create_subscription(
        topic.name, "sub", endpoint_url=receiver.url, retry_policy={"eventTimeToLiveInMinutes": 5}
    )
    receiver.answer = answering(404)  # its minimum wait is the whole five minutes
    shared_grid.client.publish(topic, [event()])
    assert settled(shared_grid, topic) == Metrics(1, 1, 0, 1, 0, 1, 0)


def test_a_dead_endpoint_counts_as_failed_and_is_tried_again(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver
) -> None:
    # A kept connection would outlive the listener.
    receiver.answer = lambda request: (*agree(request)[:2], {"connection": "close"})
    shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url, retry_policy={"maxDeliveryAttempts": 2})
    receiver.close()
    shared_grid.client.publish(topic, [event()])
    assert settled(shared_grid, topic) == Metrics(1, 1, 0, 2, 0, 1, 0)


def test_an_endpoint_that_keeps_failing_is_put_on_probation_and_recovers(
    start_grid: Callable[..., RunningGrid], receiver: Receiver
) -> None:
    """After ten failures in a row deliveries wait, new ones too, and the first after the wait goes alone."""
    grid = start_grid("--time-scale", "0.05", "--seed", "1")  # a probation of 10 s takes half a second
    topic = grid.client.create_topic("probation")
    grid.client.create_subscription("probation", "sub", endpoint_url=receiver.url)
    receiver.answer = answering(*[500] * 10, 200)
    grid.client.publish(topic, [event(n) for n in range(10)])
    receiver.wait_for(lambda it: len(it.notifications) == 10)
    tenth = receiver.notifications[9].at
    wait_until(lambda: grid.client.metrics("probation", "sub").failed == 10)
    grid.client.publish(topic, [event(10)])
    grid.client.wait_until_idle()
    assert receiver.notifications[10].at - tenth >= 0.5
    assert grid.client.metrics("probation", "sub") == Metrics(11, 11, 11, 10, 0, 0, 0)


def test_an_outage_that_many_requests_meet_at_once_is_one_outage(
    start_grid: Callable[..., RunningGrid], receiver: Receiver
) -> None:
    """Sixteen are under way when the endpoint fails: they lead to the first rest, not to the seventh, of an hour."""
    grid = start_grid("--time-scale", "0.02", "--seed", "1")  # an hour takes 72 seconds, and 10 s a fifth of one
    topic = grid.client.create_topic("outage")
    grid.client.create_subscription("outage", "sub", endpoint_url=receiver.url)
    together, failing = threading.Barrier(16), itertools.count()

    def answer(request: Received) -> Answer:
        if request.kind == "SubscriptionValidation" or next(failing) >= 16:
            return agree(request)
        together.wait(timeout=20)
        return 500, b"", {}

    receiver.answer = answer
    grid.client.publish(topic, [event(n) for n in range(20)])
    grid.client.wait_until_idle()
    assert grid.client.metrics("outage", "sub") == Metrics(20, 20, 20, 16, 0, 0, 0)


# handshakes


def validation(status: int, body: Any) -> Callable[[Received], Answer]:
    return lambda _: (status, json.dumps(body).encode(), {})


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [(202, {}, "202, not 200"), (500, {}, "500, not 200"), (200, {"validationResponse": "guessed"}, "not the code")],
)
def test_a_failed_handshake_refuses_the_subscription(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver, status: int, body: Any, why: str
) -> None:
    receiver.answer = validation(status, body)
    with pytest.raises(EventGridError, match=why) as refused:
        shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url)
    assert refused.value.code == "Url validation"
    assert "secret" not in str(refused.value)
    with pytest.raises(EventGridError, match="404"):
        shared_grid.client.subscription(topic.name, "sub")


def test_an_endpoint_that_does_not_answer_fails_its_handshake(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver
) -> None:
    receiver.close()
    with pytest.raises(EventGridError, match="Url validation"):
        shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url)


def test_the_cloud_events_handshake_asks_for_the_origin(shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver) -> None:
    receiver.answer = lambda _: (200, b"", {"WebHook-Allowed-Origin": "elsewhere.example"})
    with pytest.raises(EventGridError, match="WebHook-Allowed-Origin"):
        shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url, schema=CLOUD_EVENTS)


def test_a_subscription_can_be_validated_by_hand(shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver) -> None:
    receiver.answer = validation(200, {})
    made = shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url)
    assert made["properties"]["provisioningState"] == "AwaitingManualAction"
    shared_grid.client.publish(topic, [event(1)])
    url = receiver.requests[0].body[0]["data"]["validationUrl"]
    assert httpx.get(url.replace("code=", "code=0"), trust_env=False).status_code == 400
    assert httpx.get(url, trust_env=False).status_code == 200
    receiver.answer = agree
    shared_grid.client.publish(topic, [event(2)])
    receiver.wait_for(lambda it: len(it.events) == 1)
    assert receiver.events[0]["subject"] == "s2"


def test_a_subscription_reads_back_without_the_key_of_its_webhook(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver
) -> None:
    made = shared_grid.client.create_subscription(
        topic.name, "sub", endpoint_url=receiver.url, filter={"subjectEndsWith": ".csv"}, max_events_per_batch=5
    )
    assert made == shared_grid.client.subscription(topic.name, "sub")
    assert "secret" not in json.dumps(made)
    assert made["properties"]["filter"] == {"subjectEndsWith": ".csv"}
    assert made["properties"]["retryPolicy"] == {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440}
    assert made["properties"]["destination"]["properties"]["maxEventsPerBatch"] == 5
    shared_grid.client.delete_subscription(topic.name, "sub")
    with pytest.raises(EventGridError, match="404"):
        shared_grid.client.subscription(topic.name, "sub")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"endpoint_url": "ftp://x/y"}, "endpointUrl"),
        ({"max_events_per_batch": 5001}, "maxEventsPerBatch"),
        ({"preferred_batch_kilobytes": 2000}, "preferredBatchSizeInKilobytes"),
        ({"retry_policy": {"maxDeliveryAttempts": 31}}, "maxDeliveryAttempts"),
        ({"retry_policy": {"eventTimeToLiveInMinutes": 0}}, "eventTimeToLiveInMinutes"),
        ({"schema": "CustomInputSchema"}, "eventDeliverySchema"),
        ({"dead_letter": {"endpointType": "StorageBlob", "properties": {"blobContainerName": "../x"}}}, "blobContainerName"),
    ],
)
def test_a_subscription_that_azure_would_refuse_is_refused_by_name(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(EventGridError, match=named):
        shared_grid.client.create_subscription(topic.name, "sub", **{"endpoint_url": receiver.url, **options})
    assert receiver.requests == []


# what survives


def test_pending_deliveries_survive_a_kill(start_grid: Callable[..., RunningGrid], receiver: Receiver) -> None:
    grid = start_grid("--time-scale", "0.01")
    topic = grid.client.create_topic("survivor")
    grid.client.create_subscription("survivor", "sub", endpoint_url=receiver.url, max_events_per_batch=10)
    receiver.answer = answering(500)
    sent = [event(n) for n in range(50)]
    grid.client.publish(topic, sent)
    receiver.wait_for(lambda it: len(it.notifications) >= 2)
    grid.kill()
    receiver.answer = agree
    seen = len(receiver.notifications)
    grid.start()
    receiver.wait_for(
        lambda it: {item["id"] for r in it.notifications[seen:] for item in r.body} == {item["id"] for item in sent}
    )
    grid.client.wait_until_idle()
    counts = grid.client.metrics("survivor", "sub")
    assert (counts.published, counts.delivered, counts.pending) == (50, 50, 0)
    grid.client.publish(topic, [event(99)])  # the key is still good
    receiver.wait_for(lambda it: it.events[-1]["subject"] == "s99")


def test_secrets_stay_out_of_the_log(start_grid: Callable[..., RunningGrid], receiver: Receiver) -> None:
    grid = start_grid("--time-scale", "0.001")
    topic = grid.client.create_topic("quiet")
    grid.client.create_subscription("quiet", "sub", endpoint_url=receiver.url, retry_policy={"maxDeliveryAttempts": 2})
    receiver.answer = answering(500)
    grid.client.publish(topic, [event()])
    grid.client.wait_until_idle()
    assert "GenericError" in grid.log
    assert "secret" not in grid.log
    assert topic.key not in grid.log
