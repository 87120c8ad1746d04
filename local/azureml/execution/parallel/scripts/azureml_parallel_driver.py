"""The driver of a parallel step: `python azureml_parallel_driver.py <settings.json>`.

Gives mini batches to forked workers, kills the ones that take too long, tries failed mini batches again, counts what failed, and
puts the rows together in the order of the input. Its outcome is a JSON file; its exit code is 0 or 1.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import shutil
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.azureml.execution.parallel.scripts.azureml_parallel_batches import MiniBatch, mini_batches
    from local.azureml.execution.parallel.scripts.azureml_parallel_worker import work
else:
    from azureml_parallel_batches import MiniBatch, mini_batches
    from azureml_parallel_worker import work

LOOK_SECONDS = 0.5
"""How often to look for workers that ended while a child of theirs keeps the pipe open."""
SHUTDOWN_SECONDS = 60.0
SHOWN = 5
"""Failed mini batches that a message names."""


class StepFailedError(Exception):
    """Ends the step; the message is for people."""


@dataclass
class Worker:
    pid: int
    tasks: IO[bytes]
    answers: IO[bytes]
    ready: bool = False
    batch: MiniBatch | None = None
    deadline: float = float("inf")


@dataclass
class Driver:
    """One step. `settings` as written by the emulator's StepRun of parallel steps."""

    settings: dict[str, Any]
    batches: list[MiniBatch]
    workers: list[Worker] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    failed: list[MiniBatch] = field(default_factory=list)
    """Also those that gave fewer results than they had inputs, whose rows are kept."""
    failed_items: int = 0

    def __post_init__(self) -> None:
        self.waiting = deque(self.batches)

    def run(self) -> None:
        """To the end; StepFailedError says why not."""
        started = time.monotonic()
        preload(self.settings["preload"])
        for _ in range(min(self.settings["workers"], len(self.batches))):
            self.workers.append(self.start())
        limit = started + self.settings["first_task_creation_timeout"]
        try:
            while self.waiting or any(worker.batch for worker in self.workers):
                self.assign()
                self.look()
                if time.monotonic() > limit and not any(worker.ready for worker in self.workers):
                    raise StepFailedError("No worker was ready within the first_task_creation_timeout.")
                self.refuse_too_many_failures()
            self.shut_down()
        finally:
            for worker in self.workers:
                self.kill(worker)

    def start(self) -> Worker:
        """A new worker, forked: it has all imports of this process and no file of its siblings'."""
        task_read, task_write = os.pipe()
        answer_read, answer_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        driver, pid = os.getpid(), os.fork()
        if pid == 0:
            for descriptor in (task_write, answer_read):
                os.close(descriptor)
            for sibling in self.workers:
                sibling.tasks.close()
                sibling.answers.close()
            work(os.fdopen(task_read, "rb"), os.fdopen(answer_write, "wb"), {**self.settings, "driver": driver})
        os.close(task_read)
        os.close(answer_write)
        return Worker(pid, os.fdopen(task_write, "wb"), os.fdopen(answer_read, "rb"))

    def assign(self) -> None:
        for worker in self.workers:
            if worker.ready and worker.batch is None and self.waiting:
                batch = worker.batch = self.waiting.popleft()
                worker.deadline = time.monotonic() + self.settings["timeout"]
                try:
                    worker.tasks.write(json.dumps({**batch.task, "number": batch.number}).encode() + b"\n")
                    worker.tasks.flush()
                except BrokenPipeError:  # it is dead; the next look finds out how it died
                    continue

    def look(self) -> None:
        """Wait for an answer, a death or a deadline, and deal with it."""
        soonest = min((worker.deadline for worker in self.workers), default=float("inf"))
        patience = max(0.0, min(LOOK_SECONDS, soonest - time.monotonic()))
        answered, _, _ = select.select([worker.answers for worker in self.workers], [], [], patience)
        for worker in list(self.workers):
            if worker.answers in answered and (line := worker.answers.readline()).endswith(b"\n"):
                self.answered(worker, json.loads(line))
            elif (status := ending(worker, seconds=1.0 if worker.answers in answered else 0.0)) is not None:
                self.died(worker, status)
            elif time.monotonic() > worker.deadline:
                self.kill(worker)
                self.replace(worker, f"run() took longer than {self.settings['timeout']:g} s; its worker was killed")

    def answered(self, worker: Worker, message: dict[str, Any]) -> None:
        if "init_failed" in message:
            raise StepFailedError(f"The entry script could not be loaded or its init() failed:\n{message['init_failed']}")
        batch, worker.batch, worker.deadline = worker.batch, None, float("inf")
        worker.ready = True
        if batch is None:
            return
        if "error" in message:
            self.attempt_failed(batch, message["error"])
            return
        self.done.add(batch.number)
        gap = message["inputs"] - message["outputs"]
        if gap > 0:
            self.failed_items += gap
            batch.errors.append(f"run() returned {message['outputs']} results for {message['inputs']} items")
            self.failed.append(batch)
        self.note("DEBUG", f"mini batch {batch.number} ({batch.name}) gave {message['outputs']} results")

    def died(self, worker: Worker, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if not worker.ready:
            raise StepFailedError(f"A worker ended with {how} while the entry script was loaded or init() ran.")
        self.replace(worker, f"its worker ended with {how}")

    def replace(self, worker: Worker, why: str) -> None:
        """Another worker for one that is gone; what it worked on was not done."""
        self.workers.remove(worker)
        worker.answers.close()
        if worker.batch is not None:
            self.attempt_failed(worker.batch, why)
        if self.waiting:
            self.workers.append(self.start())

    def attempt_failed(self, batch: MiniBatch, error: str) -> None:
        batch.errors.append(error)
        if len(batch.errors) <= self.settings["max_retries"]:
            self.note("WARNING", f"mini batch {batch.number} ({batch.name}) is tried again: {error}")
            self.waiting.append(batch)
            return
        self.note("WARNING", f"mini batch {batch.number} ({batch.name}) failed: {error}")
        self.failed.append(batch)
        self.failed_items += batch.items

    def refuse_too_many_failures(self) -> None:
        """Azure ML's three thresholds; -1 means that failures do not matter."""
        batches, items = self.settings["mini_batch_error_threshold"], self.settings["error_threshold"]
        percent = self.settings["allowed_failed_percent"]
        if 0 <= batches < len(self.failed):
            why = f"more than the mini_batch_error_threshold of {batches}"
        elif 0 <= items < self.failed_items:
            why = f"and with them {self.failed_items} items, more than the error_threshold of {items}"
        elif len(self.failed) * 100 > percent * len(self.batches):
            why = f"more than the allowed_failed_percent of {percent:g}"
        else:
            return
        raise StepFailedError(f"{len(self.failed)} of {len(self.batches)} mini batches failed, {why}.\n{self.failures()}")

    def failures(self) -> str:
        shown = [f"Mini batch {batch.number} ({batch.name}): {batch.errors[-1].strip()}" for batch in self.failed[:SHOWN]]
        more = len(self.failed) - SHOWN
        return "\n".join([*shown, *([f"... and {more} more"] if more > 0 else [])])

    def shut_down(self) -> None:
        """Let the workers call shutdown() and end; then put the rows together. Who is still in init() comes too late."""
        for worker in self.workers:
            worker.tasks.close()
            if not worker.ready:
                os.kill(worker.pid, signal.SIGKILL)
        limit = time.monotonic() + SHUTDOWN_SECONDS
        for worker in list(self.workers):
            if ending(worker, seconds=limit - time.monotonic()) is None:
                raise StepFailedError(f"shutdown() of the entry script took longer than {SHUTDOWN_SECONDS:g} s.")
            self.workers.remove(worker)
        if self.settings["append_row"]:
            self.append_rows(self.settings["append_row"])

    def append_rows(self, target: str) -> None:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        with Path(target).open("wb") as whole:
            for batch in self.batches:
                if batch.number in self.done:
                    with Path(self.settings["scratch"], f"{batch.number}.rows").open("rb") as rows:
                        shutil.copyfileobj(rows, whole)

    def kill(self, worker: Worker) -> None:
        try:
            os.kill(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)
        except (ProcessLookupError, ChildProcessError):  # it ended by itself and was waited for
            return

    def note(self, level: str, text: str) -> None:
        levels = ("DEBUG", "INFO", "WARNING")
        if levels.index(level) >= levels.index(self.settings["logging_level"]):
            sys.stdout.write(f"[parallel] {text}\n")
            sys.stdout.flush()


def preload(modules: list[str]) -> None:
    """Import before the fork what every worker would import: once instead of once each."""
    for name in modules:
        with contextlib.suppress(ImportError):  # a worker that really needs it says so
            importlib.import_module(name)


def ending(worker: Worker, *, seconds: float) -> int | None:
    """The wait status of a worker that ends within the time; None when it lives on."""
    limit = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if pid:
            return status
        if time.monotonic() > limit:
            return None
        time.sleep(0.002)


def main(path: str) -> int:
    """Run the step that the settings describe; returns the exit code."""
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    batches = mini_batches(settings["files"], settings["table"], settings["mini_batch_size"])
    driver = Driver(settings, batches)
    driver.note("INFO", f"{len(batches)} mini batches for {settings['workers']} workers")
    message = ""
    try:
        if not batches:
            raise StepFailedError("The input of the parallel step has nothing in it: no files, or no rows.")
        driver.run()
    except StepFailedError as error:
        message = str(error)
        sys.stderr.write(f"[parallel] {message}\n")
    failed = [{"mini_batch": batch.number, "name": batch.name, "errors": batch.errors} for batch in driver.failed]
    outcome = {"mini_batches": len(batches), "failed": failed, "failed_items": driver.failed_items, "message": message}
    Path(settings["outcome"]).write_text(json.dumps(outcome), encoding="utf-8")
    driver.note("INFO", f"{len(driver.done)} of {len(batches)} mini batches done, {driver.failed_items} items failed")
    return 1 if message else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
