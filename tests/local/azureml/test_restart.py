"""An emulator that is stopped, or killed, and started again on the same state folder: nothing is forgotten.

Its events go to a small HTTP server that stands for the Event Grid topic.
"""

from __future__ import annotations

import json
import queue
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.azureml.emulator import Emulator, EmulatorSettings
from local.azureml.server import Server
from local.certificates import Certificates
from local.storage.azurite import Azurite

MODEL = {
    "modelUri": "azureml://jobs/j/outputs/model",
    "modelType": "mlflow_model",
    "tags": {"job": "j"},
    "properties": {"p": "1"},
}


@dataclass
class Topic:
    """Answers `status`, and hands out what it accepted."""

    url: str = ""
    status: int = 200
    accepted: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)
    refused: threading.Event = field(default_factory=threading.Event)

    def next(self) -> dict[str, Any]:
        return self.accepted.get(timeout=30)


@pytest.fixture
def topic() -> Iterator[Topic]:
    state = Topic()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            allowed = state.status == 200 and self.headers["aeg-sas-key"] == "topic-key"
            self.send_response(200 if allowed else 503)
            self.end_headers()
            for event in body if allowed else []:
                state.accepted.put(event)
            if not allowed:
                state.refused.set()

        def log_message(self, *_: object) -> None:
            """Keep the tests' output quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/topics/workspace/api/events"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


Start = Callable[[], Any]


@pytest.fixture
def start(tmp_path: Path, certificates: Certificates, azurite: Azurite, topic: Topic) -> Start:
    """`with start() as (emulator, http)`: every call is another life on the same state folder and port."""
    # A state folder of its own that trusts the session's Azurite.
    shutil.copytree(certificates.bundle.parent, tmp_path / "certificates")
    settings = EmulatorSettings.on_free_ports(tmp_path, azurite.blob_url, event_topic_url=topic.url, event_topic_key="topic-key")

    @contextmanager
    def life() -> Iterator[tuple[Emulator, httpx.Client]]:
        server = Server(Emulator(settings))
        server.start()
        emulator = server.emulator
        token, _ = emulator.tokens.issue("https://management.azure.com")
        trust = ssl.create_default_context(cafile=emulator.certificates.bundle)
        base = emulator.base_url + emulator.workspace_id
        headers = {"Authorization": f"Bearer {token}"}
        try:
            with httpx.Client(base_url=base, headers=headers, params={"api-version": "x"}, verify=trust) as http:
                yield emulator, http
        finally:
            server.stop()

    return life


def put_model(http: httpx.Client, version: str = "1", **properties: Any) -> httpx.Response:
    return http.put(f"/models/churn/versions/{version}", json={"properties": {**MODEL, **properties}})


def test_assets_tokens_and_the_workspace_survive_a_restart(start: Start) -> None:
    with start() as (_, http):
        put_model(http)
        before = http.get("/models/churn/versions/1").json()
        workspace = http.get("").json()
        token = http.headers["Authorization"]
    with start() as (_, http):
        assert http.get("/models/churn/versions/1", headers={"Authorization": token}).json() == before
        assert http.get("").json() == workspace
        assert http.get("/models/churn").json()["properties"]["nextVersion"] == "2"


def test_an_operation_that_a_restart_cut_off_has_failed(start: Start) -> None:
    with start() as (emulator, _):
        headers = emulator.operations.start(None, lambda: None, kind="test")
    operation = headers["Azure-AsyncOperation"].rpartition("/")[2].partition("?")[0]
    with start() as (emulator, _):
        # As a killed process leaves it: begun, and nobody there to end it.
        emulator.store.put("operations", operation, "", {"status": "InProgress", "kind": "test", "startTime": "", "result": None})
    with start() as (_, http):
        body = http.get(headers["Azure-AsyncOperation"]).json()
        assert (body["status"], body["error"]["code"]) == ("Failed", "OperationInterrupted")


def test_a_new_model_version_raises_one_event_of_the_real_shape(start: Start, topic: Topic) -> None:
    with start() as (emulator, http):
        assert put_model(http, "1").status_code == 201
        assert put_model(http, "1", tags={"stage": "live"}).status_code == 200
        assert put_model(http, "v2").status_code == 201
        first, second = topic.next(), topic.next()
        assert topic.accepted.empty()
    assert (first["topic"], first["subject"]) == (emulator.workspace_id, "models/churn:1")
    assert first["eventType"] == "Microsoft.MachineLearningServices.ModelRegistered"
    assert first["data"] == {"ModelName": "churn", "ModelVersion": 1, "ModelTags": {"job": "j"}, "ModelProperties": {"p": "1"}}
    assert set(first) == {"id", "topic", "subject", "eventType", "eventTime", "data", "dataVersion", "metadataVersion"}
    assert (second["subject"], second["data"]["ModelVersion"]) == ("models/churn:v2", "v2")
    assert first["id"] != second["id"]


def test_an_event_that_the_topic_refused_is_delivered_when_it_is_back(start: Start, topic: Topic) -> None:
    topic.status = 503
    with start() as (_, http):
        put_model(http)
        assert topic.refused.wait(30)
        topic.status = 200
        assert topic.next()["subject"] == "models/churn:1"


def test_an_event_that_could_not_be_delivered_outlives_the_process(start: Start, topic: Topic) -> None:
    topic.status = 503
    with start() as (_, http):
        put_model(http)
        assert topic.refused.wait(30)
    topic.status = 200
    with start():
        assert topic.next()["subject"] == "models/churn:1"


def test_a_refused_model_raises_no_event(start: Start, topic: Topic) -> None:
    with start() as (_, http):
        assert put_model(http, "1", modelType="pickle").status_code == 400
        assert put_model(http, "2").status_code == 201
        assert topic.next()["subject"] == "models/churn:2"
        assert topic.accepted.empty()
