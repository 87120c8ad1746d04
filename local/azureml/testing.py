"""A pytest plugin, Azure Machine Learning for your own tests: `pytest_plugins = ["local.azureml.testing"]` in conftest.py.

Fixtures, each once per session: `azureml_emulator`, `azureml_environment` (the variables, set while tests run), `ml_client`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.azureml.emulator import Emulator, EmulatorSettings
from local.azureml.environment import environment
from local.azureml.mlflow import MlflowServer
from local.azureml.server import Server
from local.certificates import ensure_certificates
from local.storage.azurite import Azurite

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--without-mlflow`: for tests whose jobs and clients track nothing."""
    group = parser.getgroup("azureml")
    group.addoption("--without-mlflow", action="store_true", help="Start no mlflow server beside the emulator; seconds less.")


@contextlib.contextmanager
def running_emulator(state: Path, *, mlflow: bool = True) -> Iterator[Emulator]:
    """The emulator in this process on free ports, with an Azurite and an MLflow of its own, its state in `state`."""
    with contextlib.ExitStack() as parts:
        tracking = MlflowServer.spawn(state / "mlflow") if mlflow else None  # first, because it takes longest
        if tracking is not None:
            parts.callback(tracking.stop)
        azurite = Azurite.start(state / "azurite", ensure_certificates(state / "certificates"))
        parts.callback(azurite.stop)
        server_url = tracking.url if tracking else None
        settings = EmulatorSettings.on_free_ports(state, azurite.blob_url, mlflow_server=server_url)
        server = Server(Emulator(settings))
        parts.callback(server.stop)
        server.start()
        if tracking is not None:
            tracking.wait()
        server.emulator.jobs.warm()
        yield server.emulator


@contextlib.contextmanager
def leading_to(emulator: Emulator, **more: str) -> Iterator[dict[str, str]]:
    """The variables that lead Microsoft's SDKs to the emulator, and `more`, set in this process inside of the block.

    The SDK reads them late and keeps the cloud's name in AZUREML_CURRENT_CLOUD: one process has one cloud.
    """
    variables = {**environment(emulator.settings, emulator.certificates), **more}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AZUREML_CURRENT_CLOUD", raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables
        # MLClient sets it behind our back.
        patch.delenv("AZUREML_CURRENT_CLOUD", raising=False)


def connect(variables: Mapping[str, str]) -> MLClient:
    """The unmodified client with the unmodified default credential: only the environment says where Azure is."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    names = ("TIDEGATE_SUBSCRIPTION_ID", "TIDEGATE_RESOURCE_GROUP", "TIDEGATE_WORKSPACE")
    return MLClient(DefaultAzureCredential(), *(variables[name] for name in names))


@pytest.fixture(scope="session")
def azureml_emulator(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Emulator]:
    """`azureml_emulator.transitions` and `.faults` steer time and faults; its state is forgotten with the session."""
    mlflow = not pytestconfig.getoption("--without-mlflow")
    with running_emulator(tmp_path_factory.mktemp("azureml"), mlflow=mlflow) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def azureml_environment(azureml_emulator: Emulator) -> Iterator[dict[str, str]]:
    """What leads Microsoft's SDKs to the emulator, set in this process until the session ends."""
    with leading_to(azureml_emulator) as variables:
        yield variables


@pytest.fixture(scope="session")
def ml_client(azureml_environment: dict[str, str]) -> MLClient:
    """The unmodified client with the unmodified default credential."""
    return connect(azureml_environment)
