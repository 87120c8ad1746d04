"""Publishing: keys, schemas, limits; and Microsoft's own publisher client against the emulator."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent, EventGridPublisherClient

from local.eventgrid.client import STORAGE_ACCOUNTS, EventGridError, TopicAccess
from local.eventgrid.schema import CLOUD_EVENTS
from tests.local.eventgrid.grid_under_test import Receiver, RunningGrid

ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/devstoreaccount1"
SAMPLES = Path(os.environ.get("TIDEGATE_EVENT_SAMPLES", "../shared/events"))


def event_grid_event(**changes: Any) -> dict[str, Any]:
    event = {
        "id": str(uuid.uuid4()),
        "subject": "a/b",
        "eventType": "Made",
        "eventTime": "2026-01-01T00:00:00.1234567Z",
        "data": {},
    }
    return {key: value for key, value in {**event, **changes}.items() if value is not ...}


def cloud_event(**changes: Any) -> dict[str, Any]:
    event = {"id": str(uuid.uuid4()), "source": "/x", "type": "Made", "specversion": "1.0", "data": {"n": 1}}
    return {key: value for key, value in {**event, **changes}.items() if value is not ...}


def post(topic: TopicAccess, body: Any, content_type: str = "application/json", key: str | bytes | None = None) -> httpx.Response:
    headers: Any = {"aeg-sas-key": topic.key if key is None else key, "content-type": content_type}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(topic.endpoint, content=content, headers=headers, trust_env=False)


@pytest.fixture
def topic(shared_grid: RunningGrid, topic_name: str) -> TopicAccess:
    return shared_grid.client.create_topic(topic_name, topic_type=STORAGE_ACCOUNTS, source=ACCOUNT)


@pytest.mark.parametrize("key", ["", "wrong", b"\xd0\xba"])
def test_a_wrong_key_is_refused(topic: TopicAccess, key: str | bytes) -> None:
    response = post(topic, [event_grid_event()], key=key)
    assert response.status_code == 401
    assert topic.key not in response.text


def test_a_missing_key_is_refused(topic: TopicAccess) -> None:
    assert httpx.post(topic.endpoint, json=[event_grid_event()], trust_env=False).status_code == 401


def test_an_unknown_topic_is_not_found(shared_grid: RunningGrid) -> None:
    response = httpx.post(f"{shared_grid.url}/topics/none-such/api/events", json=[], trust_env=False)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "ResourceNotFound")


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (event_grid_event(id=...), "[0].id"),
        (event_grid_event(subject=""), "[0].subject"),
        (event_grid_event(eventType=7), "[0].eventType"),
        (event_grid_event(eventTime="yesterday"), "[0].eventTime"),
        (event_grid_event(eventTime="2026-01-01T00:00:00"), "[0].eventTime"),
        (event_grid_event(dataVersion=1), "[0].dataVersion"),
        (event_grid_event(metadataVersion="2"), "[0].metadataVersion"),
        ("text", "[0]"),
    ],
)
def test_a_broken_event_is_refused_and_its_field_named(topic: TopicAccess, event: Any, named: str) -> None:
    response = post(topic, [event])
    assert response.status_code == 400
    assert f"'{named}'" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (cloud_event(specversion="0.3"), "[1].specversion"),
        (cloud_event(source=...), "[1].source"),
        (cloud_event(type=""), "[1].type"),
        (cloud_event(time="noon"), "[1].time"),
        (cloud_event(myAttribute="x"), "[1].myAttribute"),
        (cloud_event(data_base64="eA=="), "[1].data_base64"),
    ],
)
def test_a_broken_cloud_event_is_refused_and_its_field_named(topic: TopicAccess, event: Any, named: str) -> None:
    response = post(topic, [cloud_event(), event], "application/cloudevents-batch+json; charset=utf-8")
    assert response.status_code == 400
    assert f"'{named}'" in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"id": "1"}', b"[NaN]", b"\xff"])
def test_a_body_that_is_no_array_of_events_is_refused(topic: TopicAccess, body: bytes) -> None:
    assert post(topic, body).status_code == 400


def test_one_megabyte_is_the_limit(topic: TopicAccess) -> None:
    frame = len(json.dumps([event_grid_event(data="")]))
    assert post(topic, [event_grid_event(data="x" * (1024 * 1024 - frame))]).status_code == 200
    assert post(topic, [event_grid_event(data="x" * (1024 * 1024 - frame + 1))]).status_code == 413


def test_a_custom_topic_takes_its_own_schema_and_its_own_events_only(shared_grid: RunningGrid, topic_name: str) -> None:
    custom = shared_grid.client.create_topic(topic_name)
    assert post(custom, [cloud_event()], "application/cloudevents-batch+json").status_code == 400
    refused = post(custom, [event_grid_event(topic=ACCOUNT)])
    assert (refused.status_code, "'[0].topic'" in refused.text) == (400, True)
    assert post(custom, [event_grid_event()]).status_code == 200


def test_a_topic_of_cloud_events_cannot_deliver_the_other_schema(
    shared_grid: RunningGrid, topic_name: str, receiver: Receiver
) -> None:
    shared_grid.client.create_topic(topic_name, input_schema=CLOUD_EVENTS)
    with pytest.raises(EventGridError, match="eventDeliverySchema"):
        shared_grid.client.create_subscription(topic_name, "sub", endpoint_url=receiver.url, schema="EventGridSchema")


def test_a_topic_keeps_its_key_when_it_is_put_again(shared_grid: RunningGrid, topic: TopicAccess) -> None:
    assert shared_grid.client.create_topic(topic.name, topic_type=STORAGE_ACCOUNTS, source=ACCOUNT).key == topic.key


def test_a_page_under_another_host_name_is_turned_away(shared_grid: RunningGrid, topic: TopicAccess) -> None:
    url = f"{shared_grid.url}/topics/{topic.name}/listKeys"
    assert httpx.post(url, headers={"host": "rebound.example"}, trust_env=False).status_code == 400


def test_microsofts_client_publishes_both_schemas(shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver) -> None:
    shared_grid.client.create_subscription(topic.name, "sub", endpoint_url=receiver.url)
    with EventGridPublisherClient(topic.endpoint, AzureKeyCredential(topic.key)) as publisher:
        publisher.send(EventGridEvent(subject="one", event_type="Made", data={"n": 1}, data_version="2.0"))
        publisher.send([CloudEvent(source="/x", type="Made", subject="two", data={"n": 2})])
    receiver.wait_for(lambda it: len(it.events) == 2)
    found = {event["subject"]: event for event in receiver.events}
    assert found["one"]["topic"] == ACCOUNT
    assert (found["two"]["topic"], found["two"]["eventType"], found["two"]["data"]) == ("/x", "Made", {"n": 2})


def test_microsofts_client_reports_refusals_as_its_own_errors(topic: TopicAccess) -> None:
    with (
        EventGridPublisherClient(topic.endpoint, AzureKeyCredential("wrong")) as publisher,
        pytest.raises(ClientAuthenticationError),
    ):
        publisher.send(EventGridEvent(subject="one", event_type="Made", data={}, data_version="1"))
    with EventGridPublisherClient(topic.endpoint, AzureKeyCredential(topic.key)) as publisher, pytest.raises(HttpResponseError):
        publisher.send(EventGridEvent(subject="", event_type="Made", data={}, data_version="1"))


def plain_events() -> list[Path]:
    """Samples that are events of a publisher: no alerts, no handshakes, nothing that was dead-lettered."""
    found = [*SAMPLES.glob("*.eg.json"), *SAMPLES.glob("*.ce.json")]
    return sorted(path for path in found if "deadletter" not in path.name and "subscription_validation" not in path.name)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the folder of sample events is not here (TIDEGATE_EVENT_SAMPLES)")
def test_every_sample_event_is_accepted_and_delivered_as_it_is(
    shared_grid: RunningGrid, topic: TopicAccess, receiver: Receiver
) -> None:
    for schema, name in (("EventGridSchema", "eg"), (CLOUD_EVENTS, "ce")):
        shared_grid.client.create_subscription(topic.name, f"sub-{name}", endpoint_url=receiver.url, schema=schema)
    samples = plain_events()
    assert samples
    for path in samples:
        content_type = "application/cloudevents+json" if path.name.endswith(".ce.json") else "application/json"
        document = json.loads(path.read_bytes())
        response = post(topic, document if isinstance(document, list) else [document], content_type)
        assert response.status_code == 200, (path.name, response.text)
    receiver.wait_for(lambda it: len(it.events) == 2 * len(samples))
    delivered = [json.dumps(event, sort_keys=True) for event in receiver.events]
    for path in samples:
        document = json.loads(path.read_bytes())
        event = document[0] if isinstance(document, list) else document
        assert json.dumps(event, sort_keys=True) in delivered, path.name
