"""Batch deployments: a model with its scoring script, an MLflow model alone, or a pipeline component."""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from local.azureml import computes
from local.azureml.arm import page, resource
from local.azureml.batch import DEPLOYMENTS
from local.azureml.batch_endpoints import endpoint_record
from local.azureml.call import Answer, Call, Route
from local.azureml.durations import seconds
from local.azureml.endpoints import check_name, refuse_unfit
from local.azureml.errors import bad_request, not_emulated, not_found
from local.azureml.names import check_inside
from local.azureml.store import Body, Record
from local.azureml.writes import Writes, refuse_while_busy

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_DEFAULTS: Body = {
    "errorThreshold": -1, "loggingLevel": "Info", "maxConcurrencyPerInstance": 1, "miniBatchSize": 10,
    "outputAction": "AppendRow", "outputFileName": "predictions.csv",
}  # fmt: skip
_RETRIES = {"maxRetries": 3, "timeout": "PT30S"}
_WHOLE = {"errorThreshold": -1, "maxConcurrencyPerInstance": 1, "miniBatchSize": 1}
"""Integers and the least that each may be."""
_CHOICES = {"loggingLevel": ("Info", "Warning", "Debug"), "outputAction": ("AppendRow", "SummaryOnly")}


class BatchDeployments:
    """The operations of the resource. Nothing runs until the endpoint is invoked: references are looked up at once, though."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._writes = Writes(emulator, DEPLOYMENTS, "batch deployment", _path, self._shown)

    def list(self, call: Call) -> Answer:
        endpoint = endpoint_record(self._emulator, call.path_params["endpoint"]).name
        return page(self._emulator, call, [self._shown(record) for record in self._store.records(DEPLOYMENTS, endpoint)])

    def get(self, call: Call) -> Answer:
        endpoint, name = call.path_params["endpoint"], call.path_params["deployment"]
        return Answer(self._shown(deployment_record(self._emulator, endpoint, name)))

    def put(self, call: Call) -> Answer:
        endpoint, name = call.path_params["endpoint"], check_name(call.path_params["deployment"], "deployment")
        self._free_endpoint(endpoint)
        body = self._asked(call)

        def change(old: Body | None) -> Body:
            self._free_endpoint(endpoint)
            refuse_while_busy(old, f"deployment '{name}'")
            if old is not None and _kind(old) != _kind(body):
                raise bad_request(f"Deployment '{name}' is of type {_kind(old)}; it cannot become one of type {_kind(body)}.")
            return body

        return self._writes.put(endpoint, name, change, partial(self._settled, endpoint, name))

    def delete(self, call: Call) -> Answer:
        """Refused with 400 while it is the endpoint's default. 204 when there is nothing to delete."""
        endpoint, name = call.path_params["endpoint"], call.path_params["deployment"]

        def refuse(old: Body) -> None:
            default = self._free_endpoint(endpoint).body["properties"]["defaults"].get("deploymentName")
            refuse_while_busy(old, f"deployment '{name}'")
            if default == name:
                raise bad_request(f"Deployment '{name}' is the default of batch endpoint '{endpoint}'. Set another one first.")

        return self._writes.delete(endpoint, name, refuse, partial(self._deleted, endpoint, name))

    def _free_endpoint(self, name: str) -> Record:
        return refuse_unfit(endpoint_record(self._emulator, name))

    def _asked(self, call: Call) -> Body:
        properties = {key: value for key, value in call.properties.items() if value is not None}
        configuration = properties.get("deploymentConfiguration") or {}
        if configuration.get("deploymentConfigurationType", "Model") == "PipelineComponent":
            checked = self._pipeline(properties, configuration)
        else:
            checked = self._model({**_DEFAULTS, **properties, "retrySettings": _retries(properties)})
        return {
            "location": call.body.get("location", "local"),
            "tags": call.body.get("tags") or {},
            "properties": {**checked, "properties": dict(properties.get("properties") or {})},
        }

    def _pipeline(self, properties: Body, configuration: Body) -> Body:
        component = self._version("components", (configuration.get("componentId") or {}).get("assetId"))
        kind = component["componentSpec"].get("type")
        if kind != "pipeline":
            raise bad_request(f"A deployment of a component needs one of type pipeline, not '{kind}'.")
        settings = configuration.get("settings") or {}
        compute = settings.get("default_compute")
        computes.refuse_unknown(self._emulator, {"computeId": compute})
        # Never null in an answer: the SDK looks into the settings.
        return {**properties, "deploymentConfiguration": {**configuration, "settings": settings}}

    def _model(self, properties: Body) -> Body:
        reference = properties.get("model") or {}
        if reference.get("referenceType", "Id") != "Id":
            raise not_emulated(f"A model by {reference['referenceType']} is not supported: register it first.")
        model = self._version("models", reference.get("assetId"))
        code = properties.get("codeConfiguration") or {}
        if code.get("codeId"):
            self._version("codes", code["codeId"])
            self._version("environments", properties.get("environmentId"))
            check_inside(str(code.get("scoringScript") or ""), "The scoring script")
        elif str(model.get("modelType")) != "mlflow_model":
            raise bad_request("A deployment without a codeConfiguration needs a model of type mlflow_model.")
        if not properties.get("compute") and not (properties.get("resources") or {}).get("instanceType"):
            raise bad_request("A batch deployment needs a compute.")
        computes.refuse_unknown(self._emulator, {"computeId": properties.get("compute")})
        check_settings(properties)
        return properties

    def _version(self, kind: str, reference: Any) -> Body:
        if not reference:
            raise bad_request(f"The deployment names no version of {kind}.")
        return self._emulator.jobs.look_up(kind, str(reference))

    def _shown(self, record: Record) -> dict[str, Any]:
        return resource(self._emulator, record, _path(record.name, record.version))

    def _settled(self, endpoint: str, name: str, verb: str) -> None:
        self._emulator.transitions.wait(f"deployment.{verb}", _path(endpoint, name), self._emulator.serving.stopping)
        self._writes.succeeded(endpoint, name)

    def _deleted(self, endpoint: str, name: str) -> None:
        self._emulator.transitions.wait("deployment.delete", _path(endpoint, name), self._emulator.serving.stopping)
        self._store.delete(DEPLOYMENTS, endpoint, name)


