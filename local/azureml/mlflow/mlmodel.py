"""The file MLmodel: what makes a folder an MLflow model, read from storage without running anything of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from local.azureml.errors import bad_request
from local.azureml.yaml_text import parse as parse_yaml

if TYPE_CHECKING:
    from local.azureml.storage import EmulatorStorage

MLMODEL = "MLmodel"
_MOST_BYTES = 1024 * 1024


def flavors_of(storage: EmulatorStorage, uri: str) -> dict[str, Any]:
    """The flavors as Azure shows them: name -> {"data": {key: string}}; {} while nothing lies at `uri` yet.

    Raises 400 when files lie there and no readable MLmodel is among them. (That Azure refuses this at registration too is
    believed, not confirmed; it cannot deploy such a model.)
    """
    container, path = storage.resolve(uri)
    names = storage.list(container, path)
    if not names:
        return {}
    file = f"{path}/{MLMODEL}" if path else MLMODEL
    if file not in names:
        raise bad_request(f"'{uri}' has no file {MLMODEL}: it is no model of type mlflow_model.", "ValidationError")
    if storage.size(container, file) > _MOST_BYTES:
        raise bad_request(f"The file {MLMODEL} of '{uri}' is larger than {_MOST_BYTES} bytes.", "ValidationError")
    return {name: {"data": _strings(data)} for name, data in _flavors(storage.read(container, file), uri).items()}


def _flavors(content: bytes, uri: str) -> dict[str, Any]:
    try:
        described = parse_yaml(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise bad_request(f"The file {MLMODEL} of '{uri}' is no YAML: {error}", "ValidationError") from error
    flavors = described.get("flavors") if isinstance(described, dict) else None
    if not isinstance(flavors, dict) or not flavors:
        raise bad_request(f"The file {MLMODEL} of '{uri}' names no flavors.", "ValidationError")
    return {str(name): data for name, data in flavors.items()}


def _strings(data: Any) -> dict[str, str | None]:
    """The REST description has strings only; what is nested goes as JSON."""
    if not isinstance(data, dict):
        return {}
    return {str(key): _string(value) for key, value in data.items()}


def _string(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=str)
