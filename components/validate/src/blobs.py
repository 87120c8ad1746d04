"""Fetches the exact blobs that a data version names: `If-Match` on each eTag, in parallel, with the job's own identity."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from addresses import Account
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceModifiedError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobClient
from naming import data_version, unquoted
from step import StepFailedError

PARALLEL = 8
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class NamedBlob:
    """An entry of the manifest: the blob's https URL, its eTag without quotes, its size in bytes."""

    url: str
    etag: str
    size: int


def read_manifest(folder: Path, version: str, account: Account) -> list[NamedBlob]:
    """The blobs of the data version in `folder`, all of them in `account`.

    StepFailedError when the manifest is missing, malformed, names no blob or one of another account, belongs to another version
    than the job asked for, or is not what its version's name was made from.
    """
    path = folder / MANIFEST
    if not path.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else "no folder"
        raise StepFailedError(f"the data version has no {MANIFEST} (found: {found or 'nothing'})")
    try:
        manifest = json.loads(path.read_text())
        written = manifest["version"]
        blobs = [_named(entry) for entry in manifest["blobs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StepFailedError(
            f'{MANIFEST}: expected {{"version", "blobs": [{{"url", "etag", "size"}}, ...]}}: {error!r}'
        ) from None
    if written != version:
        raise StepFailedError(f"expected data version {version}, found {written} in {MANIFEST}")
    if not blobs:
        raise StepFailedError(f"{MANIFEST} names no blobs")
    made = data_version((blob.url, blob.etag, blob.size) for blob in blobs)
    if made != version:
        raise StepFailedError(f"expected data version {version}, found {made}: the name that the blobs in {MANIFEST} make")
    outside = next((blob.url for blob in blobs if not account.holds(blob.url)), None)
    if outside is not None:
        raise StepFailedError(
            f"{MANIFEST}: expected an https URL below {account.url}/ (the input data_account_url), found {outside[:200]!r}"
        )
    return blobs


def _named(entry: Mapping[str, Any]) -> NamedBlob:
    return NamedBlob(str(entry["url"]), unquoted(str(entry["etag"])), int(entry["size"]))


def local_name(number: int, url: str) -> str:
    """A file name for the blob at `number` of the manifest: its own last part, made harmless.

    The number in front keeps blobs of the same name in different folders apart.
    """
    last = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    return f"{number:05d}-{re.sub(r'[^A-Za-z0-9._-]', '_', last)[-100:]}"


def fetch(blobs: Sequence[NamedBlob], folder: Path) -> list[Path]:
    """Download all blobs into `folder`, in the manifest's order; StepFailedError names those that are not as the version says."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / local_name(number, blob.url) for number, blob in enumerate(blobs)]
    # Azure ML names the compute's user-assigned identity in this variable; absent, the default identity is used.
    with (
        DefaultAzureCredential(managed_identity_client_id=os.environ.get("DEFAULT_IDENTITY_CLIENT_ID")) as credential,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):
        problems = [
            problem for problem in pool.map(lambda pair: _fetch(*pair, credential), zip(blobs, paths, strict=True)) if problem
        ]
    if problems:
        for problem in problems:
            print(problem, flush=True)
        more = f" (and {len(problems) - 1} more, see above)" if len(problems) > 1 else ""
        raise StepFailedError(problems[0] + more)
    return paths


def _fetch(blob: NamedBlob, path: Path, credential: DefaultAzureCredential) -> str | None:
    """Download one blob; return what is wrong, or None."""
    with BlobClient.from_blob_url(blob.url, credential=credential) as client:
        try:
            stream = client.download_blob(etag=f'"{blob.etag}"', match_condition=MatchConditions.IfNotModified)
            with path.open("wb") as file:
                size = stream.readinto(file)
        except (ResourceModifiedError, ResourceNotFoundError):
            return f"{blob.url}: expected eTag {blob.etag}, found {_now(client)} after the data version was made"
        except HttpResponseError as error:
            return f"{blob.url}: HTTP {error.status_code} {error.reason}: {str(error.message).splitlines()[0]}"
        except AzureError as error:
            return f"{blob.url}: {str(error).splitlines()[0]}"
    if size != blob.size:
        return f"{blob.url}: expected {blob.size} bytes, found {size}"
    return None


def _now(client: BlobClient) -> str:
    """What is there instead, for a sentence. A deleted blob may answer If-Match with 404 or 412, so the answer is asked for."""
    try:
        return f"{str(client.get_blob_properties().etag).strip(chr(34))}: it was replaced"
    except ResourceNotFoundError:
        return "no blob: it was deleted"
