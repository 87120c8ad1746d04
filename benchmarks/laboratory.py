"""What benchmarks run against: an emulator in a temporary folder or the whole stack, and variables by which SDKs find it."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.azureml.emulator import Emulator, EmulatorSettings
from local.azureml.environment import environment
from local.azureml.mlflow import MlflowServer
from local.azureml.server import Server
from local.certificates import ensure_certificates
from local.layout import Ports, StackEnvironment
from local.stack import Stack
from local.storage.azurite import Azurite

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

ROOT = Path(__file__).resolve().parents[1]
WAIT_SECONDS = 300.0


@contextmanager
def emulator(folder: Path, *, mlflow: bool = True) -> Iterator[Emulator]:
    """An emulator over a real Azurite, answering on a free port; this process's SDKs find it.

    `mlflow`: with a real MLflow server; jobs run without one too.
    """
    with ExitStack() as running:
        azurite = Azurite.start(folder / "azurite", ensure_certificates(folder / "certificates"))
        running.callback(azurite.stop)
        server_url = None
        if mlflow:
            server = MlflowServer.start(folder / "mlflow")
            running.callback(server.child.stop)
            server_url = server.url
        settings = EmulatorSettings.on_free_ports(folder, azurite.blob_url, mlflow_server=server_url)
        control = Server(Emulator(settings))
        running.callback(control.stop)
        control.start()
        variables = environment(settings, control.emulator.certificates)
        running.enter_context(pointed_at({**variables, "TIDEGATE_DATA__blobServiceUri": azurite.blob_url}))
        yield control.emulator


def job_seconds(running: Emulator, name: str) -> float:
    """Wait for a job; the seconds from its start to its end, as its run document has them. AssertionError when it failed."""
    assert running.jobs.wait(name, WAIT_SECONDS), f"{name} did not end"
    document = running.jobs.runs.get(name)
    assert document["status"] == "Completed", document["error"]
    return span(document)


def span(document: Mapping[str, Any]) -> float:
    """Seconds between the two times of a run document."""
    started, ended = (datetime.fromisoformat(document[key]) for key in ("startTimeUtc", "endTimeUtc"))
    return (ended - started).total_seconds()


@contextmanager
def pointed_at(variables: Mapping[str, str]) -> Iterator[None]:
    """This process's environment with `variables`, by which the SDKs find the emulator; put back afterwards."""
    before = dict(os.environ)
    os.environ.pop("AZUREML_CURRENT_CLOUD", None)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def ml_client() -> MLClient:
    """The unmodified client with the unmodified default credential."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # it warns of its own experimental classes
    names = ("TIDEGATE_SUBSCRIPTION_ID", "TIDEGATE_RESOURCE_GROUP", "TIDEGATE_WORKSPACE")
    return MLClient(DefaultAzureCredential(), *(os.environ[name] for name in names), show_progress=False)


def until(happened: Callable[[], Any], what: str) -> Any:
    """The first true value of `happened()`, asked ten times a second; TimeoutError names what did not happen."""
    end = time.monotonic() + WAIT_SECONDS
    while not (found := happened()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {WAIT_SECONDS:.0f} s")
        time.sleep(0.1)
    return found


@contextmanager
def stack(config: str, *, watched: str) -> Iterator[Stack]:
    """The whole stack on free ports, every transition immediate, with this tidegate.yaml; this process's SDKs find it."""
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        path = Path(folder, "tidegate.yaml")
        path.write_text(config)
        environment = StackEnvironment.prepare(Path(folder, "state"), Ports.free(), path)
        with Stack(environment, watched=[watched]) as running, pointed_at(environment.variables()):
            yield running
