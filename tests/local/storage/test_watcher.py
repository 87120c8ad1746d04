"""The blob watcher against a real Azurite, written to with Microsoft's own client. Only the topic is a list of ours."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient

from local.certificates import Certificates
from local.identity import TokenIssuer
from local.storage.azurite import Azurite
from local.storage.blob_events import StorageAccount, sequencer
from local.storage.blob_rest import BlobService, BlobServiceError
from local.storage.watch_state import WatchState
from local.storage.watcher import PublishError, Watched, Watcher


class Topic:
    """What was published; `refuses` makes it fail as an unreachable Event Grid would."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.refuses = False

    def __call__(self, events: list[dict[str, Any]]) -> None:
        if self.refuses:
            raise PublishError("not now")
        self.batches.append(len(json.dumps(events)))
        self.events += events

    def take(self) -> list[dict[str, Any]]:
        taken, self.events = self.events, []
        return taken


class Credential:
    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(*self._issuer.issue("https://storage.azure.com"))


@pytest.fixture
def issuer(tmp_path: Path) -> TokenIssuer:
    return TokenIssuer(tmp_path / "token.key")


@pytest.fixture
def client(azurite: Azurite, certificates: Certificates, issuer: TokenIssuer) -> Iterator[BlobServiceClient]:
    with BlobServiceClient(azurite.blob_url, credential=Credential(issuer), connection_verify=str(certificates.bundle)) as made:
        yield made


@pytest.fixture
def raw(client: BlobServiceClient) -> ContainerClient:
    return client.create_container(f"raw{uuid.uuid4().hex}")


@pytest.fixture
def service(azurite: Azurite, certificates: Certificates, issuer: TokenIssuer) -> Iterator[BlobService]:
    made = BlobService(azurite.blob_url, issuer, ca=certificates.bundle)
    yield made
    made.close()


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def watch(service: BlobService, topic: Topic, raw: ContainerClient, tmp_path: Path) -> Iterator[Callable[..., Watcher]]:
    """Opens a watcher of `raw` on this test's state; a second call stands for a restart."""
    states: list[WatchState] = []

    def start(**options: Any) -> Watcher:
        for state in states:
            state.close()
        states.append(WatchState(tmp_path / "watcher.sqlite"))
        watched = options.pop("watched", Watched((raw.container_name,)))
        return Watcher(service, states[-1], topic, watched=watched, **options)

    yield start
    states[-1].close()


def test_a_new_blob_raises_a_schema_true_event(
    watch: Callable[..., Watcher], raw: ContainerClient, topic: Topic, azurite: Azurite
) -> None:
    watcher = watch(account=StorageAccount("devstoreaccount1", "sub", "group"))
    watcher.poll()
    etag = raw.upload_blob("2013/a b+ü%#?.csv", b"1,2\n").get_blob_properties().etag
    assert watcher.poll() == 1
    [event] = topic.take()
    data = event.pop("data")
    assert (
        event["topic"] == "/subscriptions/sub/resourceGroups/group/providers/Microsoft.Storage/storageAccounts/devstoreaccount1"
    )
    assert event["subject"] == f"/blobServices/default/containers/{raw.container_name}/blobs/2013/a b+ü%#?.csv"
    assert event["eventType"] == "Microsoft.Storage.BlobCreated"
    assert (event["dataVersion"], event["metadataVersion"]) == ("", "1")
    assert data["api"] == "PutBlob"
    assert data["eTag"] == etag.strip('"')
    assert (data["contentType"], data["contentLength"], data["blobType"]) == ("application/octet-stream", 4, "BlockBlob")
    assert data["url"] == f"{azurite.blob_url}/{raw.container_name}/2013/a%20b+%C3%BC%25%23%3F.csv"
    assert re.fullmatch("[0-9a-f]{48}", data["sequencer"])
    assert data["requestId"][:-6] == event["id"][:-6]
    assert set(data) == {
        "api", "clientRequestId", "requestId", "eTag", "contentType", "contentLength", "blobType", "url", "sequencer",
        "storageDiagnostics",
    }  # fmt: skip


