"""Reuse as Azure does it: a step that would do what an earlier one did takes that one's outputs and starts no process.

The same are: the component (its code, command, environment, interface), the settings of its node, values, data by asset
or URI, earlier steps' outputs by the run that made them, and where outputs go. What a URI's blobs hold is not looked at.
Store kind `reuse`: name = fingerprint, body {"runId", "filled": names of the outputs that hold anything}.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from azure.core.exceptions import AzureError as StorageError

from local.azureml.errors import AzureError
from local.azureml.execution.plan import Data, FromStep, Step, Value
from local.azureml.execution.runs import Run, Runs
from local.azureml.execution.step import StepRun

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "reuse"
_log = logging.getLogger(__name__)
_NAMING = frozenset(
    {"$schema", "_source", "name", "version", "display_name", "description", "tags", "is_deterministic", "creation_context"}
)
"""Of a component's specification: what does not change what it does."""


def component_digest(spec: Mapping[str, Any]) -> str | None:
    """What a component is, whatever it is called; None when it says that it is not deterministic."""
    if str(spec.get("is_deterministic", True)).lower() == "false":
        return None
    return _digest({key: value for key, value in spec.items() if key not in _NAMING})


def fingerprint(step: Step, origins: Mapping[str, str]) -> str | None:
    """Equal for steps of which one can stand for the other. `origins`: step name -> the run that made its outputs.

    None: such a step always runs.
    """
    if step.component is None:
        return None
    return _digest(
        {
            "component": step.component,
            "work": repr(step.work),
            "environment_variables": dict(step.environment_variables),
            "inputs": {name: _identity(value, origins) for name, value in step.inputs.items()},
            "outputs": {
                name: {part.name: repr(getattr(output, part.name)) for part in fields(output) if part.name != "parent_output"}
                for name, output in step.outputs.items()
            },
        }
    )


def _identity(value: Value, origins: Mapping[str, str]) -> list[str]:
    if isinstance(value, FromStep):
        return ["step", origins[value.step], value.output, value.mode]
    if isinstance(value, Data):
        return ["data", *(str(getattr(value, part.name)) for part in fields(value))]
    return ["literal", value]


def _digest(what: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(what, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True)
class Earlier:
    """A completed run whose outputs are still there; `filled`: those that hold anything, the others are empty folders."""

    run: Run
    filled: frozenset[str]


class Reuse:
    """The memory of what was done; thread-safe, as the store is."""

    def __init__(self, emulator: Emulator, runs: Runs) -> None:
        self._emulator, self._runs = emulator, runs

    def find(self, key: str) -> Earlier | None:
        """The run that did this before, unless one of its outputs is gone from storage."""
        known = self._emulator.store.get(KIND, key)
        run = self._runs.find(known["runId"]) if known else None
        if known is None or run is None or run["status"] != "Completed":
            return None
        filled = frozenset(known["filled"])
        try:
            return Earlier(run, filled) if all(self._is_there(run["outputs"][name]) for name in filled) else None
        except (AzureError, StorageError) as error:  # the step runs then, and says itself what is wrong with storage
            _log.warning("the outputs of %s were not looked at: %s", run["runId"], error)
            return None

    def remember(self, key: str, done: StepRun) -> None:
        """A step that completed; what stands for an earlier one is not remembered in its place."""
        if isinstance(done, ReusedStep):
            return
        filled = [
            name
            for name, output in done.step.outputs.items()
            if output.mode == "direct" or _holds_anything(done.output_path(name))
        ]
        self._emulator.store.put(KIND, key, "", {"runId": done.run["runId"], "filled": filled})

    def _is_there(self, uri: str) -> bool:
        return bool(self._emulator.storage.list(*self._emulator.storage.resolve(uri)))


def _holds_anything(path: Path) -> bool:
    return path.is_file() or any(file.is_file() for file in path.rglob("*"))


@dataclass
class ReusedStep(StepRun):
    """A step in whose place an earlier run stands."""

    stands: Earlier = field(kw_only=True)

    def _execute(self, run_id: str) -> None:
        """Done at once, with the earlier run's outputs; they are registered again when they have names."""
        self._stop_if_canceled()
        earlier = self.stands.run
        told = {
            "azureml.isreused": "true",
            "azureml.reusedrunid": earlier["runId"],
            "azureml.reusedpipelinerunid": earlier["rootRunId"],
        }
        self._note(f"reused from {earlier['runId']} of {earlier['rootRunId']}: this step started no process")
        self._register(earlier["outputs"])
        again = {"outputs": dict(earlier["outputs"]), "properties": told, "startTimeUtc": self.run["createdUtc"]}
        self.shop.runs.change(run_id, again)

    @property
    def origin(self) -> str:
        return str(self.stands.run["runId"])

    def destination(self, name: str) -> str:
        return str(self.stands.run["outputs"][name])

    def output_path(self, name: str) -> Path:
        """Fetched when the first step asks for it."""
        private = self.folder / "outputs" / name
        if name in self.stands.filled:
            return self.shop.materials.data(self.destination(name), self.job_folder, "ro_mount", private)
        private.mkdir(parents=True, exist_ok=True)
        return private
