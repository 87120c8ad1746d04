"""What the emulator's own tests share. Real: Azurite, TLS, tokens, the SDK, HTTP. The one thing that is made up is the assets."""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from local.azureml.emulator import Emulator
from local.azureml.server import Server
from local.certificates import Certificates
from local.storage.azurite import Azurite
from tests.local.azureml.job_lab import Lab
from tests.local.azureml.online import PACE, settings
from tests.local.azureml.scoring_assets import Workspace

Name = Callable[[str], str]


@pytest.fixture(scope="session")
def online(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, azurite: Azurite) -> Iterator[Workspace]:
    """An emulator beside the session's, with the same certificates so that it trusts Azurite; assets and the endpoint `line`."""
    own = tmp_path_factory.mktemp("online")
    shutil.copytree(certificates.bundle.parent, own / "certificates")
    PACE.gate.set()
    server = Server(Emulator(settings(own, azurite)))
    server.start()
    workspace = Workspace(server.emulator)
    workspace.make_assets()
    assert workspace.endpoint("line")["status"] == "Succeeded"
    assert workspace.deploy("line", "blue", version="2", environmentVariables={"TAG": "b"})["status"] == "Succeeded"
    assert workspace.endpoint("line", traffic={"blue": 100})["status"] == "Succeeded"
    yield workspace
    workspace.http.close()
    server.stop()
    assert not server.emulator.checks.deviating


@pytest.fixture(autouse=True)
def clean_invoke_headers() -> Iterator[None]:
    """azure-ai-ml writes the deployment that an `invoke` names into headers which all later ones of the process share."""
    yield
    if module := sys.modules.get("azure.ai.ml.constants._endpoint"):
        shared = module.EndpointInvokeFields.DEFAULT_HEADER
        for added in shared.keys() - {"Content-Type"}:
            del shared[added]


@pytest.fixture
def name() -> Name:
    """Makes names that no other test uses: the emulator lives as long as the session."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def http(emulator: Emulator) -> Iterator[httpx.Client]:
    """A plain client with a token for Azure Resource Manager, whose paths are relative to the workspace."""
    token, _ = emulator.tokens.issue("https://management.azure.com/")
    headers = {"Authorization": f"Bearer {token}"}
    base = emulator.base_url + emulator.workspace_id
    with httpx.Client(base_url=base, headers=headers, params={"api-version": "2024-04-01"}, verify=_trust(emulator)) as client:
        yield client


@pytest.fixture
def stranger(emulator: Emulator) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=emulator.base_url, verify=_trust(emulator)) as client:
        yield client


def _trust(emulator: Emulator) -> object:
    import ssl

    return ssl.create_default_context(cafile=emulator.certificates.bundle)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, state: Path, certificates: Certificates, azurite: Azurite) -> Iterator[Lab]:
    """An emulator without HTTP in front, for the tests of one module."""
    lab = Lab(tmp_path_factory.mktemp("lab"), state / "certificates", azurite.blob_url)
    yield lab
    lab.close()
