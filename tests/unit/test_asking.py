"""Asking a deployment over HTTP, against a server of this process: what is sent, and what becomes of every kind of answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from local.processes import free_port
from ml_core.adapters import scoring
from ml_core.adapters.scoring import Access, Scoring
from ml_core.errors import TemporaryError
from ml_core.ports import Question

SOON, LONG = timedelta(milliseconds=200), timedelta(seconds=10)
ONE = {"input_data": {"columns": ["a"], "data": [[1]]}}


@dataclass
class Server:
    """Answers as the request says; keeps what it was sent."""

    address: str
    key: str = "first"
    seen: list[dict[str, Any]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)


def _handler(server: Callable[[], Server]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server().seen.append({**{name.lower(): value for name, value in self.headers.items()}, "body": body})
            if self.headers["Authorization"] != f"Bearer {server().key}":
                self._send(401, b"no")
            elif body.get("as") == "silence":
                server().stopped.wait(10)
                self.close_connection = True
            elif body.get("as") == "drops":
                self._drip()
            elif body.get("as") == "end":
                self.close_connection = True
                self.connection.close()
            else:
                self._send(body.get("status", 200), body.get("text", '{"scores": [0.5]}').encode())

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _drip(self) -> None:
            """Never silent for long, and never done."""
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            while not server().stopped.wait(0.02):
                self.wfile.write(b" ")
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, ValueError):  # the client has had enough, or we closed
                self.close_connection = True

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), _handler(lambda: told))
    told = Server(f"http://127.0.0.1:{running.server_address[1]}/score")
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield told
    told.stopped.set()
    running.shutdown()
    thread.join()
    running.server_close()


Asking = Callable[..., Scoring]


@pytest.fixture
def asking(server: Server) -> Iterator[Asking]:
    """Makes one that finds these keys, one after the other, at this address."""
    with ExitStack() as made:

        def make(*keys: str, address: str = server.address) -> Scoring:
            left = iter(keys or ("first",))
            return made.enter_context(closing(Scoring(lambda endpoint: Access(f"{address}?{endpoint}", next(left)))))

        yield make


def test_a_question_is_pinned_to_its_deployment_and_is_told_from_those_of_clients(server: Server, asking: Asking) -> None:
    first, second = asking().ask("line", [Question("blue", ONE), Question("green", ONE)], LONG)
    assert (first.status, first.body, first.error) == (200, {"scores": [0.5]}, "")
    assert second.status == 200
    assert [sent["azureml-model-deployment"] for sent in server.seen] == ["blue", "green"]
    assert {sent["user-agent"] for sent in server.seen} == {"tidegate"}
    ids = {sent["x-ms-client-request-id"] for sent in server.seen}
    assert len(ids) == 2
    assert all(one.startswith("tidegate-") for one in ids)
    assert server.seen[0]["body"] == ONE


def test_the_key_is_read_once_and_once_more_when_it_fits_no_more(server: Server, asking: Asking) -> None:
    scoring = asking("first", "second")
    scoring.ask("line", [Question("blue", ONE)] * 2, LONG)
    server.key = "second"
    assert scoring.ask("line", [Question("blue", ONE)], LONG)[0].status == 200
    assert scoring.ask("line", [Question("blue", ONE)], LONG)[0].status == 200
    assert [sent["authorization"] for sent in server.seen] == [
        f"Bearer {key}" for key in ("first", *["first"] * 2, *["second"] * 2)
    ]


def test_a_key_that_never_fits_is_worth_another_try_and_is_not_told(server: Server, asking: Asking) -> None:
    scoring = asking("wrong", "also-wrong", "first")
    with pytest.raises(TemporaryError, match=r"line does not take its own key \(status 401\)") as error:
        scoring.ask("line", [Question("blue", ONE)], LONG)
    assert "wrong" not in str(error.value)
    assert "wrong" not in repr(Access("https://line", "wrong"))
    server.key = "also-wrong"
    assert scoring.ask("line", [Question("blue", ONE)], LONG)[0].status == 200


@pytest.mark.parametrize("how", ["silence", "drops"])
def test_an_answer_that_does_not_end_in_time_is_none_though_bytes_keep_coming(asking: Asking, how: str) -> None:
    (reply,) = asking().ask("line", [Question("blue", {**ONE, "as": how})], SOON)
    assert (reply.status, reply.body, reply.error) == (0, None, "no answer within 0.2 s")
    assert 0.2 <= reply.seconds < 5


def test_a_connection_that_breaks_off_is_a_reply_and_one_that_is_never_made_is_worth_another_try(asking: Asking) -> None:
    (reply,) = asking().ask("line", [Question("blue", {**ONE, "as": "end"})], LONG)
    assert (reply.status, reply.body) == (0, None)
    assert "the connection broke off" in reply.error
    nowhere = asking(address=f"http://127.0.0.1:{free_port()}/score")
    with pytest.raises(TemporaryError, match="Could not reach"):
        nowhere.ask("line", [Question("blue", ONE)], LONG)


def test_an_endpoint_that_has_moved_is_found_at_the_next_try(server: Server) -> None:
    places = iter([f"http://127.0.0.1:{free_port()}/score", server.address])
    with closing(Scoring(lambda _: Access(next(places), "first"))) as moved:
        with pytest.raises(TemporaryError, match="Could not reach"):
            moved.ask("line", [Question("blue", ONE)], LONG)
        assert moved.ask("line", [Question("blue", ONE)], LONG)[0].status == 200


def test_what_is_no_success_no_json_or_too_long_has_no_body(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_LONGEST_ANSWER", 1000)
    questions = [
        Question("blue", {"status": 424, "text": "x" * 500}),
        Question("blue", {"text": "<html>"}),
        Question("blue", {"text": json.dumps({"scores": [0.5] * 1000})}),
        Question("blue", ONE),
    ]
    failed, odd, long, good = asking().ask("line", questions, LONG)
    assert (failed.status, failed.body, failed.error) == (424, None, "x" * 300)
    assert (odd.status, odd.body, odd.error) == (200, None, "<html>")
    assert (long.status, long.body, long.error) == (200, None, "the answer has over 1000 bytes")
    assert good.body == {"scores": [0.5]}
