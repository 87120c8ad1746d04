"""Dead letters in a real Azurite container, and the whole road: an upload that ends as a delivered event."""

from __future__ import annotations

import json
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.certificates import Certificates
from local.eventgrid.client import STORAGE_ACCOUNTS, Metrics
from local.eventgrid.schema import CLOUD_EVENTS
from local.identity import TokenIssuer
from local.processes import Child
from local.storage.azurite import Azurite
from local.storage.blob_rest import BlobService
from tests.local.eventgrid.grid_under_test import Receiver, RunningGrid, answering

ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/devstoreaccount1"


@pytest.fixture
def service(azurite: Azurite, certificates: Certificates, tmp_path: Path) -> Iterator[BlobService]:
    made = BlobService(azurite.blob_url, TokenIssuer(tmp_path / "token.key"), ca=certificates.bundle)
    yield made
    made.close()


def container(service: BlobService, name: str | None = None) -> str:
    name = name or f"c{uuid.uuid4().hex}"
    service.create_container(name)
    return name


def destination(name: str) -> dict[str, Any]:
    return {"endpointType": "StorageBlob", "properties": {"resourceId": ACCOUNT, "blobContainerName": name}}


def read(service: BlobService, name: str) -> dict[str, list[dict[str, Any]]]:
    return {blob.name: json.loads(service.get(name, blob.name)) for blob in service.blobs(name)}


def grid_options(azurite: Azurite, certificates: Certificates, time_scale: str = "0.0005") -> list[str]:
    return ["--time-scale", time_scale, "--blob-url", azurite.blob_url, "--ca", str(certificates.bundle)]


def event(n: int) -> dict[str, Any]:
    return {"id": str(n), "subject": f"s{n}", "eventType": "Made", "eventTime": "2026-01-01T00:00:00Z", "data": n}


def test_what_cannot_be_delivered_is_kept_with_its_reason(
    start_grid: Callable[..., RunningGrid], receiver: Receiver, azurite: Azurite, certificates: Certificates, service: BlobService
) -> None:
    grid, kept = start_grid(*grid_options(azurite, certificates)), container(service)
    topic = grid.client.create_topic("letters", topic_type=STORAGE_ACCOUNTS, source=ACCOUNT)
    grid.client.create_subscription(
        "letters", "My-Sub", endpoint_url=receiver.url, retry_policy={"maxDeliveryAttempts": 2}, dead_letter=destination(kept)
    )
    receiver.answer = answering(404)
    grid.client.publish(topic, [event(1)])
    grid.client.wait_until_idle()
    assert grid.client.metrics("letters", "My-Sub") == Metrics(1, 1, 0, 2, 1, 0, 0)
    [(name, [letter])] = read(service, kept).items()
    assert re.fullmatch(r"MY-SUB/20\d\d/[1-9]\d?/[1-9]\d?/(0|[1-9]\d?)/[0-9a-f-]{36}\.json", name)
    assert (letter["id"], letter["subject"], letter["topic"]) == ("1", "s1", ACCOUNT)
    assert letter["deadLetterReason"] == "MaxDeliveryAttemptsExceeded"
    assert (letter["deliveryAttempts"], letter["lastDeliveryOutcome"]) == (2, "NotFound")
    assert letter["publishTime"] < letter["lastDeliveryAttemptTime"]


def test_cloud_events_are_annotated_in_lower_case(
    start_grid: Callable[..., RunningGrid], receiver: Receiver, azurite: Azurite, certificates: Certificates, service: BlobService
) -> None:
    grid, kept = start_grid(*grid_options(azurite, certificates)), container(service)
    topic = grid.client.create_topic("letters")
    grid.client.create_subscription(
        "letters", "sub", endpoint_url=receiver.url, schema=CLOUD_EVENTS, dead_letter=destination(kept)
    )
    receiver.answer = answering(400)
    grid.client.publish(topic, [event(1)])
    grid.client.wait_until_idle()
    [[letter]] = read(service, kept).values()
    assert letter["specversion"] == "1.0"
    assert (letter["deadletterreason"], letter["deliveryattempts"]) == ("UndeliverableDueToClientError", 1)
    assert letter["lastdeliveryoutcome"] == "BadRequest"
    assert {"publishtime", "lastdeliveryattempttime"} <= letter.keys()


