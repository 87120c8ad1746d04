"""Requests per second through the scoring router against calling the scoring process directly: what the router costs.

Client, router and scoring process share the machine. Both sides have the same client code (scoring_client.py). The direct one
speaks plain HTTP and opens a connection per request, since the inference server (gunicorn's sync worker) closes each; the
router's client speaks TLS over kept connections, as clients of Azure do. The script does nothing: a real model makes the ratio
better, never worse.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop

from benchmarks.measure import Comparison
from benchmarks.scoring_client import ClientConnection
from local.azureml.serving import process, table
from local.azureml.serving.process import ScoringSpec
from local.azureml.serving.router import SECRET_VARIABLE
from local.certificates import ensure_certificates
from local.processes import Child, free_port, port_answers

PYTHON = Path(__file__).resolve().parents[1] / ".environments/serve/bin/python"
GOAL = 0.8
CLIENTS = (1, 8)
ROUNDS = 15
SECONDS = 0.8
SCRIPT = """
import json
def init(): pass
def run(raw): return {"scores": [sum(row) for row in json.loads(raw)["input_data"]["data"]]}
"""
COLUMNS = ", ".join(f'"column_{number}"' for number in range(25))
BODY = f'{{"input_data": {{"columns": [{COLUMNS}], "index": [0], "data": [{[float(number) for number in range(25)]}]}}}}'.encode()


@dataclass(frozen=True)
class Side:
    """Where requests go, and how."""

    port: int
    path: str
    tls: ssl.SSLContext | None

    @property
    def request(self) -> bytes:
        head = f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer key\r\ncontent-type: application/json\r\n"
        return head.encode() + b"content-length: %d\r\n\r\n" % len(BODY) + BODY


@dataclass(frozen=True)
class Rates:
    """What one side reached in each round: requests per second, and the latencies (s) of all of them."""

    per_second: list[float]
    latencies: list[float]

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.latencies, n=100)
        return f"{statistics.median(self.per_second):.0f}/s, p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms"


def run() -> list[Comparison]:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (direct, routed, router):
        measure(8, 0.5, direct), measure(8, 0.5, routed)  # unmeasured: everything is imported and connected once
        return [compare(clients, direct, routed, router) for clients in CLIENTS]


def compare(clients: int, direct: Side, routed: Side, router: Child) -> Comparison:
    """Many short rounds in turns: what else the machine does comes and goes, and the median of the rounds' ratios forgets it."""
    ours, theirs, ratios = Rates([], []), Rates([], []), list[float]()
    spent = -processor_seconds(router)
    for number in range(ROUNDS):
        order = ((direct, theirs), (routed, ours)) if number % 2 else ((routed, ours), (direct, theirs))
        for side, rates in order:
            latencies, seconds = measure(clients, SECONDS, side)
            rates.latencies.extend(latencies)
            rates.per_second.append(len(latencies) / seconds)
        ratios.append(ours.per_second[-1] / theirs.per_second[-1])
    spent = (spent + processor_seconds(router)) / len(ours.latencies) * 1e6
    note = f"{ours}; ratios {min(ratios):.2f}-{max(ratios):.2f}; {spent:.0f} us of the router's processor a request"
    name = f"scoring through the router, {clients} client{'s' if clients > 1 else ''}"
    return Comparison(name, statistics.median(ratios), GOAL, "at least", "x", note, f"direct: {theirs}")


def measure(clients: int, seconds: float, side: Side) -> tuple[list[float], float]:
    """(latency of each request, seconds that it took in all)."""

    async def all_clients() -> tuple[list[float], float]:
        started, latencies = time.perf_counter(), list[float]()
        await asyncio.gather(*(one_client(side, started + seconds, latencies) for _ in range(clients)))
        return latencies, time.perf_counter() - started

    return uvloop.run(all_clients())


async def one_client(side: Side, until: float, latencies: list[float]) -> None:
    """Send one request after the other; a connection that can be used again is."""
    loop, request, name = asyncio.get_running_loop(), side.request, "127.0.0.1" if side.tls else None
    connection: ClientConnection | None = None
    while time.perf_counter() < until:
        started = time.perf_counter()
        if connection is None or not connection.reusable:
            _, connection = await loop.create_connection(
                ClientConnection, "127.0.0.1", side.port, ssl=side.tls, server_hostname=name
            )
        answer = await connection.exchange(request)
        assert answer.status == 200, answer.content()
        latencies.append(time.perf_counter() - started)
        if not connection.reusable:
            connection.close()
    if connection is not None:
        connection.close()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Side, Side, Child]]:
    """A scoring process and a router before it: (direct, through the router, the router's process)."""
    (folder / "code").mkdir()
    (folder / "code/score.py").write_text(SCRIPT)
    scoring, router = free_port(), free_port()
    spec = ScoringSpec("bench", "blue", str(PYTHON), str(folder), "score.py", None, {}, 1, 30.0, 64)
    children = [process.start(spec, scoring, folder / "scoring.log", {})]
    try:
        certificates = ensure_certificates(folder / "certificates")
        children.append(start_router(folder, router, scoring))
        children[0].wait_until(lambda: process.healthy(scoring))
        children[1].wait_until(lambda: port_answers(router))
        trust = certificates.ssl_context()
        yield Side(scoring, "/score", None), Side(router, "/endpoints/bench/score", trust), children[1]
    finally:
        for child in children:
            child.stop()


def start_router(folder: Path, port: int, scoring: int) -> Child:
    """The router as the emulator starts it, with one endpoint, one deployment, all traffic."""
    target = {"port": scoring, "timeout_seconds": 30.0, "limit": 64}
    credentials = [{"value": "key"}]
    endpoint = {"credentials": credentials, "traffic": {"blue": 100}, "mirror": {}, "targets": {"blue": target}}
    table.save(folder / "table.json", {"endpoints": {"bench": endpoint}})
    certificates = ensure_certificates(folder / "certificates")
    arguments = ["--port", str(port), "--table", str(folder / "table.json"), "--counts", str(folder / "counts.sqlite")]
    arguments += ["--certificate", str(certificates.certificate), "--key", str(certificates.key), "--logs", str(folder / "logs")]
    command = [sys.executable, "-m", "local.azureml.serving.router", *arguments]
    return Child("router", command, log=folder / "router.log", env={**os.environ, SECRET_VARIABLE: "secret"})


def processor_seconds(child: Child) -> float:
    times = psutil.Process(child.pid).cpu_times()
    return times.user + times.system