def test_the_url_and_etag_of_an_event_read_exactly_that_blob(
    watch: Callable[..., Watcher], raw: ContainerClient, topic: Topic, issuer: TokenIssuer, certificates: Certificates
) -> None:
    from azure.core import MatchConditions
    from azure.storage.blob import BlobClient

    watcher = watch()
    watcher.poll()
    raw.upload_blob("odd name+%ü.csv", b"content")
    watcher.poll()
    [event] = topic.take()
    options = {"credential": Credential(issuer), "connection_verify": str(certificates.bundle)}
    with BlobClient.from_blob_url(event["data"]["url"], **options) as blob:
        etag = f'"{event["data"]["eTag"]}"'
        assert blob.download_blob(etag=etag, match_condition=MatchConditions.IfNotModified).readall() == b"content"


def test_cloud_events_carry_the_same_data(watch: Callable[..., Watcher], raw: ContainerClient, topic: Topic) -> None:
    watcher = watch(cloud_events=True)
    watcher.poll()
    raw.upload_blob("a.csv", b"1")
    watcher.poll()
    [event] = topic.take()
    assert set(event) == {"source", "subject", "type", "time", "id", "data", "specversion"}
    assert (event["type"], event["data"]["api"]) == ("Microsoft.Storage.BlobCreated", "PutBlob")


def test_uncommitted_blocks_raise_nothing_until_their_list_is_put(
    watch: Callable[..., Watcher], raw: ContainerClient, topic: Topic
) -> None:
    watcher = watch()
    watcher.poll()
    blob = raw.get_blob_client("large.csv")
    blob.stage_block("AAAA", b"x" * 10)
    assert watcher.poll() == 0
    blob.commit_block_list([BlobBlock("AAAA")])
    assert watcher.poll() == 1
    assert (topic.events[0]["data"]["api"], topic.events[0]["data"]["contentLength"]) == ("PutBlockList", 10)


def test_a_copied_blob_names_the_copy(watch: Callable[..., Watcher], raw: ContainerClient, topic: Topic) -> None:
    watcher = watch()
    watcher.poll()
    raw.upload_blob("a.csv", b"1")
    raw.get_blob_client("b.csv").start_copy_from_url(raw.get_blob_client("a.csv").url)
    watcher.poll()
    assert {event["subject"].rpartition("/")[2]: event["data"]["api"] for event in topic.events} == {
        "a.csv": "PutBlob",
        "b.csv": "CopyBlob",
    }


def test_replacing_raises_again_with_a_greater_sequencer(
    watch: Callable[..., Watcher], raw: ContainerClient, topic: Topic
) -> None:
    watcher = watch()
    watcher.poll()
    for _ in range(3):
        raw.upload_blob("a.csv", b"the same content", overwrite=True)
        assert watcher.poll() == 1
    events = topic.take()
    sequencers = [event["data"]["sequencer"] for event in events]
    assert sequencers == sorted(set(sequencers))
    assert len({event["data"]["eTag"] for event in events}) == 3
    assert len({event["id"] for event in events}) == 3


def test_a_deleted_blob_raises_blob_deleted_without_etag(
    watch: Callable[..., Watcher], raw: ContainerClient, topic: Topic
) -> None:
    watcher = watch()
    raw.upload_blob("a.csv", b"1")
    watcher.poll()
    raw.delete_blob("a.csv")
    assert watcher.poll() == 1
    [event] = topic.take()
    assert (event["eventType"], event["data"]["api"]) == ("Microsoft.Storage.BlobDeleted", "DeleteBlob")
    assert not {"eTag", "contentLength"} & event["data"].keys()
    assert watcher.poll() == 0


def test_metadata_and_appended_blocks_raise_nothing(watch: Callable[..., Watcher], raw: ContainerClient, topic: Topic) -> None:
    watcher = watch()
    raw.upload_blob("a.csv", b"1")
    log = raw.get_blob_client("log.txt")
    log.create_append_blob()
    watcher.poll()
    raw.get_blob_client("a.csv").set_blob_metadata({"seen": "yes"})
    log.append_block(b"line")
    assert watcher.poll() == 0


def test_blobs_of_the_time_before_the_first_start_are_no_news(watch: Callable[..., Watcher], raw: ContainerClient) -> None:
    raw.upload_blob("old.csv", b"1")
    assert watch().poll() == 0


