"""Runs a parallel step: writes the driver's settings, starts it as the step's process, tells what it found out."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from local.azureml.execution.bindings import LocalPath, render_command
from local.azureml.execution.endings import StepFailedError
from local.azureml.execution.parallel.plan import Model, Parallel
from local.azureml.execution.parallel.tables import TableError, files_of, read_table
from local.azureml.execution.process_environment import script_of
from local.azureml.execution.step import StepRun
from local.azureml.execution.warmed_parent import Launch, Running

SCRIPTS = Path(__file__).resolve().parent / "scripts"
DRIVER, MLFLOW_SCRIPT = SCRIPTS / "azureml_parallel_driver.py", SCRIPTS / "azureml_parallel_mlflow.py"
_WITHOUT_EFFECT = ("copy_logs_to_parent", "metrics_name_prefix", "push_metrics_to_parent", "resource_monitor_interval",
                   "task_overhead_timeout", "progress_update_timeout")  # fmt: skip


class ParallelRun(StepRun):
    """One driver; its workers are forked from it, in its process group, so that a signal for the step reaches all."""

    @property
    def work(self) -> Parallel:
        if not isinstance(self.step.work, Parallel):
            raise TypeError(f"{type(self).__name__} runs no {type(self.step.work).__name__}")
        return self.step.work

    def _launch(self) -> tuple[Launch, Path]:
        python = self._python(self.work.conda_file)
        code = self._code(self.work.code_uri)
        settings = self.folder / "parallel.json"
        settings.write_text(json.dumps(self._settings(code)))
        command = f"python {shlex.quote(str(DRIVER))} {shlex.quote(str(settings))}"
        argv = script_of(command, self.step.environment_variables)
        env = {**self._own_variables(), **self._environment(python)}
        return Launch(code, env, self.log, argv=argv, command="" if argv else command), python

    def _await(self, running: Running) -> None:
        try:
            super()._await(running)
        except StepFailedError:
            message = self._outcome()
            if message:
                raise StepFailedError(f"Step '{self.step.name}' failed: {message}") from None
            raise
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def _scratch(self) -> Path:
        return self.folder / "rows"

    def _outcome(self) -> str:
        file = self.folder / "outcome.json"
        return str(json.loads(file.read_text())["message"]) if file.exists() else ""

    def _settings(self, code: Path) -> dict[str, Any]:
        work, files, table = self.work, *self._files()
        script = code / work.entry_script if work.entry_script else MLFLOW_SCRIPT
        if not script.is_file():
            raise StepFailedError(f"The code of step '{self.step.name}' has no file '{work.entry_script}'.")
        self._refuse_existing()
        self._scratch.mkdir()
        arguments = shlex.split(render_command(work.program_arguments, self.inputs, self.outputs))
        predefined = self._predefined(arguments)
        return {
            "entry_script": str(script),
            "code": str(code),
            "arguments": [*self._own_arguments(), *arguments],
            "preload": ["mlflow.pyfunc"] if work.entry_script is None else ["pandas"] if table else [],
            "files": files,
            "table": table,
            "mini_batch_size": work.mini_batch_size,
            "workers": work.workers,
            "max_retries": work.max_retries,
            "timeout": work.timeout_seconds,
            "mini_batch_error_threshold": work.mini_batch_error_threshold,
            "error_threshold": work.error_threshold if predefined.error_threshold is None else predefined.error_threshold,
            "allowed_failed_percent": predefined.allowed_failed_percent,
            "first_task_creation_timeout": predefined.first_task_creation_timeout,
            "append_row": self._append_row(),
            "logging_level": work.logging_level,
            "scratch": str(self._scratch),
            "outcome": str(self.folder / "outcome.json"),
        }

    def _files(self) -> tuple[list[str], dict[str, Any] | None]:
        value = self.inputs[self.work.input_data]
        if not isinstance(value, LocalPath):
            raise StepFailedError(f"Step '{self.step.name}': input_data '{self.work.input_data}' is no file and no folder.")
        path = Path(value.path)
        try:
            if self.work.input_type == "mltable":
                return read_table(path)
        except (TableError, UnicodeDecodeError) as error:
            raise StepFailedError(f"Step '{self.step.name}': {error}.") from None
        # What scores MLflow models without a script does not look into folders of folders; Azure ML says so in its manual.
        return files_of(path, nested=self.work.entry_script is not None), None

    def _predefined(self, arguments: list[str]) -> argparse.Namespace:
        """Azure ML's own arguments among the program's. They stay there: scripts have to parse with parse_known_args."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        parser.add_argument("--error_threshold", type=int)
        parser.add_argument("--allowed_failed_percent", type=float, default=100.0)
        parser.add_argument("--first_task_creation_timeout", type=float, default=600.0)
        for name in _WITHOUT_EFFECT:
            parser.add_argument(f"--{name}")
        try:
            found, _ = parser.parse_known_args(arguments)
        except argparse.ArgumentError as error:
            raise StepFailedError(f"Step '{self.step.name}': program_arguments: {error}.") from None
        for name in _WITHOUT_EFFECT:
            if getattr(found, name) is not None:
                self._note(f"--{name} has no effect in the emulator")
        return found

    def _own_arguments(self) -> list[str]:
        """Azure ML's driver hands its own arguments on, which is why parse_args fails there; and here."""
        work = self.work
        asked = {
            "mini_batch_size": work.mini_batch_size, "run_invocation_timeout": work.timeout_seconds,
            "run_max_try": work.max_retries + 1, "logging_level": work.logging_level,
        }  # fmt: skip
        return [word for name, value in asked.items() for word in (f"--{name}", str(value))]

    def _append_row(self) -> str | None:
        if self.work.append_row_to is None:
            return None
        output, file = self.work.append_row_to
        return str(self.output_path(output) / file) if file else str(self.output_path(output))

    def _refuse_existing(self) -> None:
        """Batch deployments do not write over a file, says Azure ML's manual: the invocation has to choose another place."""
        if self.work.model is None or self.work.append_row_to is None:
            return
        output, file = self.work.append_row_to
        location = self.shop.emulator.storage.resolve(self.destination(output))
        path = f"{location.path}/{file}" if file else location.path
        if path in self.shop.emulator.storage.list(location.container, path):
            raise StepFailedError(f"Step '{self.step.name}': the output file '{path}' exists already.")

    def _own_variables(self) -> dict[str, str]:
        variables = {}
        appended = self._append_row()
        if appended or self.outputs:
            folder = Path(appended).parent if appended else self.output_path(next(iter(self.outputs)))
            variables["AZUREML_BI_OUTPUT_PATH"] = str(folder)
        if self.work.model is not None:
            variables["AZUREML_MODEL_DIR"] = str(self._model_dir(self.work.model))
        return variables

    def _model_dir(self, model: Model) -> Path:
        """As on Azure: `azureml-models/<name>/<version>`, the asset below it under its own last name."""
        base = self.folder / "inputs" / "azureml-models" / model.name / model.version
        base.mkdir(parents=True)
        source = self.shop.materials.data(model.uri, self.job_folder, "ro_mount", base)
        target = base / PurePosixPath(self.shop.emulator.storage.resolve(model.uri).path).name
        if source.is_dir():
            shutil.copytree(source, target, copy_function=os.link)
        else:
            target.hardlink_to(source)
        return base
