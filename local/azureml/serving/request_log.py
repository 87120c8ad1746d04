"""One JSON line per scored request and deployment: when, what, how it went. Never a body, never a key."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

LIMIT = 8 * 1024 * 1024
"""Bytes after which a file becomes `<name>.1`, in place of the one before: a deployment's log takes twice that at most."""
_PATH_LIMIT = 200
_AGENT_LIMIT = 100
_BLOCK = 64 * 1024
"""Bytes that are read at once."""


class Line(NamedTuple):
    """What the router knows of an answered request, unformatted: the hot path only makes the tuple."""

    endpoint: str
    deployment: str
    seconds: float
    """How long it took."""
    method: bytes
    path: bytes
    status: int
    model_status: int
    """What the scoring process said; 0 when it said nothing."""
    request_id: bytes
    mirrored: bool
    at: float
    """Epoch seconds of its answer."""
    user_agent: str
    """How the client calls itself."""


class RequestLog:
    """Adds in memory; `flush()` appends to `<folder>/<endpoint>/<deployment>.requests.jsonl`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending: list[Line] = []
        self.add = self._pending.append

    def flush(self) -> None:
        """Write what was added since."""
        if not self._pending:
            return
        logs: dict[tuple[str, str], list[bytes]] = {}
        for line in self._pending:
            logs.setdefault((line.endpoint, line.deployment), []).append(_json(line))
        self._pending.clear()
        for key, lines in logs.items():
            file = log_file(self._folder, *key)
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab") as log:
                log.write(b"".join(lines))
            if file.stat().st_size > LIMIT:
                file.replace(file.with_name(file.name + ".1"))


def log_file(folder: Path, endpoint: str, deployment: str) -> Path:
    """Where the requests of a deployment are logged, below the folder of all logs."""
    return folder / endpoint / f"{deployment}.requests.jsonl"


def answered_between(folder: Path, endpoint: str, deployment: str, start: float, end: float) -> Iterator[dict[str, Any]]:
    """The logged requests whose answer fell within [start, end) epoch seconds, newest first; `answered_at` is added to each.

    Read from the end: what is asked about is recent, and a file may hold tens of thousands.
    """
    file = log_file(folder, endpoint, deployment)
    for line in _newest_first(file, file.with_name(file.name + ".1")):
        document = orjson.loads(line)
        answered_at = datetime.fromisoformat(document["time"]).timestamp() + document["latency_ms"] / 1000
        if start <= answered_at < end:
            yield {**document, "answered_at": answered_at}
        elif answered_at < start - 1:  # lines stand in the order of their answers
            return


def _newest_first(*files: Path) -> Iterator[bytes]:
    """The lines of files, of which the first is the newest. A file that is renamed meanwhile is read once all the same."""
    with contextlib.ExitStack() as opened:
        read: set[int] = set()
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                stream = opened.enter_context(file.open("rb"))
                identity = os.fstat(stream.fileno()).st_ino
                if identity not in read:
                    yield from _from_the_end(stream)
                read.add(identity)


def _from_the_end(stream: BinaryIO) -> Iterator[bytes]:
    """The whole lines of a file, the last one first. One that is being written just now is left out."""
    position, rest, at_the_end = stream.seek(0, os.SEEK_END), b"", True
    while position:
        size = min(_BLOCK, position)
        position -= size
        stream.seek(position)
        rest, *lines = (stream.read(size) + rest).split(b"\n")
        if at_the_end and lines:
            lines.pop()  # behind the last newline there is nothing, or half a line
            at_the_end = False
        yield from reversed(lines)
    if rest and not at_the_end:
        yield rest


def forget(folder: Path, endpoint: str, deployment: str) -> None:
    """Remove a deleted deployment's log."""
    file = log_file(folder, endpoint, deployment)
    for one in (file, file.with_name(file.name + ".1")):
        with contextlib.suppress(FileNotFoundError):
            one.unlink()


def _json(line: Line) -> bytes:
    document = {
        "time": datetime.fromtimestamp(line.at - line.seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "method": line.method.decode("latin-1"),
        "path": line.path.decode("latin-1")[:_PATH_LIMIT],
        "status": line.status,
        "model_status": line.model_status,
        "latency_ms": round(line.seconds * 1000, 2),
        "request_id": line.request_id.decode("latin-1"),
        "mirrored": line.mirrored,
        "user_agent": line.user_agent[:_AGENT_LIMIT],
    }
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
