"""The host runs as its own process, as the stack runs it, against a real Azurite over TLS. Nothing is faked.

Identity: a small token endpoint speaks App Service's protocol, so DefaultAzureCredential takes its ordinary way.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import httpx
import pytest
from azure.storage.queue import QueueServiceClient, TextBase64DecodePolicy, TextBase64EncodePolicy

from local.certificates import Certificates
from local.host.keys import Keys
from local.identity import TokenIssuer
from local.processes import Child, free_port, port_answers
from local.storage.azurite import Azurite
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
APPS = Path(__file__).with_name("apps")


@pytest.fixture(scope="session")
def token_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    issuer = TokenIssuer(tmp_path_factory.mktemp("identity") / "key")

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            resource = parse_qs(urlparse(self.path).query)["resource"][0]
            token, expires = issuer.issue(resource)
            body = json.dumps({"access_token": token, "expires_on": str(expires), "resource": resource, "token_type": "Bearer"})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """No lines among pytest's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/msi/token"
    server.shutdown()
    server.server_close()


@dataclass
class RunningHost:
    """A host process, its queues and what its app observed."""

    app: Path
    folder: Path
    environment: dict[str, str]
    queues: QueueServiceClient
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    child: Child | None = None

    def start(self) -> RunningHost:
        command = [sys.executable, "-m", "local.host", "--app", str(self.app), "--port", str(self.port)]
        command += ["--state", str(self.state), *self.options]
        self.child = Child("host", command, log=self.folder / "host.log", env=self.environment, cwd=ROOT)
        self.child.wait_until(lambda: port_answers(self.port))
        return self

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def keys(self) -> Keys:
        return Keys.ensure(self.state)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "host.log").read_text()

    def post_events(
        self, events: Any, kind: str | None = "Notification", function: str = "record_event", **query: str
    ) -> httpx.Response:
        headers = {"aeg-event-type": kind} if kind else {}
        query = {"functionName": function, "code": self.keys.eventgrid_extension} | query
        return httpx.post(f"{self.url}/runtime/webhooks/eventgrid", params=query, json=events, headers=headers, timeout=30)

    def admin(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return httpx.request(method, f"{self.url}/admin/{path}", headers={"x-functions-key": self.keys.master}, **arguments)

    def queue(self, setting: str, suffix: str = "") -> Any:
        return self.queues.get_queue_client(
            self.environment[setting] + suffix,
            message_encode_policy=TextBase64EncodePolicy(),
            message_decode_policy=TextBase64DecodePolicy(),
        )

    def observed(self, what: str) -> list[dict[str, Any]]:
        path = Path(self.environment["OBSERVED"])
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if line["what"] == what]

    def wait_for(self, what: str, count: int = 1, **details: Any) -> list[dict[str, Any]]:
        """Wait until the app has observed at least `count` lines that hold `details`; return them."""

        def found() -> list[dict[str, Any]] | None:
            lines = [line for line in self.observed(what) if details.items() <= line.items()]
            return lines if len(lines) >= count else None

        lines: list[dict[str, Any]] = wait_until(found, what=f"{count} x {what} {details}")
        return lines


@pytest.fixture
def make_host(
    tmp_path: Path, azurite: Azurite, certificates: Certificates, token_endpoint: str
) -> Iterator[Callable[..., RunningHost]]:
    """Make (not start) a host over its own state folder and its own queues; stopped at the end."""
    made: list[RunningHost] = []

    def make(app: Path = APPS / "every_trigger", *options: str, **settings: str) -> RunningHost:
        marker = uuid.uuid4().hex[:8]
        environment = dict(os.environ) | certificates.environment()
        environment |= {
            "STORE__queueServiceUri": azurite.queue_url,
            "IDENTITY_ENDPOINT": token_endpoint,
            "IDENTITY_HEADER": "test",
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "OBSERVED": str(tmp_path / "observed.jsonl"),
            "KEYS_QUEUE": f"keys-{marker}",
            "WORK_QUEUE": f"work-{marker}",
        }
        queues = QueueServiceClient.from_connection_string(azurite.connection_string, connection_verify=str(certificates.bundle))
        host = RunningHost(app, tmp_path, environment | settings, queues, options=options)
        made.append(host)
        return host

    yield make
    for host in made:
        if host.child is not None:
            host.child.stop()
        host.queues.close()


@pytest.fixture
def host(make_host: Callable[..., RunningHost]) -> RunningHost:
    """A running host of the app with every trigger."""
    return make_host().start()
