"""Where stories are told: files arrive, time passes, and messages are worked off as the Functions host does. Faked: the ports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any

from ml_core import config, operations
from ml_core.errors import TemporaryError
from ml_core.ingestion import reconcile as data_assets
from ml_core.ingestion import record
from ml_core.looks import last_look
from ml_core.ports import Blob, Entry
from ml_core.reconciling import DATA_ASSETS, MODELS, ROLLOUTS
from ml_core.rollout import reconcile as rollouts
from ml_core.rollout import request
from ml_core.services import Services
from ml_core.training import reconcile as models
from tests.fakes import (
    FakeClock,
    FakeContainers,
    FakeDeadLetters,
    FakeEvidence,
    FakeLedger,
    FakeNotifier,
    FakeWorkQueue,
    FakeWorkspace,
)

CONFIG = """
poll: 15s
data_assets:
  flights: {container: flights, prefix: incoming/, suffixes: [.csv], window: {quiet_period: 30s}}
models:
  flight-delay:
    data_asset: flights
    target: {column: late, positive_value: "yes"}
    id_columns: [flight, tail]
    gates: {min_auc: 0.6}
    endpoint: {name: flight-delay}
    rollout: {steps: [10, 25, 50, 100], interval: 10m, min_requests: 20}
    schedules: {retrain: "0 0 3 * * *"}
"""

_RECEIVERS: dict[str, Callable[[Services, str], None]] = {
    DATA_ASSETS: data_assets.receive,
    MODELS: models.receive,
    ROLLOUTS: rollouts.receive,
}
ENDPOINT = "flight-delay"
ACCOUNT_URL = "https://account.blob.core.windows.net"
_GROUP = "/subscriptions/s/resourceGroups/g/providers"
STORAGE_ACCOUNT_ID = f"{_GROUP}/Microsoft.Storage/storageAccounts/account"
WORKSPACE_ID = f"{_GROUP}/Microsoft.MachineLearningServices/workspaces/w"


# It is frozen, and reading it takes as long as many a story.
_config = cache(config.parse)


class Story:
    """Services made of fakes, and the host that works off their queue."""

    def __init__(self, text: str = CONFIG) -> None:
        self.clock = FakeClock()
        self.ledger, self.queue = FakeLedger(), FakeWorkQueue(self.clock)
        self.containers, self.workspace = FakeContainers(self.clock), FakeWorkspace(self.clock)
        self.evidence = FakeEvidence(self.workspace)
        self.dead_letters, self.notifier = FakeDeadLetters(), FakeNotifier()
        self.looks: list[str] = []
        self.services = Services(
            config=_config(text),
            ledger=self.ledger,
            queue=self.queue,
            containers=self.containers,
            workspace=self.workspace,
            evidence=self.evidence,
            dead_letters=self.dead_letters,
            notifier=self.notifier,
            data_account_url=ACCOUNT_URL,
            workspace_id=WORKSPACE_ID,
            own_containers=frozenset({"tidegate-ledger", "tidegate-dead-letters"}),
            now=self.clock,
        )

    def upload(self, path: str, size: int = 100, *, announce: bool = True) -> Blob:
        """A file arrives in the container, and its event at the function, unless it gets lost."""
        blob = self.containers.upload("flights", path, size)
        if announce:
            record.receive(self.services, blob_created(blob, event_id=f"creation-of-{blob.etag}"))
        return blob

    def delete(self, path: str, *, announce: bool = True) -> None:
        """A file is deleted from the container."""
        blob = self.containers.content["flights", path]
        self.containers.delete("flights", path)
        if announce:
            deletion = f"{int(blob.etag, 16):x}8"  # after the blob's own, before any later one
            record.receive(self.services, blob_deleted(blob, event_id=f"deletion-of-{blob.etag}", sequencer=deletion))

    def model_registered(self, version: str, model: str = "flight-delay") -> None:
        request.receive(self.services, model_registered(model, version))

    def sweep(self) -> None:
        operations.sweep(self.services)

    def look(self) -> bool:
        """Work off one visible message; when there is none, let time pass until one is. False: nothing will ever happen."""
        received = self.queue.receive()
        if received is None:
            if not self.queue.messages:
                return False
            self.clock.moment = max(self.clock(), min(message[0] for message in self.queue.messages))
            return True
        kind, message = received
        self.looks.append(kind)
        try:
            _RECEIVERS[kind](self.services, message)
        except TemporaryError:
            self.queue.enqueue(kind, message, delay=timedelta(seconds=10))  # host.json's visibilityTimeout
        # The loop tries again whatever it was. A mistake of the app's own must not hide behind that.
        error = last_look(self.ledger, kind, json.loads(message)["key"]).error
        assert not error or error.startswith("TemporaryError: "), error
        return True

    def until(self, condition: Callable[[], bool], limit: int = 2000) -> None:
        """Let the story go on until something has happened."""
        for _ in range(limit):
            if condition():
                return
            if not self.look():
                break
        assert condition(), f"it never happened; the last answers: {self.answers()}"

    def rest(self, limit: int = 2000) -> None:
        """Let the story go on until nothing is left to do but the next inventories."""
        for _ in range(limit):
            if self.idle() or not self.look():
                return
        raise AssertionError(f"it never comes to rest; the last answers: {self.answers()}")

    def idle(self) -> bool:
        """Whether all that will happen by itself is that data assets look for lost events now and then."""
        waiting = all(kind == DATA_ASSETS and at > self.clock() for at, kind, _ in self.queue.messages)
        kept_open = [key for key, answer in self.answers().items() if key.startswith(DATA_ASSETS) and answer["kind"] != "rest"]
        return bool(self.queue.messages) and waiting and not kept_open

    def answers(self) -> dict[str, Any]:
        """The last answer of every key."""
        kinds = tuple(f"{kind}/" for kind in _RECEIVERS)
        return {key: entry.value["answer"] for key, entry in self.ledger.entries.items() if key.startswith(kinds)}

    def answer(self, kind: str, key: str) -> str:
        return str(self.ledger.entries[f"{kind}/{key}.json"].value["answer"]["reason"])

    def rollout(self) -> dict[str, Any]:
        """The state of the endpoint's rollout."""
        return dict(self.ledger.entries[f"{ROLLOUTS}/{ENDPOINT}.json"].value["state"])

    def settled(self, version: int) -> Callable[[], bool]:
        return lambda: f"{ROLLOUTS}/{ENDPOINT}.json" in self.ledger.entries and self.rollout()["settled"] == version


