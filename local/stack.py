"""The whole local stack: started in order of dependence, watched while it runs, stopped in reverse."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from azure.core.credentials import AccessToken
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient, ContentSettings

from local.eventgrid.client import EventGridClient, TopicAccess
from local.host.keys import Keys
from local.identity import TokenIssuer
from local.layout import DEAD_LETTER_CONTAINER, LEDGER_CONTAINER, StackEnvironment
from local.observe import Observer
from local.processes import Child, ChildFailed, port_answers, tail
from local.storage.azurite import Azurite

ROOT = Path(__file__).resolve().parent.parent


# topic, subscription, function, filter
SUBSCRIPTIONS: list[tuple[str, str, str, dict[str, Any]]] = [
    (
        "storage",
        "uploads",
        "register_uploaded_data",
        {"includedEventTypes": ["Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobDeleted"]},
    ),
    ("workspace", "models", "request_rollout", {"includedEventTypes": ["Microsoft.MachineLearningServices.ModelRegistered"]}),
    (
        "workspace",
        "runs",
        "observe_training",
        {
            "includedEventTypes": ["Microsoft.MachineLearningServices.RunStatusChanged"],
            "advancedFilters": [{"operatorType": "StringIn", "key": "data.runType", "values": ["azureml.PipelineRun"]}],
        },
    ),
]


class StackError(RuntimeError):
    """The stack cannot start or go on. The message says what to do."""


class _StateCredential:
    """A token credential for the stack's own use, from the state folder's signing key (no request, no emulator needed)."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        return AccessToken(*self._issuer.issue(scopes[0]))


