"""A burst of BlobCreated events through the host, against an event function that does nothing in the same host program.

The blobs are real and lie in Azurite before their events are sent, as Event Grid sends them by default: one event in a request,
many requests at a time. Measured are the events accepted in a second (each is durable before it is answered), the time until
the one version of all of them exists, beside one listing of the container, which no version can do without, and whether the
host's memory grows with the burst: against one of a tenth, which also warms the host. The stack's parts, the client that sends,
and the looks that happen meanwhile share the machine with the host.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop

from benchmarks.laboratory import ROOT, stack, until
from benchmarks.measure import Comparison, seconds
from benchmarks.scoring_client import ClientConnection
from local.host.keys import Keys
from local.layout import StackEnvironment
from local.processes import Child, free_port, port_answers
from local.stack import Stack

EVENTS, CONNECTIONS = 10_000, 64
FLOOR_EVENTS = 3_000
QUIET_SECONDS = 10
RATE_GOAL, ACCEPTING_GOAL, VERSION_GOAL = 0.5, 1.3, 5.0
# A version is a list of its files, which is held while it is made: it may grow, but by far less than the files.
MAKING_GOAL = 2.0
_MEBIBYTE = 1024 * 1024
CONFIG = f"""
version: 1
data_assets:
  flights:
    container: flights
    prefix: incoming/
    suffixes: [.csv]
    window:
      quiet_period: {QUIET_SECONDS}s
"""


@dataclass(frozen=True)
class Webhook:
    """A function's address for Event Grid, and the process that answers there."""

    port: int
    function: str
    key: str
    pid: int

    def request(self, event: dict[str, object]) -> bytes:
        body = json.dumps([event]).encode()
        head = (
            f"POST /runtime/webhooks/eventgrid?functionName={self.function}&code={self.key} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"aeg-event-type: Notification\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Memory:
    """The resident set of a process, sampled ten times a second while the block runs."""

    def __init__(self, pid: int) -> None:
        self._process, self._ended = psutil.Process(pid), threading.Event()
        self.peak = self._now()
        """MiB"""
        self._sampling = threading.Thread(target=self._sample)

    def __enter__(self) -> Memory:
        self._sampling.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sampling.join()

    def _now(self) -> float:
        return float(self._process.memory_info().rss / _MEBIBYTE)

    def _sample(self) -> None:
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, self._now())


@dataclass(frozen=True)
class Sent:
    """When each event was accepted, by perf_counter, in the order of the answers. `processor`: the host's seconds meanwhile."""

    started: float
    accepted: Sequence[float]
    processor: float

    @property
    def rate(self) -> float:
        return len(self.accepted) / (self.accepted[-1] - self.started)

    def __str__(self) -> str:
        """The processor's share is the steadier measure where others use the machine too."""
        return f"{self.rate:.0f}/s, {self.processor / len(self.accepted) * 1000:.2f} ms of the host's processor each"


