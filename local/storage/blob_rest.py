"""The few blob operations that the laptop's own services need, straight over REST with the stack's tokens.

Listing is polled several times a second, so it is parsed here without an SDK's model objects (about a tenth of the time).
"""

from __future__ import annotations

import ssl
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from local.identity import TokenIssuer

_VERSION = "2021-12-02"
_AUDIENCE = "https://storage.azure.com"
_RENEW_SECONDS = 300
# What Azure leaves unencoded in the path of an event's url and in its own URLs.
_PATH_SAFE = "/~!$&'()*+,;=:@"


class BlobServiceError(Exception):
    """The blob service refused or could not be reached. `status` is None when there was no answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ListedBlob:
    """One committed blob of a listing; times are as the service prints them, the eTag is without quotes."""

    name: str
    etag: str
    size: int
    content_type: str
    blob_type: str
    created: str
    md5: str
    copy_id: str
    described: str
    """Metadata and content headers, as one text: what can change without the content."""


class BlobService:
    """A blob service account such as `https://127.0.0.1:10000/devstoreaccount1`."""

    def __init__(self, account_url: str, issuer: TokenIssuer, *, ca: Path | None = None, timeout: float = 30.0) -> None:
        """`ca`: a PEM bundle to trust; without it SSL_CERT_FILE or the system's."""
        self.account_url = account_url.rstrip("/")
        self._issuer = issuer
        self._token, self._expires = "", 0
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
        # Proxies of the environment are no way to 127.0.0.1.
        self._http = httpx.Client(verify=context, trust_env=False, timeout=timeout)

    def url(self, container: str, name: str) -> str:
        """The blob's URL, percent-encoded."""
        return f"{self.account_url}/{container}/{quote(name, safe=_PATH_SAFE)}"

    def containers(self) -> Iterator[str]:
        marker = ""
        while True:
            page = self._xml("", {"comp": "list", "marker": marker})
            yield from (item.findtext("Name", "") for item in page.iterfind("Containers/Container"))
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return

    def blobs(self, container: str, *, page_size: int = 5000) -> Iterator[ListedBlob]:
        """Every committed blob of the container, page by page; uncommitted blobs and snapshots are not listed."""
        query = {"restype": "container", "comp": "list", "include": "metadata,copy", "maxresults": str(page_size)}
        marker = ""
        while True:
            page = self._xml(f"/{container}", {**query, "marker": marker})
            yield from (_listed(item) for item in page.iterfind("Blobs/Blob"))
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return

    def has_committed_blocks(self, container: str, name: str) -> bool:
        """True when the block blob was written by Put Block List (a Put Blob leaves no block list)."""
        path = f"/{container}/{quote(name, safe=_PATH_SAFE)}"
        return self._xml(path, {"comp": "blocklist", "blocklisttype": "committed"}).find("CommittedBlocks/Block") is not None

    def put(self, container: str, name: str, content: bytes, content_type: str) -> None:
        headers = {"x-ms-blob-type": "BlockBlob", "content-type": content_type}
        self._send("PUT", f"/{container}/{quote(name, safe=_PATH_SAFE)}", {}, headers, content)

    def get(self, container: str, name: str) -> bytes:
        return self._send("GET", f"/{container}/{quote(name, safe=_PATH_SAFE)}", {}, {}, b"")

    def create_container(self, name: str) -> None:
        self._send("PUT", f"/{name}", {"restype": "container"}, {}, b"")

    def close(self) -> None:
        self._http.close()

    def _xml(self, path: str, query: dict[str, str]) -> ET.Element:
        # The XML comes from the stack's own Azurite on 127.0.0.1; expat resolves no external entities.
        return ET.fromstring(self._send("GET", path, query, {}, b""))  # noqa: S314

    def _send(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], content: bytes) -> bytes:
        if time.time() > self._expires - _RENEW_SECONDS:
            self._token, self._expires = self._issuer.issue(_AUDIENCE)
        headers = {**headers, "authorization": f"Bearer {self._token}", "x-ms-version": _VERSION}
        query = {name: value for name, value in query.items() if value}
        try:
            response = self._http.request(method, self.account_url + path, params=query, headers=headers, content=content)
        except httpx.HTTPError as error:
            raise BlobServiceError(f"{method} {self.account_url}{path}: {error or type(error).__name__}") from error
        if response.status_code >= 300:
            code = response.headers.get("x-ms-error-code", "")
            raise BlobServiceError(f"{method} {self.account_url}{path}: {response.status_code} {code}", response.status_code)
        return response.content


def _listed(item: ET.Element) -> ListedBlob:
    found = {entry.tag: entry.text or "" for entry in item.iterfind("Properties/*")}
    metadata = sorted((entry.tag, entry.text or "") for entry in item.iterfind("Metadata/*"))
    headers = [found.get(name, "") for name in ("Content-Type", "Content-Encoding", "Content-Language", "Cache-Control")]
    return ListedBlob(
        name=item.findtext("Name", ""),
        etag=found.get("Etag", "").strip('"'),
        size=int(found.get("Content-Length") or 0),
        content_type=found.get("Content-Type", ""),
        blob_type=found.get("BlobType", ""),
        created=found.get("Creation-Time", ""),
        md5=found.get("Content-MD5", ""),
        copy_id=found.get("CopyId", ""),
        described=repr((headers, metadata)),
    )
