"""Starting the emulator alone: Azurite and MLflow beside it, in the order of dependence, until somebody stops it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from local.azureml.command_line.running import CommandError, Note, locked, noted
from local.azureml.emulator import Emulator, EmulatorSettings
from local.azureml.environment import identity_header
from local.azureml.execution.environments import EnvironmentMissing, Policy
from local.azureml.faults import Rule
from local.azureml.mlflow import MlflowServer
from local.azureml.pace import Pace
from local.azureml.server import Server
from local.certificates import ensure_certificates
from local.processes import Child, ChildFailed, free_port, port_answers
from local.storage.azurite import Azurite

_LOOK_SECONDS = 0.2
Ready = Callable[[EmulatorSettings], None]


@dataclass(frozen=True)
class Start:
    """What the options say. A port of 0 is any free one."""

    state: Path
    port: int
    router_port: int
    blob_url: str | None
    blob_port: int
    queue_port: int
    mlflow_url: str | None
    mlflow_port: int
    subscription_id: str
    resource_group: str
    workspace: str
    pace: Pace
    faults: tuple[Rule, ...]
    environments: Policy
    event_topic_url: str | None
    event_topic_key: str | None


class Alone:
    """The emulator and what it stands on. `run` starts all, calls `ready`, and returns when a signal came."""

    def __init__(self, start: Start, console: Console) -> None:
        self._start, self._console = start, console
        self._stop = threading.Event()
        self._parts = contextlib.ExitStack()
        self._children: list[Child] = []

    def run(self, ready: Ready) -> None:
        """CommandError says in one line what was in the way, or which part ended by itself."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        with locked(self._start.state), self._parts:
            try:
                settings = self._started()
            except (ChildFailed, EnvironmentMissing, OSError, RuntimeError) as error:
                raise CommandError(_line(error)) from error
            note = Note(
                os.getpid(), settings.port, settings.router_port, settings.blob_url, settings.mlflow_url,
                settings.subscription_id, settings.resource_group, settings.workspace,
            )  # fmt: skip
            with noted(self._start.state, note):
                ready(settings)
                self._watch()
            self._console.print("stopping")

    def _started(self) -> EmulatorSettings:
        start = self._start
        self._refuse_taken_ports()
        mlflow = self._spawn_mlflow()  # first, because it takes longest
        settings = EmulatorSettings(
            state=start.state,
            port=start.port or free_port(),
            router_port=start.router_port or free_port(),
            blob_url=start.blob_url or self._azurite().blob_url,
            mlflow_url=f"http://127.0.0.1:{start.mlflow_port or free_port()}",
            mlflow_server=mlflow.url if mlflow else start.mlflow_url,
            identity_header=identity_header(start.state),
            subscription_id=start.subscription_id,
            resource_group=start.resource_group,
            workspace=start.workspace,
            pace=start.pace,
            faults=start.faults,
            environments=start.environments,
            event_topic_url=start.event_topic_url,
            event_topic_key=start.event_topic_key,
        )
        server = Server(Emulator(settings))
        self._parts.callback(server.stop)
        server.start()
        self._say("emulator", server.emulator.base_url)
        if mlflow is not None:
            mlflow.wait()
            self._say("mlflow", settings.mlflow_url)
        server.emulator.jobs.warm()
        return settings

    def _spawn_mlflow(self) -> MlflowServer | None:
        if self._start.mlflow_url is not None:
            return None
        server = MlflowServer.spawn(self._start.state / "mlflow", log=self._start.state / "logs" / "mlflow.log")
        self._parts.callback(server.stop)
        self._children.append(server.child)
        return server

    def _azurite(self) -> Azurite:
        azurite = Azurite.start(
            self._start.state / "azurite",
            ensure_certificates(self._start.state / "certificates"),
            blob_port=self._start.blob_port,
            queue_port=self._start.queue_port,
            log=self._start.state / "logs" / "azurite.log",
        )
        self._parts.callback(azurite.stop)
        self._children.append(azurite.child)
        self._say("azurite", azurite.blob_url)
        return azurite

    def _refuse_taken_ports(self) -> None:
        start = self._start
        asked = {"--port": start.port, "--router-port": start.router_port, "--mlflow-port": start.mlflow_port}
        if start.blob_url is None:
            asked |= {"--blob-port": start.blob_port, "--queue-port": start.queue_port}
        taken = [f"{port} ({option})" for option, port in asked.items() if port and port_answers(port)]
        if taken:
            raise CommandError(f"In use by another program: port {', '.join(taken)}. Stop it, or take free ones: --free-ports.")

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            for child in self._children:
                if (code := child.poll()) is not None:
                    raise CommandError(f"{child.name} ended by itself with exit code {code}: see {child.log}.")

    def _say(self, part: str, address: str) -> None:
        self._console.print(f"  [green]✓[/] {part:<9} {address}", highlight=False)


def log_to_stderr(verbose: bool) -> None:
    """Warnings; with `verbose` everything that the emulator says of itself."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    for noisy in ("azure", "httpx"):  # a line per request
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _line(error: Exception) -> str:
    """A failed child says first what happened, then the tail of its log, whose last line tells most."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if len(lines) < 2 else f"{lines[0]} {lines[-1].strip()}"
