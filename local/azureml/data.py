"""Data assets: uri_file, uri_folder and mltable. What a version points to never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.azureml.assets import AssetKind, Assets, Properties, refuse_path_change, require
from local.azureml.call import Route
from local.azureml.errors import bad_request

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_TYPES = ("uri_file", "uri_folder", "mltable")


def _check(properties: Properties) -> None:
    require(properties, "dataType", "dataUri")
    if properties["dataType"] not in _TYPES:
        raise bad_request(f"dataType must be one of {', '.join(_TYPES)}, not '{properties['dataType']}'.", "ValidationError")


KIND = AssetKind(
    segment="data",
    noun="data asset",
    sdk="data",
    check=_check,
    refuse_change=refuse_path_change("dataUri", "dataType"),
    container_fields=("dataType",),
    state={},
    differences="dataUri is not opened: that something is there is found out by the job that reads it",
)


def routes(emulator: Emulator) -> list[Route]:
    return Assets(emulator, KIND).routes()
