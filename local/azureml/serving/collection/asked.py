"""From the REST body's `dataCollector` to a plan: checked as Azure checks it, with the places that the data assets name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from local.azureml.errors import AzureError, bad_request, not_emulated
from local.azureml.serving.collection.plan import ROLLING_RATES, Collection, CollectionPlan
from local.azureml.storage import DEFAULT_DATASTORE, Location

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MODES = {"enabled": "Enabled", "disabled": "Disabled"}


def normalised(asked: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The body's `dataCollector` as Azure answers it: words capitalised, defaults filled in. 400 for what is wrong."""
    if not asked:
        return None
    if (asked.get("requestLogging") or {}).get("captureHeaders"):
        raise not_emulated("dataCollector.requestLogging.captureHeaders is not supported.")
    rate = str(asked.get("rollingRate") or "Hour").capitalize()
    if rate not in ROLLING_RATES:
        raise bad_request(f"dataCollector.rollingRate must be one of {', '.join(ROLLING_RATES)}, not '{asked['rollingRate']}'.")
    collections = asked.get("collections")
    if not isinstance(collections, dict) or not collections:
        raise bad_request("dataCollector.collections must name at least one collection.")
    return {**asked, "rollingRate": rate, "collections": {name: _collection(name, one) for name, one in collections.items()}}


def _collection(name: str, asked: Any) -> dict[str, Any]:
    if not _NAME.fullmatch(name):
        raise bad_request(f"'{name[:64]}' is not a valid name of a collection: letters, digits, '_' and '-'.")
    given = asked or {}
    mode = _MODES.get(str(given.get("dataCollectionMode") or "disabled").lower())
    if mode is None:
        raise bad_request(f"dataCollectionMode of '{name}' must be Enabled or Disabled, not '{given['dataCollectionMode']}'.")
    rate = given.get("samplingRate")
    rate = 1.0 if rate is None else rate
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise bad_request(f"samplingRate of '{name}' must be a number from 0.0 to 1.0, not {rate!r}.")
    return {**given, "dataCollectionMode": mode, "samplingRate": float(rate)}


def collection_plan(
    emulator: Emulator, endpoint: str, deployment: str, collector: Mapping[str, Any] | None
) -> CollectionPlan | None:
    """The plan of a normalised `dataCollector`, None when nothing is to be collected; 400 for a data asset that is not there."""
    if collector is None:
        return None
    enabled = {name: one for name, one in collector["collections"].items() if one["dataCollectionMode"] == "Enabled"}
    if not enabled:
        return None
    found = []
    for name, one in enabled.items():
        place = _place(emulator, one.get("dataId"), f"modelDataCollector/{endpoint}/{deployment}/{name}")
        found.append(Collection(name.lower(), place.container, place.path, one["samplingRate"]))
    source = f"{emulator.workspace_id}/onlineEndpoints/{endpoint}/deployments/{deployment}"
    return CollectionPlan(source, collector["rollingRate"], tuple(found))


def _place(emulator: Emulator, data_id: str | None, default: str) -> Location:
    uri = data_id or f"azureml://datastores/{DEFAULT_DATASTORE}/paths/{default}"
    try:
        place = emulator.storage.resolve(uri.removeprefix("azureml:") if uri.startswith("azureml:/sub") else uri)
    except AzureError as error:
        raise bad_request(f"dataCollector: the data asset '{uri}' cannot be written to: {error.message}") from error
    if not place.path or ".." in place.path.split("/"):
        raise bad_request(f"dataCollector: '{uri}' names no folder of a datastore.")
    return place