class Stack:
    """A context manager: `with Stack(environment) as stack`. `report(name, address)` is called as each part stands.

    `pace` is the length of Azure ML's transitions (0 immediate, 1 as slow as Azure); `retry_scale` multiplies Event Grid's waits.
    """

    def __init__(
        self,
        environment: StackEnvironment,
        *,
        watched: list[str],
        pace: float = 0.0,
        retry_scale: float = 1.0,
        report: Callable[[str, str], None] = lambda _name, _address: None,
    ) -> None:
        self.environment = environment
        self._watched, self._pace, self._retry_scale, self._report = watched, pace, retry_scale, report
        self._children: list[Child] = []
        self._lock: IO[str] | None = None
        self._observer: Observer | None = None

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def observer(self) -> Observer:
        if self._observer is None:
            self._observer = Observer(self.environment)
        return self._observer

    def start(self) -> None:
        """Start every part in order of dependence. StackError says what is in the way."""
        self._take_lock()
        self._refuse_taken_ports()
        env = self.environment
        started = time.monotonic()
        self._start_azurite()
        self._start(
            "eventgrid", [*_module("local.eventgrid"), *self._eventgrid_options()], env.ports.eventgrid, env.eventgrid_url
        )
        grid = EventGridClient(env.eventgrid_url)
        storage = grid.create_topic("storage", topic_type="Microsoft.Storage.StorageAccounts", source=env.storage_account_id)
        workspace = grid.create_topic(
            "workspace", topic_type="Microsoft.MachineLearningServices.Workspaces", source=env.workspace_id
        )
        self._start_azureml(workspace)
        self._start_host()
        # In this order: an event that is published before its subscription is there is nobody's.
        self._subscribe(grid)
        self._start_watcher(storage)
        grid.close()
        env.save()
        self._report("ready", f"{time.monotonic() - started:.1f} s")

    def stop(self) -> None:
        """Stop every child, the last started first. Safe to call twice, and after a start that failed."""
        if self._observer is not None:
            self._observer.close()
            self._observer = None
        while self._children:
            self._children.pop().stop(grace=10.0)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def check(self) -> None:
        """Raise StackError when a part has ended by itself."""
        for child in self._children:
            code = child.poll()
            if code is not None:
                raise StackError(f"{child.name} ended with exit code {code}. The end of {child.log}:\n{tail(child.log)}")

    def upload(self, container: str, name: str, content: bytes | str) -> None:
        """Put a file into a container of Azurite (made when missing), as a user's own tool would."""
        client = self._blobs().get_container_client(container)
        with contextlib.suppress(ResourceExistsError):
            client.create_container()
        client.upload_blob(name, content, overwrite=True, content_settings=ContentSettings(content_type="text/csv"))

    def delivered(self, topic: str, subscription: str) -> int:
        """How many events Event Grid has delivered to a subscription."""
        with EventGridClient(self.environment.eventgrid_url) as grid:
            return grid.metrics(topic, subscription).delivered

    def _blobs(self) -> BlobServiceClient:
        credential = _StateCredential(self._issuer())
        return BlobServiceClient(
            self.environment.blob_url, credential=credential, connection_verify=str(self.environment.certificates.bundle)
        )

    def _issuer(self) -> TokenIssuer:
        return TokenIssuer(self.environment.signing_key)

    def _take_lock(self) -> None:
        self._lock = (self.environment.state / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StackError(
                f"Another stack runs on {self.environment.state}. Stop it first (Ctrl-C there), or take another folder: --state."
            ) from None

    def _refuse_taken_ports(self) -> None:
        taken = [f"{port} ({name})" for name, port in vars(self.environment.ports).items() if port_answers(port)]
        if taken:
            raise StackError(f"These ports are in use: {', '.join(taken)}. Stop what listens there, or start with --free-ports.")

    def _start(self, name: str, command: list[str], port: int, address: str, **variables: str) -> None:
        """Start one part as a child with the stack's variables; return when its port answers."""
        log = self.environment.state / "logs" / f"{name}.log"
        environment = {**_inherited(), **self.environment.variables(), **variables}
        child = Child(name, command, log=log, env=environment, cwd=ROOT)
        self._children.append(child)
        try:
            child.wait_until(lambda: port_answers(port))
        except ChildFailed as error:
            raise StackError(f"{error}\nThe whole log: {log}") from error
        self._report(name, address)

    def _start_azurite(self) -> None:
        env = self.environment
        azurite = Azurite.start(
            env.state / "azurite",
            env.certificates,
            blob_port=env.ports.blob,
            queue_port=env.ports.queue,
            log=env.state / "logs" / "azurite.log",
        )
        self._children.append(azurite.child)
        self._report("azurite", env.blob_url)
        self._ensure_containers([*self._watched, LEDGER_CONTAINER, DEAD_LETTER_CONTAINER])

    def _ensure_containers(self, names: list[str]) -> None:
        service = self._blobs()
        for name in names:
            try:
                service.create_container(name)
            except ResourceExistsError:
                continue

    def _eventgrid_options(self) -> list[str]:
        env = self.environment
        return [
            "--state", str(env.state / "eventgrid"), "--port", str(env.ports.eventgrid), "--time-scale", str(self._retry_scale),
            "--blob-url", env.blob_url, "--identity-key", str(env.signing_key), "--ca", str(env.certificates.bundle),
        ]  # fmt: skip

    def _start_azureml(self, topic: TopicAccess) -> None:
        """The emulator starts MLflow and the scoring router itself."""
        env, ports = self.environment, self.environment.ports
        command = [
            *_module("local.azureml"), "--state", str(env.state), "--port", str(ports.azureml),
            "--router-port", str(ports.router), "--blob-url", env.blob_url, "--mlflow-port", str(ports.mlflow), "--time-scale", str(self._pace),
            "--event-topic-url", topic.endpoint, "--no-print-env",
        ]  # fmt: skip
        self._start("azureml", command, ports.azureml, env.base_url, TIDEGATE_EVENT_TOPIC_KEY=topic.key)
        self._report("mlflow", env.mlflow_url)

    def _start_host(self) -> None:
        env = self.environment
        command = [
            *_module("local.host"), "--app", str(ROOT), "--port", str(env.ports.host), "--state", str(env.state / "host"),
            "--longest-poll", "0.2",
        ]  # fmt: skip
        self._start("host", command, env.ports.host, env.host_url)

    def _start_watcher(self, topic: TopicAccess) -> None:
        env = self.environment
        command = [
            *_module("local.storage.watcher"), "--state", str(env.state / "watcher"), "--blob-url", env.blob_url,
            "--topic-url", topic.endpoint, "--identity-key", str(env.signing_key), "--ca", str(env.certificates.bundle),
        ]  # fmt: skip
        for container in self._watched:
            command += ["--container", container]
        log = env.state / "logs" / "watcher.log"
        log.unlink(missing_ok=True)
        variables = {**_inherited(), **env.azure_variables(), "TIDEGATE_WATCHER_TOPIC_KEY": topic.key}
        child = Child("watcher", command, log=log, cwd=ROOT, env=variables)
        self._children.append(child)
        # What is uploaded before its first look counts as there already.
        child.wait_until(lambda: tail(log, 1).endswith("watching"))

    def _subscribe(self, grid: EventGridClient) -> None:
        """The three event subscriptions of docs/how-to/deploy-to-azure.md, to the host's webhook."""
        key = Keys.ensure(self.environment.state / "host").eventgrid_extension
        for topic, name, function, event_filter in SUBSCRIPTIONS:
            url = f"{self.environment.host_url}/runtime/webhooks/eventgrid?functionName={function}&code={key}"
            dead_letters = {
                "endpointType": "StorageBlob",
                "properties": {"resourceId": self.environment.storage_account_id, "blobContainerName": DEAD_LETTER_CONTAINER},
            }
            grid.create_subscription(topic, name, endpoint_url=url, filter=event_filter, dead_letter=dead_letters)


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]


def _inherited() -> Mapping[str, str]:
    """This process's environment without what would point an SDK elsewhere."""
    ours = ("AZUREML_", "AZURE_", "ARM_", "MLFLOW_", "TIDEGATE_", "IDENTITY_", "MSI_", "AzureWebJobs")
    dropped = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}
    return {key: value for key, value in os.environ.items() if not key.startswith(ours) and key not in dropped}
