"""What the store holds about online endpoints, and what of it the router must know."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from local.azureml.arm import ML_AUDIENCE
from local.azureml.faults import Rule
from local.azureml.serving.table import Target
from local.azureml.store import Body, Store

ENDPOINTS = "onlineEndpoints"
"""name -> the ARM body."""
DEPLOYMENTS = "onlineDeployments"
"""endpoint, deployment -> the ARM body."""
KEYS = "onlineEndpointKeys"
"""endpoint -> primaryKey, secondaryKey, token, token_expires_at, and the token before that. Never part of an ARM body."""
SPECS = "scoringSpecs"
"""endpoint, deployment -> ScoringSpec as JSON: what runs, and is started again after a restart."""

AAD_AUDIENCES = ("https://ml.azure.com", ML_AUDIENCE)
"""Of the tokens that open an endpoint with auth mode AADToken: Azure's, which the SDK asks for, and the one of this cloud."""


def new_key() -> str:
    return secrets.token_urlsafe(32)


def new_keys() -> Body:
    return {"primaryKey": new_key(), "secondaryKey": new_key()}


def routing_table(store: Store, targets: Mapping[tuple[str, str], Target], faults: Sequence[Rule] = ()) -> dict[str, Any]:
    """The router's JSON: every endpoint with its credentials, weights and those of `targets` that belong to it; fault rules."""
    return {
        "endpoints": {record.name: _endpoint(store, record.name, record.body, targets) for record in store.records(ENDPOINTS)},
        "faults": [rule.to_json() for rule in faults],
    }


def _endpoint(store: Store, name: str, body: Body, targets: Mapping[tuple[str, str], Target]) -> dict[str, Any]:
    properties = body["properties"]
    return {
        "credentials": _credentials(store.get(KEYS, name) or {}, properties["authMode"]),
        "traffic": properties["traffic"],
        "mirror": properties["mirrorTraffic"],
        "targets": {target.name: target.to_json() for (endpoint, _), target in targets.items() if endpoint == name},
        "audiences": AAD_AUDIENCES if properties["authMode"] == "AADToken" else (),
    }


def _credentials(keys: Body, auth_mode: str) -> list[dict[str, Any]]:
    if auth_mode == "Key":
        return [{"value": keys[name]} for name in ("primaryKey", "secondaryKey") if name in keys]
    if auth_mode == "AADToken":
        return []
    tokens = [(keys[f"{which}token"], keys[f"{which}token_expires_at"]) for which in ("", "previous_") if f"{which}token" in keys]
    return [{"value": value, "expires_at": expires} for value, expires in tokens]
