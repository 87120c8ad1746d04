"""Where the job's token may go: to blobs of the account whose containers are watched, and nowhere else.

The manifest is data, and whoever can write it chooses its urls. The account is named by whoever submits the job.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urlsplit

from step import StepFailedError

# Parsers differ in what they make of these: urllib drops tabs and line ends, browsers take a backslash for a slash.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")


class Account:
    """A storage account by its blob endpoint: `https://<account>.blob.core.windows.net`, or with the account in the path.

    StepFailedError when the url is not a plain https one.
    """

    def __init__(self, url: str) -> None:
        parts = _plain(url)
        if parts is None:
            raise StepFailedError(
                f"data_account_url: expected an https URL such as https://<account>.blob.core.windows.net, found {url[:200]!r}"
            )
        self.url = url.rstrip("/")
        self._origin, self._path = _origin(parts), parts.path.rstrip("/") + "/"

    def holds(self, url: str) -> bool:
        """Whether `url` is a plain https URL below the account: same host and port, its path below the account's path."""
        parts = _plain(url)
        return parts is not None and _origin(parts) == self._origin and parts.path.startswith(self._path)


def _plain(url: str) -> SplitResult | None:
    """The url's parts; None when it is not https, or says more than host, port and path, or leaves its path by `..`."""
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:
        return None
    more = "@" in parts.netloc or "?" in url or "#" in url
    # Decoded, since a server decodes: %2e%2e is `..` there. A blob name that holds `..%2f` itself arrives as `..%252f`.
    climbs = {".", ".."} & set(unquote(parts.path).split("/"))
    return parts if plain and not more and not climbs and not _AMBIGUOUS.search(url) else None


def _origin(parts: SplitResult) -> tuple[str | None, int]:
    return parts.hostname, parts.port or 443
