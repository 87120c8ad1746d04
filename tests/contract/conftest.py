"""One suite for two implementations of each port: the hand-made fake, and the adapter with the unmodified SDK on the local stack.

Real in the second case: Azurite, TLS, tokens, the emulator with its scoring processes. Made up: the model and its scoring script.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from local.monitor.traffic_log import WORKSPACE_ID
from local.storage.azurite import Azurite
from ml_core.adapters.azure_monitor import AzureMonitorEvidence
from ml_core.adapters.azureml import AzureMLWorkspace
from ml_core.adapters.blob_containers import BlobContainers
from ml_core.adapters.blob_dead_letters import BlobDeadLetters
from ml_core.adapters.blob_ledger import BlobLedger
from ml_core.adapters.log_analytics import LogAnalyticsEvidence
from ml_core.adapters.storage_queue import StorageWorkQueue
from ml_core.bootstrap import credential
from ml_core.ports import Containers, DeadLetters, Ledger, ModelVersion, TrafficEvidence, WorkQueue, Workspace
from ml_core.settings import Settings
from tests.fake_scoring import Scoring
from tests.fakes import FakeClock, FakeContainers, FakeDeadLetters, FakeEvidence, FakeLedger, FakeWorkQueue, FakeWorkspace

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json
import time
from azureml_inference_server_http.api.aml_response import AMLResponse

def init():
    pass

def run(raw):
    request = json.loads(raw)
    if "fail" in request:
        raise ValueError("asked to fail")
    if "malformed" in request:
        return AMLResponse({"error": "asked to refuse"}, 400, json_str=True)
    time.sleep(request.get("seconds", 0))
    return {"scores": [0.5]}
"""


@dataclass
class Storage:
    """The containers port, with the other side of it: people who upload and delete."""

    port: Containers
    container: str
    upload: Callable[[str, int], None]
    delete: Callable[[str], None]


@dataclass
class Letters:
    """The dead letters' port, with the other side of it: Event Grid, which puts letters."""

    port: DeadLetters
    put: Callable[[str, bytes], None]


@dataclass
class Queue:
    """The queue port, with the other side of it: the host, which receives (kind, message), or None."""

    port: WorkQueue
    receive: Callable[[str], str | None]


@dataclass
class Place:
    """The workspace port, with what others do to a workspace: register models, and let time pass."""

    port: Workspace
    account_url: str
    register_model: Callable[[ModelVersion], None]
    data_versions: Callable[[str], list[str]]
    """Of a data asset."""
    endpoint_tags: Callable[[str], dict[str, str]]
    wait: Callable[[], None]
    break_scoring: Callable[[str], None]
    """From now on new deployments fail with this."""
    register_files: Callable[[ModelVersion, Mapping[str, bytes]], None]
    """Register a model with these files, by their paths."""
    answers_take: Callable[[str, float], None]
    """From now on a model, `<name>:<version>`, takes so many seconds for an answer."""

    def until(self, happened: Callable[[], Any], *, within: float = 120) -> None:
        deadline = time.monotonic() + within
        while not happened():
            assert time.monotonic() < deadline, "it did not happen in time"
            self.wait()


