"""Online deployments: which model and code score, in how many workers, within which limits."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from local.azureml.arm import page, resource
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, bad_request, conflict, not_found
from local.azureml.online_endpoints import check_name, endpoint_record, refuse_while_busy
from local.azureml.serving.materialise import References, download, interpreter, references
from local.azureml.serving.process import ScoringSpec
from local.azureml.serving.records import DEPLOYMENTS, ENDPOINTS, with_state
from local.azureml.serving.service import serving_of
from local.azureml.store import Body, Record
from local.processes import tail

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_DURATION = re.compile(r"PT(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?")
_DEFAULT_TIMEOUT = "PT5S"
_MAX_TIMEOUT_SECONDS = 180.0
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_WORKERS = 32


class OnlineDeployments:
    """The operations of the resource. A create or update has succeeded when the scoring process answers its liveness route."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store

    def list(self, call: Call) -> Answer:
        endpoint = endpoint_record(self._emulator, call.path_params["endpoint"]).name
        return page(self._emulator, call, [self._shown(record) for record in self._store.records(DEPLOYMENTS, endpoint)])

    def get(self, call: Call) -> Answer:
        return Answer(self._shown(self._record(call)))

    def put(self, call: Call) -> Answer:
        endpoint, name = call.path_params["endpoint"], check_name(call.path_params["deployment"], "deployment")
        body = _asked(call)
        self._free_endpoint(endpoint)
        wanted = references(self._emulator, body["properties"])
        created: list[bool] = []

        def change(old: Body | None) -> Body:
            self._free_endpoint(endpoint)
            refuse_while_busy(old, f"deployment '{name}'")
            created[:] = [old is None]
            return with_state(body, "Creating" if old is None else "Updating")

        record = self._store.upsert(DEPLOYMENTS, endpoint, name, change)
        verb = "create" if created[0] else "update"
        shown = self._shown(record)
        done = with_state(shown, "Succeeded")
        work = partial(self._provision, endpoint, name, body, wanted, verb)
        headers = self._start(endpoint, name, done, work, f"online deployment {verb}")
        return Answer(shown, 201 if created[0] else 200, headers)

    def delete(self, call: Call) -> Answer:
        """Refused with 400 while the deployment takes live or mirrored traffic. 204 when there is nothing to delete."""
        endpoint, name = call.path_params["endpoint"], call.path_params["deployment"]
        if self._store.get(DEPLOYMENTS, endpoint, name) is None:
            return Answer(status=204)

        def change(old: Body) -> Body:
            properties = self._free_endpoint(endpoint).body["properties"]
            refuse_while_busy(old, f"deployment '{name}'")
            if properties["traffic"].get(name, 0) or properties["mirrorTraffic"].get(name, 0):
                raise bad_request(
                    f"Deployment '{name}' has traffic. Set its traffic and its mirrored traffic to 0 before deleting it."
                )
            return with_state(old, "Deleting")

        self._store.update(DEPLOYMENTS, endpoint, name, change)
        headers = self._start(endpoint, name, None, partial(self._deleted, endpoint, name), "online deployment delete")
        return Answer(status=202, headers=headers)

    def get_logs(self, call: Call) -> Answer:
        """The last lines of the scoring process's output."""
        record = self._record(call)
        asked = (call.body or {}).get("tail")
        lines = 50 if asked is None else asked
        if type(lines) is not int or lines < 0:
            raise bad_request(f"tail must be a number of lines, not {lines!r}.")
        log = serving_of(self._emulator).log_file(record.name, record.version)
        return Answer({"content": tail(log, lines) if lines else ""})

    # -- what the operations share

    def _record(self, call: Call) -> Record:
        endpoint, name = call.path_params["endpoint"], call.path_params["deployment"]
        endpoint_record(self._emulator, endpoint)
        record = self._store.record(DEPLOYMENTS, endpoint, name)
        if record is None:
            raise not_found(f"Deployment '{name}' was not found on online endpoint '{endpoint}'.", "ResourceNotFound")
        return record

    def _shown(self, record: Record) -> dict[str, Any]:
        return resource(self._emulator, record, _path(record.name, record.version))

    def _start(self, endpoint: str, name: str, done: Body | None, work: Callable[[], None], kind: str) -> dict[str, str]:
        def failed() -> None:
            self._store.update(DEPLOYMENTS, endpoint, name, lambda body: with_state(body, "Failed"))

        return self._emulator.operations.start(done, work, kind=kind, resource=_path(endpoint, name), failed=failed)

    def _free_endpoint(self, name: str) -> Record:
        """The endpoint; 409 while it is written itself or could not be made."""
        endpoint = endpoint_record(self._emulator, name)
        refuse_while_busy(endpoint.body, f"endpoint '{name}'")
        if endpoint.body["properties"]["provisioningState"] != "Succeeded":
            raise conflict(f"Endpoint '{name}' is in a failed state: update it before its deployments.")
        return endpoint

    def _provision(self, endpoint: str, name: str, body: Body, wanted: References, verb: str) -> None:
        serving = serving_of(self._emulator)
        self._emulator.transitions.wait(f"deployment.{verb}", _path(endpoint, name), serving.stopping)
        folder = serving.folder / "deployments" / endpoint / name / uuid.uuid4().hex[:12]
        model_dir = download(self._emulator, wanted, folder)
        settings = _scoring_settings(body)
        serving.deploy(
            ScoringSpec(
                endpoint=endpoint,
                deployment=name,
                interpreter=str(interpreter(wanted.environment)),
                folder=str(folder),
                script=wanted.script,
                model_dir=model_dir,
                environment=body["properties"]["environmentVariables"],
                **settings,
            )
        )
        self._store.update(DEPLOYMENTS, endpoint, name, lambda old: with_state(old, "Succeeded"))
        self._announce(endpoint, wanted)

    def _announce(self, endpoint: str, wanted: References) -> None:
        if wanted.model is None:
            return
        body = endpoint_record(self._emulator, endpoint).body
        data = {
            "ServiceName": endpoint,
            "ServiceComputeType": "Managed",
            "ModelIds": ":".join(wanted.model),
            "ServiceTags": body["tags"],
            "ServiceProperties": body["properties"].get("properties", {}),
        }
        self._emulator.events.publish("Microsoft.MachineLearningServices.ModelDeployed", f"endpoints/{endpoint}", data)

    def _deleted(self, endpoint: str, name: str) -> None:
        serving = serving_of(self._emulator)
        self._emulator.transitions.wait("deployment.delete", _path(endpoint, name), serving.stopping)

        def without(body: Body) -> Body:
            properties = dict(body["properties"])
            for field in ("traffic", "mirrorTraffic"):
                properties[field] = {key: weight for key, weight in properties[field].items() if key != name}
            return {**body, "properties": properties}

        self._store.update(ENDPOINTS, endpoint, "", without)
        self._store.delete(DEPLOYMENTS, endpoint, name)
        serving.retire(endpoint, name)


