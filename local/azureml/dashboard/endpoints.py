"""Endpoints for the page: deployments, weights, states and how many requests were answered. Never a key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from local.azureml.batch import DEPLOYMENTS as BATCH_DEPLOYMENTS
from local.azureml.batch import ENDPOINTS as BATCH_ENDPOINTS
from local.azureml.call import Answer, Call
from local.azureml.endpoints import batch_addresses, online_addresses
from local.azureml.serving.counts import requests_since
from local.azureml.serving.records import DEPLOYMENTS, ENDPOINTS
from local.azureml.store import Body, Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_COUNTED_SECONDS = 3600.0


class Endpoints:
    """Online and batch endpoints together."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store

    def all(self, _call: Call) -> Answer:
        """All of them: a workspace has few."""
        online = [self._online(record) for record in self._store.records(ENDPOINTS)]
        batch = [self._batch(record) for record in self._store.records(BATCH_ENDPOINTS)]
        return Answer({"online": online, "batch": batch, "counted_seconds": int(_COUNTED_SECONDS)})

    def _online(self, record: Record) -> dict[str, Any]:
        properties = record.body["properties"]
        counted = requests_since(self._emulator.serving.counts_file, record.name, time.time() - _COUNTED_SECONDS)
        deployments = [
            {
                **_deployment(one.body, one.version),
                "traffic": properties["traffic"].get(one.version, 0),
                "mirror": properties["mirrorTraffic"].get(one.version, 0),
                "requests": counted.get(one.version, {}),
            }
            for one in self._store.records(DEPLOYMENTS, record.name)
        ]
        shown = _endpoint(record, online_addresses(self._emulator, record.name))
        return {**shown, "auth": properties.get("authMode"), "deployments": deployments}

    def _batch(self, record: Record) -> dict[str, Any]:
        default = (record.body["properties"].get("defaults") or {}).get("deploymentName")
        found = self._store.records(BATCH_DEPLOYMENTS, record.name)
        deployments = [{**_deployment(one.body, one.version), "default": one.version == default} for one in found]
        shown = _endpoint(record, batch_addresses(self._emulator, record.name))
        return {**shown, "default": default, "deployments": deployments}


def _endpoint(record: Record, addresses: Mapping[str, str]) -> dict[str, Any]:
    properties = record.body["properties"]
    return {
        "name": record.name,
        "state": properties.get("provisioningState"),
        "scoringUri": addresses["scoringUri"],
        "tags": record.body.get("tags") or {},
        "created": record.created,
    }


def _deployment(body: Body, name: str) -> dict[str, Any]:
    properties: Mapping[str, Any] = body["properties"]
    model = properties.get("model")
    return {
        "name": name,
        "state": properties.get("provisioningState"),
        "model": _short(model.get("assetId") if isinstance(model, dict) else model),
        "instances": (body.get("sku") or {}).get("capacity"),
    }


def _short(identity: object) -> str | None:
    """`name:version` of an ARM id."""
    name, separator, version = str(identity or "").rpartition("/versions/")
    return f"{name.rpartition('/')[2]}:{version}" if separator else (str(identity) if identity else None)
