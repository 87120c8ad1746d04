"""The whole local stack: started in order of dependence, watched while it runs, stopped in reverse."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from azure.core.credentials import AccessToken
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient, ContentSettings
from azure.storage.queue import QueueServiceClient

from local.azureml.mlflow import MlflowServer
from local.eventgrid.client import STORAGE_ACCOUNTS, WORKSPACES, EventGridClient, TopicAccess
from local.host.keys import Keys
from local.identity import TokenIssuer
from local.layout import DEAD_LETTER_CONTAINER, LEDGER_CONTAINER, StackEnvironment
from local.observe import Observer
from local.parts import Part, Parts, answers, has_said
from local.parts import StackError as StackError
from local.processes import Child, port_answers
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


class _StateCredential:
    """A token credential for the stack's own use, from the state folder's signing key (no request, no emulator needed)."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        return AccessToken(*self._issuer.issue(scopes[0]))


class Stack:
    """A context manager: `with Stack(environment) as stack`. `report(name, address)` is called as each part stands.

    `pace` is the length of Azure ML's transitions (0 immediate, 1 as slow as Azure); `retry_scale` multiplies Event Grid's waits.
    `chaos` disturbs its deliveries (docs/how-to/try-the-worst.md); `lease` are the seconds after which a killed host's messages
    come back.
    """

    def __init__(
        self,
        environment: StackEnvironment,
        *,
        watched: list[str],
        pace: float = 0.0,
        retry_scale: float = 1.0,
        chaos: str = "",
        lease: float = 30.0,
        report: Callable[[str, str], None] = lambda _name, _address: None,
    ) -> None:
        self.environment = environment
        self._watched, self._pace, self._retry_scale, self._report = watched, pace, retry_scale, report
        self.chaos, self._lease = chaos, lease
        self._parts = Parts()
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
        """Start every part, as much side by side as their dependences allow. StackError says what is in the way."""
        self._take_lock()
        self._refuse_taken_ports()
        self._refuse_bad_configuration()
        env = self.environment
        mlflow = self._spawn_mlflow()  # first, because it takes longest
        self._start_azurite()
        self._await(self._spawn_eventgrid(), env.eventgrid_url)
        with EventGridClient(env.eventgrid_url) as grid:
            storage = grid.create_topic("storage", topic_type=STORAGE_ACCOUNTS, source=env.storage_account_id)
            workspace = grid.create_topic("workspace", topic_type=WORKSPACES, source=env.workspace_id)
            azureml, host = self._spawn_azureml(workspace, mlflow.url), self._spawn_host()
            self._await(azureml, env.base_url)
            self._await(host, env.host_url)
            # In this order: an event that is published before its subscription is there is nobody's.
            self._subscribe(grid)
        self._start_watcher(storage)
        mlflow.wait()
        self._report("mlflow", env.mlflow_url)
        env.save()

    def stop(self) -> None:
        """Stop every child, the last started first. Safe to call twice, and after a start that failed."""
        if self._observer is not None:
            self._observer.close()
            self._observer = None
        self._parts.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def check(self) -> None:
        """Raise StackError when a part has ended by itself: not when `kill` ended it."""
        self._parts.check()

    def pid(self, part: str) -> int:
        """The process id of `host`, `azureml`, `eventgrid`, `storage.watcher`, `azurite` or `mlflow`."""
        return self._parts[part].child.pid

    def kill(self, part: str) -> None:
        """kill -9 of one part, at whatever it is doing. What it keeps stays; `restart` goes on from there."""
        self._parts.kill(part)

    def restart(self, part: str) -> None:
        """Start a part again on the state, ports and keys that it had; returns when it answers.

        It lives no longer than the thread that calls this (`processes.die_with_parent`): the one that keeps the stack.
        """
        self._parts.restart(part)

    def upload(self, container: str, name: str, content: bytes | str) -> None:
        """Put a file into a container of Azurite (made when missing), as a user's own tool would."""
        client = self.blobs().get_container_client(container)
        with contextlib.suppress(ResourceExistsError):
            client.create_container()
        client.upload_blob(name, content, overwrite=True, content_settings=ContentSettings(content_type="text/csv"))

    def delivered(self, topic: str, subscription: str) -> int:
        """How many events Event Grid has delivered to a subscription."""
        with EventGridClient(self.environment.eventgrid_url) as grid:
            return grid.metrics(topic, subscription).delivered

    def blobs(self) -> BlobServiceClient:
        """Azurite's blob service, as the stack itself."""
        credential = _StateCredential(self._issuer())
        return BlobServiceClient(
            self.environment.blob_url, credential=credential, connection_verify=str(self.environment.certificates.bundle)
        )

    def queues(self) -> QueueServiceClient:
        """Azurite's queue service, as the stack itself."""
        credential = _StateCredential(self._issuer())
        return QueueServiceClient(
            self.environment.queue_url, credential=credential, connection_verify=str(self.environment.certificates.bundle)
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

    def _refuse_bad_configuration(self) -> None:
        """Ask the app's own check, as its own process: this package shares no code with the app."""
        command = [sys.executable, "-m", "ml_core.config", str(self.environment.config)]
        checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if checked.returncode:
            raise StackError(checked.stderr.strip())

    def _log(self, name: str) -> Path:
        return self.environment.state / "logs" / f"{name}.log"

    def _spawn(
        self, name: str, options: Callable[[], Sequence[object]], ready: Callable[[Child], bool], **variables: str
    ) -> Part:
        """Start `python -m local.<name>` with the stack's variables, without waiting for it."""

        def begin() -> Child:
            command = [sys.executable, "-m", f"local.{name}", *map(str, options())]
            environment = {**_inherited(), **self.environment.variables(), **variables}
            return Child(name, command, log=self._log(name), env=environment, cwd=ROOT)

        return self._parts.keep(Part(begin(), begin, ready))

    def _await(self, part: Part, address: str) -> None:
        part.wait()
        self._report(part.child.name, address)

    def _start_azurite(self) -> None:
        env = self.environment
        azurite = Azurite.start(
            env.state / "azurite",
            env.certificates,
            blob_port=env.ports.blob,
            queue_port=env.ports.queue,
            log=env.state / "logs" / "azurite.log",
        )
        self._parts.keep(Part(azurite.child))
        self._report("azurite", env.blob_url)
        self._ensure_containers([*self._watched, LEDGER_CONTAINER, DEAD_LETTER_CONTAINER])

    def _ensure_containers(self, names: list[str]) -> None:
        service = self.blobs()
        for name in names:
            try:
                service.create_container(name)
            except ResourceExistsError:
                continue

    def _spawn_mlflow(self) -> MlflowServer:
        """On a port of its own: at the stack's the emulator stands before it."""
        server = MlflowServer.spawn(self.environment.state / "mlflow", log=self._log("mlflow"))
        self._parts.keep(Part(server.child))
        return server

    def _spawn_eventgrid(self) -> Part:
        env = self.environment

        def options() -> list[object]:  # asked at every start: `chaos` may have been changed
            where = ["--state", env.state / "eventgrid", "--port", env.ports.eventgrid, *self._blob_options()]
            return [*where, "--time-scale", self._retry_scale, "--chaos", self.chaos]

        return self._spawn("eventgrid", options, answers(env.ports.eventgrid))

    def _blob_options(self) -> list[object]:
        """How the stack's own services reach Azurite."""
        env = self.environment
        return ["--blob-url", env.blob_url, "--identity-key", env.signing_key, "--ca", env.certificates.bundle]

    def _spawn_azureml(self, topic: TopicAccess, mlflow_url: str) -> Part:
        """The emulator starts the scoring router itself."""
        env, ports = self.environment, self.environment.ports
        options = ["--state", env.state, "--port", ports.azureml, "--router-port", ports.router, "--blob-url", env.blob_url]
        options += ["--mlflow-url", mlflow_url, "--mlflow-port", ports.mlflow, "--time-scale", self._pace]
        options += ["--event-topic-url", topic.endpoint, "--no-print-env", "--verbose"]
        return self._spawn("azureml", lambda: options, answers(ports.azureml), TIDEGATE_EVENT_TOPIC_KEY=topic.key)

    def _spawn_host(self) -> Part:
        env = self.environment
        options = ["--app", ROOT, "--port", env.ports.host, "--state", env.state / "host", "--longest-poll", 0.2]
        return self._spawn("host", lambda: [*options, "--lease", self._lease], answers(env.ports.host))

    def _start_watcher(self, topic: TopicAccess) -> None:
        options = ["--state", self.environment.state / "watcher", "--topic-url", topic.endpoint, *self._blob_options()]
        for container in self._watched:
            options += ["--container", container]

        def begin() -> list[object]:
            self._log("storage.watcher").unlink(missing_ok=True)
            return options

        # What is uploaded before its first look counts as there already.
        self._spawn("storage.watcher", begin, has_said("watching"), TIDEGATE_WATCHER_TOPIC_KEY=topic.key).wait()

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


def _inherited() -> Mapping[str, str]:
    """This process's environment without what would point an SDK elsewhere."""
    ours = ("AZUREML_", "AZURE_", "ARM_", "MLFLOW_", "TIDEGATE_", "IDENTITY_", "MSI_", "AzureWebJobs")
    dropped = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}
    return {key: value for key, value in os.environ.items() if not key.startswith(ours) and key not in dropped}
