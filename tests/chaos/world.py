"""What the world looks like from outside the app: storage, the workspace, the queues, the ledger, the processes."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
import yaml
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from local.eventgrid.client import EventGridClient, Metrics
from local.layout import DEAD_LETTER_CONTAINER, LEDGER_CONTAINER
from local.observe import Job, Model
from local.stack import SUBSCRIPTIONS, Stack

Files = dict[str, str]
"""Address of a blob, decoded -> its eTag."""


@dataclass(frozen=True)
class Asset:
    """A data asset of the configuration, as a person reads that file."""

    name: str
    container: str
    prefix: str
    suffixes: tuple[str, ...]
    marker: str

    def holds(self, path: str) -> bool:
        ending = not self.suffixes or path.lower().endswith(self.suffixes)
        return path.startswith(self.prefix) and ending and path.rsplit("/", 1)[-1] != self.marker


class World:
    """Every method looks afresh."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        document = yaml.safe_load(stack.environment.config.read_text())
        self.assets = [
            Asset(name, asset["container"], asset["prefix"], tuple(asset.get("suffixes", ())), asset["window"].get("marker", ""))
            for name, asset in document["data_assets"].items()
        ]
        self.models: dict[str, str] = {name: model["data_asset"] for name, model in document["models"].items()}

    def _container(self, name: str) -> ContainerClient:
        return self._stack.blobs().get_container_client(name)

    def files(self, asset: Asset) -> Files:
        """The committed blobs of a data asset. An empty one is a file that is not written yet."""
        container = self._container(asset.container)
        blobs = [blob for blob in container.list_blobs(name_starts_with=asset.prefix) if asset.holds(blob.name) and blob.size]
        return {f"{unquote(container.url)}/{blob.name}": blob.etag.strip('"') for blob in blobs}

    def versions(self, asset: Asset) -> list[str]:
        return self._stack.observer.data_versions(asset.name)

    def manifest(self, asset: Asset, version: str) -> list[tuple[str, str]]:
        """(address, eTag) of the blobs that a registered version names, in its order, read from the workspace's storage."""
        container, path = self._stack.observer.data_location(asset.name, version)
        text = self._container(container).download_blob(f"{path.rstrip('/')}/manifest.json").readall()
        return [(unquote(blob["url"]), blob["etag"].strip('"')) for blob in json.loads(text)["blobs"]]

    def jobs(self) -> list[Job]:
        return self._stack.observer.jobs(steps=False)

    def failures(self) -> dict[str, str]:
        """Job -> why it failed."""
        return {job.name: job.error or "" for job in self._stack.observer.jobs() if job.status == "Failed"}

    def registered_models(self) -> list[Model]:
        return self._stack.observer.models()

    def ledger(self, prefix: str) -> dict[str, Any]:
        """The documents whose names start so."""
        container, found = self._container(LEDGER_CONTAINER), {}
        for name in container.list_blob_names(name_starts_with=prefix):
            with contextlib.suppress(ResourceNotFoundError):  # the app has removed it since it was listed
                found[name] = json.loads(container.download_blob(name).readall())
        return found

    def pointed_at(self, asset: Asset) -> str:
        """The version that training reads, or ''."""
        documents = self.ledger(f"data-versions/{asset.name}.json")
        return str(next(iter(documents.values()))["version"]) if documents else ""

    def messages(self) -> dict[str, int]:
        """Messages in each of the app's queues, hidden ones too."""
        service = self._stack.queues()
        names = [queue.name for queue in service.list_queues(name_starts_with="tidegate-")]
        return {name: service.get_queue_client(name).get_queue_properties().approximate_message_count for name in names}

    def dead_letters(self) -> list[str]:
        return list(self._container(DEAD_LETTER_CONTAINER).list_blob_names())

    def undelivered(self) -> bool:
        with EventGridClient(self._stack.environment.eventgrid_url) as grid:
            return not grid.is_idle()

    def deliveries(self) -> list[Metrics]:
        """One per event subscription."""
        with EventGridClient(self._stack.environment.eventgrid_url) as grid:
            return [grid.metrics(topic, name) for topic, name, *_ in SUBSCRIPTIONS]


class Processes:
    """The processes of a stack, known by its state folder: each of them has it in its environment or on its command line."""

    def __init__(self, state: Path) -> None:
        self._mark = str(state)
        self._known: dict[int, psutil.Process] = {}

    def note(self, pid: int) -> None:
        """Remember what descends from this process now: when it is killed, nobody will know whose they were."""
        for child in psutil.Process(pid).children(recursive=True):
            self._known[child.pid] = child

    def orphans(self) -> list[str]:
        """Those that descend from no living part of the stack, though a part has started them."""
        mine = {child.pid for child in psutil.Process().children(recursive=True)}
        left = [process for process in self._known.values() if process.pid not in mine]
        left += [process for process in psutil.process_iter() if process.pid not in mine and self._marked(process)]
        return sorted({_told(process) for process in left if _runs(process)})

    def _marked(self, process: psutil.Process) -> bool:
        try:
            return process.pid != psutil.Process().pid and (
                self._mark in "\n".join(process.cmdline()) or self._mark in "\n".join(process.environ().values())
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


def _runs(process: psutil.Process) -> bool:
    """A zombie runs no more: its new parent has only not asked for its exit code."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _told(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())[:200]}"
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return str(process.pid)
