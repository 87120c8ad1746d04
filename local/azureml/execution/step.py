"""One step of a job, from its inputs on disk to its outputs in storage."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from azure.core.exceptions import AzureError as StorageError

from local.azureml.errors import AzureError
from local.azureml.execution.bindings import LocalPath, render_command
from local.azureml.execution.endings import StepCanceledError, StepFailedError, StepTimedOutError, words_of
from local.azureml.execution.environments import EnvironmentMissing, choose
from local.azureml.execution.materials import Mounted, give, make_read_only
from local.azureml.execution.places import fill_names
from local.azureml.execution.plan import Command, Data, FromStep, Output, Step
from local.azureml.execution.process_environment import common_environment, run_environment, script_of
from local.azureml.execution.registration import NamedOutput, register
from local.azureml.execution.runs import Run, failure, log_name
from local.azureml.execution.tracking import TrackingError
from local.azureml.execution.warmed_parent import Launch, LaunchFailedError, Running
from local.azureml.execution.workshop import Tracked, Workshop, end_tracking
from local.azureml.storage import artifact_place
from local.processes import tail

_TAIL_LINES = 20
_GRACE_SECONDS = 5.0
_KEPT = ("outputs", "logs")
"""Folders below a command's working folder: Azure makes them, and keeps with the run what a command leaves there."""


