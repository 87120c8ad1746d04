"""The emulator's side of a warmed parent: one per environment, started when first needed, kept, restarted when it died.

`warm_process.py` is the other side. Why: four steps that import pandas, scikit-learn, xgboost and mlflow pay for it four times;
forked from a parent that has imported them they pay once per stack.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("warm_process.py")
# Start threads or take hold of devices when imported or first used; a fork of that is undefined.
_NEVER_PRELOAD = frozenset({"torch", "tensorflow", "jax", "grpc", "pyspark", "ray", "dask"})
_log = logging.getLogger(__name__)


class LaunchFailedError(RuntimeError):
    """The process of a step could not be started."""


@dataclass(frozen=True)
class Launch:
    """What to start: a Python script with its arguments, or a bash command. `env` is the whole environment of the process."""

    cwd: Path
    env: Mapping[str, str]
    log: Path
    argv: tuple[str, ...] = ()
    command: str = ""

    def message(self, name: str) -> dict[str, Any]:
        what = {"argv": list(self.argv)} if self.argv else {"command": self.command}
        return {"start": name, "cwd": str(self.cwd), "env": dict(self.env), "log": str(self.log), **what}


@dataclass
class Running:
    """A started process. `status` is its exit code, or minus the signal that killed it; None while it runs or when `lost`."""

    name: str
    launch: Launch
    parent: _Connection | None = None
    pid: int = 0
    status: int | None = None
    lost: bool = False
    """The warmed parent died first, and the process with it."""
    attempts: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def wait(self, timeout: float | None = None) -> bool:
        """True when it has ended; False after `timeout` seconds."""
        return self._ended.wait(timeout)

    def signal(self, number: int = signal.SIGTERM) -> None:
        """To the whole process group; without effect after its end. The parent does it: it alone knows whose pid it still is."""
        if self.parent is not None and not self._ended.is_set():
            self.parent.send({"signal": self.name, "number": int(number)})

    def end(self, status: int | None, *, lost: bool = False) -> None:
        self.status, self.lost = status, lost
        self._ended.set()


class WarmedParent:
    """Starts processes under one interpreter. Thread-safe."""

    def __init__(self, interpreter: Path, *, env: Mapping[str, str], log: Path, learned: Path) -> None:
        """`env`: what every step has in common, for imports. `learned`: JSON list of modules, kept between the stack's lives."""
        self._interpreter, self._env, self._log_file, self._learned_file = interpreter, dict(env), log, learned
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._learned = _read_learned(learned)
        self._unsafe: set[str] = set()
        self._closed = False
        self._retired: list[_Connection] = []

    def start(self, launch: Launch) -> Running:
        """Start a process; LaunchFailedError when no parent could be started for it."""
        running = Running(uuid.uuid4().hex, launch)
        self._start(running)
        return running

    def warm(self, modules: Sequence[str] = ()) -> None:
        """Start the parent and let it import what it learned, and `modules`, in the background."""
        with self._lock:
            self._connected().send({"preload": list(modules)})

    @property
    def learned(self) -> list[str]:
        """Modules that a new parent imports, in order."""
        return list(self._learned)

    @property
    def pid(self) -> int | None:
        """The parent's process id while one runs."""
        connection = self._connection
        return connection.process.pid if connection is not None and connection.alive else None

    def close(self) -> None:
        """End the parent and with it whatever it started."""
        with self._lock:
            self._closed = True
            connections = [*self._retired, *([self._connection] if self._connection else [])]
        for connection in connections:
            connection.close()

    def _start(self, running: Running) -> None:
        while running.attempts < 5 and not self._closed:
            running.attempts += 1
            with self._lock:
                connection = self._connected()
            if connection.launch(running):
                return
        raise LaunchFailedError(f"no process could be started under {self._interpreter}; see {self._log_file.name}")

    def _connected(self) -> _Connection:
        if self._connection is None or not self._connection.alive:
            self._retired = [
                life for life in [*self._retired, self._connection] if life is not None and life.process.poll() is None
            ]
            self._connection = _Connection(self, self._spawn)
            self._connection.send({"preload": self._learned})
        return self._connection

    def _spawn(self, end: socket.socket, ends: int) -> subprocess.Popen[bytes]:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as output:
            return subprocess.Popen(
                [str(self._interpreter), "-B", str(_SCRIPT), str(end.fileno()), str(ends)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                pass_fds=[end.fileno(), ends],
                start_new_session=True,
            )

    def learn(self, modules: list[str]) -> None:
        """Called with what an ended step had to import itself."""
        with self._lock:
            known = {*self._learned, *self._unsafe}
            fresh = [name for name in modules if name not in known and name.partition(".")[0] not in _NEVER_PRELOAD]
            if fresh:
                self._learned += fresh
                self._save()

    def forget(self, module: str) -> None:
        """Called when a module proved unsafe to preload; its package is not tried again."""
        top = module.partition(".")[0]
        _log.warning("%s starts a thread when it is imported: steps import it themselves", top)
        with self._lock:
            self._unsafe.update(name for name in self._learned if name.partition(".")[0] == top)
            self._learned = [name for name in self._learned if name not in self._unsafe]
            self._save()

    def relaunch(self, running: Running) -> None:
        """Called when a parent ended, or is about to, before it started this: the next one does. Returns at once."""
        threading.Thread(target=self._relaunch, args=(running,), name="relaunch", daemon=True).start()

    def _relaunch(self, running: Running) -> None:
        try:
            self._start(running)
        except LaunchFailedError:
            running.end(None, lost=True)

    def _save(self) -> None:
        fresh = self._learned_file.with_suffix(".new")
        fresh.write_text(json.dumps(self._learned))
        fresh.replace(self._learned_file)


class _Connection:
    """One life of the warmed parent: its process, the socket, and the thread that reads its reports."""

    def __init__(self, owner: WarmedParent, spawn: Any) -> None:
        self._owner = owner
        self._socket, theirs = socket.socketpair()
        self._ends, ends = os.pipe()
        os.set_blocking(self._ends, False)
        try:
            self.process: subprocess.Popen[bytes] = spawn(theirs, ends)
        except OSError as error:
            self._socket.close()
            os.close(self._ends)
            raise LaunchFailedError(f"the warmed parent did not start: {error}") from error
        finally:
            theirs.close()
            os.close(ends)
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}
        self.alive = True
        self._reader = threading.Thread(target=self._read, name="warmed-parent", daemon=True)
        self._reader.start()

    def launch(self, running: Running) -> bool:
        """False when this life is over."""
        with self._lock:
            if not self.alive:
                return False
            running.parent = self
            self._running[running.name] = running
        return self.send(running.launch.message(running.name))

    def send(self, message: dict[str, Any]) -> bool:
        data = json.dumps(message).encode() + b"\n"
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:  # the reader sees the end too, and settles what was running
            return False
        return True

    def close(self) -> None:
        self._shut()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:  # busy in an import, perhaps: its steps die with it
            self.process.kill()
            self.process.wait()
        self._reader.join()

    def _shut(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _read(self) -> None:
        reports, ends = _Lines(self._socket.recv), _Lines(lambda size: os.read(self._ends, size))
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._ends, selectors.EVENT_READ)
            while not reports.over:
                for key, _ in selector.select():
                    for line in (ends if key.fileobj == self._ends else reports).read():
                        self._handle(json.loads(line))
                if ends.over and self._ends in selector.get_map():  # the parent and all its children are gone
                    selector.unregister(self._ends)
        for line in ends.read():  # what was told before the parent went
            self._handle(json.loads(line))
        self._settle()

    def _settle(self) -> None:
        """After the parent's end: what it had not begun goes to the next one, what it ran is lost."""
        with self._lock:
            self.alive = False
            lost, self._running = list(self._running.values()), {}
        self.process.wait()
        for running in lost:
            if running.pid == 0:  # asked for, but the parent ended before it read that
                self._owner.relaunch(running)
                continue
            kill_group(running.pid)  # the kernel killed the step with its parent, but not what the step had started
            running.end(None, lost=True)
        self._socket.close()
        os.close(self._ends)

    def _handle(self, report: dict[str, Any]) -> None:
        if "started" in report:
            with self._lock:
                started = self._running.get(report["started"])
            if started is not None:  # None: over before this was read
                started.pid = report["pid"]
        elif "over" in report:
            self._end(report["over"], report["status"])
        elif "ended" in report:
            # Learned before the end is told: who waits for the end may look at what was learned.
            self._owner.learn(report["imports"])
            self._end(report["ended"], report["status"])
        elif "unsafe" in report:
            with self._lock:
                self.alive = False  # ends by itself after its last step
            self._owner.forget(report["unsafe"])
        elif "declined" in report:
            with self._lock:
                declined = self._running.pop(report["declined"])
            self._owner.relaunch(declined)

    def _end(self, name: str, status: int) -> None:
        """An end that a step told itself is told once more when its process is gone: the first word counts."""
        with self._lock:
            running = self._running.pop(name, None)
        if running is not None:
            running.end(status)


class _Lines:
    """Whole lines from a descriptor, as they come."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self._rest, self.over = read, b"", False

    def read(self) -> list[bytes]:
        """The lines that are there after one look; sets `over` at the end of file."""
        try:
            data = self._read(1 << 16)
        except BlockingIOError:
            return []
        except OSError:  # closed by close(): the same as its end
            data = b""
        self.over = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


def kill_group(pid: int) -> None:
    """SIGKILL to a process group that may be gone already."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _read_learned(file: Path) -> list[str]:
    """What an earlier life learned; a file that cannot be read is only a slower first step."""
    try:
        names = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    except ValueError:
        file.replace(file.with_suffix(".broken"))
        return []
    return [name for name in names if isinstance(name, str)]
