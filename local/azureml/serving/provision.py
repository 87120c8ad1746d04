"""From a deployment's body to what its process needs: the plan first, and its files when a new process is to be started."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from local.azureml.serving.collection.asked import collection_plan
from local.azureml.serving.materialise import (
    Interpreter,
    References,
    download,
    interpreter,
    interpreter_of_the_model,
)
from local.azureml.serving.process import ScoringSpec
from local.azureml.serving.settings import scoring_settings
from local.azureml.store import Body

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator


def planned(emulator: Emulator, endpoint: str, name: str, body: Body, wanted: References) -> ScoringSpec:
    """The spec but for its files; AzureError (400) when the environment has no local Python.

    Its interpreter is "" when the environment is the model's own, which is not known before the model is there.
    """
    settings, properties = scoring_settings(body), body["properties"]
    chosen = interpreter(wanted.environment, no_code=wanted.code is None) if wanted.environment is not None else None
    return ScoringSpec(
        endpoint=endpoint,
        deployment=name,
        interpreter=str(chosen.python) if chosen else "",
        folder="",
        script=wanted.script,
        model_dir=None,
        environment=properties["environmentVariables"],
        workers=settings.workers,
        timeout_seconds=settings.timeout_seconds,
        limit=settings.limit,
        probes=settings.probes.lasting(emulator.settings.probe_second),
        collection=collection_plan(emulator, endpoint, name, properties.get("dataCollector")),
        assets=wanted.assets,
    )


def laid_out(emulator: Emulator, spec: ScoringSpec, wanted: References, folder: Path) -> ScoringSpec:
    """The spec with its files in `folder`; what was fetched is told in the storage initializer's log."""
    log = emulator.serving.storage_log_file(spec.endpoint, spec.deployment)
    log.parent.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        with log.open("a") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}\n")

    if wanted.code is not None:
        say(f"Downloading code from {wanted.code['codeUri']}")
    if wanted.model is not None:
        say(f"Downloading model {':'.join(wanted.model)} from {wanted.model_uri}")
    files = download(emulator, wanted, folder)
    chosen = _interpreter(wanted, folder / (files.model_dir or "") / (files.mlflow_folder or ""))
    say(f"Using {chosen.note}")
    return replace(
        spec,
        folder=str(folder),
        interpreter=str(chosen.python),
        server_packages=chosen.server_packages,
        model_dir=files.model_dir,
        mlflow_folder=files.mlflow_folder,
    )


def _interpreter(wanted: References, model: Path) -> Interpreter:
    if wanted.environment is None:
        return interpreter_of_the_model(model)
    return interpreter(wanted.environment, no_code=wanted.code is None)
