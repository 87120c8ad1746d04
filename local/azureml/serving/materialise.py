"""From the assets that a deployment names to files on this machine: its code, its model, its interpreter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from local.azureml.errors import AzureError, bad_request
from local.azureml.execution.environments import default_interpreter, interpreter_for

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_ASSET = re.compile(r"(?:azureml:)?/subscriptions/.+/workspaces/[^/]+/(\w+)/([^/]+)/versions/([^/]+)", re.IGNORECASE)


@dataclass(frozen=True)
class References:
    """The versions that a deployment names; `model` is (name, version) or None for code that needs none."""

    code: dict[str, Any]
    script: str
    environment: dict[str, Any]
    model: tuple[str, str] | None
    model_uri: str | None


def references(emulator: Emulator, properties: Mapping[str, Any]) -> References:
    """Look every reference up; 400 names the one that does not exist, 501 what the emulator cannot serve."""
    code = properties.get("codeConfiguration") or {}
    if not code.get("codeId") or not code.get("scoringScript"):
        raise AzureError(
            501,
            "NotSupportedByEmulator",
            "A deployment needs a codeConfiguration: no-code deployment is not supported by the emulator.",
        )
    script = PurePosixPath(code["scoringScript"])
    if script.is_absolute() or ".." in script.parts:
        raise bad_request(f"The scoring script '{script}' must be a path inside of the code folder.")
    model_id = properties.get("model")
    model = _version(emulator, "models", model_id) if model_id else None
    return References(
        code=_version(emulator, "codes", code["codeId"])[2],
        script=str(script),
        environment=_version(emulator, "environments", properties.get("environmentId"))[2],
        model=model[:2] if model else None,
        model_uri=str(model[2]["modelUri"]) if model else None,
    )


def _version(emulator: Emulator, kind: str, reference: Any) -> tuple[str, str, dict[str, Any]]:
    match = _ASSET.fullmatch(str(reference))
    if match is None or match[1].lower() != kind:
        raise bad_request(f"'{reference}' is not the id of a version in this workspace's {kind}.")
    body = emulator.store.get(kind, match[2], match[3])
    if body is None:
        raise bad_request(f"The deployment names {kind}/{match[2]}/versions/{match[3]}, which does not exist.")
    return match[2], match[3], body["properties"]


def interpreter(environment: Mapping[str, Any]) -> Path:
    """The local Python for an environment version; 400 when none was set up."""
    conda_file = environment.get("condaFile")
    try:
        return interpreter_for(str(conda_file)) if conda_file else default_interpreter()
    except LookupError as error:
        raise AzureError(400, "EnvironmentMissing", str(error)) from error


def download(emulator: Emulator, wanted: References, folder: Path) -> str | None:
    """Fill `folder/code` and the model's folder; return the latter relative to `folder`.

    As on Azure, AZUREML_MODEL_DIR is `azureml-models/<name>/<version>` and the asset lies below it under its own last name.
    """
    storage = emulator.storage
    code = storage.resolve(str(wanted.code["codeUri"]))
    storage.download_to(code.container, code.path, folder / "code")
    if not (folder / "code" / wanted.script).is_file():
        raise bad_request(f"The code has no file '{wanted.script}'.")
    if wanted.model is None or wanted.model_uri is None:
        return None
    name, version = wanted.model
    base = PurePosixPath("azureml-models") / name / version
    source = storage.resolve(wanted.model_uri)
    single = storage.list(source.container, source.path) == [source.path]
    target = folder / base if single else folder / base / PurePosixPath(source.path).name
    storage.download_to(source.container, source.path, target)
    return str(base)
