"""Where outputs go: the expressions that a place may hold, and the datastore that a job chose for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.azureml.storage import DEFAULT_DATASTORE


def fill_datastore(uri: str, settings: Mapping[str, Any] | None) -> str:
    """`${{default_datastore}}` filled in."""
    return uri.replace("${{default_datastore}}", _datastore(settings))


def with_default_place(settings: Mapping[str, Any] | None) -> str | None:
    """A place in the datastore that the job's settings name; None when they name none: then storage knows where."""
    datastore = _datastore(settings)
    if datastore == DEFAULT_DATASTORE:
        return None
    return f"azureml://datastores/{datastore}/paths/azureml/${{{{name}}}}/${{{{output_name}}}}/"


def fill_names(uri: str, owner: str, output: str) -> str:
    """`${{name}}`, the job or the step whose output it is, and `${{output_name}}` filled in."""
    return uri.replace("${{name}}", owner).replace("${{output_name}}", output)


def _datastore(settings: Mapping[str, Any] | None) -> str:
    """By name or by ARM id."""
    chosen = (settings or {}).get("default_datastore") or DEFAULT_DATASTORE
    return str(chosen).removeprefix("azureml:").rpartition("/")[2]
