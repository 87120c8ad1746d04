"""Addresses of blobs: one spelling for each, whoever announces it, and the account that it lies in.

A blob of an account with a hierarchical namespace has two addresses, at `<account>.dfs.…` and at `<account>.blob.…`, and senders
differ in what they percent-encode. Here it is always the blob service's, encoded as Azure's SDK does it: what a listing shows and
what an event says can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit


@dataclass(frozen=True)
class BlobAddress:
    """A blob's place. `account_url` as of `account_url`; container and path decoded."""

    account_url: str
    container: str
    path: str

    @property
    def url(self) -> str:
        return f"{self.account_url}/{quote(self.container)}/{quote(self.path, safe='~/')}"


def blob_address(url: str) -> BlobAddress:
    """Read a blob's address; raise ValueError when it is none. A query (a SAS) is no part of it.

    '#' is taken as a letter of the name: no address of a blob has a fragment, and not every sender encodes it.
    """
    account, _, path_in_account = _split(url)
    container, _, path = path_in_account.partition("/")
    if not container or not path:
        raise ValueError(f"{url!r} is not the address of a blob in a container")
    # Strictly: a name that is no UTF-8 would become the name of another blob.
    address = BlobAddress(account, unquote(container, errors="strict"), unquote(path, errors="strict"))
    (address.container + address.path).encode()
    return address


def account_url(url: str) -> str:
    """The one spelling of a storage account's address (of its own, or of anything in it).

    `https://<account>.blob.core.windows.net`, or `https://127.0.0.1:10000/<account>` where the account is named by the path.
    """
    return _split(url)[0]


def account_name(url: str) -> str:
    """The name of the storage account that the address lies in, in lower case."""
    return _split(url)[1]


def _split(url: str) -> tuple[str, str, str]:
    """The account's address, its name, and the path inside the account."""
    parts = urlsplit(url, allow_fragments=False)
    path = parts.path.removeprefix("/")
    if _is_path_style(parts.netloc):
        name, _, path = path.partition("/")
        return *_account(parts.scheme, parts.netloc, name), path
    return *_account(parts.scheme, parts.netloc, ""), path


# Read again and again for the same few accounts; what strangers send is forgotten again.
@lru_cache(maxsize=32)
def _account(scheme: str, netloc: str, in_path: str) -> tuple[str, str]:
    """An account's address in its one spelling, and its name. `in_path`: the name, where the path tells it."""
    host, port = urlsplit(f"//{netloc}").hostname or "", urlsplit(f"//{netloc}").port
    name = in_path.lower() if _is_path_style(netloc) else host.partition(".")[0]
    if scheme not in ("https", "http") or not name:
        raise ValueError(f"'{scheme}://{netloc}' is not the address of a storage account")
    labels = ["blob" if number and label == "dfs" else label for number, label in enumerate(host.split("."))]
    spelled = f"[{host}]" if ":" in host else ".".join(labels)
    usual = port is None or port == {"https": 443, "http": 80}[scheme]
    return f"{scheme}://{spelled}{'' if usual else f':{port}'}{f'/{name}' if in_path else ''}", name


@lru_cache(maxsize=32)
def _is_path_style(netloc: str) -> bool:
    """Azure Storage addresses an account by path when the host is an IP address or a bare name (private endpoints, emulators).

    https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
    """
    host = urlsplit(f"//{netloc}").hostname or ""
    return "." not in host or host.replace(".", "").isdigit() or ":" in host
