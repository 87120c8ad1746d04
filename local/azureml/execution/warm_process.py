"""The warmed parent itself: runs under the Python of one environment and starts every step of that environment, a process each.

It has imported what earlier steps imported, and forks; so a step does not pay again for pandas, scikit-learn, xgboost and mlflow.
Copying the page tables of such a process takes longer than many a step, and so does tearing them down. Neither is waited for: a
spare child is forked ahead and waits for its order, and a step tells its end before it exits.
Only the standard library may be imported here, and no thread may ever start here: a fork copies one thread only.

Protocol (JSON lines on the socket whose descriptor is the first argument):
  -> {"start": id, "argv": [...] | "command": "...", "cwd", "env", "log"}     <- {"started": id, "pid": n}
  -> {"signal": id, "number": n}  (to the step's whole process group)          <- {"ended": id, "status": n, "imports": [...]}
  -> {"preload": ["module", ...]}                            <- {"unsafe": module}; from then on: {"declined": id}
`status` is an exit code, or minus the number of the signal that killed the step. End of file: end, and take all steps along.
The second argument is the write end of a pipe. A step that left nothing behind says there first: {"over": id, "status": n}
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.azureml.execution.forked_step import become_step, leave_parent
    from local.azureml.execution.large_pages import LargePages
else:  # a script of another environment, which knows this folder only
    from forked_step import become_step, leave_parent
    from large_pages import LargePages

# This folder must not be searched for what is preloaded; a step puts its script's folder here.
sys.path[0] = os.devnull


@dataclass
class Spare:
    """A forked child that waits for its order: a line on the pipe `order`."""

    pid: int
    order: int
    report: io.BufferedRandom


class Parent:
    """The loop: requests from the socket, ended children from SIGCHLD; imports and a spare child when nothing is to be done."""

    def __init__(self, connection: socket.socket, ends: int) -> None:
        self.connection, self.ends = connection, ends
        self.pending = b""
        self.children: dict[int, tuple[str, io.BufferedRandom]] = {}
        self.to_import: list[str] = []
        self.refused: set[str] = set()
        self.unsafe = False
        self.spare: Spare | None = None
        self.pages = LargePages()
        self.selector = selectors.DefaultSelector()
        self.selector.register(connection, selectors.EVENT_READ)
        self.alarm, self.alarm_write = os.pipe()
        os.set_blocking(self.alarm, False)
        os.set_blocking(self.alarm_write, False)
        self.selector.register(self.alarm, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.alarm_write, warn_on_full_buffer=False)

    def run(self) -> None:
        while not (self.unsafe and not self.children):
            # With work of its own, look without waiting: a request goes first only if it came first.
            for key, _ in self.selector.select(0 if self.to_import or self.lacks_spare() else None):
                if key.fileobj == self.alarm:
                    drain(self.alarm)
                    self.reap()
                elif not self.receive():
                    self.end_children()
                    return
            if self.to_import:
                self.import_next()
            elif self.lacks_spare() and not self.pages.make_some():
                self.spare = self.fork_spare()

    def lacks_spare(self) -> bool:
        return self.spare is None and not self.unsafe

    def receive(self) -> bool:
        data = self.connection.recv(1 << 16)
        if not data:
            return False
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            self.handle(json.loads(line))
        return True

    def handle(self, request: dict[str, Any]) -> None:
        if "start" in request:
            while self.to_import:  # what earlier steps needed, this one most likely needs too
                self.import_next()
                self.reap()
            if self.unsafe:
                self.send({"declined": request["start"]})
            else:
                self.start(request)
        elif "signal" in request:
            for pid, (name, _) in self.children.items():
                if name == request["signal"]:
                    signal_group(pid, request["number"])
        elif "preload" in request:
            self.to_import += [name for name in request["preload"] if name not in sys.modules]

    def send(self, message: dict[str, Any]) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def start(self, request: dict[str, Any]) -> None:
        spare = self.spare or self.fork_spare()
        self.spare = None
        self.children[spare.pid] = (request["start"], spare.report)
        with contextlib.suppress(BrokenPipeError):  # it was killed: its end is reported like that of any step
            write_all(spare.order, json.dumps(request).encode() + b"\n")
        os.close(spare.order)
        self.send({"started": request["start"], "pid": spare.pid})

    def fork_spare(self) -> Spare:
        report = tempfile.TemporaryFile()  # noqa: SIM115 - shared with the child, read when it has ended
        order, order_write = os.pipe()
        gc.freeze()  # keeps the collector of the child off the pages that both share
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self.await_order(order, order_write, report)
        os.close(order)
        with contextlib.suppress(PermissionError, ProcessLookupError):  # the child does it too: whoever comes first
            os.setpgid(pid, pid)
        return Spare(pid, order_write, report)

    def await_order(self, order: int, order_write: int, report: io.BufferedRandom) -> None:
        """In the child, which never returns from here."""
        try:
            leave_parent()
            os.close(order_write)
            self.selector.close()
            self.connection.close()
            os.close(self.alarm)
            os.close(self.alarm_write)
            with os.fdopen(order, "rb") as orders:
                line = orders.readline()
        except BaseException:  # noqa: BLE001 - whatever happens, this process must not run on as a second parent
            os._exit(1)
        if not line:
            os._exit(0)
        become_step(json.loads(line), report, self.ends)

    def discard_spare(self) -> None:
        """It knows nothing of what is imported from now on."""
        if self.spare is None:
            return
        spare, self.spare = self.spare, None
        os.close(spare.order)
        spare.report.close()
        signal_group(spare.pid, signal.SIGKILL)
        os.waitpid(spare.pid, 0)

    def reap(self) -> None:
        if self.spare is not None and has_ended(self.spare.pid):
            self.discard_spare()
        for pid in list(self.children):
            # Look first, reap last: while the leader is a zombie its process group cannot be anybody else's.
            if not has_ended(pid):
                continue
            signal_group(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            name, report = self.children.pop(pid)
            report.seek(0)
            imports = report.read().decode().splitlines()
            report.close()
            self.send({"ended": name, "status": os.waitstatus_to_exitcode(status), "imports": imports})
            if not self.unsafe:
                self.to_import += imports

    def import_next(self) -> None:
        """Import one module. After one that started a thread this process forks no more; its controller starts another."""
        name = self.to_import.pop(0)
        if name in sys.modules or name in self.refused:
            return
        self.discard_spare()
        self.pages.begin_anew()
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - a module that cannot be imported here is no step's problem
            self.refused.add(name)
            sys.stderr.write(f"not preloaded: {name}: {error!r}\n")
        if threading.active_count() > 1:
            self.unsafe = True
            self.to_import.clear()
            self.send({"unsafe": name})

    def end_children(self) -> None:
        for pid in self.children:
            signal_group(pid, signal.SIGKILL)
        self.discard_spare()


def drain(pipe: int) -> None:
    try:
        while os.read(pipe, 512):
            pass
    except BlockingIOError:
        return


def write_all(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


def has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    Parent(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])).run()
