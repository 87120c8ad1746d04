"""The environment variables by which Microsoft's SDKs, unmodified, find the emulator instead of Azure."""

from __future__ import annotations

from local.azureml.emulator import EmulatorSettings
from local.certificates import Certificates


def environment(settings: EmulatorSettings, certificates: Certificates) -> dict[str, str]:
    """For processes that stand where an Azure app stands: where the cloud is, whom to trust, which identity, which workspace."""
    base = f"https://127.0.0.1:{settings.port}"
    return {
        **certificates.environment(),
        "ARM_CLOUD_METADATA_URL": f"{base}/metadata/endpoints",
        "IDENTITY_ENDPOINT": f"{base}/msi/token",
        "IDENTITY_HEADER": settings.identity_header,
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "TIDEGATE_RESOURCE_MANAGER": f"{base}/",
        "TIDEGATE_SUBSCRIPTION_ID": settings.subscription_id,
        "TIDEGATE_RESOURCE_GROUP": settings.resource_group,
        "TIDEGATE_WORKSPACE": settings.workspace,
    }
