"""Compute clusters: kept, listed and looked up. Every job runs on this machine, whatever its cluster is called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from local.azureml import arm, vm_sizes
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import bad_request, not_emulated, not_found
from local.azureml.operations import LOCATION
from local.azureml.store import Body, Record
from local.azureml.writes import Writes

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "computes"
DEFAULT_CLUSTER = "cpu-cluster"
_FIRST_START = "computes.first_start"
_SERVERLESS = "serverless"
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?")
_FIXED = ("vmSize", "vmPriority", "osType", "subnet")
"""What a cluster keeps for its life."""
_NODES = ("preparing", "running", "idle", "unusable", "leaving", "preempted")


def create_default(emulator: Emulator) -> None:
    """`cpu-cluster`, once in the life of a state folder: whoever deletes it does not get it back."""
    if emulator.store.get(_FIRST_START, "done") is None:
        asked = {"vmSize": "Standard_DS3_v2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 4}}
        properties = {"computeType": "AmlCompute", "properties": _cluster(asked), "provisioningState": "Succeeded"}
        emulator.store.put(KIND, DEFAULT_CLUSTER, "", {"location": LOCATION, "tags": {}, "properties": properties})
        emulator.store.put(_FIRST_START, "done", "", {})


def refuse_unknown(emulator: Emulator, job: Mapping[str, Any]) -> None:
    """400 in Azure's words when a job's REST properties name a compute that is not there."""
    known = {record.name.lower() for record in emulator.store.records(KIND)} | {_SERVERLESS}
    for reference in _named_by(job):
        name = str(reference).removeprefix("azureml:")
        folder, separator, last = name.rpartition("/computes/")
        elsewhere = bool(separator) and folder.lower() != emulator.workspace_id.lower()
        if elsewhere or last.lower() not in known:
            raise bad_request(f"Unknown compute target '{last}'.")


def _named_by(job: Mapping[str, Any]) -> Iterator[Any]:
    """Every compute that a job names: its own, its steps' default, its steps'."""
    settings, nodes = job.get("settings") or {}, job.get("jobs") or {}
    named = [job.get("computeId"), settings.get("default_compute"), *(node.get("computeId") for node in nodes.values())]
    return (reference for reference in named if reference)


class Computes:
    """The operations of the resource."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._writes = Writes(emulator, KIND, "compute", lambda name, _: f"/computes/{name}", self._shown)

    def list(self, call: Call) -> Answer:
        return arm.page(self._emulator, call, [self._shown(record) for record in self._store.records(KIND)])

    def get(self, call: Call) -> Answer:
        return Answer(self._shown(self._record(call.path_params["name"])))

    def put(self, call: Call) -> Answer:
        """Create, or change what may change: the scale settings, the description, the tags."""
        name = call.path_params["name"]
        if not _NAME.fullmatch(name):
            raise bad_request(
                f"'{name[:64]}' is not a valid compute name: at most 32 letters, digits and '-', "
                "the first a letter, the last no '-'.",
                "ValidationError",
            )
        asked, known = _asked(call), self._name_of(name)

        def change(old: Body | None) -> Body:
            if old is not None:
                _refuse_change(name, old["properties"]["properties"], asked["properties"]["properties"])
            return asked

        return self._writes.put(known, "", change, lambda _: self._writes.succeeded(known))

    def delete(self, call: Call) -> Answer:
        """204 when there is nothing to delete."""
        name = self._name_of(call.path_params["name"])
        action = call.query.get("underlyingResourceAction", "Delete")
        if action != "Delete":
            raise bad_request("A compute cluster belongs to its workspace: it can be deleted, not detached.")
        return self._writes.delete(name, "", lambda _: None, lambda: self._deleted(name))

    def list_nodes(self, call: Call) -> Answer:
        """None: a job's node is this machine, and no cluster's."""
        self._record(call.path_params["name"])
        return Answer({"nodes": []})

    def _deleted(self, name: str) -> None:
        self._store.delete(KIND, name)

    def _name_of(self, name: str) -> str:
        """Names keep the case in which they were created, and are found in any."""
        return next((record.name for record in self._store.records(KIND) if record.name.lower() == name.lower()), name)

    def _record(self, name: str) -> Record:
        record = self._store.record(KIND, self._name_of(name))
        if record is None:
            workspace = self._emulator.settings.workspace
            raise not_found(f"Compute '{name}' was not found in workspace '{workspace}'.", "ResourceNotFound")
        return record

    def _shown(self, record: Record) -> dict[str, Any]:
        properties = {
            **record.body["properties"],
            "createdOn": record.created,
            "modifiedOn": record.updated,
            "isAttachedCompute": False,
            "provisioningErrors": None,
        }
        return arm.resource(self._emulator, record, f"/computes/{record.name}", properties=properties)


