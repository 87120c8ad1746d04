"""Online endpoints: the name, the keys, the traffic. Deployments are in online_deployments.py, processes in serving/."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from local.azureml.arm import identity, page, resource
from local.azureml.call import Answer, Call, Route
from local.azureml.endpoints import check_name, online_addresses, refuse_busy_parts, shown_at
from local.azureml.errors import bad_request, not_emulated, not_found
from local.azureml.serving.records import DEPLOYMENTS, ENDPOINTS, KEYS, new_key, new_keys
from local.azureml.store import Body, Record
from local.azureml.writes import Writes, refuse_while_busy

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

MAX_MIRROR = 50
TOKEN_SECONDS = 8 * 3600
_AUTH_MODES = {"key": "Key", "amltoken": "AMLToken", "aadtoken": "AADToken"}
MAX_ENDPOINTS = 100
"""Of a subscription: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas"""
_KEPT = ("description", "publicNetworkAccess")


class OnlineEndpoints:
    """The operations of the resource; every write but key handling is long-running and refused while another one is."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._writes = Writes(emulator, ENDPOINTS, "online endpoint", lambda name, _: _path(name), self._shown)

    def list(self, call: Call) -> Answer:
        return page(self._emulator, call, [self._shown(record) for record in self._store.records(ENDPOINTS)])

    def get(self, call: Call) -> Answer:
        return Answer(self._shown(self._record(call.path_params["endpoint"])))

    def put(self, call: Call) -> Answer:
        name = check_name(call.path_params["endpoint"], "endpoint")
        asked, keys = self._asked(call), _given_keys(call.properties.get("keys"))

        def change(old: Body | None) -> Body:
            refuse_while_busy(old, f"endpoint '{name}'")
            if old is None and len(self._store.records(ENDPOINTS)) >= MAX_ENDPOINTS:
                raise bad_request(f"The subscription has {MAX_ENDPOINTS} endpoints, the most that it may have.", "OutOfQuota")
            self._check_traffic(name, asked["properties"], old)
            return asked

        return self._writes.put(name, "", change, partial(self._settled, name, keys))

    def patch(self, call: Call) -> Answer:
        """Tags and identity, as Azure's PATCH of an endpoint; 400 for anything else."""
        name = call.path_params["endpoint"]
        self._record(name)
        given = patched(call, ("tags", "identity"))

        def change(old: Body | None) -> Body:
            old = old or self._record(name).body
            refuse_while_busy(old, f"endpoint '{name}'")
            identity = _identity({**old["identity"], **given.get("identity", {})})
            return {**old, "tags": given.get("tags", old["tags"]), "identity": identity}

        return self._writes.put(name, "", change, partial(self._settled, name, {}))

    def delete(self, call: Call) -> Answer:
        """With all its deployments. 204 when there is nothing to delete."""
        name = call.path_params["endpoint"]
        return self._writes.delete(name, "", refuse_busy_parts(self._store, name, DEPLOYMENTS), partial(self._deleted, name))

    def list_keys(self, call: Call) -> Answer:
        name = self._with_keys(call)
        keys = self._store.get(KEYS, name) or {}
        return Answer({"primaryKey": keys["primaryKey"], "secondaryKey": keys["secondaryKey"]})

    def regenerate_keys(self, call: Call) -> Answer:
        """Replace one key by the given value or a new one; the other goes on working, so that clients can change over."""
        name = self._with_keys(call)
        body = call.body if isinstance(call.body, dict) else {}
        field = {"primary": "primaryKey", "secondary": "secondaryKey"}.get(str(body.get("keyType")).lower())
        if field is None:
            raise bad_request("keyType must be 'Primary' or 'Secondary'.")
        given = body.get("keyValue")

        def renewed(keys: Body) -> Body:
            # The SDK sends the present key along; whoever asks for a regeneration does not want that one again.
            return {**keys, field: str(given) if given and given != keys[field] else new_key()}

        self._store.update(KEYS, name, "", renewed)
        self._emulator.serving.publish()
        start = self._emulator.operations.start
        return Answer(status=202, headers=start(None, lambda: None, kind="online endpoint keys", resource=_path(name)))

    def token(self, call: Call) -> Answer:
        """A token for an endpoint with aml_token authentication: the same one until half of its life is over, then another.

        The one before it is good until its own end.
        """
        record = self._record(call.path_params["endpoint"])
        if record.body["properties"]["authMode"] != "AMLToken":
            raise bad_request(f"Endpoint '{record.name}' does not use token authentication; list its keys instead.")
        now = time.time()

        def renewed(keys: Body) -> Body:
            if keys.get("token_expires_at", 0) - now > TOKEN_SECONDS / 2:
                return keys
            before = {f"previous_{name}": keys[name] for name in ("token", "token_expires_at") if name in keys}
            return {**keys, **before, "token": secrets.token_urlsafe(48), "token_expires_at": now + TOKEN_SECONDS}

        keys = self._store.update(KEYS, record.name, "", renewed)
        self._emulator.serving.publish()
        expires = int(keys["token_expires_at"])
        times = {"expiryTimeUtc": expires, "refreshAfterTimeUtc": expires - TOKEN_SECONDS // 2}
        return Answer({"accessToken": keys["token"], "tokenType": "Bearer", **times})

    # -- what the operations share

    def _record(self, name: str) -> Record:
        return endpoint_record(self._emulator, name)

    def _with_keys(self, call: Call) -> str:
        """The endpoint's name; 400 when keys do not open it."""
        record = self._record(call.path_params["endpoint"])
        if (mode := record.body["properties"]["authMode"]) != "Key":
            raise bad_request(f"Endpoint '{record.name}' has auth mode {mode}: it is opened by tokens, it has no keys.")
        return record.name

    def _shown(self, record: Record) -> dict[str, Any]:
        shown = resource(self._emulator, record, _path(record.name))
        return shown_at(shown, online_addresses(self._emulator, record.name))

    def _asked(self, call: Call) -> Body:
        properties = call.properties
        if properties.get("compute"):
            raise not_emulated("compute of an endpoint: there is no Kubernetes cluster, only managed endpoints.")
        mode = str(properties.get("authMode")).lower()
        if mode not in _AUTH_MODES:
            raise bad_request(f"authMode must be Key, AMLToken or AADToken, not '{properties.get('authMode')}'.")
        return {
            "location": call.body.get("location", "local"),
            "kind": call.body.get("kind", "Managed"),
            "tags": call.body.get("tags") or {},
            "identity": _identity(call.body.get("identity") or {}),
            "properties": {
                **{key: properties[key] for key in _KEPT if properties.get(key) is not None},
                "authMode": _AUTH_MODES[mode],
                # Never null in an answer: the SDK's list fails on an endpoint whose creator sent none.
                "properties": dict(properties.get("properties") or {}),
                "traffic": dict(properties.get("traffic") or {}),
                "mirrorTraffic": dict(properties.get("mirrorTraffic") or {}),
            },
        }

    def _check_traffic(self, name: str, properties: Mapping[str, Any], old: Body | None) -> None:
        states = {
            record.version: record.body["properties"]["provisioningState"] for record in self._store.records(DEPLOYMENTS, name)
        }
        before = old["properties"]["traffic"] if old else {}
        check_traffic(properties["traffic"], properties["mirrorTraffic"], states, before)

    def _settled(self, name: str, keys: Body, verb: str) -> None:
        """`keys`: those that it is to have unless it has any."""
        serving = self._emulator.serving
        self._emulator.transitions.wait(f"endpoint.{verb}", _path(name), serving.stopping)
        self._store.upsert(KEYS, name, "", lambda known: known or keys or new_keys())
        serving.publish()
        self._writes.succeeded(name)

    def _deleted(self, name: str) -> None:
        serving = self._emulator.serving
        self._emulator.transitions.wait("endpoint.delete", _path(name), serving.stopping)
        for deployment in self._store.records(DEPLOYMENTS, name):
            serving.retire(name, deployment.version)
            self._store.delete(DEPLOYMENTS, name, deployment.version)
        self._store.delete(KEYS, name)
        self._store.delete(ENDPOINTS, name)
        serving.publish()


def _path(name: str) -> str:
    return f"/onlineEndpoints/{name}"


def endpoint_record(emulator: Emulator, name: str) -> Record:
    """The stored endpoint; 404 as Azure ML words it."""
    record = emulator.store.record(ENDPOINTS, name)
    if record is None:
        raise not_found(
            f"Online endpoint '{name}' was not found in workspace '{emulator.settings.workspace}'.", "ResourceNotFound"
        )
    return record


def check_traffic(
    traffic: Mapping[str, Any], mirror: Mapping[str, Any], states: Mapping[str, str], before: Mapping[str, int]
) -> None:
    """Azure's rules; 400 names the broken one. `states`: provisioning state by deployment; `before`: the weights until now."""
    for name, weight in [*traffic.items(), *mirror.items()]:
        if name not in states:
            raise bad_request(f"Traffic names the deployment '{name}', which does not exist on this endpoint.")
        if type(weight) is not int or not 0 <= weight <= 100:
            raise bad_request(f"The traffic of '{name}' must be an integer from 0 to 100, not {weight!r}.")
        if weight > 0 and states[name] != "Succeeded" and before.get(name) != weight:
            raise bad_request(f"Deployment '{name}' cannot take traffic: its provisioning state is {states[name]}.")
    if sum(traffic.values()) not in (0, 100):
        raise bad_request(f"The traffic weights sum to {sum(traffic.values())}; they must sum to 0 or 100.")
    mirrored = {name: weight for name, weight in mirror.items() if weight > 0}
    if len(mirrored) > 1:
        raise bad_request("Traffic can be mirrored to one deployment only.")
    for name, weight in mirrored.items():
        if weight > MAX_MIRROR:
            raise bad_request(f"At most {MAX_MIRROR} percent of the traffic can be mirrored, not {weight}.")
        if traffic.get(name, 0) > 0:
            raise bad_request(f"Deployment '{name}' takes live traffic; it cannot take mirrored traffic too.")


def patched(call: Call, allowed: tuple[str, ...]) -> Body:
    """What a PATCH gives, without nulls; 400 for a field that it does not take."""
    body = call.body if isinstance(call.body, dict) else {}
    if strange := [field for field in body if field not in allowed]:
        raise bad_request(f"PATCH takes {' and '.join(allowed)}, not '{strange[0][:64]}'; use PUT.", "InvalidRequestContent")
    return {field: value for field, value in body.items() if value is not None}


def _given_keys(asked: Mapping[str, Any] | None) -> Body:
    """The keys that an endpoint is to have from the start; one that is not given is made up. Empty when none is given."""
    given = {name: str(value) for name, value in (asked or {}).items() if name in ("primaryKey", "secondaryKey") and value}
    return {**new_keys(), **given} if given else {}


def _identity(asked: Mapping[str, Any]) -> dict[str, Any]:
    return identity({"type": "SystemAssigned", **asked})


def routes(emulator: Emulator) -> list[Route]:
    """ARM operations on `onlineEndpoints`."""
    own = OnlineEndpoints(emulator)
    one = "/onlineEndpoints/{endpoint}"
    address = "scoringUri is https://127.0.0.1:<port>/endpoints/<name>/score, on Azure https://<name>.<region>.inference.ml.azure.com/score"
    return [
        Route("GET", "/onlineEndpoints", own.list, sdk="online_endpoints.list"),
        Route("GET", one, own.get, sdk="online_endpoints.get", differences=address),
        Route("PUT", one, own.put, sdk="online_endpoints.begin_create_or_update"),
        Route("PATCH", one, own.patch, sdk="(REST clients; the SDK uses PUT)"),
        Route("DELETE", one, own.delete, sdk="online_endpoints.begin_delete"),
        Route("POST", f"{one}/listKeys", own.list_keys, sdk="online_endpoints.get_keys"),
        Route("POST", f"{one}/regenerateKeys", own.regenerate_keys, sdk="online_endpoints.begin_regenerate_keys"),
        Route("POST", f"{one}/token", own.token, sdk="online_endpoints.get_keys (aml_token)"),
    ]
