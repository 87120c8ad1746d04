"""Where notices go: always into the log, and to a chat's incoming webhook when one is set.

The webhook's address is its password. It is in no error, no log line and no `repr`; and the request is made by `http.client`,
because httpx and the Azure SDKs log the addresses that they call.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from ml_core.adapters.cards import card
from ml_core.errors import PermanentError, TemporaryError
from ml_core.ports import Notice
from ml_core.settings import NotifyFormat

_log = logging.getLogger("tidegate.notices")
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}
# Of an answer that is no success so much is told.
_LONGEST_ANSWER = 200


class LogNotifier:
    """Implements `Notifier`: one line of JSON each, which Application Insights keeps and alert rules can be set on."""

    def send(self, notice: Notice) -> None:
        _log.log(_LEVELS[notice.level], "notice %s", json.dumps(asdict(notice), sort_keys=True))


@dataclass(frozen=True)
class WebhookNotifier:
    """Implements `Notifier`: a card in a channel of Teams or Slack, and the line in the log as well.

    `address` is https; its path and query are a secret. No redirect is followed: it could lead the card to a stranger.
    """

    address: str = field(repr=False)
    format: NotifyFormat
    timeout_seconds: float = 5.0
    """For connecting, for sending and for each part of the answer."""

    def send(self, notice: Notice) -> None:
        # First, and again at each try: should the webhook be broken for good, the log is the only one that tells it.
        LogNotifier().send(notice)
        status, text = self._post(json.dumps(card(self.format, notice)).encode())
        if 200 <= status < 300:
            return
        told = f"The webhook for notices answered {status} to the notice {notice.id!r}: {text!r}"
        if status in (408, 429) or status >= 500:
            raise TemporaryError(f"{told}. It is sent again.")
        raise PermanentError(f"{told}. Check TIDEGATE_NOTIFY_WEBHOOK and TIDEGATE_NOTIFY_FORMAT; it is sent again, more seldom.")

    def _post(self, body: bytes) -> tuple[int, str]:
        url = urlsplit(self.address)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection = self._connection(url.hostname or "", url.port)
        try:
            connection.request("POST", target, body, {"Content-Type": "application/json", "User-Agent": "tidegate"})
            answer = connection.getresponse()
            return answer.status, self._without_the_secret(answer.read(_LONGEST_ANSWER).decode(errors="replace"), target)
        except (OSError, http.client.HTTPException) as error:
            # Only the kind of error: the text of some holds what was asked for.
            what = f"The webhook for notices at {url.hostname} did not answer ({type(error).__name__})"
            raise TemporaryError(f"{what}. It is tried again.") from None
        finally:
            connection.close()

    def _connection(self, host: str, port: int | None) -> http.client.HTTPConnection:
        if urlsplit(self.address).scheme == "http":  # to this machine only: the settings see to that
            return http.client.HTTPConnection(host, port, timeout=self.timeout_seconds)
        trust = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=self.timeout_seconds, context=trust)

    def _without_the_secret(self, text: str, target: str) -> str:
        secrets = [part for part in (target, *target.replace("?", "/").replace("&", "/").split("/")) if len(part) > 3]
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "…")
        return text
