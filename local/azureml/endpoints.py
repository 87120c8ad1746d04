"""What online and batch endpoints have in common: names, and when neither they nor their deployments may be written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from local.azureml.errors import bad_request, conflict
from local.azureml.store import Body, Record, Store
from local.azureml.writes import refuse_while_busy

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")


def online_addresses(emulator: Emulator, name: str) -> dict[str, str]:
    """An online endpoint's addresses. Not stored: the next start may be on other ports."""
    base = f"{emulator.serving.router_url}/endpoints/{name}"
    return {"scoringUri": f"{base}/score", "swaggerUri": f"{base}/swagger.json"}


def batch_addresses(emulator: Emulator, name: str) -> dict[str, str]:
    """A batch endpoint's addresses, as `online_addresses`."""
    base = f"{emulator.base_url}/batch/{name}"
    return {"scoringUri": f"{base}/jobs", "swaggerUri": f"{base}/swagger.json"}


def shown_at(shown: Body, addresses: dict[str, str]) -> Body:
    """The endpoint as it is answered, with its addresses of now."""
    return {**shown, "properties": {**shown["properties"], **addresses}}


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
