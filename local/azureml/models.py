"""Models. A new version raises ModelRegistered once, whichever way it came; its files never change place, its tags do."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from local.azureml import arm, lookup
from local.azureml.assets import AssetKind, Assets, Properties, refuse_path_change, require
from local.azureml.batch import DEPLOYMENTS as BATCH_DEPLOYMENTS
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import bad_request, conflict
from local.azureml.execution.runs import KIND as RUNS
from local.azureml.mlflow.artifacts import is_copy
from local.azureml.mlflow.mlmodel import flavors_of
from local.azureml.names import DOTTED
from local.azureml.serving.records import DEPLOYMENTS
from local.azureml.storage import JOB_OUTPUT, run_files
from local.azureml.store import Body, Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

EVENT = "Microsoft.MachineLearningServices.ModelRegistered"
ALIASES = "models.aliases"
"""model, alias -> {"version"}: MLflow's; Azure Resource Manager has no place for them."""
MLFLOW_MODEL = "mlflow_model"
_TYPES = ("custom_model", MLFLOW_MODEL, "triton_model")
_refuse_path_change = refuse_path_change("modelUri", "modelType")


def routes(emulator: Emulator) -> list[Route]:
    return Models(emulator).routes()


def model_kind() -> AssetKind:
    return AssetKind(
        segment="models",
        noun="model",
        sdk="models",
        check=_check,
        refuse_change=_refuse_change,
        name_rule=DOTTED,
        answer_defaults={"flavors": {}, "tags": {}, "properties": {}, "isAnonymous": False, "isArchived": False},
        differences="an output that a job has not made, or of a job that is unknown, stays the modelUri as sent (Azure: 400, by "
        "reports); flavors are those that are there at "
        "registration; files of runs are copied then, from the mlflow server, and never change afterwards",
    )


class Models(Assets):
    """The workspace's models, for Azure Resource Manager and for MLflow's registry alike."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator, model_kind(), self._publish)

    def routes(self) -> list[Route]:
        return [
            dataclasses.replace(route, query=(*route.query, "stage")) if route.handler == self.list_versions else route
            for route in super().routes()
        ]

    def put_version(self, call: Call) -> Answer:
        """Files of a run (`runs:/...`) are brought into the workspace first: whole, or there is no version."""
        name, version = call.path_params["name"], call.path_params["version"]
        self._check_names(name, version)
        _check(call.properties)
        there = self._store.record(self._versions, name, version)
        properties = self._settled(call.properties, there.body["properties"] if there else None)
        return super().put_version(dataclasses.replace(call, body={**call.body, "properties": properties}))

    def register(self, name: str, properties: Properties) -> Record:
        """Make the next version of `name`; 404 when there is no model of this name."""
        _check(properties)
        properties = self._settled(properties, None)
        with self._store.transaction():
            if self._store.record(self._containers, name) is None:
                raise self._missing(name)
            version = str(self._store.highest(self._versions, name) + 1)
            super().put_version(Call("PUT", "", {"name": name, "version": version}, body={"properties": properties}))
            return self._find(name, version)

    def list_versions(self, call: Call) -> Answer:
        query = self._query(call, self._versions, call.path_params["name"], "createdtime desc")
        if stage := call.query.get("stage"):
            query = dataclasses.replace(query, fields=(*query.fields, ("properties.stage", stage)))
        return arm.stored_page(self._emulator, call, query, self._version)

    def delete_version(self, call: Call) -> Answer:
        """As Azure: refused while a deployment serves the version. Aliases go with it, files stay."""
        name, version = call.path_params["name"], call.path_params["version"]
        self._refuse_deployed(name, version)
        with self._store.transaction():
            for alias in self._store.records(ALIASES, name):
                if alias.body["version"] == version:
                    self._store.delete(ALIASES, name, alias.version)
            return super().delete_version(call)

    def delete_name(self, call: Call) -> Answer:
        name = call.path_params["name"]
        self._refuse_deployed(name, None)
        with self._store.transaction():
            self._store.delete_all(ALIASES, name)
            return super().delete_name(call)

    def _settled(self, properties: Properties, before: Properties | None) -> Properties:
        """The properties as they are kept: files of jobs and runs have a place in the workspace, MLflow models their flavors.

        `before`: of the version, None for a new one.
        """
        uri = properties["modelUri"]
        if before is not None and uri == before["modelUri"]:
            return properties
        if run_files(uri) is not None:
            properties = self._of_run(properties, before)
        elif match := JOB_OUTPUT.fullmatch(uri):
            properties = self._of_output(properties, match["job"])
        if before is None and properties.get("modelType") == MLFLOW_MODEL:
            flavors = flavors_of(self._emulator.storage, properties["modelUri"])
            properties = {**properties, "flavors": flavors or properties.get("flavors") or {}}
        return properties

    def _of_run(self, properties: Properties, before: Properties | None) -> Properties:
        artifacts, storage = self._emulator.artifacts, self._emulator.storage
        found = artifacts.find(properties["modelUri"])
        if before is None:
            uri = storage.datastore_uri(artifacts.bring(found))
        elif is_copy(storage.resolve(before["modelUri"]), found):
            uri = before["modelUri"]
        else:
            uri = storage.datastore_uri(found.place)  # another path, which is refused
        return {**({"jobName": found.job} if found.job else {}), **properties, "modelUri": uri}

    def _of_output(self, properties: Properties, job: str) -> Properties:
        """Azure's own place of an output that is there: `models.download` cannot read a job's URI. One to come stays as sent."""
        storage = self._emulator.storage
        place = storage.resolve(properties["modelUri"])
        if self._store.record(RUNS, job) is None or not storage.list(*place):
            return properties
        return {"jobName": job, **properties, "modelUri": storage.datastore_uri(place)}

    def _publish(self, name: str, version: str, body: Body) -> None:
        properties = body["properties"]
        data = {
            "ModelName": name,
            # A number in Microsoft's sample, a string in its description: both are seen, and a version need not be a number.
            "ModelVersion": int(version) if version.isdecimal() else version,
            "ModelTags": properties.get("tags") or {},
            "ModelProperties": properties.get("properties") or {},
        }
        self._emulator.events.publish(EVENT, f"models/{name}:{version}", data)

    def _refuse_deployed(self, name: str, version: str | None) -> None:
        for record in (*self._store.records(DEPLOYMENTS), *self._store.records(BATCH_DEPLOYMENTS)):
            model = record.body["properties"].get("model")
            reference = model.get("assetId") if isinstance(model, dict) else model  # a batch deployment has an object there
            if reference and lookup.names_one_of(self._emulator, self._place, "models", str(reference), name, version):
                raise conflict(f"Model {name}:{version or '*'} is deployed ({record.name}/{record.version}): delete that first.")


def _check(properties: Properties) -> None:
    require(properties, "modelUri")
    if properties.get("modelType", "custom_model") not in _TYPES:
        raise bad_request(f"modelType must be one of {', '.join(_TYPES)}, not '{properties['modelType']}'.", "ValidationError")


def _refuse_change(what: str, old: Properties, new: Properties) -> None:
    _refuse_path_change(what, old, new)
    before, after = old.get("properties") or {}, new.get("properties") or {}
    for key in before.keys() & after.keys():
        if before[key] != after[key]:
            detail = "without increasing the version; new properties may be added."
            raise conflict(f"Value of property {key} for model {what} cannot be replaced {detail}", "UserError")
