"""Notices on their way to people. Real: HTTP to a server on this machine. Faked: who is behind it (Teams, Slack)."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from local.certificates import Certificates
from ml_core.adapters.cards import card
from ml_core.adapters.notices import LogNotifier, WebhookNotifier
from ml_core.errors import PermanentError, SettingError, TemporaryError
from ml_core.ports import Notice
from ml_core.settings import Settings
from tests.unit.test_names_and_settings import GOOD

NOTICE = Notice(
    id="flight-delay-2-7",
    level="critical",
    endpoint="flight-delay",
    title="flight-delay:2 was rolled back",
    text="at 25 %: 31 of 402 requests failed, and 3 of 1208 of the stable deployment's",
    facts={"model": "flight-delay:2", "at": "25 %"},
)
HOSTILE = replace(
    NOTICE,
    title="<!channel> *free* [money](https://bad.example) \u202e",
    text="<at>everyone</at> **bold** {{DATE(2026-01-01)}} <script>alert(1)</script> & ${x}\n# heading",
    facts={"reason <b>": "[click](javascript:alert(1)) `code` <@U1>"},
)
SECRET = "/services/T0SECRET/B0SECRET/xyzSECRETxyz"


@dataclass
class Webhook:
    """A channel's webhook: answers with `status` and `answer`, after `wait` was set."""

    status: int = 200
    answer: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    received: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    silent: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}{SECRET}?sig=SIGNATURE"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with listening() as state:
        yield state


@contextmanager
def listening(certificates: Certificates | None = None) -> Iterator[Webhook]:
    """Over http, or over https as the holder of these certificates."""
    state = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.received.append((self.path, dict(self.headers), json.loads(body)))
            if state.silent:
                state.over.wait(30)
                return
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(state.answer.encode())

        def log_message(self, *_: Any) -> None:
            """The test's output is not the place for it."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that does not trust the certificate hangs up."""

    server = Quiet(("127.0.0.1", 0), Handler)
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate, certificates.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    state.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def texts(value: Any) -> Iterator[str]:
    """Every text that a card shows."""
    if isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["text"]
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


