"""Online deployments: which model and code score, in how many workers, within which limits."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from local.azureml.arm import page, resource
from local.azureml.call import Answer, Call, Route
from local.azureml.endpoints import check_name, refuse_unfit
from local.azureml.errors import bad_request, not_found
from local.azureml.online_endpoints import endpoint_record, patched
from local.azureml.serving import provision
from local.azureml.serving.collection.asked import collection_plan
from local.azureml.serving.materialise import References, references
from local.azureml.serving.records import DEPLOYMENTS, ENDPOINTS
from local.azureml.serving.settings import MAX_INSTANCES, asked, scoring_settings
from local.azureml.store import Body, Record
from local.azureml.writes import Writes, refuse_while_busy
from local.processes import tail

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

MAX_DEPLOYMENTS = 20
"""Of an endpoint: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas"""
_CONTAINERS = ("InferenceServer", "StorageInitializer")


class OnlineDeployments:
    """The operations of the resource. A create or update has succeeded when the scoring process answers its liveness route."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._writes = Writes(emulator, DEPLOYMENTS, "online deployment", _path, self._shown)

    def list(self, call: Call) -> Answer:
        endpoint = endpoint_record(self._emulator, call.path_params["endpoint"]).name
        return page(self._emulator, call, [self._shown(record) for record in self._store.records(DEPLOYMENTS, endpoint)])

    def get(self, call: Call) -> Answer:
        return Answer(self._shown(self._record(call)))

    def put(self, call: Call) -> Answer:
        endpoint, name = call.path_params["endpoint"], check_name(call.path_params["deployment"], "deployment")
        body = asked(call)
        self._free_endpoint(endpoint)
        wanted = self._checked(endpoint, name, body)

        def change(old: Body | None) -> Body:
            self._free_endpoint(endpoint)
            refuse_while_busy(old, f"deployment '{name}'")
            if old is None:
                self._refuse_beyond_quota(endpoint)
            return body

        return self._writes.put(endpoint, name, change, partial(self._provision, endpoint, name, body, wanted))

    def patch(self, call: Call) -> Answer:
        """Tags and the number of instances (`sku.capacity`), as Azure's PATCH of a deployment; 400 for anything else."""
        record = self._record(call)
        given = patched(call, ("tags", "sku"))
        body = record.body
        body = {**body, **given, "sku": {**body["sku"], **given.get("sku", {})}}
        wanted = self._checked(record.name, record.version, body)

        def change(_: Body | None) -> Body:
            self._free_endpoint(record.name)
            refuse_while_busy(self._record(call).body, f"deployment '{record.version}'")
            return body

        work = partial(self._provision, record.name, record.version, body, wanted)
        return self._writes.put(record.name, record.version, change, work)

    def delete(self, call: Call) -> Answer:
        """Refused with 400 while the deployment takes live or mirrored traffic. 204 when there is nothing to delete."""
        endpoint, name = call.path_params["endpoint"], call.path_params["deployment"]

        def refuse(old: Body) -> None:
            properties = self._free_endpoint(endpoint).body["properties"]
            refuse_while_busy(old, f"deployment '{name}'")
            if properties["traffic"].get(name, 0) or properties["mirrorTraffic"].get(name, 0):
                raise bad_request(
                    f"Deployment '{name}' has traffic. Set its traffic and its mirrored traffic to 0 before deleting it."
                )

        return self._writes.delete(endpoint, name, refuse, partial(self._deleted, endpoint, name))

    def get_logs(self, call: Call) -> Answer:
        """The last lines of the scoring process's output, or of what was fetched for it (`containerType`)."""
        record = self._record(call)
        given = call.body or {}
        lines = 50 if given.get("tail") is None else given["tail"]
        if type(lines) is not int or lines < 0:
            raise bad_request(f"tail must be a number of lines, not {lines!r}.")
        container = given.get("containerType") or _CONTAINERS[0]
        if container not in _CONTAINERS:
            raise bad_request(f"containerType must be one of {', '.join(_CONTAINERS)}, not '{container}'.")
        serving = self._emulator.serving
        log = (serving.log_file if container == "InferenceServer" else serving.storage_log_file)(record.name, record.version)
        return Answer({"content": tail(log, lines) if lines else ""})

    def skus(self, call: Call) -> Answer:
        """How many instances the deployment may have."""
        self._record(call)
        capacity = {"minimum": 1, "maximum": MAX_INSTANCES, "default": 1, "scaleType": "Manual"}
        kind = "Microsoft.MachineLearning.Services/endpoints/deployments"
        return Answer({"value": [{"resourceType": kind, "sku": {"name": "Default"}, "capacity": capacity}]})

    # -- what the operations share

    def _checked(self, endpoint: str, name: str, body: Body) -> References:
        """The versions that a body names; refuses it when one is not there or a setting is out of range."""
        scoring_settings(body)
        collection_plan(self._emulator, endpoint, name, body["properties"].get("dataCollector"))
        return references(self._emulator, body["properties"])

    def _refuse_beyond_quota(self, endpoint: str) -> None:
        if len(self._store.records(DEPLOYMENTS, endpoint)) >= MAX_DEPLOYMENTS:
            raise bad_request(
                f"Endpoint '{endpoint}' has {MAX_DEPLOYMENTS} deployments, the most that an endpoint may have.", "OutOfQuota"
            )

    def _record(self, call: Call) -> Record:
        endpoint, name = call.path_params["endpoint"], call.path_params["deployment"]
        endpoint_record(self._emulator, endpoint)
        record = self._store.record(DEPLOYMENTS, endpoint, name)
        if record is None:
            raise not_found(f"Deployment '{name}' was not found on online endpoint '{endpoint}'.", "ResourceNotFound")
        return record

    def _shown(self, record: Record) -> dict[str, Any]:
        return resource(self._emulator, record, _path(record.name, record.version))

    def _free_endpoint(self, name: str) -> Record:
        return refuse_unfit(endpoint_record(self._emulator, name))

    def _provision(self, endpoint: str, name: str, body: Body, wanted: References, verb: str) -> None:
        serving = self._emulator.serving
        self._emulator.transitions.wait(f"deployment.{verb}", _path(endpoint, name), serving.stopping)
        folder = serving.folder / "deployments" / endpoint / name / uuid.uuid4().hex[:12]
        spec = provision.planned(self._emulator, endpoint, name, body, wanted)
        goes_on = serving.adjust(spec)
        if not goes_on:
            serving.deploy(provision.laid_out(self._emulator, spec, wanted, folder))
        self._writes.succeeded(endpoint, name)
        if not goes_on:
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
        serving = self._emulator.serving
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


def routes(emulator: Emulator) -> list[Route]:
    """ARM operations on `onlineEndpoints/deployments`."""
    own = OnlineDeployments(emulator)
    all_of_them = "/onlineEndpoints/{endpoint}/deployments"
    one = all_of_them + "/{deployment}"
    local = (
        "a local process instead of instances; an unset delay of the readiness probe is 0; scale settings are kept, nothing is "
        "scaled; no custom container (modelMountPath), no Triton model; no dataCollector.requestLogging"
    )
    return [
        Route("GET", all_of_them, own.list, sdk="online_deployments.list"),
        Route("GET", one, own.get, sdk="online_deployments.get"),
        Route("PUT", one, own.put, sdk="online_deployments.begin_create_or_update", differences=local),
        Route("PATCH", one, own.patch, sdk="(REST clients; the SDK uses PUT)"),
        Route("DELETE", one, own.delete, sdk="online_deployments.begin_delete"),
        Route("POST", f"{one}/getLogs", own.get_logs, sdk="online_deployments.get_logs"),
        Route("GET", f"{one}/skus", own.skus, sdk="(REST clients)"),
    ]
