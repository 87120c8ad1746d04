"""Where a model's files may lie, and where the token never goes. Faked: the datastore; nothing is asked over the network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ml_core.adapters.model_files import read_file
from ml_core.errors import PermanentError

OWN = "https://bankdata.blob.core.windows.net"
BELOW = "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/models/paths/"


class NobodysToken:
    """A credential that is never to be asked for a token."""

    def get_token(self, *scopes: str, **options: Any) -> Any:
        raise AssertionError(f"a token for {scopes} was about to be sent")


def read(
    uri: str = BELOW + "m/1", *, account: str = "bankmodels", cloud: str = "core.windows.net", own: str = OWN
) -> bytes | None:
    place = SimpleNamespace(name="models", type="azure_blob", container_name="c", protocol="https", account_name=account)
    place.endpoint = cloud
    return read_file("m:1", uri, "golden.json", at_most=9, datastore=lambda _: place, credential=NobodysToken(), own_account=own)


@pytest.mark.parametrize(
    ("account", "cloud"),
    [
        ("bankmodels", "attacker.example"),
        ("bankmodels", "core.windows.net.attacker.example"),
        ("attacker.example/", "core.windows.net"),
        ("attacker.example#", "core.windows.net"),
        ("me@attacker.example:443/", "core.windows.net"),
        ("attacker.example:443?", "core.windows.net"),
        ("x.blob.attacker.example#", "core.windows.net"),
    ],
)
def test_a_datastore_that_leads_to_a_stranger_is_shown_no_token(account: str, cloud: str) -> None:
    with pytest.raises(PermanentError, match="no storage account of this cloud"):
        read(account=account, cloud=cloud)


@pytest.mark.parametrize(
    ("account", "cloud", "own"),
    [
        ("bankmodels", "core.windows.net", OWN),
        ("bankmodels.z12", "storage.azure.net", OWN),
        ("bankmodels", "core.usgovcloudapi.net", "https://bankdata.blob.core.usgovcloudapi.net"),
        ("bankmodels", "storage.of.its.own", "https://bankdata.blob.storage.of.its.own/"),
        ("127.0.0.1:7/devstoreaccount1#", "127.0.0.1:7", "https://127.0.0.1:7/devstoreaccount1"),
    ],
)
def test_an_account_of_the_same_cloud_is_read_with_the_apps_token(account: str, cloud: str, own: str) -> None:
    with pytest.raises(AssertionError, match="was about to be sent"):
        read(account=account, cloud=cloud, own=own)


@pytest.mark.parametrize("path", ["../other/m", "m/%2e%2e/%2e%2e/other", "m/1/.."])
def test_a_path_that_leads_out_of_the_models_folder_is_not_followed(path: str) -> None:
    with pytest.raises(PermanentError, match="leads out of its folder"):
        read(BELOW + path)


def test_a_model_that_is_in_no_datastore_is_not_read() -> None:
    for uri in ("https://attacker.example/m/1", "azureml://registries/others/models/m/versions/1", "azureml:m:1", ""):
        with pytest.raises(PermanentError, match="not in a datastore"):
            read(uri)