@pytest.fixture
def name() -> Callable[[str], str]:
    """Makes names that no other test uses: the local stack lives as long as the session."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=["fake", "real"])
def ledger(request: pytest.FixtureRequest, name: Callable[[str], str]) -> Ledger:
    if request.param == "fake":
        return FakeLedger()
    request.getfixturevalue("azure_environment")
    azurite: Azurite = request.getfixturevalue("azurite")
    return BlobLedger(azurite.blob_url, name("ledger"), credential)


@pytest.fixture(params=["fake", "real"])
def dead_letters(request: pytest.FixtureRequest, name: Callable[[str], str]) -> Letters:
    if request.param == "fake":
        fake = FakeDeadLetters()
        return Letters(fake, lambda path, content: fake.content.update({path: content.decode(errors="replace")}))
    request.getfixturevalue("azure_environment")
    azurite: Azurite = request.getfixturevalue("azurite")
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import ContainerClient

    container = name("dead-letters")
    client = ContainerClient(azurite.blob_url, container, credential=credential())

    def put(path: str, content: bytes) -> None:
        with suppress(ResourceExistsError):
            client.create_container()
        client.upload_blob(path, content)

    return Letters(BlobDeadLetters(azurite.blob_url, container, credential), put)


@pytest.fixture(params=["fake", "real"])
def work_queue(request: pytest.FixtureRequest) -> Queue:
    if request.param == "fake":
        fake = FakeWorkQueue(FakeClock())
        return Queue(fake, lambda kind: next((text for at, to, text in fake.messages if to == kind and at <= fake.clock()), None))
    request.getfixturevalue("azure_environment")
    azurite: Azurite = request.getfixturevalue("azurite")
    return Queue(StorageWorkQueue(azurite.queue_url, credential), lambda kind: _received(azurite, kind))


def _received(azurite: Azurite, kind: str) -> str | None:
    """As the host receives it: base64 taken off."""
    from azure.storage.queue import QueueClient, TextBase64DecodePolicy

    queue = QueueClient(
        azurite.queue_url, f"tidegate-{kind}", credential=credential(), message_decode_policy=TextBase64DecodePolicy()
    )
    message = queue.receive_message()
    return str(message.content) if message else None


@pytest.fixture(params=["fake", "real"])
def storage(request: pytest.FixtureRequest, name: Callable[[str], str]) -> Storage:
    container = name("flights")
    if request.param == "fake":
        fake = FakeContainers(FakeClock())
        return Storage(
            fake, container, lambda path, size: _upload(fake, container, path, size), lambda path: fake.delete(container, path)
        )
    request.getfixturevalue("azure_environment")
    azurite: Azurite = request.getfixturevalue("azurite")
    from azure.storage.blob import ContainerClient

    client = ContainerClient(azurite.blob_url, container, credential=credential())
    client.create_container()

    def upload(path: str, size: int) -> None:
        client.upload_blob(path, b"x" * size, overwrite=True)

    return Storage(BlobContainers(azurite.blob_url, credential), container, upload, client.delete_blob)


def _upload(fake: FakeContainers, container: str, path: str, size: int) -> None:
    fake.upload(container, path, size)


@pytest.fixture(params=["fake", "real"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "fake":
        clock = FakeClock()
        fake = FakeWorkspace(clock)
        yield Place(
            port=fake,
            account_url="https://account.blob.core.windows.net",
            register_model=fake.register_model,
            data_versions=lambda asset: [version for name, version in fake.data if name == asset],
            endpoint_tags=lambda endpoint: fake.tags[endpoint],
            wait=lambda: clock.advance(timedelta(minutes=1)),
            break_scoring=lambda error: setattr(fake, "deployment_error", error),
            register_files=lambda model, files: _register_fake(fake, model, files),
            answers_take=lambda model, seconds: fake.scoring.update({model: Scoring(seconds=seconds)}),
        )
        return
    variables: dict[str, str] = request.getfixturevalue("azure_environment")
    client = request.getfixturevalue("ml_client")
    yield Place(
        port=_real_workspace(variables, tmp_path),
        account_url=variables["TIDEGATE_DATA__blobServiceUri"],
        register_model=lambda model: _register(client, model, tmp_path),
        data_versions=lambda asset: [version.version for version in client.data.list(asset)],
        endpoint_tags=lambda endpoint: dict(client.online_endpoints.get(endpoint).tags),
        wait=lambda: time.sleep(0.1),
        break_scoring=lambda error: _break_scoring(tmp_path, error),
        register_files=lambda model, files: _register(client, model, tmp_path, files),
        answers_take=lambda _model, _seconds: None,  # the questions say it to the scoring script
    )


def _break_scoring(app: Path, error: str) -> None:
    script = f"def init():\n    raise RuntimeError({error!r})\n\ndef run(raw):\n    return None\n"
    (app / "components" / "score" / "score.py").write_text(script)


def _real_workspace(variables: dict[str, str], app: Path) -> AzureMLWorkspace:
    """An app's folder with the repository's pipelines and environments, and a scoring script that needs no trained model."""
    from local.azureml.execution.environments import ENVIRONMENTS, link

    for part in ("components", "ml_core"):  # a step takes a module of the app along
        shutil.copytree(ROOT / part, app / part, ignore=shutil.ignore_patterns("__pycache__"))
    (app / "components" / "score" / "score.py").write_text(SCRIPT)
    for environment in ("serve", "train"):
        link(ROOT / "components" / "environment" / f"{environment}.conda.yaml", ENVIRONMENTS / environment)
    return AzureMLWorkspace(_settings(variables), app, credential)


def _settings(variables: dict[str, str]) -> Settings:
    storage = variables["TIDEGATE_DATA__blobServiceUri"]
    uris = {"TIDEGATE_STORAGE__blobServiceUri": storage, "TIDEGATE_STORAGE__queueServiceUri": storage}
    return Settings.from_mapping({**variables, **uris})


def _register_fake(fake: FakeWorkspace, model: ModelVersion, files: Mapping[str, bytes]) -> None:
    fake.register_model(model)
    fake.files.update({(model.name, model.version, path): content for path, content in files.items()})


def _register(client: Any, model: ModelVersion, folder: Path, files: Mapping[str, bytes] | None = None) -> None:
    from azure.ai.ml.entities import Model

    place = folder / f"{model.name}-{model.version}"
    place.mkdir()
    (place / "model.json").write_text(json.dumps({"name": model.name}))
    for path, content in (files or {}).items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    registered = Model(name=model.name, version=model.version, path=str(place), type="custom_model", tags=dict(model.tags))
    client.models.create_or_update(registered)


@pytest.fixture(params=["fake", "metrics", "log"])
def evidence(request: pytest.FixtureRequest) -> TrafficEvidence:
    """Three sources: the fake, Azure Monitor's metrics, the traffic log in Log Analytics."""
    if request.param == "fake":
        return FakeEvidence()
    settings = _settings(request.getfixturevalue("azure_environment"))
    if request.param == "log":
        return LogAnalyticsEvidence(settings.resource_manager, WORKSPACE_ID, settings.workspace_id, credential)
    return AzureMonitorEvidence(settings.resource_manager, settings.subscription_id, settings.workspace_id, credential)
