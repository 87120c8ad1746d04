"""The router as a process of its own. The scoring processes behind it are small HTTP servers of this test."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.azureml.serving import table
from local.azureml.serving.counts import read_counts
from local.azureml.serving.router import SECRET_VARIABLE
from local.certificates import Certificates, ensure_certificates
from local.processes import Child, free_port, port_answers

KEY = "the-primary-key"
SECRET = "the-secret-of-the-control-plane"


class Scoring(ThreadingHTTPServer):
    """Answers like a scoring process; what it was sent is kept. `gate` lets a test hold the answers back."""

    daemon_threads = True

    def __init__(self, *, status: int = 200, keep_alive: bool = False, port: int = 0) -> None:
        self.status, self.seen, self.gate = status, [], threading.Event()
        self.connections: list[socket.socket] = []
        self.gate.set()
        handler = type("Handler", (_Handler,), {"protocol_version": "HTTP/1.1" if keep_alive else "HTTP/1.0"})
        super().__init__(("127.0.0.1", port), handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def end(self) -> None:
        """As a process that ends: its listening socket and every connection are gone."""
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: Scoring

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, dict(self.headers), body))
        self.server.gate.wait(20)
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


class Running:
    """A router process with its files."""

    def __init__(self, folder: Path, certificates: Certificates, seed: int = 7) -> None:
        self.folder, self.certificates, self.port, self.seed = folder, certificates, free_port(), seed
        self.table, self.counts = folder / "table.json", folder / "counts.sqlite"
        trust = ssl.create_default_context(cafile=str(certificates.bundle))
        self.http = httpx.Client(base_url=f"https://127.0.0.1:{self.port}", verify=trust, timeout=20)
        self.child = self._start()

    def _start(self) -> Child:
        files = ["--table", str(self.table), "--counts", str(self.counts)]
        tls = ["--certificate", str(self.certificates.certificate), "--key", str(self.certificates.key)]
        command = [sys.executable, "-m", "local.azureml.serving.router", "--port", str(self.port), "--seed", str(self.seed)]
        environment = {**os.environ, SECRET_VARIABLE: SECRET}
        child = Child("router", [*command, *files, *tls], log=self.folder / "router.log", env=environment)
        child.wait_until(lambda: port_answers(self.port))
        return child

    def restart(self) -> None:
        self.child.stop()
        self.child = self._start()

    def route(self, **endpoints: dict[str, Any]) -> None:
        """Write the table and have it read."""
        table.save(self.table, {"endpoints": endpoints})
        self.http.post("/-/reload", headers={"x-router-secret": SECRET}).raise_for_status()

    def score(self, endpoint: str = "churn", *, key: str = KEY, **headers: str) -> httpx.Response:
        sent = {"authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.http.post(f"/endpoints/{endpoint}/score", content=b'{"x": 1}', headers=sent)

    def counted(self, enough: int, endpoint: str = "churn") -> Counter[tuple[str, int, int]]:
        """Requests by (deployment, status, model status), once there are enough."""
        found: Counter[tuple[str, int, int]] = Counter()

        def complete() -> bool:
            found.clear()
            for count in read_counts(self.counts, endpoint, 0, 2**40):
                found[(count.deployment, count.status, count.model_status)] += count.requests
            return found.total() >= enough

        self.child.wait_until(complete, timeout=20)
        return found


def endpoint(
    traffic: dict[str, int], targets: dict[str, int], mirror: dict[str, int] | None = None, **limits: Any
) -> dict[str, Any]:
    settings = {"timeout_seconds": 5.0, "limit": 64, **limits}
    return {
        "credentials": [{"value": KEY}, {"value": "expired", "expires_at": 1.0}],
        "traffic": traffic,
        "mirror": mirror or {},
        "targets": {name: {"port": port, **settings} for name, port in targets.items()},
    }


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return ensure_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def router(tmp_path: Path, certificates: Certificates) -> Iterator[Running]:
    running = Running(tmp_path, certificates)
    yield running
    running.http.close()
    running.child.stop()


@pytest.fixture
def scoring() -> Iterator[Callable[..., Scoring]]:
    started: list[Scoring] = []

    def start(**settings: Any) -> Scoring:
        started.append(Scoring(**settings))
        return started[-1]

    yield start
    for server in started:
        server.gate.set()
        server.shutdown()
        server.server_close()


def test_requests_are_split_by_weight(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue, green = scoring(), scoring()
    router.route(churn=endpoint({"blue": 90, "green": 10}, {"blue": blue.server_port, "green": green.server_port}))
    answered = Counter(router.score().headers["azureml-model-deployment"] for _ in range(500))
    # The seed is fixed; 50 +- 4 standard deviations (6.7) holds for nearly every other seed too.
    assert 23 <= answered["green"] <= 77
    assert answered["blue"] == 500 - answered["green"]
    assert (len(blue.seen), len(green.seen)) == (answered["blue"], answered["green"])


def test_a_mirror_gets_copies_of_its_share_and_answers_nobody(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue, green = scoring(), scoring()
    targets = {"blue": blue.server_port, "green": green.server_port}
    router.route(churn=endpoint({"blue": 100}, targets, mirror={"green": 50}))
    assert {router.score().headers["azureml-model-deployment"] for _ in range(200)} == {"blue"}
    assert len(blue.seen) == 200
    router.child.wait_until(lambda: len(green.seen) >= 72)
    copies = router.counted(200 + 72)[("green", 200, 200)]
    assert 72 <= copies <= 128
    assert green.seen[0][2] == b'{"x": 1}'


def test_a_slow_mirror_does_not_delay_the_answer(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue, green = scoring(), scoring()
    green.gate.clear()
    router.route(churn=endpoint({"blue": 100}, {"blue": blue.server_port, "green": green.server_port}, mirror={"green": 50}))
    assert [router.score().status_code for _ in range(20)] == [200] * 20
    router.child.wait_until(lambda: len(green.seen) > 0)


def test_the_header_pins_a_deployment_without_traffic_and_is_not_mirrored(
    router: Running, scoring: Callable[..., Scoring]
) -> None:
    blue, green = scoring(), scoring()
    targets = {"blue": blue.server_port, "green": green.server_port}
    router.route(churn=endpoint({"blue": 100}, targets, mirror={"green": 50}))
    answers = [router.score(azureml_model_deployment="blue") for _ in range(30)]
    assert {answer.headers["azureml-model-deployment"] for answer in answers} == {"blue"}
    assert router.score(azureml_model_deployment="green").headers["azureml-model-deployment"] == "green"
    assert router.counted(31) == {("blue", 200, 200): 30, ("green", 200, 200): 1}


def test_what_cannot_be_routed_is_404(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue = scoring()
    router.route(churn=endpoint({}, {"blue": blue.server_port}))
    assert router.score("unknown").status_code == 404
    no_weight = router.score()
    assert no_weight.status_code == 404
    assert "no deployment with a positive traffic weight" in no_weight.json()["error"]["message"]
    assert router.score(azureml_model_deployment="purple").status_code == 404
    assert blue.seen == []


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", f"Basic {KEY}", KEY, "Bearer expired", "Bearer \xe9"])
def test_a_wrong_key_is_401(router: Running, scoring: Callable[..., Scoring], authorization: str) -> None:
    blue = scoring()
    router.route(churn=endpoint({"blue": 100}, {"blue": blue.server_port}))
    answer = router.http.post("/endpoints/churn/score", content=b"{}", headers={"authorization": authorization.encode("latin-1")})
    assert answer.status_code == 401
    assert blue.seen == []


def test_the_key_stays_in_the_router(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue = scoring()
    router.route(churn=endpoint({"blue": 100}, {"blue": blue.server_port}))
    router.score(x_ms_client_request_id="abc").raise_for_status()
    path, headers, _ = blue.seen[0]
    assert path == "/score"
    assert KEY not in json.dumps(headers)
    assert headers["x-ms-client-request-id"] == "abc"


def test_request_ids_come_back(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue = scoring()
    router.route(churn=endpoint({"blue": 100}, {"blue": blue.server_port}))
    answer = router.score(x_request_id="r-1", x_ms_client_request_id="c-1")
    assert (answer.headers["x-request-id"], answer.headers["x-ms-client-request-id"]) == ("r-1", "c-1")
    assert len(router.score().headers["x-request-id"]) == 32


def test_a_model_that_answers_anything_but_200_is_a_424(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue = scoring(status=500)
    router.route(churn=endpoint({"blue": 100}, {"blue": blue.server_port}))
    answer = router.score()
    assert answer.status_code == 424
    assert answer.headers["ms-azureml-model-error-statuscode"] == "500"
    assert answer.content == b'{"x": 1}'
    assert router.counted(1) == {("blue", 424, 500): 1}


def test_a_model_that_is_too_slow_is_a_408(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue = scoring()
    blue.gate.clear()
    router.route(churn=endpoint({"blue": 100}, {"blue": blue.server_port}, timeout_seconds=0.2))
    assert router.score().status_code == 408
    assert router.counted(1) == {("blue", 408, 0): 1}


def test_more_requests_than_the_limit_are_429(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue = scoring()
    blue.gate.clear()
    router.route(churn=endpoint({"blue": 100}, {"blue": blue.server_port}, limit=2, timeout_seconds=20.0))
    waiting = [threading.Thread(target=router.score) for _ in range(2)]
    for thread in waiting:
        thread.start()
    router.child.wait_until(lambda: len(blue.seen) == 2)
    assert router.score().status_code == 429
    blue.gate.set()
    for thread in waiting:
        thread.join()
    assert router.score().status_code == 200
    assert router.counted(4) == {("blue", 429, 0): 1, ("blue", 200, 200): 3}


def test_a_scoring_process_that_is_down_is_a_503(router: Running) -> None:
    router.route(churn=endpoint({"blue": 100}, {"blue": free_port()}))
    answer = router.score()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "ServiceUnavailable"
    assert router.counted(1) == {("blue", 503, 0): 1}


def test_connections_to_a_process_that_keeps_them_are_used_again(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue = scoring(keep_alive=True)
    router.route(churn=endpoint({"blue": 100}, {"blue": blue.server_port}))
    assert [router.score().status_code for _ in range(20)] == [200] * 20
    assert len(blue.seen) == 20


def test_a_process_that_was_replaced_answers_although_connections_to_its_predecessor_were_open(
    router: Running, scoring: Callable[..., Scoring]
) -> None:
    first = scoring(keep_alive=True)
    port = first.server_port
    router.route(churn=endpoint({"blue": 100}, {"blue": port}))
    assert router.score().status_code == 200
    first.end()
    second = Scoring(port=port)
    try:
        assert router.score().status_code == 200
        assert len(second.seen) == 1
    finally:
        second.shutdown()
        second.server_close()


def test_the_control_route_needs_the_secret(router: Running) -> None:
    router.route()
    assert router.http.post("/-/reload").status_code == 401
    assert router.http.post("/-/reload", headers={"x-router-secret": KEY}).status_code == 401


def test_table_and_counts_survive_a_restart(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue = scoring()
    router.route(churn=endpoint({"blue": 100}, {"blue": blue.server_port}))
    router.score().raise_for_status()
    router.restart()
    router.score().raise_for_status()
    assert router.counted(2) == {("blue", 200, 200): 2}


def test_a_body_that_is_too_large_is_413_and_garbage_is_400(router: Running, scoring: Callable[..., Scoring]) -> None:
    blue = scoring()
    router.route(churn=endpoint({"blue": 100}, {"blue": blue.server_port}))
    headers = {"authorization": f"Bearer {KEY}"}
    assert router.http.post("/endpoints/churn/score", content=b"x" * (10 * 1024 * 1024 + 1), headers=headers).status_code == 413
    assert router.score().status_code == 200
    assert len(blue.seen) == 1