def _path(endpoint: str, name: str) -> str:
    return f"/onlineEndpoints/{endpoint}/deployments/{name}"


def _asked(call: Call) -> Body:
    properties = dict(call.properties)
    compute = properties.get("endpointComputeType", "Managed")
    if compute != "Managed":
        raise AzureError(501, "NotSupportedByEmulator", f"endpointComputeType '{compute}' is not supported: only Managed.")
    if properties.get("dataCollector"):
        raise AzureError(
            501, "NotSupportedByEmulator", "dataCollector is not supported by the emulator: nothing would be collected."
        )
    variables = properties.get("environmentVariables") or {}
    if bad := [name for name in variables if not _VARIABLE.fullmatch(name)]:
        raise bad_request(f"'{bad[0][:64]}' is not a name for an environment variable.")
    body = {
        "location": call.body.get("location", "local"),
        "tags": call.body.get("tags") or {},
        "sku": call.body.get("sku") or {"name": "Default", "capacity": 1},
        "properties": {
            **properties,
            "properties": dict(properties.get("properties") or {}),
            "environmentVariables": {name: str(value) for name, value in variables.items()},
            "scaleSettings": properties.get("scaleSettings") or {"scaleType": "Default"},
            "requestSettings": {**_REQUEST_DEFAULTS, **_present(properties.get("requestSettings"))},
            "endpointComputeType": "Managed",
        },
    }
    _scoring_settings(body)  # refuses what is out of range before anything starts
    return body


_REQUEST_DEFAULTS = {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": _DEFAULT_TIMEOUT, "maxQueueWait": "PT0.5S"}


def _present(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (settings or {}).items() if value is not None}


def _scoring_settings(body: Body) -> dict[str, Any]:
    """Workers, deadline and limit of a deployment.

    Azure lets 2 x max_concurrent_requests_per_instance x instance_count requests be under way; more are answered 429.
    """
    properties = body["properties"]
    settings = properties["requestSettings"]
    instances, concurrent = body["sku"].get("capacity", 1), settings["maxConcurrentRequestsPerInstance"]
    per_instance = properties["environmentVariables"].get("WORKER_COUNT", "1")
    if type(instances) is not int or instances < 1 or type(concurrent) is not int or concurrent < 1 or not per_instance.isdigit():
        raise bad_request("instance_count, max_concurrent_requests_per_instance and WORKER_COUNT must be positive integers.")
    timeout = _seconds(str(settings["requestTimeout"]))
    if not 0 < timeout <= _MAX_TIMEOUT_SECONDS:
        raise bad_request(f"request_timeout_ms must be above 0 and at most {_MAX_TIMEOUT_SECONDS * 1000:.0f}.")
    return {
        "workers": min(max(int(per_instance), 1) * instances, _MAX_WORKERS),
        "timeout_seconds": timeout,
        "limit": 2 * concurrent * instances,
    }


def _seconds(duration: str) -> float:
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise bad_request(f"'{duration}' is not an ISO 8601 duration such as PT5S.")
    hours, minutes, seconds = (float(match[unit] or 0) for unit in "hms")
    return hours * 3600 + minutes * 60 + seconds


def routes(emulator: Emulator) -> list[Route]:
    """ARM operations on `onlineEndpoints/deployments`."""
    own = OnlineDeployments(emulator)
    all_of_them = "/onlineEndpoints/{endpoint}/deployments"
    one = all_of_them + "/{deployment}"
    local = "a local process instead of instances; no dataCollector, no deployment without code, no probe settings, no autoscale"
    return [
        Route("GET", all_of_them, own.list, sdk="online_deployments.list"),
        Route("GET", one, own.get, sdk="online_deployments.get"),
        Route("PUT", one, own.put, sdk="online_deployments.begin_create_or_update", differences=local),
        Route("DELETE", one, own.delete, sdk="online_deployments.begin_delete"),
        Route("POST", f"{one}/getLogs", own.get_logs, sdk="online_deployments.get_logs"),
    ]
