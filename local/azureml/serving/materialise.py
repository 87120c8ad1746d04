"""From the assets that a deployment names to files on this machine: its code, its model, its interpreter."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from local.azureml.errors import AzureError, bad_request, not_emulated
from local.azureml.execution.environments import ENVIRONMENTS, default_interpreter, interpreter_for
from local.azureml.lookup import find_version
from local.azureml.names import check_inside
from local.azureml.yaml_text import parse as parse_yaml

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_NO_CODE = Path(__file__).with_name("no_code.py")
_SERVING = "serve"
"""The environment that has the inference server, of which those without borrow it."""


@dataclass(frozen=True)
class References:
    """The versions that a deployment names. `code` is None when an MLflow model is served without a script."""

    code: dict[str, Any] | None
    script: str
    environment: dict[str, Any] | None
    """None: the model's own."""
    model: tuple[str, str] | None
    """(name, version), or None for code that needs no model."""
    model_uri: str | None

    @property
    def assets(self) -> str:
        """What files and packages follow from; versions do not change, but environments may be set up anew."""
        environment = (self.environment or {}).get("condaFile"), (self.environment or {}).get("image")
        return repr(((self.code or {}).get("codeUri"), self.script, environment, self.model, self.model_uri))


@dataclass(frozen=True)
class Files:
    """What `download` has laid out in a folder."""

    model_dir: str | None
    """AZUREML_MODEL_DIR, relative to the folder."""
    mlflow_folder: str | None
    """The MLflow model's folder, relative to `model_dir`; None for a deployment with a script."""


@dataclass(frozen=True)
class Interpreter:
    """The Python that serves. `server_packages`: where it borrows the inference server from, None when it has its own."""

    python: Path
    server_packages: str | None
    note: str
    """Why this one, for the deployment's log."""


def references(emulator: Emulator, properties: Mapping[str, Any]) -> References:
    """Look every reference up; 400 names the one that does not exist, 501 what the emulator cannot serve."""
    code = properties.get("codeConfiguration") or {}
    model_id, environment_id = properties.get("model"), properties.get("environmentId")
    model = find_version(emulator, "models", model_id) if model_id else None
    environment = find_version(emulator, "environments", environment_id).properties if environment_id else None
    if not code:
        _refuse_without_code(model.properties if model else None, environment)
        source, script = None, _NO_CODE.name
    else:
        source, script = _code(emulator, code)
        if environment is None:
            raise bad_request("A deployment with a codeConfiguration needs an environment.")
    return References(
        code=source,
        script=script,
        environment=environment,
        model=(model.name, model.version) if model else None,
        model_uri=str(model.properties["modelUri"]) if model else None,
    )


def _code(emulator: Emulator, code: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    if not code.get("codeId") or not code.get("scoringScript"):
        raise bad_request("codeConfiguration needs codeId and scoringScript.")
    script = check_inside(str(code["scoringScript"]), "The scoring script")
    return find_version(emulator, "codes", code["codeId"]).properties, script


def _refuse_without_code(model: Mapping[str, Any] | None, environment: Mapping[str, Any] | None) -> None:
    if environment is not None and environment.get("inferenceConfig"):
        raise not_emulated("Custom containers (inferenceConfig) are not supported: no Docker.")
    kind = (model or {}).get("modelType", "custom_model")
    if kind == "triton_model":
        raise not_emulated("Triton models are not supported: there is no Triton server.")
    if model is None or kind != "mlflow_model":
        raise bad_request("A deployment without codeConfiguration needs a model of type mlflow_model.")


def interpreter(environment: Mapping[str, Any], *, no_code: bool) -> Interpreter:
    """The local Python for a deployment's environment; 400 when none was set up."""
    conda_file = environment.get("condaFile")
    try:
        if conda_file:
            # A conda file that forgets the inference server fails on Azure too; it is added only where Azure adds it.
            return _with_server(interpreter_for(str(conda_file)), "the environment's conda file", borrows=no_code)
        return _with_server(default_interpreter(), "the default environment: the deployment's has only an image", borrows=True)
    except LookupError as error:
        raise AzureError(400, "EnvironmentMissing", str(error)) from error


def interpreter_of_the_model(folder: Path) -> Interpreter:
    """The Python that stands for an MLflow model's conda.yaml, or else the default one; 400 when there is none at all."""
    conda_file, note = folder / "conda.yaml", "the default environment: the model has no conda.yaml"
    try:
        if conda_file.is_file():
            try:
                return _with_server(interpreter_for(conda_file.read_text()), "the model's conda.yaml", borrows=True)
            except LookupError as missing:
                note = f"the default environment instead of the model's conda.yaml. {missing}"
        return _with_server(default_interpreter(), note, borrows=True)
    except LookupError as error:
        raise AzureError(400, "EnvironmentMissing", str(error)) from error


def _with_server(python: Path, note: str, *, borrows: bool) -> Interpreter:
    server = "azureml_inference_server_http"
    if not borrows or any(python.parents[1].glob(f"lib/python*/site-packages/{server}")):
        return Interpreter(python, None, note)
    own = next(python.parents[1].glob("lib/python*/site-packages"), None)
    lent = next((ENVIRONMENTS / _SERVING).resolve().glob("lib/python*/site-packages"), None)
    if own is None or lent is None or own.parent.name != lent.parent.name:
        raise LookupError(
            f"{note}: it has no {server}, and the serving environment's cannot be borrowed: "
            f"{own.parent.name if own else 'no packages'} here, {lent.parent.name if lent else 'no packages'} there."
        )
    return Interpreter(python, str(lent), f"{note}; the inference server is borrowed from the serving environment")


def download(emulator: Emulator, wanted: References, folder: Path) -> Files:
    """Fill `folder/code` and the model's folder.

    As on Azure, AZUREML_MODEL_DIR is `azureml-models/<name>/<version>` and the asset lies below it under its own last name.
    """
    storage = emulator.storage
    if wanted.code is None:
        (folder / "code").mkdir(parents=True)
        shutil.copy(_NO_CODE, folder / "code" / wanted.script)
    else:
        code = storage.resolve(str(wanted.code["codeUri"]))
        storage.download_to(code.container, code.path, folder / "code")
    if not (folder / "code" / wanted.script).is_file():
        raise bad_request(f"The code has no file '{wanted.script}'.")
    if wanted.model is None or wanted.model_uri is None:
        return Files(None, None)
    name, version = wanted.model
    base = PurePosixPath("azureml-models") / name / version
    source = storage.resolve(wanted.model_uri)
    single = storage.list(source.container, source.path) == [source.path]
    target = folder / base if single else folder / base / PurePosixPath(source.path).name
    storage.download_to(source.container, source.path, target)
    return Files(str(base), _mlflow_folder(folder / base) if wanted.code is None else None)


def _mlflow_folder(model_dir: Path) -> str:
    found = sorted(model_dir.rglob("MLmodel"), key=lambda path: len(path.parts))
    if not found:
        raise bad_request("The model is of type mlflow_model, but there is no file MLmodel in it.")
    try:
        flavors = (parse_yaml(found[0].read_text()) or {}).get("flavors") or {}
    except (yaml.YAMLError, AttributeError) as error:
        raise bad_request(f"The model's file MLmodel cannot be read: {error}") from error
    if "python_function" not in flavors:
        raise bad_request(f"The MLflow model has no flavor python_function, only {', '.join(flavors) or 'none'}.")
    return str(found[0].parent.relative_to(model_dir))
