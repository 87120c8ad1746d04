"""Azurite raises no events: this watches its containers and publishes BlobCreated and BlobDeleted as Azure Storage would.

A poll sees states, not requests: two writes of one blob between two polls are one event, and a blob that came and
went in between is none.
`python -m local.storage.watcher --help` says how to run it.
"""

from __future__ import annotations

import functools
import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from local.identity import TokenIssuer
from local.storage.blob_events import BlobChange, StorageAccount, event
from local.storage.blob_rest import BlobService, BlobServiceError, ListedBlob
from local.storage.watch_state import SeenBlob, WatchState

_log = logging.getLogger(__name__)
_EVENTS_PER_PUBLISH = 400
_PUBLISH_BYTES = 900_000  # Event Grid takes 1 MB in one request
# Polling takes at most a fifth of Azurite's one thread, however many blobs there are.
_REST_PER_WORK = 4.0


class PublishError(Exception):
    """The topic did not take the events; they stay in the outbox."""


@dataclass(frozen=True)
class Watched:
    """`containers`: names to watch, or empty for all but those that start with `$`; `excluded`: never watched."""

    containers: tuple[str, ...] = ()
    excluded: frozenset[str] = frozenset()
    from_start: bool = False


class Watcher:
    """Polls once per `poll()`; keeps its state in `state`."""

    def __init__(
        self,
        service: BlobService,
        state: WatchState,
        publish: Callable[[list[dict[str, Any]]], None],
        *,
        account: StorageAccount | None = None,
        watched: Watched | None = None,
        cloud_events: bool = False,
    ) -> None:
        self._service, self._state, self._publish_events = service, state, publish
        self._account, self._watched, self._cloud_events = account or StorageAccount(), watched or Watched(), cloud_events

    def poll(self) -> int:
        """Look at every container once and publish what changed; return the number of events published.

        Raises BlobServiceError or PublishError; the next poll then goes on where this one stopped, and nothing is lost.
        """
        silent = self._state.is_first_start and not self._watched.from_start
        existing = set(self._service.containers())
        for container in self._chosen(existing):
            self._compare(container, silent)
        # Deleting a container is no operation on its blobs: no BlobDeleted is raised (what Azure does is not documented).
        for container in self._state.seen.keys() - existing:
            self._state.forget_container(container)
        if self._state.is_first_start:
            self._state.started()
        return self._publish()

    def run(self, stop: threading.Event, interval: float) -> None:
        """Poll until `stop` is set, every `interval` seconds or so. Trouble is logged when it comes and when it goes."""
        trouble = "starting"
        while not stop.is_set():
            started = time.monotonic()
            try:
                self.poll()
                if trouble:  # the stack waits for this line: from here on, every upload is news
                    _log.info("watching")
                trouble = ""
            except (BlobServiceError, PublishError) as error:
                if str(error) != trouble:
                    _log.warning("will try again: %s", error)
                trouble = str(error)
            stop.wait(max(interval, _REST_PER_WORK * (time.monotonic() - started)))

    def _chosen(self, existing: set[str]) -> list[str]:
        chosen = existing & set(self._watched.containers) if self._watched.containers else existing
        return sorted(name for name in chosen - self._watched.excluded if not name.startswith("$"))

    def _compare(self, container: str, silent: bool) -> None:
        """Record what changed in one container since the last poll, with its events."""
        try:
            listed = {blob.name: blob for blob in self._service.blobs(container)}
        except BlobServiceError as error:
            if error.status == 404:  # deleted since the containers were listed
                return
            raise
        seen = self._state.seen.get(container, {})
        changed = [blob for blob in listed.values() if blob.name not in seen or seen[blob.name].etag != blob.etag]
        gone = [name for name in seen if name not in listed]
        if not changed and not gone:
            return
        changes: list[BlobChange] = []
        if not silent:
            changes += [self._created(container, blob) for blob in changed if _is_write(seen.get(blob.name), blob)]
            changes += [self._deleted(container, name, seen[name]) for name in gone]
        makers = [functools.partial(event, self._account, change, cloud_events=self._cloud_events) for change in changes]
        self._state.record(container, {blob.name: _seen(blob) for blob in changed}, gone, makers)

    def _created(self, container: str, blob: ListedBlob) -> BlobChange:
        url = self._service.url(container, blob.name)
        return BlobChange(
            container, blob.name, url, self._api(container, blob), blob.content_type, blob.blob_type, blob.etag, blob.size
        )

    def _deleted(self, container: str, name: str, blob: SeenBlob) -> BlobChange:
        return BlobChange(container, name, self._service.url(container, name), "DeleteBlob", blob.content_type, blob.blob_type)

    def _api(self, container: str, blob: ListedBlob) -> str:
        """By which operation the blob was written, as far as it shows: a committed block list is Put Block List's mark."""
        if blob.copy_id:
            return "CopyBlob"
        if blob.blob_type != "BlockBlob":
            return "PutBlob"
        try:
            return "PutBlockList" if self._service.has_committed_blocks(container, blob.name) else "PutBlob"
        except BlobServiceError as error:
            if error.status == 404:  # deleted a moment after it was listed; its BlobDeleted follows with the next poll
                return "PutBlob"
            raise

    def _publish(self) -> int:
        published = 0
        while waiting := self._state.outbox(_EVENTS_PER_PUBLISH):
            size = count = 0
            for _, document in waiting:
                size += len(repr(document).encode())
                if count and size > _PUBLISH_BYTES:
                    break
                count += 1
            self._publish_events([document for _, document in waiting[:count]])
            self._state.published(waiting[count - 1][0])
            published += count
        return published


