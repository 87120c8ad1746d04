"""The scoring router: `python -m local.azureml.serving.router`. Splits live traffic by weight, mirrors, checks keys, counts.

Azure's scoring address is https://<endpoint>.<region>.inference.ml.azure.com/score;
here it is https://127.0.0.1:<port>/endpoints/<endpoint>/score.
Status codes follow Azure's table: 401 wrong key, 404 nothing to route to, 408 too slow,
424 the model answered anything but 200, 429 too many under way; 503 the deployment is not ready.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import os
import random
import signal
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local.azureml.faults import Faults
from local.azureml.serving.admission import Admission
from local.azureml.serving.answers import PINNED, NotReady, Refused, error, failure, missing_ids, of_the_model, request_id
from local.azureml.serving.collection.gathering import Gathering
from local.azureml.serving.counts import CountLog
from local.azureml.serving.faulty import scoring_fault, send_faulty
from local.azureml.serving.request_log import Line, RequestLog
from local.azureml.serving.table import Endpoint, Target, load
from local.azureml.serving.upstream import Upstream
from local.azureml.serving.wire import Headers, Message, Respond, ServerConnection, render

_PATHS = {"score": b"/score", "swagger.json": b"/swagger.json"}
_FLUSH_SECONDS = 0.5
"""How late a request appears in the counts."""
SECRET_VARIABLE = "TIDEGATE_ROUTER_SECRET"  # noqa: S105 - the name of the variable


Finish = Callable[[int, Headers, bytes], None]


@dataclass(frozen=True)
class Files:
    """Where the router reads and writes."""

    table: Path
    logs: Path | None
    """The folder of the request logs; None keeps none."""
    collected: Path
    """The spool of what is collected."""
    storage_url: str
    """The blob service's address, for lines that name a blob."""


class Router:
    """Answers requests from the routing table. `secret` opens the control routes under /-/ (from the control plane only)."""

    def __init__(self, files: Files, counts: CountLog, admission: Admission, *, secret: str, seed: int | None = None) -> None:
        self._files, self._counts, self._admission, self._secret = files, counts, admission, secret
        self._requests = RequestLog(files.logs) if files.logs else None
        self._random = random.Random(seed)  # noqa: S311 - splits traffic, guards nothing
        self._upstreams: dict[int, Upstream] = {}
        self._gatherings: dict[int, Gathering] = {}
        self._faults = Faults()
        self.reload()

    def reload(self) -> None:
        """Take the table from its file; connections to processes that are still in it are kept."""
        self._endpoints, rules = load(self._files.table)
        self._faults.replace(rules)
        targets = {target.port: target for endpoint in self._endpoints.values() for target in endpoint.targets.values()}
        for port in set(self._upstreams) - set(targets):
            self._upstreams.pop(port).close()
        for port, target in targets.items():
            self._upstreams.setdefault(port, Upstream(target)).target = target
        self._gather(targets)

    def _gather(self, targets: Mapping[int, Target]) -> None:
        for port, gathering in list(self._gatherings.items()):
            target = targets.get(port)
            if target is None or target.collection != gathering.plan:
                self._gatherings.pop(port).close()
        for port, target in targets.items():
            if target.collection is not None and target.collector_port is not None and port not in self._gatherings:
                files = self._files
                self._gatherings[port] = Gathering(
                    target.collection, target.collector_port, files.collected, storage_url=files.storage_url
                )

    def sweep(self) -> None:
        """Write what is kept in memory; close the connections to scoring processes that nobody has wanted for a while."""
        self._counts.flush()
        if self._requests is not None:
            self._requests.flush()
        for gathering in self._gatherings.values():
            gathering.flush()
        for upstream in self._upstreams.values():
            upstream.sweep()

    def close(self) -> None:
        """Write what is kept in memory, once more."""
        self.sweep()
        for gathering in self._gatherings.values():
            gathering.close()

    def answer(self, message: Message, respond: Respond) -> None:
        """Have the whole response to one request sent by `respond`, now or when the scoring process has answered."""
        path, _, query = message.target.decode("latin-1").partition("?")
        if path.startswith("/-/"):
            status, headers, body = self._control(path, message)
            respond(render(status, headers, body, keep_alive=message.keep_alive))
            return

        def finish(status: int, headers: Headers, body: bytes) -> None:
            headers += missing_ids(message, headers)
            respond(render(status, headers, body, keep_alive=message.keep_alive))

        try:
            self._score(path, query, message, finish)
        except Refused as refused:
            finish(*refused.answer)

    def _control(self, path: str, message: Message) -> tuple[int, Headers, bytes]:
        if path == "/-/health":
            return 200, [], b"Healthy"
        if not hmac.compare_digest(message.header(b"x-router-secret").encode(), self._secret.encode()):
            return error(401, "Unauthorized", "This route is for the emulator's control plane.")
        if path != "/-/reload" or message.method != b"POST":
            return error(404, "NotFound", f"The router has no route {path}.")
        self.reload()
        return 200, [], b""

    def _score(self, path: str, query: str, message: Message, finish: Finish) -> None:
        parts = path.strip("/").split("/")
        if len(parts) != 3 or parts[0] != "endpoints" or parts[2] not in _PATHS:
            raise Refused(404, "NotFound", f"No route {path[:200]}: score at /endpoints/<name>/score.")
        endpoint = self._endpoints.get(parts[1])
        if endpoint is None:
            raise Refused(404, "NotFound", f"There is no online endpoint {parts[1][:64]!r}.")
        if not self._admission.admits(endpoint, message.header(b"authorization")):
            raise Refused(401, "Unauthorized", "The Authorization header carries no valid key or token of this endpoint.")
        target_path = _PATHS[parts[2]] + (b"?" + query.encode("latin-1") if query else b"")
        pinned = message.header(PINNED)
        name = pinned or endpoint.choose(self._random.random())
        if name is None:
            raise Refused(404, "NotFound", f"Endpoint {endpoint.name!r} has no deployment with a positive traffic weight.")
        target = endpoint.targets.get(name)
        if target is None:
            raise Refused(404, "NotFound", f"Endpoint {endpoint.name!r} has no ready deployment {name[:64]!r}.")
        self._forward(endpoint.name, target, message, target_path, finish)
        if not pinned:
            self._mirror(endpoint, message, target_path)

    def _mirror(self, endpoint: Endpoint, message: Message, path: bytes) -> None:
        """Send a copy to the mirrored deployment, for its share of requests; its answer is only counted."""
        if endpoint.mirror is None or self._random.random() * 100 >= endpoint.mirror[1]:
            return
        target = endpoint.targets.get(endpoint.mirror[0])
        if target is not None:
            self._forward(endpoint.name, target, message, path, _nobody)

    def _forward(self, endpoint: str, target: Target, message: Message, path: bytes, finish: Finish) -> None:
        started = time.perf_counter()

        def answered(outcome: Message | Exception) -> None:
            model_status = outcome.status if isinstance(outcome, Message) else 0
            status, headers, body = of_the_model(outcome) if isinstance(outcome, Message) else failure(target, outcome)
            headers.append((PINNED, target.name.encode()))
            finish(status, headers, body)
            seconds = time.perf_counter() - started
            at = time.time()
            self._counts.add(endpoint, target.name, status, model_status, seconds, at=at)
            if self._requests is not None or target.collection is not None:
                identity = request_id(headers)
                what = (message.method, path, status, model_status, identity, finish is _nobody, at)
                line = Line(endpoint, target.name, seconds, *what, message.header(b"user-agent"))
                self._told(target, message, outcome, line)

        upstream = self._upstreams[target.port]
        if not target.ready:
            answered(NotReady())
        elif self._faults.scoring and (fault := scoring_fault(self._faults, endpoint, target.name)):
            send_faulty(upstream, fault, message, path, answered)
        else:
            upstream.send(message, path, answered)

    def _told(self, target: Target, message: Message, outcome: Message | Exception, line: Line) -> None:
        """Log an answered request, and collect it if its deployment wants that."""
        if self._requests is not None:
            self._requests.add(line)
        gathering = self._gatherings.get(target.port) if target.collection is not None else None
        if gathering is not None:
            gathering.scored(message, line.path, outcome, line.request_id.decode("latin-1"), line.at - line.seconds)