def test_dead_letters_wait_for_a_missing_container(
    start_grid: Callable[..., RunningGrid], receiver: Receiver, azurite: Azurite, certificates: Certificates, service: BlobService
) -> None:
    grid, late = start_grid(*grid_options(azurite, certificates)), f"c{uuid.uuid4().hex}"
    topic = grid.client.create_topic("letters")
    grid.client.create_subscription("letters", "sub", endpoint_url=receiver.url, dead_letter=destination(late))
    receiver.answer = answering(400)
    grid.client.publish(topic, [event(1), event(2)])
    receiver.wait_for(lambda it: len(it.notifications) == 2)
    assert grid.client.metrics("letters", "sub").dead_lettered == 0
    container(service, late)
    grid.client.wait_until_idle()
    assert grid.client.metrics("letters", "sub") == Metrics(2, 2, 0, 2, 2, 0, 0)
    assert sorted(letter["id"] for letters in read(service, late).values() for letter in letters) == ["1", "2"]


def test_dead_letters_are_dropped_when_their_container_is_missing_for_four_hours(
    start_grid: Callable[..., RunningGrid], receiver: Receiver, azurite: Azurite, certificates: Certificates
) -> None:
    grid = start_grid(*grid_options(azurite, certificates, time_scale="0.00002"))
    topic = grid.client.create_topic("letters")
    grid.client.create_subscription("letters", "sub", endpoint_url=receiver.url, dead_letter=destination("no-such-container"))
    receiver.answer = answering(400)
    grid.client.publish(topic, [event(1)])
    grid.client.wait_until_idle()
    assert grid.client.metrics("letters", "sub") == Metrics(1, 1, 0, 1, 0, 1, 0)


def test_an_upload_ends_as_a_delivered_event_and_survives_the_watchers_death(
    start_grid: Callable[..., RunningGrid],
    receiver: Receiver,
    azurite: Azurite,
    certificates: Certificates,
    service: BlobService,
    tmp_path: Path,
) -> None:
    grid, data = start_grid(), container(service)
    topic = grid.client.create_topic("storage", topic_type=STORAGE_ACCOUNTS, source=ACCOUNT)
    wanted = {
        "subjectBeginsWith": f"/blobServices/default/containers/{data}/blobs/",
        "includedEventTypes": ["Microsoft.Storage.BlobCreated"],
    }
    grid.client.create_subscription("storage", "sub", endpoint_url=receiver.url, filter=wanted)
    command = [
        sys.executable, "-m", "local.storage.watcher", "--state", str(tmp_path / "watch"), "--blob-url", azurite.blob_url,
        "--topic-url", topic.endpoint, "--identity-key", str(tmp_path / "token.key"),
        "--container", data, "--ca", str(certificates.bundle), "--interval", "0.05",
    ]  # fmt: skip

    def start() -> Child:
        child = Child(
            "watcher", command, log=tmp_path / "watcher.log", env={**os.environ, "TIDEGATE_WATCHER_TOPIC_KEY": topic.key}
        )
        child.wait_until(lambda: "watching" in (tmp_path / "watcher.log").read_text())
        return child

    service.put(data, "before.csv", b"1", "text/csv")
    watcher = start()
    try:
        service.put(data, "first.csv", b"1", "text/csv")
        receiver.wait_for(lambda it: len(it.events) == 1)
    finally:
        watcher.stop()
    (tmp_path / "watcher.log").unlink()
    service.put(data, "meanwhile.csv", b"1", "text/csv")
    watcher = start()
    try:
        receiver.wait_for(lambda it: len(it.events) == 2)
    finally:
        watcher.stop()
    assert [item["subject"].rpartition("/")[2] for item in receiver.events] == ["first.csv", "meanwhile.csv"]
