"""Addresses of blobs, held against Azure's own SDK. Nothing is faked."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from azure.storage.blob import BlobServiceClient
from hypothesis import given
from hypothesis import strategies as st

from ml_core.addresses import BlobAddress, account_name, account_url, blob_address

ACCOUNTS = ["https://account.blob.core.windows.net", "https://127.0.0.1:10000/account"]
_containers = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=3, max_size=20)
_paths = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@given(st.sampled_from(ACCOUNTS), _containers, _paths)
def test_an_address_is_spelled_as_the_sdk_spells_it_and_read_back(account: str, container: str, path: str) -> None:
    address = BlobAddress(account, container, path)
    with BlobServiceClient(account) as service:
        assert address.url == service.get_blob_client(container, path).url
    assert blob_address(address.url) == address


@given(st.sampled_from(ACCOUNTS), _containers, _paths)
def test_however_much_a_sender_encodes_it_is_the_same_address(account: str, container: str, path: str) -> None:
    assert blob_address(f"{account}/{container}/{quote(path, safe='')}") == BlobAddress(account, container, path)


@pytest.mark.parametrize(
    ("url", "container", "path"),
    [
        (f"{ACCOUNTS[0]}/c/a b#1.csv", "c", "a b#1.csv"),
        (f"{ACCOUNTS[0]}/c/a.csv?sv=2024&sig=x", "c", "a.csv"),
        (f"{ACCOUNTS[0]}/c//a.csv", "c", "/a.csv"),
        (f"{ACCOUNTS[0]}/c/folder/", "c", "folder/"),
        (f"{ACCOUNTS[0]}/$web/a+b.csv", "$web", "a+b.csv"),
        (f"{ACCOUNTS[0]}/c/../d/a.csv", "c", "../d/a.csv"),
        (f"{ACCOUNTS[1]}/c/a.csv", "c", "a.csv"),
    ],
)
def test_the_name_is_taken_to_the_letter(url: str, container: str, path: str) -> None:
    address = blob_address(url)
    assert (address.container, address.path) == (container, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "c/a.csv",
        "file:///etc/passwd",
        "https:///c/a.csv",
        f"{ACCOUNTS[0]}/c",
        f"{ACCOUNTS[0]}/c/",
        f"{ACCOUNTS[0]}//a.csv",
        f"{ACCOUNTS[1]}/c",
        "https://127.0.0.1:10000//c/a.csv",
        "https://[::1/account/c/a.csv",
        "https://account.blob.core.windows.net:99999/c/a.csv",
        "https://account.blob.core.windows.net/c/%FF",
        "https://account.blob.core.windows.net/c/\ud800",
    ],
)
def test_what_is_no_address_of_a_blob_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - every way of being none is the same to the caller
        blob_address(url)


@pytest.mark.parametrize(
    ("url", "spelled", "name"),
    [
        ("https://account.blob.core.windows.net/", "https://account.blob.core.windows.net", "account"),
        ("https://ACCOUNT.dfs.core.windows.net/c/b", "https://account.blob.core.windows.net", "account"),
        ("https://dfs.blob.core.windows.net/c/b", "https://dfs.blob.core.windows.net", "dfs"),
        ("https://127.0.0.1:10000/account/", "https://127.0.0.1:10000/account", "account"),
        ("https://azurite:443/account", "https://azurite/account", "account"),
        ("http://[::1]:80/account", "http://[::1]/account", "account"),
    ],
)
def test_an_account_has_one_spelling_and_a_name(url: str, spelled: str, name: str) -> None:
    assert (account_url(url), account_name(url)) == (spelled, name)
