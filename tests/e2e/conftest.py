"""The whole local stack as child processes on free ports, once for all end-to-end tests.

Real here: Azurite, MLflow, the emulator with its jobs and scoring processes, Event Grid, the watcher, the host and the app in it.
Not real: Azure. Nothing is faked; only the waiting times of the configuration are short.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ResourceNotFoundError

from local.demo.stages import Stages
from local.demo.story import TITLES, Outcome, Story
from local.host.keys import Keys
from local.layout import Ports, StackEnvironment
from local.stack import Stack

CONFIG = Path(__file__).with_name("tidegate.yaml")
PATIENCE = 5.0
"""Multiplies the demo's deadlines: a busy CI machine is slow, and slow is not wrong."""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = StackEnvironment.prepare(tmp_path_factory.mktemp("stack"), Ports.free(), CONFIG)
    with Stack(environment, watched=["flights", "loans", "arrivals"], lease=3.0) as running:
        yield running


@pytest.fixture(scope="session")
def outcome(stack: Stack) -> Outcome:
    """The demo's story, told once: two files, two models, a canary."""
    return Story(stack, Stages(TITLES[1:]), rows=3000, patience=PATIENCE).tell()


class Host:
    """The Functions host from outside: its admin routes, the webhook, the HTTP functions."""

    def __init__(self, stack: Stack) -> None:
        self.keys = Keys.ensure(stack.environment.state / "host")
        self.http = httpx.Client(base_url=stack.environment.host_url, timeout=30.0)

    def post_events(self, function: str, events: list[dict[str, Any]], *, key: str | None = None) -> httpx.Response:
        """What Event Grid does, by hand."""
        parameters = {"functionName": function, "code": key or self.keys.eventgrid_extension}
        headers = {"aeg-event-type": "Notification"}
        return self.http.post("/runtime/webhooks/eventgrid", params=parameters, headers=headers, json=events)

    def succeeded(self, function: str) -> int:
        """How many invocations of a function have succeeded so far (of the recent ones that the host keeps)."""
        headers = {"x-functions-key": self.keys.master}
        answer = self.http.get("/admin/host/invocations", params={"function": function}, headers=headers)
        answer.raise_for_status()
        return sum(invocation["outcome"] == "succeeded" for invocation in answer.json())

    def status(self) -> dict[str, Any]:
        answer = self.http.get("/api/status", headers={"x-functions-key": self.keys.function})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="session")
def host(stack: Stack) -> Iterator[Host]:
    running = Host(stack)
    yield running
    running.http.close()


@pytest.fixture(scope="session")
def ledger(stack: Stack) -> Callable[[str], dict[str, Any]]:
    """Reads all documents of the ledger below a prefix: `{name: document}`. One that is removed meanwhile is left out."""

    def read(prefix: str) -> dict[str, Any]:
        container = stack.blobs().get_container_client("tidegate-ledger")
        documents = {}
        for name in container.list_blob_names(name_starts_with=prefix):
            with suppress(ResourceNotFoundError):
                documents[name] = json.loads(container.download_blob(name).readall())
        return documents

    return read
