"""Environments: an image and a conda file, stored as sent. What they stand for locally is looked up where they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.azureml.assets import AssetKind, Assets, Properties
from local.azureml.call import Route
from local.azureml.errors import bad_request, conflict
from local.azureml.names import DOTTED

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_DEFAULTS: Properties = {"environmentType": "UserCreated", "osType": "Linux", "tags": {}, "properties": {}}
_DEFINITION = ("image", "condaFile", "build", "osType")


def _check(properties: Properties) -> None:
    if not properties.get("image") and not properties.get("build"):
        raise bad_request("An environment needs an image or a build context.", "ValidationError")


def _refuse_change(what: str, old: Properties, new: Properties) -> None:
    # 409 is what lets the SDK, when it was given no version, fall back from the latest version to the next one.
    for key in _DEFINITION:
        before = old.get(key, _DEFAULTS.get(key))
        if new.get(key, before) != before:
            raise conflict(f"Environment {what} is already registered and its {key} cannot be changed: use another version.")


KIND = AssetKind(
    segment="environments",
    noun="environment",
    sdk="environments",
    check=_check,
    refuse_change=_refuse_change,
    name_rule=DOTTED,
    reserved=("azureml", "microsoft"),
    answer_defaults=_DEFAULTS,
    differences="no image is built: conda files stand for local Python environments",
)


def routes(emulator: Emulator) -> list[Route]:
    return Assets(emulator, KIND).routes()
