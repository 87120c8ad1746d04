"""What online and batch endpoints have in common: names, and when neither they nor their deployments may be written."""

from __future__ import annotations

import re
from collections.abc import Callable

from local.azureml.errors import bad_request, conflict
from local.azureml.store import Body, Record, Store
from local.azureml.writes import refuse_while_busy

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")


def check_name(name: str, what: str) -> str:
    """Azure's rule for endpoint and deployment names; 400 otherwise. Names become paths and addresses."""
    if not _NAME.fullmatch(name):
        raise bad_request(
            f"'{name[:64]}' is not a valid {what} name: 3 to 32 letters, digits or '-', the first a letter, the last no '-'.",
            "BadArgument",
        )
    return name


def refuse_unfit(endpoint: Record) -> Record:
    """The endpoint; 409 for its deployments' sake while it is written itself or could not be made."""
    refuse_while_busy(endpoint.body, f"endpoint '{endpoint.name}'")
    if endpoint.body["properties"]["provisioningState"] != "Succeeded":
        raise conflict(f"Endpoint '{endpoint.name}' is in a failed state: update it before its deployments.")
    return endpoint


def refuse_busy_parts(store: Store, name: str, deployments: str) -> Callable[[Body], None]:
    """A rule for `Writes.delete`: neither the endpoint nor one of its deployments (of this kind) is being written."""

    def refuse(endpoint: Body) -> None:
        refuse_while_busy(endpoint, f"endpoint '{name}'")
        for deployment in store.records(deployments, name):
            refuse_while_busy(deployment.body, f"deployment '{deployment.version}'")

    return refuse