def elements(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from elements(one)


def test_a_notice_reaches_the_channel_as_a_card(webhook: Webhook) -> None:
    WebhookNotifier(webhook.address, "teams").send(NOTICE)
    ((path, headers, body),) = webhook.received
    assert path == f"{SECRET}?sig=SIGNATURE"
    assert headers["Content-Type"] == "application/json"
    assert body == card("teams", NOTICE)
    assert body["attachments"][0]["contentType"] == "application/vnd.microsoft.card.adaptive"
    shown = " ".join(texts(body))
    for told in (NOTICE.title, NOTICE.text, "flight-delay:2", "25 %", NOTICE.id):
        assert told in shown


def test_a_notice_is_in_the_log_whether_or_not_the_channel_takes_it(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    webhook.status = 500
    with caplog.at_level(logging.INFO), pytest.raises(TemporaryError):
        WebhookNotifier(webhook.address, "slack").send(NOTICE)
    (record,) = [one for one in caplog.records if one.name == "tidegate.notices"]
    assert record.levelno == logging.ERROR
    assert json.loads(record.getMessage().removeprefix("notice "))["title"] == NOTICE.title


@pytest.mark.parametrize(("level", "logged"), [("info", "INFO"), ("warning", "WARNING"), ("critical", "ERROR")])
def test_the_log_tells_how_bad_it_is(level: Any, logged: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        LogNotifier().send(replace(NOTICE, level=level))
    assert [record.levelname for record in caplog.records] == [logged]


def test_a_card_for_teams_holds_no_element_that_reads_markup() -> None:
    body = card("teams", HOSTILE)
    kinds = {one["type"] for one in elements(body["attachments"][0]["content"]) if "type" in one}
    assert kinds == {"AdaptiveCard", "RichTextBlock", "TextRun"}
    assert "\u202e" not in json.dumps(body, ensure_ascii=False)
    assert "<at>everyone</at> **bold**" in " ".join(texts(body))  # as it stands


def test_a_message_for_slack_holds_plain_text_only_and_mentions_nobody() -> None:
    body = card("slack", HOSTILE)
    assert {one["type"] for one in elements(body["blocks"]) if isinstance(one.get("text"), str)} == {"plain_text"}
    assert body["mrkdwn"] is False
    assert "<!channel>" not in body["text"]
    assert "&lt;!channel&gt;" in body["text"]


def test_however_much_there_is_to_tell_it_stays_within_what_the_chats_take() -> None:
    much = {f"fact {number}": "x" * 5000 for number in range(200)}
    huge = replace(NOTICE, title="t" * 5000, text="ü" * 50_000, facts=much)
    assert len(json.dumps(card("teams", huge)).encode()) < 28_000
    blocks = card("slack", huge)["blocks"]
    assert len(blocks) <= 50
    assert len(blocks[0]["text"]["text"]) <= 150
    assert len(blocks[1]["text"]["text"]) <= 3000
    fields = [block["fields"] for block in blocks[2:]]
    assert all(0 < len(some) <= 10 and all(len(one["text"]) <= 2000 for one in some) for some in fields)


def test_an_empty_text_is_shown_as_a_dash_since_slack_refuses_it() -> None:
    assert "" not in set(texts(card("slack", replace(NOTICE, text=" ", title="", facts={"a": ""}))["blocks"]))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_a_channel_that_is_too_busy_or_broken_is_worth_another_try(webhook: Webhook, status: int) -> None:
    webhook.status = status
    with pytest.raises(TemporaryError, match=f"answered {status} to the notice 'flight-delay-2-7'"):
        WebhookNotifier(webhook.address, "slack").send(NOTICE)


@pytest.mark.parametrize("status", [302, 307, 400, 403, 404, 410])
def test_a_channel_that_refuses_the_card_is_told_with_the_settings_to_check(webhook: Webhook, status: int) -> None:
    webhook.status, webhook.headers = status, {"Location": f"http://127.0.0.1:{webhook.port}/elsewhere"}
    with pytest.raises(PermanentError, match="Check TIDEGATE_NOTIFY_WEBHOOK and TIDEGATE_NOTIFY_FORMAT"):
        WebhookNotifier(webhook.address, "slack").send(NOTICE)
    assert len(webhook.received) == 1  # nobody followed


def test_a_channel_that_does_not_answer_is_given_up_in_time(webhook: Webhook) -> None:
    webhook.silent = True
    with pytest.raises(TemporaryError, match=r"127\.0\.0\.1 did not answer \(TimeoutError\)"):
        WebhookNotifier(webhook.address, "slack", timeout_seconds=0.2).send(NOTICE)


def test_a_channel_that_nobody_listens_at_is_worth_another_try() -> None:
    from local.processes import free_port

    with pytest.raises(TemporaryError, match=r"did not answer \(ConnectionRefusedError\)"):
        WebhookNotifier(f"http://127.0.0.1:{free_port()}{SECRET}", "teams").send(NOTICE)


def test_a_stranger_who_answers_in_the_channels_place_is_told_nothing(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(certificates) as stranger:
        address = stranger.address.replace("http://", "https://")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(TemporaryError, match="SSLCertVerificationError"):
            WebhookNotifier(address, "teams").send(NOTICE)
        assert stranger.received == []
        # The same for somebody who is trusted.
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.bundle))
        WebhookNotifier(address, "teams").send(NOTICE)
        assert len(stranger.received) == 1


@pytest.mark.parametrize("status", [200, 302, 400, 500])
def test_the_address_is_in_no_log_and_no_error(webhook: Webhook, status: int, caplog: pytest.LogCaptureFixture) -> None:
    webhook.status, webhook.answer = status, f"no such hook: {SECRET}?sig=SIGNATURE; T0SECRET is unknown"
    webhook.headers = {"Location": webhook.address}
    notifier = WebhookNotifier(webhook.address, "slack")
    told = repr(notifier)
    with caplog.at_level(logging.DEBUG):
        try:
            notifier.send(NOTICE)
        except (TemporaryError, PermanentError) as error:
            told += repr(error) + repr(error.__cause__) + str(error)
    told += caplog.text
    assert not [secret for secret in ("SECRET", "SIGNATURE") if secret in told]
    assert "no such hook" in told or status == 200


def setting(address: str, layout: str = "") -> Settings:
    return Settings.from_mapping({**GOOD, "TIDEGATE_NOTIFY_WEBHOOK": address, "TIDEGATE_NOTIFY_FORMAT": layout})


@pytest.mark.parametrize("address", ["", "https://hooks.example/a?b=c", "http://127.0.0.1:8080/hook", "http://[::1]:8080/hook"])
def test_a_webhook_is_https_or_on_this_machine_or_none(address: str) -> None:
    assert setting(address).notify_webhook == address
    assert "hook" not in repr(setting(address)).replace("notify_webhook", "")


@pytest.mark.parametrize(
    "address",
    [
        "http://hooks.example/SECRET",
        "http://127.0.0.1.example:80/SECRET",
        "http://localhost:8080/SECRET",
        "http://127.0.0.1/SECRET",
        "https://",
        "https:///SECRET",
        "https://user:SECRET@hooks.example/",
        "https://hooks.example:99999/SECRET",
        "https://hooks.example/SEC RET",
        "https://hooks.example/SECRET\r\nHost: another",
        "https://[::1/SECRET",
        "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/SECRET)",
    ],
)
def test_any_other_webhook_is_refused_without_being_told(address: str) -> None:
    with pytest.raises(SettingError, match="TIDEGATE_NOTIFY_WEBHOOK is no address") as refused:
        setting(address)
    assert "SEC" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_format_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    assert (setting("").notify_format, setting("", "slack").notify_format) == ("teams", "slack")
    with pytest.raises(SettingError, match="TIDEGATE_NOTIFY_FORMAT is 'mail'; expected one of teams, slack"):
        setting("", "mail")
