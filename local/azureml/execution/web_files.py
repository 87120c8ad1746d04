"""Inputs from the web: a file at an http(s) address that is not in the workspace's own storage, read without credentials.

The public examples write addresses of blobs as wasbs://container@account.blob.core.windows.net/path too: the same blobs by https.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import httpx

from local.azureml.errors import bad_request, not_supported
from local.azureml.execution.plan import Data, Step

_TIMEOUT = httpx.Timeout(30.0)
"""Without a sign of life; a file may take as long as it is long."""
_WASB = re.compile(r"wasb(?P<secure>s?)://(?P<container>[^@/]+)@(?P<host>[^/]+)/(?P<path>.*)")


def is_web_file(uri: str, blob_url: str) -> bool:
    """Whether `uri` is an address outside of the storage account at `blob_url`, which may be written without its account."""
    own, uri = blob_url.rstrip("/"), _address(uri)
    return uri.lower().startswith(("http://", "https://")) and not uri.startswith((own + "/", own.rpartition("/")[0] + "/"))


def refuse_web_folders(step: Step, blob_url: str) -> None:
    """AzureError 501 for a folder on the web that would have to be listed: http knows no folders."""
    for name, value in step.inputs.items():
        if isinstance(value, Data) and value.mode != "direct" and value.type != "uri_file" and is_web_file(value.uri, blob_url):
            raise not_supported(f"reading a folder at '{value.uri}' (step '{step.name}', input '{name}'): only files are read")


def fetch(uri: str, folder: Path) -> Path:
    """The file at `uri`, in `folder` under its own last name; 400 when the web does not give it."""
    address = _address(uri)
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    if name in ("", "..") or "\0" in name:
        raise bad_request(f"'{uri}' names no file.")
    target = folder / name
    try:
        with httpx.stream("GET", address, follow_redirects=True, timeout=_TIMEOUT) as answer, target.open("wb") as file:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                file.write(piece)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise bad_request(f"'{uri}' could not be read: {str(error).partition(chr(10))[0] or type(error).__name__}") from error
    return target


def _address(uri: str) -> str:
    match = _WASB.fullmatch(uri)
    return f"http{match['secure']}://{match['host']}/{match['container']}/{match['path']}" if match else uri