def blob_created(blob: Blob, event_id: str = "e1", api: str = "PutBlob", sequencer: str = "") -> str:
    """A BlobCreated event of Event Grid's schema as JSON. Later writes have greater sequencers, unless another is given."""
    return json.dumps(
        {
            "id": event_id,
            "topic": STORAGE_ACCOUNT_ID,
            "eventType": "Microsoft.Storage.BlobCreated",
            "eventTime": blob.modified_at.isoformat(),
            "subject": "/blobServices/default/containers/...",
            "data": {
                "api": api,
                "url": blob.url,
                "eTag": blob.etag,
                "contentLength": blob.size,
                "sequencer": sequencer or f"{int(blob.etag, 16):x}0",
            },
        }
    )


def blob_deleted(blob: Blob, event_id: str = "e2", sequencer: str = "00") -> str:
    return json.dumps(
        {
            "id": event_id,
            "source": STORAGE_ACCOUNT_ID,
            "type": "Microsoft.Storage.BlobDeleted",
            "specversion": "1.0",
            "time": blob.modified_at.isoformat(),
            "data": {"api": "DeleteBlob", "url": blob.url, "sequencer": sequencer},
        }
    )


def model_registered(model: str, version: str) -> str:
    return json.dumps(
        {
            "id": f"{model}-{version}",
            "topic": WORKSPACE_ID,
            "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
            "eventTime": "2026-03-01T12:00:00Z",
            "data": {"ModelName": model, "ModelVersion": version, "ModelTags": {}},
        }
    )


def run_status_changed(run: str, status: str) -> str:
    return json.dumps(
        {
            "id": f"{run}-{status}",
            "topic": WORKSPACE_ID,
            "eventType": "Microsoft.MachineLearningServices.RunStatusChanged",
            "eventTime": "2026-03-01T12:00:00.1234567Z",
            "data": {"runId": run, "runStatus": status, "runType": "azureml.PipelineRun"},
        }
    )


def first_model_serves(story: Story) -> None:
    """January's file becomes the model that has all the traffic."""
    story.upload("incoming/january.csv")
    story.until(story.settled(1))
    story.rest()


def first_canary_step_takes(story: Story) -> timedelta:
    """How long the next model, of February's file, stays at its first weight before it gets the second."""
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.until(lambda: {"blue": 90, "green": 10} in story.workspace.traffic_history)
    began_at = story.clock()
    story.until(lambda: {"blue": 75, "green": 25} in story.workspace.traffic_history)
    return story.clock() - began_at


def decisions_taken(story: Story, kind: str, key: str) -> Iterator[Entry]:
    """The decisions of a key that were taken, newest first: each names the one that it follows."""
    document = story.ledger.get(f"{kind}/{key}.json")
    name = document.value["decision"] if document else None
    while name and (entry := story.ledger.get(name)):
        yield entry
        name = entry.value["follows"]