def check_settings(properties: Body) -> None:
    """400 for a setting of a model deployment that is out of range; invocations may change some of them."""
    for field, least in _WHOLE.items():
        if type(properties[field]) is not int or properties[field] < least:
            raise bad_request(f"{field} must be an integer of at least {least}, not {properties[field]!r}.")
    for field, choices in _CHOICES.items():
        if str(properties[field]).lower() not in [choice.lower() for choice in choices]:
            raise bad_request(f"{field} must be one of {', '.join(choices)}, not {properties[field]!r}.")
    file = str(properties["outputFileName"])
    if PurePosixPath(file).name != file or file.startswith("."):
        raise bad_request(f"outputFileName must be the name of a file, not '{file}'.")
    retries = properties["retrySettings"]
    most = seconds(retries["timeout"], "retrySettings.timeout")
    if type(retries["maxRetries"]) is not int or retries["maxRetries"] < 0 or most < 1:
        raise bad_request(f"retrySettings need a maxRetries of at least 0 and a timeout of at least PT1S, not {retries}.")


def _retries(properties: Body) -> Body:
    return {**_RETRIES, **{key: value for key, value in (properties.get("retrySettings") or {}).items() if value is not None}}


def _kind(body: Body) -> str:
    return str((body["properties"].get("deploymentConfiguration") or {}).get("deploymentConfigurationType", "Model"))


def deployment_record(emulator: Emulator, endpoint: str, name: str) -> Record:
    """The stored deployment; 404 as Azure ML words it."""
    endpoint_record(emulator, endpoint)
    record = emulator.store.record(DEPLOYMENTS, endpoint, name)
    if record is None:
        raise not_found(f"Deployment '{name}' was not found on batch endpoint '{endpoint}'.", "ResourceNotFound")
    return record


def _path(endpoint: str, name: str) -> str:
    return f"/batchEndpoints/{endpoint}/deployments/{name}"


def routes(emulator: Emulator) -> list[Route]:
    """ARM operations on `batchEndpoints/deployments`."""
    own, all_of_them = BatchDeployments(emulator), "/batchEndpoints/{endpoint}/deployments"
    one = all_of_them + "/{deployment}"
    local = "jobs run on this machine, all instances' workers together; models by id only"
    return [
        Route("GET", all_of_them, own.list, sdk="batch_deployments.list"),
        Route("GET", one, own.get, sdk="batch_deployments.get"),
        Route("PUT", one, own.put, sdk="batch_deployments.begin_create_or_update", differences=local),
        Route("DELETE", one, own.delete, sdk="batch_deployments.begin_delete"),
    ]
