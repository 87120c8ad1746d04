"""A workspace that does not answer is tried again, whatever the SDK makes of the silence.

Real here: the SDK, on an address where nobody listens.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from azure.core.credentials import AccessToken

from local.processes import free_port
from ml_core.adapters.azureml import AzureMLWorkspace
from ml_core.errors import TemporaryError
from ml_core.settings import Settings

NAMES = {"TIDEGATE_SUBSCRIPTION_ID": "s", "TIDEGATE_RESOURCE_GROUP": "g", "TIDEGATE_WORKSPACE": "w"}
SERVICES = ("TIDEGATE_STORAGE__blobServiceUri", "TIDEGATE_STORAGE__queueServiceUri", "TIDEGATE_DATA__blobServiceUri")


class NobodysCredential:
    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        return AccessToken("nobody", 2**31)


@pytest.mark.parametrize("cloud", ["", "LocalCloud"], ids=["the first client", "a later one"])
def test_a_cloud_that_does_not_describe_itself_is_no_mistake_of_ours(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK takes the public cloud instead and stays with it, or says that it knows no such cloud."""
    address = f"https://127.0.0.1:{free_port()}"
    monkeypatch.setenv("ARM_CLOUD_METADATA_URL", f"{address}/metadata/endpoints?api-version=2019-05-01")
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", cloud)
    if not cloud:
        monkeypatch.delenv("AZUREML_CURRENT_CLOUD")
    services = dict.fromkeys(SERVICES, "https://account.example")
    settings = Settings.from_mapping({**NAMES, **services, "TIDEGATE_RESOURCE_MANAGER": f"{address}/"})
    workspace = AzureMLWorkspace(settings, Path(), NobodysCredential)
    for _ in range(2):
        with pytest.raises(TemporaryError, match=r"ARM_CLOUD_METADATA_URL|does not say which cloud"):
            workspace.job("train-churn-v1")
        assert os.environ.get("AZUREML_CURRENT_CLOUD", "") == cloud