def _asked(call: Call) -> Body:
    properties = call.properties
    kind = properties.get("computeType")
    if kind != "AmlCompute":
        raise not_emulated(f"The emulator keeps computes of type AmlCompute, not '{kind}'.")
    cluster = properties.get("properties")
    if not isinstance(cluster, dict) or not cluster.get("vmSize"):
        raise bad_request("An AmlCompute needs a vmSize.", "ValidationError")
    if not vm_sizes.NAME.fullmatch(str(cluster["vmSize"])):
        raise bad_request(f"The vmSize '{cluster['vmSize']}' is no size of a virtual machine, such as Standard_DS3_v2.")
    return {
        "location": call.body.get("location") or LOCATION,
        "tags": call.body.get("tags") or {},
        **({"identity": arm.identity(call.body["identity"])} if call.body.get("identity") else {}),
        "properties": {
            "computeType": kind,
            "description": properties.get("description"),
            "disableLocalAuth": bool(properties.get("disableLocalAuth", False)),
            "properties": _cluster(cluster),
        },
    }


def _cluster(asked: Mapping[str, Any]) -> Body:
    """The cluster as Azure shows it: without passwords, with its nodes, of which there is none."""
    scale = asked.get("scaleSettings") or {}
    low, high = scale.get("minNodeCount") or 0, scale.get("maxNodeCount")
    if type(low) is not int or type(high) is not int or not 0 <= low <= high:
        raise bad_request(
            f"scaleSettings need whole numbers 0 <= minNodeCount <= maxNodeCount, not {low!r} and {high!r}.", "ValidationError"
        )
    account = asked.get("userAccountCredentials")
    return {
        "osType": "Linux",
        "vmPriority": "Dedicated",
        **{key: value for key, value in asked.items() if value is not None},
        "userAccountCredentials": {"adminUserName": account.get("adminUserName")} if account else None,
        "scaleSettings": {"nodeIdleTimeBeforeScaleDown": "PT2M", **scale, "minNodeCount": low},
        "allocationState": "Steady",
        "currentNodeCount": 0,
        "targetNodeCount": 0,
        "nodeStateCounts": {f"{state}NodeCount": 0 for state in _NODES},
        "errors": None,
    }


def _refuse_change(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for key in _FIXED:
        before, after = old.get(key), new.get(key)
        same = before.lower() == after.lower() if isinstance(before, str) and isinstance(after, str) else before == after
        if not same:
            raise bad_request(f"The {key} of compute '{name}' cannot be changed from {before!r} to {after!r}.")


def routes(emulator: Emulator) -> list[Route]:
    own = Computes(emulator)
    kept = (
        "AmlCompute only; kept and looked up by jobs, which run on this machine; no nodes. "
        f"The first start makes `{DEFAULT_CLUSTER}`"
    )
    return [
        Route("GET", "/computes", own.list, "compute.list"),
        Route("GET", "/computes/{name}", own.get, "compute.get", "its nodes are always 0"),
        Route("PUT", "/computes/{name}", own.put, "compute.begin_create_or_update, compute.begin_update", kept),
        Route("POST", "/computes/{name}/listNodes", own.list_nodes, "compute.list_nodes", "always empty"),
        Route("DELETE", "/computes/{name}", own.delete, "compute.begin_delete", query=("underlyingResourceAction",)),
    ]