@dataclass
class StepRun:
    """Runs one step in the calling thread: a command here, other kinds of work in subclasses.

    `earlier`: the finished steps that it may read from, by name.
    """

    shop: Workshop
    step: Step
    run: Run
    job_folder: Path
    earlier: dict[str, StepRun]
    tracked: Future[Tracked]
    canceled: threading.Event = field(default_factory=threading.Event)
    interruption: str | None = None
    """Why it is cancelled although nobody asked for it; it has failed then."""
    inputs: dict[str, str | LocalPath] = field(default_factory=dict)
    outputs: dict[str, str | LocalPath] = field(default_factory=dict)
    """What the command's expressions stand for, once the step prepares."""
    _mounted: list[Mounted] = field(default_factory=list)
    _running: Running | None = None

    @property
    def folder(self) -> Path:
        return self.job_folder / "steps" / self.step.name

    @property
    def origin(self) -> str:
        """The id of the run that made its outputs."""
        return str(self.run["runId"])

    @property
    def log(self) -> Path:
        return self.folder / log_name(self.run)

    def output_path(self, name: str) -> Path:
        return self.folder / "outputs" / name

    def execute(self) -> str:
        """Run the step to its end; returns its final status, which is also in its run document."""
        run_id = self.run["runId"]
        try:
            self._execute(run_id)
        except StepCanceledError:
            status, error = ("Failed", failure(self.interruption)) if self.interruption else ("Canceled", None)
        except StepTimedOutError as late:
            status, error = "Canceled", failure(str(late))
        except StepFailedError as failed:
            status, error = "Failed", failure(str(failed))
        except (AzureError, EnvironmentMissing, LaunchFailedError, StorageError, OSError) as failed:
            status, error = "Failed", failure(f"Step '{self.step.name}' could not run: {getattr(failed, 'message', failed)}")
        else:
            status, error = "Completed", None
        if error is not None:
            self._note(error["error"]["message"].splitlines()[0])
        if self._is_job:  # who waits for the end of a job may read its log and its MLflow run at once
            self._settle(status)
        self.shop.runs.set_status(run_id, status, **({"error": error} if error else {}))
        return status

    def cancel(self) -> None:
        """Ask the process group to end, and make it after some seconds."""
        self.canceled.set()
        running = self._running
        if running is not None:
            running.signal(signal.SIGTERM)
            timer = threading.Timer(_GRACE_SECONDS, running.signal, [signal.SIGKILL])
            timer.daemon = True
            timer.start()

    def _execute(self, run_id: str) -> None:
        self._stop_if_canceled()
        self.shop.runs.set_status(run_id, "Preparing")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        self._warn()
        self.inputs = {name: self._input(name, value) for name, value in self.step.inputs.items()}
        self.outputs = {name: self._new_output(name) for name in self.step.outputs}
        try:
            self._produce(run_id)
        finally:  # a mount is written to as the step writes, whatever becomes of the step
            for mounted in self._mounted:
                self.shop.materials.write_back(mounted)
        self.shop.runs.set_status(run_id, "Finalizing")
        outputs = {name: self._upload(name, output) for name, output in self.step.outputs.items()}
        self._register(outputs)
        self.shop.runs.change(run_id, {"outputs": outputs})

    def _produce(self, run_id: str) -> None:
        """From `self.inputs`, which are there, to `self.outputs`, uploaded next: one process. Other kinds override it."""
        launch, python = self._launch()
        self._stop_if_canceled()
        self.shop.runs.set_status(run_id, "Running")
        self._await(self.shop.processes.start(launch, python))

    def _launch(self) -> tuple[Launch, Path]:
        """What to start, and under which Python."""
        work = self.step.work
        if not isinstance(work, Command):
            raise TypeError(f"{type(self).__name__} runs no {type(work).__name__}")
        python = self._python(work.conda_file)
        command = render_command(work.command, self.inputs, self.outputs)
        argv = script_of(command, self.step.environment_variables)
        code = self._code(work.code_uri)
        return Launch(code, self._environment(python), self.log, argv=argv, command="" if argv else command), python

    def _code(self, uri: str | None) -> Path:
        """The step's working folder, with its code when it has any."""
        code = self.folder / "code"
        if uri:
            self.shop.materials.code(uri, code)
        for kept in _KEPT:
            if not (code / kept).exists():
                (code / kept).mkdir(parents=True)
        return code

    def _environment(self, python: Path) -> dict[str, str]:
        """All environment variables of the step's process."""
        return {
            **common_environment(self.shop.emulator, python),
            **run_environment(self.shop.emulator, self.run, self._tracked()),
            **self.step.environment_variables,
        }

    def _python(self, conda_file: str | None) -> Path:
        python, note = choose(conda_file, self.shop.emulator.settings.environments)
        if note:
            self._note(note)
        return python

    def _input(self, name: str, value: str | Data | FromStep) -> str | LocalPath:
        if isinstance(value, str):
            return value
        uri = value.uri if isinstance(value, Data) else self.earlier[value.step].destination(value.output)
        if value.mode == "direct":
            return uri
        if isinstance(value, Data) or self.earlier[value.step].step.outputs[value.output].mode == "direct":
            source = self.shop.materials.data(uri, self.job_folder, "ro_mount", self.folder)
        else:
            source = self.earlier[value.step].output_path(value.output)
        given = give(source, value.mode, self.folder / "inputs" / name)
        if value.mode == "rw_mount":
            self._mounted.append(Mounted(source, given, uri))
        return LocalPath(str(given))

    def _new_output(self, name: str) -> str | LocalPath:
        if self.step.outputs[name].mode == "direct":
            return self.destination(name)
        path = self.output_path(name)
        # A uri_file output is the path of a file that the step has yet to write.
        (path.parent if self.step.outputs[name].type == "uri_file" else path).mkdir(parents=True, exist_ok=True)
        return LocalPath(str(path))

    def destination(self, name: str) -> str:
        """The URI where an output goes; `${{name}}` in a place that the job chose stands for the job."""
        output = self.step.outputs[name]
        owner, shown = (self.run["rootRunId"], output.parent_output) if output.parent_output else (self.run["runId"], name)
        if output.uri:
            return fill_names(output.uri, owner, shown)
        return self.shop.emulator.storage.output_uri(owner, shown, output.type)

    def _upload(self, name: str, output: Output) -> str:
        path, uri = self.output_path(name), self.destination(name)
        if output.mode == "direct":  # the step has written there itself
            return uri
        if output.type == "uri_file" and not path.is_file():
            raise StepFailedError(f"Step '{self.step.name}' did not write its output '{name}'.")
        location = self.shop.emulator.storage.resolve(uri)
        self.shop.emulator.storage.upload_folder(path, location.container, location.path)
        make_read_only(path)
        return uri

    def _register(self, uris: Mapping[str, str]) -> None:
        named = [NamedOutput(output.asset, output.type, uris[name]) for name, output in self.step.outputs.items() if output.asset]
        if named:
            try:
                register(self.shop.emulator, self.run["rootRunId"], named)
            except AzureError as error:
                raise StepFailedError(f"Step '{self.step.name}': its outputs could not be registered: {error.message}") from None

    def _warn(self) -> None:
        for text in self.step.warnings:
            self._note(f"warning: {text}")
        if self.step.warnings:
            warnings = [{"source": "emulator", "message": text} for text in self.step.warnings]
            self.shop.runs.change(self.run["runId"], {"warnings": warnings})

    def _await(self, running: Running) -> None:
        self._running = running
        if self.canceled.is_set():  # it came between the last look and the start
            self.cancel()
        limit = self.step.timeout
        if not running.wait(limit.total_seconds() if limit else None):
            running.signal(signal.SIGKILL)
            running.wait()
            raise StepTimedOutError(
                f"Step '{self.step.name}' ran longer than its limit of {limit}.\n{tail(self.log, _TAIL_LINES)}"
            )
        self._stop_if_canceled()
        if running.lost:
            raise StepFailedError(f"Step '{self.step.name}' ended because the process that had started it died.")
        if running.status != 0:
            raise StepFailedError(
                f"Step '{self.step.name}' failed with {words_of(running.status)}.\n{tail(self.log, _TAIL_LINES)}"
            )

    def _stop_if_canceled(self) -> None:
        if self.canceled.is_set():
            raise StepCanceledError

    def _tracked(self) -> Tracked | None:
        try:
            return self.tracked.result()
        except TrackingError as error:
            self._note(f"no MLflow run: {error}")
            return None

    def settle(self, status: str) -> None:
        """After its end, while later steps run already: the log to storage, the MLflow run to its end."""
        if not self._is_job:
            self._settle(status)

    def _settle(self, status: str) -> None:
        for kept in _KEPT:
            self._keep(self.folder / "code" / kept, kept)
        self._keep(self.log, log_name(self.run))
        end_tracking(self.shop.tracking, self.tracked, status)

    @property
    def _is_job(self) -> bool:
        """A command job is its own step."""
        return bool(self.run["runId"] == self.run["rootRunId"])

    def _keep(self, source: Path, name: str) -> None:
        """A file or a folder among the files of the run itself."""
        if source.exists():
            try:
                self.shop.emulator.storage.upload_folder(source, *artifact_place(self.run["runId"], name))
            except (StorageError, OSError) as error:  # what the step came to stays
                self._note(f"{name} could not be stored: {error}")

    def _note(self, text: str) -> None:
        """A line of the emulator itself in the step's log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            log.write(f"[emulator] {text}\n")
