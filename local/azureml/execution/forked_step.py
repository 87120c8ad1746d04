"""What a forked child of the warmed parent does: it becomes a step, which for its script looks as `python script.py` would.

Only the standard library may be imported here, and nothing after the fork.
"""

from __future__ import annotations

import atexit
import ctypes
import io
import itertools
import json
import os
import random
import signal
import sys
import threading
import traceback
import types
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
RESET_SIGNALS = (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# Resolved before any fork: looking a library up afterwards would cost every step.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def become_step(request: dict[str, Any], report: io.BufferedRandom, ends: int) -> NoReturn:
    """Run the step and never return. `report`: for what it imported. `ends`: the pipe on which an end may be told early."""
    status, pipe = 1, os.fstat(ends)
    try:
        settle(request)
        if "command" in request:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would pass that on
            os.execvpe("bash", ["bash", "-c", request["command"]], os.environ)  # noqa: S606 - a job's command is a shell command
        newest = next(reversed(sys.modules))
        status = run_script(request["argv"])
        imports = third_party_modules(newest)
        flush_output()
        if imports:
            report.write("\n".join(imports).encode())
            report.flush()
        elif not has_children() and is_still(ends, pipe):
            os.write(ends, json.dumps({"over": request["start"], "status": status}).encode() + b"\n")
    except BaseException:  # noqa: BLE001 - whatever happens, this process must not run on as a second parent
        traceback.print_exc()
    finally:
        flush_output()
        os._exit(status)


def has_children() -> bool:
    """Whatever a step leaves behind is killed before its end is told, and only the parent can do that."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def is_still(descriptor: int, known: os.stat_result) -> bool:
    """False when the script closed the descriptor, and perhaps opened a file of its own under its number."""
    try:
        return os.path.samestat(os.fstat(descriptor), known)
    except OSError:
        return False


def leave_parent() -> None:
    """First of all in the child: it dies with its parent, leads a process group, and signals mean what they usually mean."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in RESET_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


def third_party_modules(newest: str) -> list[str]:
    """Modules that the step imported from site-packages, in the order of their import. `newest`: the last one before it began.

    From the end backwards: to look at all names would write the reference count of each, and so copy every page that holds one.
    """
    fresh = list(itertools.takewhile(lambda name: name != newest, reversed(sys.modules)))
    return [name for name in reversed(fresh) if importable(name, sys.modules[name])]


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