def run() -> list[Comparison]:
    # Nobody watches the container, for the benchmark sends the events itself.
    with stack(CONFIG, watched="elsewhere") as running, do_nothing(running.environment) as nothing:
        tenth = burst(running, "tenth", EVENTS // 10)
        idle = [nothing.request(event) for event in made_up(running.environment, FLOOR_EVENTS)]
        send(nothing, idle[:300])
        floor = [send(nothing, idle)]
        whole = burst(running, "burst", EVENTS)
        floor.append(send(nothing, idle))
        listing = statistics.mean(seconds(lambda: list_all(running)) for _ in range(3))
    return [_rate(whole.sent, floor), _accepting(whole), _making(whole, tenth), _version(whole, listing)]


@dataclass(frozen=True)
class Burst:
    """What a burst has taken until the version of its files existed.

    The host's memory in MiB: before, and at its highest while it accepted and until the version existed.
    """

    sent: Sent
    version_at: float
    before: float
    accepting: float
    making: float


def burst(running: Stack, name: str, count: int) -> Burst:
    """Upload files, send their events, wait for their version. The first one also loads what the host needs for that."""
    ours = our_webhook(running)
    known = len(running.observer.data_versions("flights"))
    requests = [ours.request(event) for event in upload(running, name, count)]
    with Memory(ours.pid) as memory:
        before = memory.peak
        sent = send(ours, requests)
        accepting = memory.peak
        until(lambda: len(running.observer.data_versions("flights")) > known, f"the version of {count} files")
        version_at = time.perf_counter()
    return Burst(sent, version_at, before, accepting, memory.peak)


def _rate(sent: Sent, floor: Sequence[Sent]) -> Comparison:
    name = f"{EVENTS} events, {CONNECTIONS} at a time: accepted per second"
    ratio = sent.rate / statistics.mean(one.rate for one in floor)
    theirs = f"a function that does nothing: {floor[0]}; afterwards {floor[1]}"
    return Comparison(name, ratio, RATE_GOAL, "at least", "x", str(sent), theirs)


def _accepting(whole: Burst) -> Comparison:
    name = "memory of the host while it accepts them: its peak, over what it was before"
    ours, theirs = f"{whole.accepting:.0f} MiB", f"before: {whole.before:.0f} MiB"
    return Comparison(name, whole.accepting / whole.before, ACCEPTING_GOAL, "at most", "x", ours, theirs)


def _making(whole: Burst, tenth: Burst) -> Comparison:
    name = "memory of the host until the version exists: its peak, over that of a burst of a tenth"
    ours, theirs = f"{whole.making:.0f} MiB", f"{EVENTS // 10} events: {tenth.making:.0f} MiB"
    return Comparison(name, whole.making / tenth.making, MAKING_GOAL, "at most", "x", ours, theirs)


def _version(whole: Burst, listing: float) -> Comparison:
    """The window waits until its quiet period has passed since the last event, so that is not counted."""
    beyond = whole.version_at - whole.sent.accepted[-1] - QUIET_SECONDS
    name = "from the last event to the version, beyond the window, over one listing of the container"
    ours = f"{beyond:.1f} s; {whole.version_at - whole.sent.started:.1f} s from the first event"
    return Comparison(name, beyond / listing, VERSION_GOAL, "at most", "x", ours, f"a listing: {listing:.1f} s")


def list_all(running: Stack) -> int:
    """What cannot be saved: the container is asked what is there."""
    return sum(1 for _ in running.blobs().get_container_client("flights").list_blobs())


@contextmanager
def do_nothing(environment: StackEnvironment) -> Iterator[Webhook]:
    """A second host, with the function that does nothing, in the environment that `stack` has set."""
    state, port = environment.state / "nothing", free_port()
    command = [sys.executable, "-m", "local.host", "--app", str(ROOT / "benchmarks/nothing")]
    command += ["--port", str(port), "--state", str(state)]
    child = Child("nothing", command, log=environment.state / "logs/nothing.log", cwd=ROOT)
    try:
        child.wait_until(lambda: port_answers(port))
        yield Webhook(port, "do_nothing", event_key(state), child.pid)
    finally:
        child.stop()


def our_webhook(running: Stack) -> Webhook:
    environment = running.environment
    key = event_key(environment.state / "host")
    return Webhook(environment.ports.host, "register_uploaded_data", key, running.pid("host"))


def event_key(state: Path) -> str:
    return Keys.ensure(state).eventgrid_extension


def upload(running: Stack, name: str, count: int) -> list[dict[str, object]]:
    """Upload small files; the events that tell of them."""
    container = running.blobs().get_container_client("flights")
    if not container.exists():
        container.create_container()

    def one(number: int) -> dict[str, object]:
        path = f"incoming/{name}-{number:05}.csv"
        answer = container.upload_blob(path, b"a,b\n1,2\n", overwrite=True).get_blob_properties()
        return blob_created(running.environment, path, answer.etag.strip('"'), number)

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(one, range(count)))


def made_up(environment: StackEnvironment, count: int) -> list[dict[str, object]]:
    return [blob_created(environment, f"incoming/{number:05}.csv", f"0x{number:X}", number) for number in range(count)]


def blob_created(environment: StackEnvironment, path: str, etag: str, number: int) -> dict[str, object]:
    """An event as Event Grid sends it."""
    return {
        "topic": environment.storage_account_id,
        "subject": f"/blobServices/default/containers/flights/blobs/{path}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "id": f"{path}-{etag}",
        "data": {
            "api": "PutBlob",
            "requestId": f"request-{number}",
            "eTag": etag,
            "contentType": "text/csv",
            "contentLength": 8,
            "blobType": "BlockBlob",
            "url": f"{environment.blob_url}/flights/{path}",
            "sequencer": f"{number:048x}",
        },
        "dataVersion": "",
        "metadataVersion": "1",
        "eventTime": time.strftime("%Y-%m-%dT%H:%M:%S.0000000Z", time.gmtime()),
    }


def send(to: Webhook, requests: Sequence[bytes]) -> Sent:
    """Send them all over kept connections, each as soon as the answer before it is there."""

    async def all_of_them() -> Sent:
        waiting, accepted, started, processor = deque(requests), list[float](), time.perf_counter(), processor_seconds(to.pid)
        await asyncio.gather(*(one_connection(to.port, waiting, accepted) for _ in range(CONNECTIONS)))
        return Sent(started, accepted, processor_seconds(to.pid) - processor)

    return uvloop.run(all_of_them())


def processor_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def one_connection(port: int, waiting: deque[bytes], accepted: list[float]) -> None:
    _, connection = await asyncio.get_running_loop().create_connection(ClientConnection, "127.0.0.1", port)
    while waiting:
        answer = await connection.exchange(waiting.popleft())
        if answer.status != 202:
            raise RuntimeError(f"The webhook answered {answer.status}: {answer.content().decode()[:500]}")
        accepted.append(time.perf_counter())
    connection.close()
