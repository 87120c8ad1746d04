"""One JSON line per scored request and deployment: when, what, how it went. Never a body, never a key."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import orjson

LIMIT = 8 * 1024 * 1024
"""Bytes after which a file becomes `<name>.1`, in place of the one before: a deployment's log takes twice that at most."""
_PATH_LIMIT = 200


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
    }
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
