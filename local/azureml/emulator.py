"""The emulator as a whole: its settings, its parts, their beginning and their end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.azureml import computes, interrupted
from local.azureml.checks import Checks
from local.azureml.environment import identity_header
from local.azureml.events import EventSink
from local.azureml.execution.environments import Policy
from local.azureml.execution.runner import JobRunner
from local.azureml.faults import Faults, Rule
from local.azureml.mlflow.artifacts import RunArtifacts
from local.azureml.operations import Operations
from local.azureml.pace import Pace, Transitions
from local.azureml.scheduling.scheduler import Scheduler
from local.azureml.serving.service import Serving
from local.azureml.storage import EmulatorStorage
from local.azureml.store import Store
from local.certificates import ensure_certificates
from local.identity import TokenIssuer
from local.processes import free_port

DEFAULT_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class EmulatorSettings:
    """Everything that differs between two emulators. Ports are real ones here: ask `local.processes.free_port` for a free one."""

    state: Path
    """The stack's state folder; the emulator uses `azureml/`, `certificates/`, `identity/` in it."""
    port: int
    """Control plane and token endpoint, https."""
    router_port: int
    """Scoring, https."""
    blob_url: str
    """Azurite's blob service with its account, e.g. https://127.0.0.1:10000/devstoreaccount1."""
    mlflow_url: str
    """The tracking URI of the workspace and its jobs: the gateway's before `mlflow_server`, or an mlflow server itself."""
    identity_header: str = field(repr=False)
    """The secret that a caller of the token endpoint must know."""
    subscription_id: str = DEFAULT_SUBSCRIPTION
    resource_group: str = "tidegate-local"
    workspace: str = "tidegate-local"
    pace: Pace = field(default_factory=Pace.immediate)
    """At the start; `Emulator.transitions` has the pace of now."""
    probe_second: float = 1.0
    """How many seconds a second in the probes of online deployments lasts. Azure's probes know whole seconds only: for tests."""
    faults: tuple[Rule, ...] = ()
    """At the start; `Emulator.faults` has the rules of now. Neither outlives the process."""
    check_answers: bool = False
    """Hold every answer against Azure's REST description and remember what deviates (`Emulator.checks.deviating`): for tests."""
    environments: Policy = "strict"
    """What becomes of a job whose conda file no local environment stands for."""
    event_topic_url: str | None = None
    """Where the workspace's events go; None: nowhere."""
    event_topic_key: str | None = field(default=None, repr=False)
    mlflow_server: str | None = None
    """Base URL of the mlflow server that the gateway at `mlflow_url` (a port of 127.0.0.1, http) stands before.

    None: no gateway, and then MLflow's model registry is the server's own and not the workspace's models.
    """

    @classmethod
    def on_free_ports(cls, state: Path, blob_url: str, **others: Any) -> EmulatorSettings:
        """For an emulator beside any others: ports that are free, and what `others` say. Nothing listens at its MLflow then."""
        usual = {
            "port": free_port(),
            "router_port": free_port(),
            "mlflow_url": f"http://127.0.0.1:{free_port()}",
            "identity_header": identity_header(state),
        }
        return cls(state=state, blob_url=blob_url, **{**usual, **others})

    @property
    def mlflow_server_url(self) -> str:
        """The mlflow server itself, for the emulator's own work."""
        return self.mlflow_server or self.mlflow_url


class Emulator:
    """Constructed, it only opens its files; `open` starts threads and children, `close` ends them."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self.settings = settings
        self.certificates = ensure_certificates(settings.state / "certificates")
        self.tokens = TokenIssuer(settings.state / "identity" / "signing.key")
        self.folder = settings.state / "azureml"
        self.checks = Checks(self)
        self.store = Store(self.folder / "emulator.sqlite")
        self.storage = EmulatorStorage(self)
        self.artifacts = RunArtifacts(self)
        self.transitions = Transitions(settings.pace)
        self.faults = Faults(settings.faults)
        self.events = EventSink(self)
        self.operations = Operations(self)
        self.jobs = JobRunner(self)
        self.serving = Serving(self)
        self.scheduler = Scheduler(self)

    @property
    def base_url(self) -> str:
        """Without a trailing slash."""
        return f"https://127.0.0.1:{self.settings.port}"

    @property
    def workspace_id(self) -> str:
        """The workspace's ARM id."""
        group = f"/subscriptions/{self.settings.subscription_id}/resourceGroups/{self.settings.resource_group}"
        return f"{group}/providers/Microsoft.MachineLearningServices/workspaces/{self.settings.workspace}"

    def open(self) -> None:
        """Make the containers, then go on with what an earlier life left undone."""
        self.storage.ensure_containers()
        computes.create_default(self)
        interrupted.settle(self)
        self.operations.resume()
        self.events.resume()
        self.serving.resume()
        self.jobs.resume()
        self.scheduler.open()

    def close(self) -> None:
        """In the order of dependence: what writes goes before what is written to."""
        self.scheduler.close()
        self.jobs.close()
        self.serving.close()
        self.operations.close()
        self.events.close()
        self.artifacts.close()
        self.storage.close()
        self.store.close()
