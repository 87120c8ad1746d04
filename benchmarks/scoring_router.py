"""What the scoring router costs: the same requests to a scoring process directly and through the router, in one run.

`python -m benchmarks.scoring_router [seconds] [rounds]`: client, router and scoring process share the machine. The direct
client speaks plain HTTP and opens a connection per request, since the inference server (gunicorn's sync worker) closes each;
the client of the router speaks TLS over kept connections, as clients of Azure do. The router's processor time per request is
printed too: unlike the ratio it does not depend on who else uses the machine.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
import uvloop

from local.azureml.serving import process, table
from local.azureml.serving.process import ScoringSpec
from local.azureml.serving.router import SECRET_VARIABLE
from local.azureml.serving.wire import ClientConnection
from local.certificates import ensure_certificates
from local.processes import Child, free_port, port_answers

PYTHON = Path(__file__).resolve().parents[1] / ".environments/serve/bin/python"
SCRIPT = """
import json
def init(): pass
def run(raw): return {"scores": [sum(row) for row in json.loads(raw)["input_data"]["data"]]}
"""
COLUMNS = ", ".join(f'"column_{number}"' for number in range(25))
BODY = f'{{"input_data": {{"columns": [{COLUMNS}], "index": [0], "data": [{[float(number) for number in range(25)]}]}}}}'.encode()


def request(path: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer key\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(BODY) + BODY


async def client(port: int, tls: ssl.SSLContext | None, data: bytes, until: float, latencies: list[float]) -> None:
    connection: ClientConnection | None = None
    name = "127.0.0.1" if tls else None
    while time.perf_counter() < until:
        started = time.perf_counter()
        if connection is None or not connection.reusable:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(ClientConnection, "127.0.0.1", port, ssl=tls, server_hostname=name)
        answer = await connection.exchange(data)
        assert answer.status == 200, answer.content()
        latencies.append(time.perf_counter() - started)
    if connection is not None:
        connection.close()


async def measure(clients: int, seconds: float, port: int, tls: ssl.SSLContext | None, data: bytes) -> tuple[float, float, float]:
    """(requests per second, p50 ms, p99 ms)."""
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(client(port, tls, data, until, latencies) for _ in range(clients)))
    cuts = statistics.quantiles(latencies, n=100)
    return len(latencies) / seconds, cuts[49] * 1000, cuts[98] * 1000


def start(folder: Path) -> tuple[list[Child], int, int, ssl.SSLContext]:
    (folder / "code").mkdir()
    (folder / "code/score.py").write_text(SCRIPT)
    scoring, router = free_port(), free_port()
    spec = ScoringSpec("bench", "blue", str(PYTHON), str(folder), "score.py", None, {}, 1, 30.0, 64)
    child = process.start(spec, scoring, folder / "scoring.log", {})
    target = {"port": scoring, "timeout_seconds": 30.0, "limit": 64}
    credentials = [{"value": "key"}]
    endpoint = {"credentials": credentials, "traffic": {"blue": 100}, "mirror": {}, "targets": {"blue": target}}
    table.save(folder / "table.json", {"endpoints": {"bench": endpoint}})
    certificates = ensure_certificates(folder / "certificates")
    arguments = ["--port", str(router), "--table", str(folder / "table.json"), "--counts", str(folder / "counts.sqlite")]
    arguments += ["--certificate", str(certificates.certificate), "--key", str(certificates.key)]
    command = [sys.executable, "-m", "local.azureml.serving.router", *arguments]
    routing = Child("router", command, log=folder / "router.log", env={**os.environ, SECRET_VARIABLE: "secret"})
    child.wait_until(lambda: process.healthy(scoring))
    routing.wait_until(lambda: port_answers(router))
    return [child, routing], scoring, router, ssl.create_default_context(cafile=str(certificates.bundle))


def processor_seconds(child: Child) -> float:
    times = psutil.Process(child.pid).cpu_times()
    return times.user + times.system


def main() -> None:
    given = dict(enumerate(sys.argv[1:]))
    seconds, rounds = float(given.get(0, 3)), int(given.get(1, 3))
    with tempfile.TemporaryDirectory() as folder:
        children, scoring, router, tls = start(Path(folder))
        try:
            for clients in (1, 8):
                ratios: list[float] = []
                before, answered = processor_seconds(children[1]), 0.0
                for _ in range(rounds):  # alternating, so that a busy moment hits both
                    direct = uvloop.run(measure(clients, seconds, scoring, None, request("/score")))
                    routed = uvloop.run(measure(clients, seconds, router, tls, request("/endpoints/bench/score")))
                    ratios.append(routed[0] / direct[0])
                    answered += routed[0] * seconds
                    shown = " ".join(
                        f"{name} {rate:6.0f} req/s (p50 {p50:.2f}, p99 {p99:.2f} ms)"
                        for name, (rate, p50, p99) in (("direct", direct), ("router", routed))
                    )
                    print(f"c={clients} {shown} ratio {ratios[-1]:.2f}")
                spent = (processor_seconds(children[1]) - before) / answered * 1e6
                print(f"c={clients} median ratio {statistics.median(ratios):.2f}, router {spent:.0f} us of processor per request")
        finally:
            for child in children:
                child.stop()


if __name__ == "__main__":
    main()
