"""Models. A new version raises ModelRegistered once; its URI never changes, its tags do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from local.azureml.assets import AssetKind, Assets, Properties, refuse_path_change, require
from local.azureml.call import Route
from local.azureml.errors import bad_request, conflict
from local.azureml.store import Body

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

EVENT = "Microsoft.MachineLearningServices.ModelRegistered"
_TYPES = ("custom_model", "mlflow_model", "triton_model")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-_.]{0,254}")
_refuse_path_change = refuse_path_change("modelUri", "modelType")


def routes(emulator: Emulator) -> list[Route]:
    def created(name: str, version: str, body: Body) -> None:
        properties = body["properties"]
        data = {
            "ModelName": name,
            # A number in Microsoft's sample, a string in its description: both are seen, and a version need not be a number.
            "ModelVersion": int(version) if version.isdecimal() else version,
            "ModelTags": properties.get("tags") or {},
            "ModelProperties": properties.get("properties") or {},
        }
        emulator.events.publish(EVENT, f"models/{name}:{version}", data)

    kind = AssetKind(
        segment="models",
        noun="model",
        sdk="models",
        check=_check,
        refuse_change=_refuse_change,
        name_pattern=_NAME,
        answer_defaults={"flavors": {}, "tags": {}, "properties": {}, "isAnonymous": False, "isArchived": False},
        differences="modelUri is stored as sent and opened by the first deployment; flavors stays empty",
    )
    return Assets(emulator, kind, created).routes()


def _check(properties: Properties) -> None:
    require(properties, "modelUri")
    if properties.get("modelType", "custom_model") not in _TYPES:
        raise bad_request(f"modelType must be one of {', '.join(_TYPES)}, not '{properties['modelType']}'.", "ValidationError")


def _refuse_change(what: str, old: Properties, new: Properties) -> None:
    _refuse_path_change(what, old, new)
    before, after = old.get("properties") or {}, new.get("properties") or {}
    for key in before.keys() & after.keys():
        if before[key] != after[key]:
            detail = "without increasing the version; new properties may be added."
            raise conflict(f"Value of property {key} for model {what} cannot be replaced {detail}", "UserError")
