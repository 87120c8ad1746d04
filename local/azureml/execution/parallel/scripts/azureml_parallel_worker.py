"""A worker: loads the entry script, calls `init` once, `run` per mini batch and `shutdown` at the end.

It is forked from the driver, told its tasks over a pipe and answers over another, one JSON document a line. Rows go to a file
that gets its name when it is whole: a worker that is killed leaves nothing which counts.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import inspect
import json
import logging
import os
import random
import signal
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from local.azureml.execution.parallel.scripts.azureml_parallel_batches import read_rows
else:
    from azureml_parallel_batches import read_rows

_PR_SET_PDEATHSIG = 1


def work(tasks: IO[bytes], answers: IO[bytes], settings: dict[str, Any]) -> NoReturn:
    """Serve until the driver closes the pipe; never returns."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _die_with(settings["driver"])
        _own_randomness()
        _serve(tasks, answers, settings)
        threading._shutdown()  # type: ignore[attr-defined]  # joins the script's threads, as the interpreter's end would
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - whatever happens, this process must not run on as a second driver
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)


def _serve(tasks: IO[bytes], answers: IO[bytes], settings: dict[str, Any]) -> None:
    def answer(**message: Any) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    try:
        script = load(settings)
        if not callable(getattr(script, "run", None)):
            raise AttributeError(f"{settings['entry_script']} has no function run(mini_batch)")
        if hasattr(script, "init"):
            script.init()
    except (Exception, SystemExit):  # noqa: BLE001 - told to the driver
        answer(init_failed=traceback.format_exc())
        return
    answer(ready=True)
    for line in tasks:
        task = json.loads(line)
        try:
            inputs, outputs = _run(script, task, settings["scratch"])
        except (Exception, SystemExit):  # noqa: BLE001 - told to the driver
            answer(error=_without_own_frames())
        else:
            answer(inputs=inputs, outputs=outputs)
    if callable(getattr(script, "shutdown", None)):
        script.shutdown()


def load(settings: dict[str, Any]) -> types.ModuleType:
    """The entry script as a module, with the arguments and the search path that it expects."""
    path, code = settings["entry_script"], settings["code"]
    folder, name = str(Path(path).parent), Path(path).stem
    sys.argv = [path, *settings["arguments"]]
    sys.path[:] = list(dict.fromkeys([folder, code, *sys.path[1:]]))
    logging.basicConfig(level=settings["logging_level"], stream=sys.stdout)
    _offer_entry_script()
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class EntryScript:
    """What `azureml_user.parallel_run` offers on Azure: a logger whose lines stand in the step's log, and where outputs go."""

    @property
    def logger(self) -> logging.Logger:
        return logging.getLogger("azureml_user.parallel_run")

    @property
    def output_dir(self) -> str:
        return os.environ.get("AZUREML_BI_OUTPUT_PATH", ".")


def _offer_entry_script() -> None:
    package, module = types.ModuleType("azureml_user"), types.ModuleType("azureml_user.parallel_run")
    package.__dict__.update(__path__=[], parallel_run=module)
    module.__dict__["EntryScript"] = EntryScript
    sys.modules.update({"azureml_user": package, "azureml_user.parallel_run": module})


def _run(script: types.ModuleType, task: dict[str, Any], scratch: str) -> tuple[int, int]:
    """How many inputs the mini batch had and how many results it gave; their rows are in the scratch folder then."""
    batch = task["files"] if "files" in task else read_rows(task["table"])
    if _wants_context(script.run):
        found = script.run(batch, types.SimpleNamespace(minibatch_index=task["number"], partition_key_value=None))
    else:
        found = script.run(batch)
    count, text = rows_of(found)
    part = Path(scratch) / f"{task['number']}.{os.getpid()}.part"
    part.write_text(text, encoding="utf-8", newline="")
    part.replace(part.with_name(f"{task['number']}.rows"))
    return len(batch), count


def rows_of(found: Any) -> tuple[int, str]:
    """(how many results, their lines). DataFrames are written as Azure ML does: no header, no index, blanks in between."""
    if hasattr(found, "to_csv"):
        return len(found), found.to_csv(header=False, index=False, sep=" ", lineterminator="\n")
    if hasattr(found, "tolist") and not isinstance(found, (list, tuple)):
        found = found.tolist()
    if not isinstance(found, (list, tuple)):
        raise TypeError(
            f"run() must return a list, a tuple, an array or a pandas DataFrame or Series, not {type(found).__name__}"
        )
    return len(found), "".join(f"{item}\n" for item in found)


def _wants_context(function: Any) -> bool:
    return len(inspect.signature(function).parameters) > 1


def _die_with(driver: int) -> None:
    """A driver that is killed cannot end its workers; the kernel does it where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != driver:  # it was killed before the kernel knew
        os._exit(1)


def _own_randomness() -> None:
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()  # a fork would draw the same numbers as its siblings


def _without_own_frames() -> str:
    kind, error, trace = sys.exc_info()
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return "".join(traceback.format_exception(kind, error, trace))
