"""What the emulator's own tests share. Real: Azurite, TLS, tokens, the SDK, HTTP. The one thing that is made up is the assets."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest

from local.azureml.emulator import Emulator

Name = Callable[[str], str]


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
