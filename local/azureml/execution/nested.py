"""The runs of nodes of type pipeline while their job runs: each begins with the first step below it and ends with the last."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from local.azureml.execution.plan import Nested
from local.azureml.execution.runs import PIPELINE_LOG, Run, failure
from local.azureml.execution.workshop import Workshop
from local.azureml.storage import artifact_place


def nested_folder(job_folder: Path, path: str) -> Path:
    """Where the files of a nested pipeline are, by its path in the job."""
    return job_folder / "pipelines" / path


class NestedRuns:
    """Used by the job's own thread only."""

    def __init__(
        self, shop: Workshop, nested: Mapping[str, Nested], runs: Mapping[str, Run], steps: Collection[str], folder: Path
    ) -> None:
        """`runs`: by path, as `nested`; `steps`: the names of all steps of the job."""
        self._shop, self._nested, self._runs, self._folder = shop, nested, runs, folder
        self._below = {path: {step for step in steps if step.startswith(f"{path}.")} for path in nested}
        self._ended: dict[str, str] = {}

    def step_starts(self, step: str) -> None:
        for path in self._above(step):
            self._shop.runs.set_status(self._runs[path]["runId"], "Running")
            self._note(path, f"step {step} starts")

    def step_ended(self, step: str, status: str, outputs_of: Callable[[Nested], dict[str, str]]) -> list[tuple[str, str]]:
        """Ends the pipelines whose last step this was; returns their (path, status), inner ones first.

        `outputs_of`: where a pipeline's outputs are, as far as they were made.
        """
        self._ended[step] = status
        over: list[tuple[str, str]] = []
        for path in reversed(self._above(step)):
            self._note(path, f"step {step} ended: {status}")
            if self._below[path] <= self._ended.keys():
                over.append((path, self._end(path, outputs_of(self._nested[path]))))
        return over

    def run_id(self, path: str) -> str:
        return str(self._runs[path]["runId"])

    def store_log(self, path: str) -> None:
        """The pipeline's log to where Azure keeps it."""
        self._shop.emulator.storage.upload_folder(self._log(path), *artifact_place(self.run_id(path), PIPELINE_LOG))

    def _above(self, step: str) -> list[str]:
        """The nested pipelines that hold a step, outer ones first."""
        return [path for path, below in self._below.items() if step in below]

    def _end(self, path: str, outputs: dict[str, str]) -> str:
        found = {self._ended[step] for step in self._below[path]}
        status = next((one for one in ("Failed", "Canceled") if one in found), "Completed")
        self._note(path, f"{path} ended: {status}")
        self._shop.runs.change(self.run_id(path), {"outputs": outputs})
        failed = [step for step in sorted(self._below[path]) if self._ended[step] == "Failed"]
        error = {"error": failure(f"Failed below '{path}': {', '.join(failed)}.")} if failed else {}
        self._shop.runs.set_status(self.run_id(path), status, **error)
        return status

    def _log(self, path: str) -> Path:
        return nested_folder(self._folder, path) / PIPELINE_LOG

    def _note(self, path: str, text: str) -> None:
        log = self._log(path)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as lines:
            lines.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f} {text}\n")
