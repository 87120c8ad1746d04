"""Children of the local stack: each in its own process group, dying with its parent, stopped by its process id."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_GUARD = Path(__file__).with_name("guard.py")
_TAIL_BYTES = 64 * 1024


class ChildFailed(RuntimeError):
    """A child ended, or did not become ready in its time. The message holds the tail of its log."""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """Run in the child before exec: the kernel kills it when its parent thread dies, so that kill -9 leaves no orphan (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a text file, of its last 64 kB at most, or an empty string when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


class Child:
    """One supervised process; its standard output and error go to `log`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        has_children: bool = False,
    ) -> None:
        """`has_children`: it starts processes of its own that do not see to it themselves that they end with it."""
        self.name, self.log = name, log
        guard = [sys.executable, str(_GUARD)] if has_children else []
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*guard, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], *, timeout: float = 60.0) -> None:
        """Wait until `ready()`; raise ChildFailed with the log's tail when the child ends or `timeout` seconds pass."""
        deadline = time.monotonic() + timeout
        while not ready():
            code = self.poll()
            if code is not None:
                raise ChildFailed(f"{self.name} ended with exit code {code} before it was ready:\n{tail(self.log)}")
            if time.monotonic() > deadline:
                self.stop()
                raise ChildFailed(f"{self.name} was not ready within {timeout:.0f} s:\n{tail(self.log)}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to this process alone, not to its group: what `kill -9` does. Reaps it; safe to call twice."""
        self._process.kill()
        self._process.wait()

    def stop(self, *, grace: float = 5.0) -> None:
        """SIGTERM to the whole process group, SIGKILL after `grace` seconds; reaps the child. Safe to call twice."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            break
        with contextlib.suppress(ProcessLookupError):  # grandchildren that ignored SIGTERM
            os.killpg(self._process.pid, signal.SIGKILL)


def port_answers(port: int, host: str = "127.0.0.1") -> bool:
    """True when something accepts TCP connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0