def _nobody(_status: int, _headers: Headers, _body: bytes) -> None:
    """Where the answers of a mirrored deployment go."""


async def serve(given: argparse.Namespace, secret: str) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT."""
    counts = CountLog(given.counts)
    files = Files(given.table, given.logs, given.counts.with_name("collected"), given.storage_url)
    router = Router(files, counts, Admission(given.signing_key), secret=secret, seed=given.seed)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(given.certificate, given.key)
    connections: set[ServerConnection] = set()
    server = await loop.create_server(
        lambda: ServerConnection(router.answer, connections), "127.0.0.1", given.port, ssl=tls, backlog=512
    )
    while not stopped.is_set():
        router.sweep()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), _FLUSH_SECONDS)
    server.close()
    for connection in list(connections):
        connection.close()
    router.close()
    counts.close()


def main() -> None:
    """Read the arguments; the secret comes through the environment, because a command line is for everybody to read."""
    arguments = argparse.ArgumentParser(prog="local.azureml.serving.router")
    arguments.add_argument("--port", type=int, default=5444)
    arguments.add_argument("--table", type=Path, required=True, help="routing table (JSON), written by the control plane")
    arguments.add_argument("--counts", type=Path, required=True, help="SQLite file for the counts")
    arguments.add_argument("--certificate", type=Path, required=True)
    arguments.add_argument("--key", type=Path, required=True)
    arguments.add_argument("--logs", type=Path, help="folder for a log of the requests of each deployment; none is kept without")
    arguments.add_argument("--signing-key", type=Path, help="the key of access tokens; without, no endpoint is opened by one")
    arguments.add_argument("--storage-url", default="", help="address of the blob service, for what is collected")
    arguments.add_argument("--seed", type=int, help="makes the split of the traffic repeatable")
    given = arguments.parse_args()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(given, os.environ[SECRET_VARIABLE]))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":  # uvloop does not exist there
        return asyncio.SelectorEventLoop
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    main()
