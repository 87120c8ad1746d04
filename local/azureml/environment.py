"""The environment variables by which Microsoft's SDKs, unmodified, find the emulator instead of Azure."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from local.certificates import Certificates

if TYPE_CHECKING:
    from local.azureml.emulator import EmulatorSettings


def azure_variables(base_url: str, header: str, certificates: Certificates) -> dict[str, str]:
    """Where the cloud is, whom to trust, which identity: what azure-identity, azure-ai-ml and the storage SDKs read."""
    return {
        **certificates.environment(),
        "ARM_CLOUD_METADATA_URL": f"{base_url}/metadata/endpoints",
        # Azure's is made of the cloud's name and a region: not for clouds with an address of their own.
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{base_url}/",
        "IDENTITY_ENDPOINT": f"{base_url}/msi/token",
        "IDENTITY_HEADER": header,
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
    }


def environment(settings: EmulatorSettings, certificates: Certificates) -> dict[str, str]:
    """For processes that stand where an Azure app stands: `azure_variables`, and which workspace."""
    base = f"https://127.0.0.1:{settings.port}"
    return {
        **azure_variables(base, settings.identity_header, certificates),
        "TIDEGATE_RESOURCE_MANAGER": f"{base}/",
        "TIDEGATE_SUBSCRIPTION_ID": settings.subscription_id,
        "TIDEGATE_RESOURCE_GROUP": settings.resource_group,
        "TIDEGATE_WORKSPACE": settings.workspace,
    }


def identity_header(state: Path) -> str:
    """The secret of the token endpoint: drawn once per state folder and kept there for this user alone."""
    file = state / "identity" / "header"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(16))
    return file.read_text()
