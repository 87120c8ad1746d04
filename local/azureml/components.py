"""Components, named and anonymous: what a version runs never changes, so that a job can be read years later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.azureml.assets import AssetKind, Assets, Properties
from local.azureml.call import Route
from local.azureml.errors import bad_request, conflict

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_DESCRIPTIVE = ("$schema", "_source", "description", "display_name", "name", "tags", "version")
"""Parts of a specification that say nothing about what is run; an anonymous one has whatever name a job gives it."""
_DEFAULT = "azureml_default"
"""What azure-ai-ml asks for when it was told neither a version nor a label."""


def _check(properties: Properties) -> None:
    spec = properties.get("componentSpec")
    if not isinstance(spec, dict) or not isinstance(spec.get("type"), str):
        raise bad_request("componentSpec must be an object with a type.", "ValidationError")


def _refuse_change(what: str, old: Properties, new: Properties) -> None:
    before, after = _substance(old["componentSpec"]), _substance(new["componentSpec"])
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if changed:
        detail = f"the request changes: {', '.join(changed)}. Use another version."
        raise conflict(f"Component {what} is already registered and is immutable; {detail}", "UserError")


def _named(name: str, version: str, properties: Properties) -> Properties:
    """The specification says whose it is, whatever the SDK left out: it reads both from there."""
    return {**properties, "componentSpec": {**properties["componentSpec"], "name": name, "version": version}}


def _substance(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in _DESCRIPTIVE}


KIND = AssetKind(
    segment="components",
    noun="component",
    sdk="components",
    check=_check,
    refuse_change=_refuse_change,
    settled=_named,
    default_version=_DEFAULT,
    answer_defaults={"tags": {}, "properties": {}, "isAnonymous": False, "isArchived": False},
    differences="the specification is stored as sent; only jobs that use it check its bindings",
)


def routes(emulator: Emulator) -> list[Route]:
    return Assets(emulator, KIND).routes()