def test_from_start_raises_events_for_what_is_already_there(watch: Callable[..., Watcher], raw: ContainerClient) -> None:
    raw.upload_blob("old.csv", b"1")
    assert watch(watched=Watched((raw.container_name,), from_start=True)).poll() == 1


def test_a_restart_tells_what_happened_meanwhile_and_nothing_twice(
    watch: Callable[..., Watcher], raw: ContainerClient, topic: Topic
) -> None:
    watcher = watch()
    watcher.poll()
    for name in ("kept", "replaced", "deleted"):
        raw.upload_blob(name, b"1")
    watcher.poll()
    last = max(event["data"]["sequencer"] for event in topic.take())
    raw.upload_blob("replaced", b"22", overwrite=True)
    raw.delete_blob("deleted")
    raw.upload_blob("new", b"1")
    watch().poll()
    found = {event["subject"].rpartition("/")[2]: event["eventType"].rpartition(".")[2] for event in topic.events}
    assert found == {"replaced": "BlobCreated", "new": "BlobCreated", "deleted": "BlobDeleted"}
    assert min(event["data"]["sequencer"] for event in topic.events) > last
    topic.take()
    assert watch().poll() == 0


def test_events_wait_for_a_topic_that_cannot_be_reached(
    watch: Callable[..., Watcher], raw: ContainerClient, topic: Topic
) -> None:
    watcher = watch()
    watcher.poll()
    raw.upload_blob("a.csv", b"1")
    topic.refuses = True
    with pytest.raises(PublishError):
        watcher.poll()
    topic.refuses = False
    assert watch().poll() == 1
    assert len(topic.take()) == 1


def test_everything_but_excluded_and_system_containers_is_watched_by_default(
    watch: Callable[..., Watcher], client: BlobServiceClient, raw: ContainerClient, topic: Topic
) -> None:
    other, excluded = (client.create_container(f"{name}{uuid.uuid4().hex}") for name in ("other", "excluded"))
    watcher = watch(watched=Watched(excluded=frozenset({excluded.container_name})))
    watcher.poll()
    for container in (raw, other, excluded):
        container.upload_blob("a.csv", b"1")
    watcher.poll()
    found = {event["subject"].split("/")[4] for event in topic.events}
    assert {raw.container_name, other.container_name} <= found
    assert excluded.container_name not in found


def test_a_deleted_container_is_forgotten_silently(
    watch: Callable[..., Watcher], client: BlobServiceClient, raw: ContainerClient, topic: Topic
) -> None:
    watcher = watch()
    raw.upload_blob("a.csv", b"1")
    watcher.poll()
    raw.delete_container()
    assert watcher.poll() == 0


def test_a_blob_service_that_is_down_is_not_an_empty_one(
    watch: Callable[..., Watcher], service: BlobService, raw: ContainerClient, topic: Topic
) -> None:
    watcher = watch()
    raw.upload_blob("a.csv", b"1")
    watcher.poll()
    account, service.account_url = service.account_url, "https://127.0.0.1:9/devstoreaccount1"
    with pytest.raises(BlobServiceError):
        watcher.poll()
    service.account_url = account
    assert watcher.poll() == 0
    assert topic.events == []


def test_long_listings_are_read_page_by_page(service: BlobService, raw: ContainerClient) -> None:
    for number in range(7):
        raw.upload_blob(f"{number}.csv", b"1")
    assert [blob.name for blob in service.blobs(raw.container_name, page_size=3)] == [f"{number}.csv" for number in range(7)]


def test_many_long_names_are_published_in_batches_below_the_limit(
    watch: Callable[..., Watcher], service: BlobService, raw: ContainerClient, topic: Topic
) -> None:
    watcher = watch()
    watcher.poll()
    for number in range(60):
        service.put(raw.container_name, f"{number:03d}" + "ü" * 900, b"", "text/csv")
    assert watcher.poll() == 60
    assert max(topic.batches) < 1024 * 1024


@pytest.mark.parametrize("number", [0, 9, 255, 2**64])
def test_sequencers_compare_as_strings(number: int) -> None:
    assert sequencer(number) < sequencer(number + 1)
    assert len(sequencer(number)) == 48
