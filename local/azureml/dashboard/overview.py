"""The page's first view: how much of what there is, what is under way, and how time and faults are set. Schedules, too."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from local.azureml.call import Answer, Call
from local.azureml.operations import KIND as OPERATIONS
from local.azureml.queries import Query
from local.azureml.scheduling.scheduler import KIND as SCHEDULES

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_COUNTED = {
    "jobs": "jobs",
    "data": "data.containers",
    "models": "models.containers",
    "components": "components.containers",
    "environments": "environments.containers",
    "endpoints": "onlineEndpoints",
    "batchEndpoints": "batchEndpoints",
    "schedules": SCHEDULES,
    "computes": "computes",
}
_SHOWN_OPERATIONS = 30


class Overview:
    """Small however full the store is."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store

    def show(self, _call: Call) -> Answer:
        settings = self._emulator.settings
        workspace = {
            "name": settings.workspace,
            "resourceGroup": settings.resource_group,
            "subscription": settings.subscription_id,
        }
        return Answer(
            {
                "workspace": workspace,
                "addresses": self._addresses(),
                "counts": {name: self._store.count(kind) for name, kind in _COUNTED.items()},
                "operations": self._operations(),
                "pace": asdict(self._emulator.transitions.pace),
                "faults": [rule.to_json() for rule in self._emulator.faults.rules()],
            }
        )

    def schedules(self, _call: Call) -> Answer:
        """All of them, with their triggers."""
        return Answer({"value": [_schedule(record.name, record.body) for record in self._store.records(SCHEDULES)]})

    def _addresses(self) -> dict[str, str]:
        settings = self._emulator.settings
        return {
            "Resource manager": self._emulator.base_url,
            "Scoring": f"https://127.0.0.1:{settings.router_port}",
            "Blob storage": settings.blob_url,
            "MLflow": settings.mlflow_url,
        }

    def _operations(self) -> list[dict[str, Any]]:
        """The latest ones, those under way first."""
        found = [
            {
                "kind": record.body.get("kind", ""),
                "resource": record.body.get("resource", ""),
                "status": record.body["status"],
                "started": record.body.get("startTime"),
                "ended": record.body.get("endTime"),
                "error": (record.body.get("error") or {}).get("message"),
            }
            for record in self._store.page(Query(OPERATIONS), _SHOWN_OPERATIONS).records
        ]
        return sorted(found, key=lambda one: bool(one["ended"]))


def _schedule(name: str, body: dict[str, Any]) -> dict[str, Any]:
    properties = body["properties"]
    trigger, action = properties["trigger"] or {}, properties["action"]
    recurrence = f"every {trigger.get('interval', 1)} {trigger.get('frequency', '')}".rstrip().lower()
    return {
        "name": name,
        "displayName": properties.get("displayName"),
        "enabled": properties["isEnabled"],
        "state": properties["provisioningState"],
        "trigger": trigger.get("expression") or recurrence,
        "timeZone": trigger.get("timeZone") or "UTC",
        "action": action.get("actionType"),
        "job": (action.get("jobDefinition") or {}).get("displayName"),
    }
