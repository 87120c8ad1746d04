"""Jobs: submitted, read, listed, cancelled. What runs them is execution/; status, tags and names live in their run documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.azureml import arm, computes
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import bad_request, not_found
from local.azureml.execution.places import fill_datastore, fill_names, with_default_place
from local.azureml.execution.runner import KIND
from local.azureml.execution.runs import KIND as RUNS
from local.azureml.execution.runs import Run
from local.azureml.names import PLAIN
from local.azureml.queries import Query
from local.azureml.store import Body, Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_METADATA = ("description", "displayName", "tags", "properties", "isArchived")
"""All that a second PUT may change."""


def routes(emulator: Emulator) -> list[Route]:
    jobs = Jobs(emulator)
    return [
        Route(
            "PUT",
            "/jobs/{name}",
            jobs.put,
            "jobs.create_or_update",
            "pipelines of any depth; no control flow, automl, spark or data transfer nodes; parallel steps without "
            "partition_keys, their tables (MLTable) with one read_delimited, read_json_lines or read_parquet; "
            "sweeps run two trials at once, without nested choices, logbase and direct outputs; "
            "steps are reused by URI and asset id, not by what the blobs hold",
        ),
        Route("GET", "/jobs/{name}", jobs.get, "jobs.get"),
        Route(
            "GET",
            "/jobs",
            jobs.list_all,
            "jobs.list",
            "filters: listViewType, jobType, tag",
            query=("listViewType", "jobType", "tag"),
        ),
        Route("POST", "/jobs/{name}/cancel", jobs.cancel, "jobs.begin_cancel", "of a job that has ended: 200, without effect"),
    ]


class Jobs:
    """The operations of the resource; `submit_new` is for schedules too."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._runner = emulator.jobs

    def put(self, call: Call) -> Answer:
        name, properties = call.path_params["name"], call.properties
        if self.submit_new(name, properties):
            return Answer(self._resource(name), 201)
        return self._put_again(name, self._runner.runs.get(name), properties)

    def check(self, name: str, properties: Body) -> None:
        """AzureError for what would be refused at submission, whoever submits it."""
        PLAIN.check(name, "job name")
        computes.refuse_unknown(self._emulator, properties)
        self._runner.plan(name, properties)

    def submit_new(self, name: str, properties: Body) -> bool:
        """Submit the job, unless there is one of this name: then False, and nothing is changed."""
        with self._runner.submitting:  # of two submissions at the same moment one is the first
            if self._runner.runs.find(name) is not None:
                return False
            self.check(name, properties)
            self._store.put(KIND, name, "", {"properties": _with_places(name, properties), "submitted": properties})
            self._runner.submit(name)
            return True

    def _put_again(self, name: str, run: Run, properties: Body) -> Answer:
        """As Azure: a submitted job keeps its definition; the same definition again changes the metadata only."""
        record = self._store.record(KIND, name)
        if record is None:
            raise bad_request(f"'{name}' is the name of a step of the job '{run['rootRunId']}'.")
        if _definition(record.body["submitted"]) != _definition(properties):
            raise bad_request(
                f"A job with the name '{name}' exists already and its definition cannot be changed; "
                f"only {', '.join(_METADATA)} can. Use another name for a new job."
            )
        changes = {key: properties[key] for key in ("description", "displayName", "tags", "properties") if properties.get(key)}
        self._runner.runs.change(name, {**changes, "hidden": bool(properties.get("isArchived"))})
        return Answer(self._resource(name))

    def get(self, call: Call) -> Answer:
        name = call.path_params["name"]
        if self._runner.runs.get(name)["parentRunId"] is not None:
            # A step: Azure answers without properties, and the SDK then asks the run history.
            identity = {
                "id": f"{self._emulator.workspace_id}/jobs/{name}",
                "name": name,
                "type": "Microsoft.MachineLearningServices/workspaces/jobs",
            }
            return Answer({**identity, "properties": None})
        return Answer(self._resource(name))

    def list_all(self, call: Call) -> Answer:
        kind = call.query.get("jobType")
        query = Query(
            KIND,
            archived=arm.archived(call),
            tags=arm.tags(call, "tag"),
            fields=(("properties.jobType", kind),) if kind else (),
            marked_in=RUNS,  # a job whose run is not there yet is being submitted at this moment
        )
        return arm.stored_page(self._emulator, call, query, self._described)

    def cancel(self, call: Call) -> Answer:
        name = call.path_params["name"]
        self._runner.cancel(name)
        return Answer({})

    def _resource(self, name: str) -> dict[str, Any]:
        record = self._store.record(KIND, name)
        if record is None:
            raise not_found(f"Job '{name}' was not found.")
        return self._described(record)

    def _described(self, record: Record) -> dict[str, Any]:
        run = self._runner.runs.get(record.name)
        properties = {
            **record.body["properties"],
            "status": run["status"],
            "displayName": run["displayName"],
            "description": run["description"],
            "tags": run["tags"],
            "properties": run["properties"],
            "isArchived": run["hidden"],
            "experimentName": run["experimentName"],
            "services": {
                "Studio": _service("Studio", f"{self._emulator.base_url}/runs/{record.name}"),
                "Tracking": _service("Tracking", self._emulator.settings.mlflow_url),
            },
        }
        resource = arm.resource(self._emulator, record, f"/jobs/{record.name}", properties=properties)
        return {key: value for key, value in resource.items() if key != "submitted"}


def _service(kind: str, endpoint: str) -> dict[str, Any]:
    return {"jobServiceType": kind, "endpoint": endpoint, "port": None, "properties": None, "status": None}


def _definition(properties: Body) -> Body:
    return {key: value for key, value in properties.items() if key not in _METADATA and value is not None}


def _with_places(name: str, properties: Body) -> Body:
    """The job's outputs with `${{name}}` filled in where the job chose a place: from now on this is where they are."""
    outputs = dict(properties.get("outputs") or {})
    for key, value in outputs.items():
        settings = properties.get("settings")
        uri = fill_datastore(value["uri"], settings) if value and value.get("uri") else with_default_place(settings)
        if uri:
            outputs[key] = {**(value or {}), "uri": fill_names(uri, name, key)}
    return {**properties, "outputs": outputs}
