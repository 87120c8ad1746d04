"""The warmed parent itself: runs under the Python of one environment and starts every step of that environment, a process each.

It has imported what earlier steps imported, and forks; so a step does not pay again for pandas, scikit-learn, xgboost and mlflow.
Only the standard library may be imported here, and no thread may ever start here: a fork copies one thread only.

Protocol (JSON lines on the socket whose descriptor is the first argument):
  -> {"start": id, "argv": [...] | "command": "...", "cwd", "env", "log"}     <- {"started": id, "pid": n}
  -> {"signal": id, "number": n}  (to the step's whole process group)          <- {"ended": id, "status": n, "imports": [...]}
  -> {"preload": ["module", ...]}                            <- {"unsafe": module}; from then on: {"declined": id}
`status` is an exit code, or minus the number of the signal that killed the step. End of file: end, and take all steps along.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import random
import selectors
import signal
import socket
import sys
import tempfile
import threading
import traceback
import types
from typing import Any

PR_SET_PDEATHSIG = 1
RESET_SIGNALS = (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# Resolved before any fork: looking a library up afterwards would cost every step.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Parent:
    """The loop: requests from the socket, ended children from SIGCHLD, imports when nothing else is to be done."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.pending = b""
        self.children: dict[int, tuple[str, io.BufferedRandom]] = {}
        self.to_import: list[str] = []
        self.refused: set[str] = set()
        self.unsafe = False
        self.selector = selectors.DefaultSelector()
        self.selector.register(connection, selectors.EVENT_READ)
        self.alarm, write_end = os.pipe()
        os.set_blocking(self.alarm, False)
        os.set_blocking(write_end, False)
        self.alarm_write = write_end
        self.selector.register(self.alarm, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

    def run(self) -> None:
        while not (self.unsafe and not self.children):
            # With imports waiting, look at the socket without waiting: a request goes first only if it came first.
            for key, _ in self.selector.select(0 if self.to_import else None):
                if key.fileobj == self.alarm:
                    drain(self.alarm)
                    self.reap()
                elif not self.receive():
                    self.end_children()
                    return
            if self.to_import:
                self.import_next()

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
        report = tempfile.TemporaryFile()  # noqa: SIM115 - shared with the child, read when it has ended
        gc.freeze()  # keeps the collector of the child off the pages that both share
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            become_step(self, request, report)
        self.children[pid] = (request["start"], report)
        self.send({"started": request["start"], "pid": pid})

    def reap(self) -> None:
        for pid in list(self.children):
            # Look first, reap last: while the leader is a zombie its process group cannot be anybody else's.
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
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


def drain(pipe: int) -> None:
    try:
        while os.read(pipe, 512):
            pass
    except BlockingIOError:
        return


def signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def become_step(parent: Parent, request: dict[str, Any], report: io.BufferedRandom) -> None:
    """In the forked child: shed what belongs to the parent, run the step, never return."""
    status = 1
    try:
        leave_parent(parent)
        settle(request)
        if "command" in request:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would pass that on
            os.execvpe("bash", ["bash", "-c", request["command"]], os.environ)  # noqa: S606 - a job's command is a shell command
        known = set(sys.modules)
        status = run_script(request["argv"])
        report.write("\n".join(third_party_modules(known)).encode())
        report.flush()
    except BaseException:  # noqa: BLE001 - whatever happens, this process must not run on as a second parent
        traceback.print_exc()
    finally:
        flush_output()
        os._exit(status)


def leave_parent(parent: Parent) -> None:
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in RESET_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parent.selector.close()
    parent.connection.close()
    os.close(parent.alarm)
    os.close(parent.alarm_write)


def settle(request: dict[str, Any]) -> None:
    """The step's own environment, folder and log, and random numbers that no sibling has."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the log is read while the step runs
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()  # numpy seeds once, at import: without this every step would draw the same numbers


def run_script(argv: list[str]) -> int:
    """Run `argv` ([script, arguments...]) as `python script arguments...` would; returns its exit code."""
    script = argv[0]
    sys.argv = list(argv)
    sys.path[0] = os.path.dirname(os.path.abspath(script))  # noqa: PTH120, PTH100
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=script, __builtins__=__builtins__, __spec__=None)
    sys.modules["__main__"] = main
    try:
        with open(script, "rb") as file:  # noqa: PTH123
            code = compile(file.read(), script, "exec")
        exec(code, main.__dict__)  # noqa: S102 - running this script is what the process is for
        status = 0
    except SystemExit as ending:
        status = exit_code(ending)
    except FileNotFoundError as error:
        if error.filename != script:
            status = report_exception()
        else:
            sys.stderr.write(f"python: can't open file {os.path.abspath(script)!r}: {error.strerror}\n")  # noqa: PTH100
            status = 2
    except BaseException:  # noqa: BLE001 - as the interpreter does: print it, end with 1
        status = report_exception()
    threading._shutdown()  # type: ignore[attr-defined]  # joins the script's threads, as the interpreter's end would
    atexit._run_exitfuncs()
    return status


def report_exception() -> int:
    """Print the traceback without this file's frames, as the interpreter would."""
    error = sys.exc_info()[1]
    if error is None:
        return 1
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    return 1


def exit_code(ending: SystemExit) -> int:
    if ending.code is None:
        return 0
    if isinstance(ending.code, int):
        return ending.code & 0xFF
    sys.stderr.write(f"{ending.code}\n")
    return 1


def third_party_modules(known: set[str]) -> list[str]:
    """Modules that the step imported from site-packages, in the order of their import."""
    fresh = [name for name in list(sys.modules) if name not in known]
    return [name for name in fresh if importable(name, sys.modules[name])]


def importable(name: str, module: object) -> bool:
    """Of an installed package, and found again under this name."""
    spec = getattr(module, "__spec__", None)
    return "site-packages" in (getattr(module, "__file__", None) or "") and spec is not None and spec.name == name


def flush_output() -> None:
    """Python's buffers and C's: `os._exit` writes neither."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    if LIBC is not None:
        LIBC.fflush(None)


if __name__ == "__main__":
    Parent(socket.socket(fileno=int(sys.argv[1]))).run()
