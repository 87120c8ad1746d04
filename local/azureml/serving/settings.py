"""What a client asks of a deployment: checked, completed with Azure's defaults, and read by what runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.azureml import vm_sizes
from local.azureml.call import Call
from local.azureml.durations import seconds
from local.azureml.errors import bad_request, not_emulated
from local.azureml.serving.collection.asked import normalised
from local.azureml.serving.probes import Probes
from local.azureml.store import Body

MAX_INSTANCES = 50
"""Instances of a deployment: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas"""
_MAX_TIMEOUT_SECONDS = 180.0
_MAX_WORKERS = 32
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REQUEST_DEFAULTS = {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": "PT5S", "maxQueueWait": "PT0.5S"}
_SCALE_DEFAULTS = {"minInstances": 1, "maxInstances": 1, "pollingInterval": "PT1S", "targetUtilizationPercentage": 70}


@dataclass(frozen=True)
class ScoringSettings:
    """How a deployment's process is run."""

    workers: int
    timeout_seconds: float
    limit: int
    """Requests under way or waiting."""
    probes: Probes


def asked(call: Call) -> Body:
    """The body of a PUT as it is stored; 400 and 501 before anything starts."""
    properties = dict(call.properties)
    compute = properties.get("endpointComputeType", "Managed")
    if compute != "Managed":
        raise not_emulated(f"endpointComputeType '{compute}' is not supported: only Managed.")
    if properties.get("modelMountPath"):
        raise not_emulated("modelMountPath is not supported: there are no containers.")
    size = properties.get("instanceType")
    if size is not None and not vm_sizes.NAME.fullmatch(str(size)):
        raise bad_request(f"instanceType '{size}' is no size of a virtual machine, such as Standard_DS3_v2.")
    body: Body = {
        "location": call.body.get("location", "local"),
        "tags": call.body.get("tags") or {},
        "sku": call.body.get("sku") or {"name": "Default", "capacity": 1},
        "properties": {
            **properties,
            "properties": dict(properties.get("properties") or {}),
            "environmentVariables": _variables(properties.get("environmentVariables") or {}),
            "scaleSettings": _scale_settings(properties.get("scaleSettings") or {}),
            "requestSettings": {**_REQUEST_DEFAULTS, **_present(properties.get("requestSettings"))},
            "egressPublicNetworkAccess": _one_of(properties, "egressPublicNetworkAccess", ("Enabled", "Disabled")),
            "endpointComputeType": "Managed",
        },
    }
    if (collector := normalised(properties.get("dataCollector"))) is not None:
        body["properties"]["dataCollector"] = collector
    scoring_settings(body)  # refuses what is out of range
    return body


def scoring_settings(body: Body) -> ScoringSettings:
    """Workers, deadline, limit and probes of a stored deployment.

    Azure lets 2 x max_concurrent_requests_per_instance x instance_count requests be under way; more are answered 429.
    `maxQueueWait` is checked and has no effect, as on Azure, where it is deprecated for managed endpoints.
    """
    properties = body["properties"]
    settings = properties["requestSettings"]
    instances, concurrent = body["sku"].get("capacity", 1), settings["maxConcurrentRequestsPerInstance"]
    per_instance = properties["environmentVariables"].get("WORKER_COUNT", "1")
    whole = all(type(number) is int and number >= 1 for number in (instances, concurrent))
    if not whole or not per_instance.isdecimal():
        raise bad_request("instance_count, max_concurrent_requests_per_instance and WORKER_COUNT must be positive integers.")
    if instances > MAX_INSTANCES:
        raise bad_request(f"instance_count is {instances}; a deployment has at most {MAX_INSTANCES} instances.", "OutOfQuota")
    timeout = seconds(settings["requestTimeout"], "requestSettings.requestTimeout")
    if not 0 < timeout <= _MAX_TIMEOUT_SECONDS:
        raise bad_request(f"request_timeout_ms must be above 0 and at most {_MAX_TIMEOUT_SECONDS * 1000:.0f}.")
    seconds(settings["maxQueueWait"], "requestSettings.maxQueueWait")
    return ScoringSettings(
        workers=min(max(int(per_instance), 1) * instances, _MAX_WORKERS),
        timeout_seconds=timeout,
        limit=2 * concurrent * instances,
        probes=Probes.of(properties),
    )


def _variables(asked: Mapping[str, Any]) -> dict[str, str]:
    if bad := [name for name in asked if not _VARIABLE.fullmatch(name)]:
        raise bad_request(f"'{bad[0][:64]}' is not a name for an environment variable.")
    return {name: str(value) for name, value in asked.items()}


def _scale_settings(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Checked and kept: nothing is scaled by them here."""
    kind = asked.get("scaleType", "Default")
    if kind == "Default":
        return {"scaleType": "Default"}
    if kind != "TargetUtilization":
        raise bad_request(f"scaleSettings.scaleType must be Default or TargetUtilization, not '{kind}'.")
    settings = {**_SCALE_DEFAULTS, **_present(asked)}
    least, most, percentage = (settings[key] for key in ("minInstances", "maxInstances", "targetUtilizationPercentage"))
    if any(type(number) is not int or number < 1 for number in (least, most, percentage)):
        raise bad_request("scaleSettings: minInstances, maxInstances and targetUtilizationPercentage must be positive integers.")
    if least > most or most > MAX_INSTANCES or percentage > 100:
        raise bad_request(
            f"scaleSettings: minInstances ({least}) must not exceed maxInstances ({most}), which is at most {MAX_INSTANCES}; "
            f"targetUtilizationPercentage ({percentage}) is at most 100."
        )
    seconds(settings["pollingInterval"], "scaleSettings.pollingInterval")
    return settings


def _one_of(properties: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = str(properties.get(name) or allowed[0]).capitalize()
    if value not in allowed:
        raise bad_request(f"{name} must be one of {', '.join(allowed)}, not '{properties[name]}'.")
    return value


def _present(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (settings or {}).items() if value is not None}