def _is_write(before: SeenBlob | None, blob: ListedBlob) -> bool:
    """Whether a new eTag means new content: Set Blob Metadata and Append Block change it too, and raise no BlobCreated."""
    if before is None or before.created != blob.created or before.blob_type != blob.blob_type:
        return True
    if blob.blob_type != "BlockBlob":  # pages and appended blocks are written into a blob that was created before
        return False
    same_content = bool(blob.md5) and before.md5 == blob.md5 and before.size == blob.size
    return not (same_content and before.described != blob.described)


def _seen(blob: ListedBlob) -> SeenBlob:
    return SeenBlob(blob.etag, blob.created, blob.md5, blob.size, blob.described, blob.content_type, blob.blob_type)


def topic_publisher(url: str, key: str, *, cloud_events: bool) -> Callable[[list[dict[str, Any]]], None]:
    """Publishes batches to an Event Grid topic's `.../api/events`; raises PublishError unless it answers 200."""
    content_type = "application/cloudevents-batch+json" if cloud_events else "application/json"
    headers = {"aeg-sas-key": key, "content-type": f"{content_type}; charset=utf-8"}
    http = httpx.Client(headers=headers, trust_env=False, timeout=30.0)

    def publish(events: list[dict[str, Any]]) -> None:
        try:
            response = http.post(url, json=events)
        except httpx.HTTPError as error:
            raise PublishError(f"{url}: {error or type(error).__name__}") from error
        if response.status_code != 200:
            raise PublishError(f"{url}: {response.status_code} {response.text[:300]}")

    return publish


def main(
    state: Annotated[Path, typer.Option(help="Folder for watcher.sqlite.")],
    blob_url: Annotated[str, typer.Option(help="Blob service, https://127.0.0.1:<port>/devstoreaccount1.")],
    topic_url: Annotated[str, typer.Option(help="The storage account's topic: .../topics/<name>/api/events.")],
    topic_key: Annotated[str, typer.Option(envvar="TIDEGATE_WATCHER_TOPIC_KEY", help="Better by its variable than by option.")],
    identity_key: Annotated[Path, typer.Option(help="Key file of the stack's token issuer.")],
    container: Annotated[list[str] | None, typer.Option(help="Watch only this; repeatable. Default: all but `$...`.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Never watch this; repeatable.")] = None,
    from_start: Annotated[bool, typer.Option(help="On the first start, raise events for blobs that are there already.")] = False,
    cloud_events: Annotated[bool, typer.Option(help="Publish CloudEvents instead of the Event Grid schema.")] = False,
    interval: Annotated[float, typer.Option(min=0.01, help="Seconds between polls; more when polls are slow.")] = 0.2,
    subscription_id: Annotated[str, typer.Option()] = StorageAccount.subscription_id,
    resource_group: Annotated[str, typer.Option()] = StorageAccount.resource_group,
    ca: Annotated[Path | None, typer.Option(help="CA bundle of the blob service; otherwise SSL_CERT_FILE.")] = None,
) -> None:
    """Watch a blob service and publish its events until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    service = BlobService(blob_url, TokenIssuer(identity_key), ca=ca)
    watcher = Watcher(
        service,
        WatchState(state / "watcher.sqlite"),
        topic_publisher(topic_url, topic_key, cloud_events=cloud_events),
        account=StorageAccount(blob_url.rstrip("/").rpartition("/")[2], subscription_id, resource_group),
        watched=Watched(tuple(_names(container)), frozenset(_names(exclude)), from_start),
        cloud_events=cloud_events,
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watcher.run(stop, interval)


def _names(given: Sequence[str] | None) -> list[str]:
    return list(given or [])


if __name__ == "__main__":
    typer.run(main)
