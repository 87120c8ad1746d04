"""Curated environments: what Microsoft publishes in the registry `azureml` and under `AzureML-…` names in every workspace.

Their images are not here and are not looked up: any name and version stands for an environment with an image named after it and
no conda file, which runs in the default local environment.
"""

from __future__ import annotations

from local.azureml.arm import Place
from local.azureml.names import DOTTED
from local.azureml.store import Record

REGISTRY = "azureml"
"""Exists from the start, and is read-only, as Microsoft's is for everybody."""
LATEST = "1"
"""The version that `latest` means; every other one is there as well."""
SHELF = f"registries/{REGISTRY}/"
_OF_WORKSPACES = "azureml-"
_SINCE = "2024-01-01T00:00:00.000000Z"


def version(place: Place, segment: str, name: str, number: str) -> Record | None:
    """The environment version that nobody registered, or None where a curated one would not be."""
    if not _is_curated(place, segment, name):
        return None
    properties = {
        "description": f"Stands in for the curated environment {name}; runs in the default local environment.",
        "environmentType": "Curated",
        "image": f"mcr.microsoft.com/azureml/curated/{name.lower()}:{number}",
        "isAnonymous": False,
        "isArchived": False,
        "osType": "Linux",
        "properties": {},
        "tags": {},
    }
    return Record(place.kind(segment), name, number, {"properties": properties}, _SINCE, _SINCE, "curated")


def container(place: Place, segment: str, name: str) -> Record | None:
    """The container of such a version."""
    if not _is_curated(place, segment, name):
        return None
    properties = {"isArchived": False, "description": f"Stands in for the curated environment {name}."}
    return Record(place.kind(f"{segment}.containers"), name, "", {"properties": properties}, _SINCE, _SINCE, "curated")


def _is_curated(place: Place, segment: str, name: str) -> bool:
    if segment != "environments" or not DOTTED.admits(name):
        return False
    return place.shelf == SHELF or (not place.shelf and name.lower().startswith(_OF_WORKSPACES))
