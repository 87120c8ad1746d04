"""Fixtures of every test that needs Azure's services.

Real here: Azurite, TLS, tokens, the emulator, Microsoft's SDKs. Not real: Azure itself, whose place the emulator takes.
Everything is started on free ports, once per session and only when a test asks for it, with its state in a temporary folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from local.certificates import Certificates, ensure_certificates
from local.processes import free_port
from local.storage.azurite import Azurite
from tests.waiting import wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from local.azureml.emulator import Emulator
    from local.azureml.mlflow import MlflowServer


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of the session's local stack."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def certificates(state: Path) -> Certificates:
    return ensure_certificates(state / "certificates")


@pytest.fixture(scope="session")
def azurite(state: Path, certificates: Certificates) -> Iterator[Azurite]:
    running = Azurite.start(state / "azurite", certificates)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def emulator(state: Path, azurite: Azurite) -> Iterator[Emulator]:
    """The emulator, answering on a free port of this process, every transition immediate.

    Its MLflow gateway answers for the registry; the mlflow server behind runs only when a test asks for it (`mlflow_server`).
    """
    from local.azureml.emulator import Emulator, EmulatorSettings
    from local.azureml.server import Server

    behind = f"http://127.0.0.1:{free_port()}"
    settings = EmulatorSettings.on_free_ports(state, azurite.blob_url, mlflow_server=behind, check_answers=True)
    server = Server(Emulator(settings))
    server.start()
    yield server.emulator
    server.stop()
    # Every answer of the session was held against Azure's REST description; deviations.py has those that we know and explain.
    assert not server.emulator.checks.deviating


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, emulator: Emulator) -> Iterator[MlflowServer]:
    """The real mlflow server behind the emulator's gateway."""
    from local.azureml.mlflow import MlflowServer

    server = MlflowServer.start(tmp_path_factory.mktemp("mlflow"), port=urlsplit(emulator.settings.mlflow_server_url).port or 0)
    yield server
    processes = [server.child.pid, *(child.pid for child in psutil.Process(server.child.pid).children(recursive=True))]
    server.stop()
    assert not [pid for pid in processes if psutil.pid_exists(pid)]


@pytest.fixture(scope="session")
def make_endpoint(emulator: Emulator) -> Callable[[str], None]:
    """Makes an online endpoint without deployments, through the REST API, and waits until it stands."""
    trust = emulator.certificates.ssl_context()
    headers = {"Authorization": f"Bearer {emulator.tokens.issue('https://management.azure.com/')[0]}"}

    def make(name: str) -> None:
        url, version = f"{emulator.base_url}{emulator.workspace_id}/onlineEndpoints/{name}", {"api-version": "2024-04-01"}
        with httpx.Client(verify=trust, headers=headers, params=version) as client:
            client.put(url, json={"location": "local", "properties": {"authMode": "Key"}}).raise_for_status()
            wait_until(lambda: client.get(url).json()["properties"]["provisioningState"] == "Succeeded", what=name)

    return make


@pytest.fixture(scope="session")
def azure_environment(emulator: Emulator, azurite: Azurite) -> Iterator[dict[str, str]]:
    """What makes Microsoft's SDKs talk to the local stack: set in this process for the session, and returned."""
    from local.azureml.testing import leading_to

    with leading_to(emulator, TIDEGATE_DATA__blobServiceUri=azurite.blob_url) as variables:
        yield variables


@pytest.fixture(scope="session")
def ml_client(azure_environment: dict[str, str]) -> MLClient:
    """The unmodified client with the unmodified default credential."""
    from local.azureml.testing import connect

    return connect(azure_environment)
