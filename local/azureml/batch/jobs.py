"""The scoring address of batch endpoints, and the lists of the jobs that came of it: both are Azure ML's data plane."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from local.azureml.arm import page, system_data
from local.azureml.batch import JOBS
from local.azureml.batch.invocation import job_of
from local.azureml.batch_deployments import deployment_record
from local.azureml.batch_endpoints import endpoint_record
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, bad_request, conflict, not_found
from local.azureml.execution.runner import KIND
from local.azureml.jobs import Jobs
from local.azureml.store import Body, Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_HEADER = "azureml-model-deployment"
_REPEATED = "repeatability_request-id"
_TYPE = "Microsoft.MachineLearningServices/workspaces/batchEndpoints/jobs"


class BatchJobs:
    """Invokes and lists."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store, self._jobs = emulator, emulator.store, Jobs(emulator)

    def invoke(self, call: Call) -> Answer:
        """Submit a job to the endpoint's default deployment, or to the one that the header names."""
        endpoint = endpoint_record(self._emulator, call.path_params["endpoint"])
        deployment = self._chosen(endpoint, call.headers.get(_HEADER))
        asked = call.properties
        name = str(asked.get("name") or f"batchjob-{_token(call)}")
        if self._store.get(JOBS, endpoint.name, name) is None:
            self._submit(endpoint.name, deployment, name, asked)
        elif asked.get("name"):
            raise _exists(name)
        return Answer(self._shown(name), 201)

    def list_of_endpoint(self, call: Call) -> Answer:
        endpoint = endpoint_record(self._emulator, call.path_params["endpoint"]).name
        return self._list(call, endpoint, None)

    def list_of_deployment(self, call: Call) -> Answer:
        endpoint, name = call.path_params["endpoint"], call.path_params["deployment"]
        return self._list(call, endpoint, deployment_record(self._emulator, endpoint, name).version)

    def _chosen(self, endpoint: Record, asked: str | None) -> Record:
        name = asked or endpoint.body["properties"]["defaults"].get("deploymentName")
        if not name:
            raise bad_request(
                f"Batch endpoint '{endpoint.name}' has no default deployment: set defaults.deployment_name, or name one "
                f"in the header {_HEADER}."
            )
        deployment = deployment_record(self._emulator, endpoint.name, str(name))
        if (state := deployment.body["properties"]["provisioningState"]) not in ("Succeeded", "Updating"):
            raise conflict(f"Deployment '{name}' cannot be invoked: its provisioning state is {state}.")
        return deployment

    def _submit(self, endpoint: str, deployment: Record, name: str, asked: Body) -> None:
        job = job_of(self._emulator, deployment, asked)
        # Before the job: one that is not in its endpoint's list would be worse than an entry without a job, which is not shown.
        self._store.put(JOBS, endpoint, name, {"deployment": deployment.version})
        submitted = False
        try:
            submitted = self._jobs.submit_new(name, job)
        finally:
            if not submitted:
                self._store.delete(JOBS, endpoint, name)
        if not submitted:
            raise _exists(name)

    def _list(self, call: Call, endpoint: str, deployment: str | None) -> Answer:
        records = reversed(self._store.records(JOBS, endpoint))
        names = [record.version for record in records if deployment in (None, record.body["deployment"])]
        return page(self._emulator, call, [self._shown(name) for name in names if self._emulator.jobs.runs.find(name)])

    def _shown(self, name: str) -> dict[str, Any]:
        run, record = self._emulator.jobs.runs.get(name), self._store.record(KIND, name)
        if record is None:
            raise not_found(f"Job '{name}' was not found.")
        properties = record.body["properties"]
        return {
            "id": f"{self._emulator.workspace_id}/jobs/{name}",
            "name": name,
            "type": _TYPE,
            "properties": {
                "inputData": properties.get("inputs") or {},
                "outputData": properties.get("outputs") or {},
                "status": run["status"],
                "provisioningState": "Succeeded",
                "tags": run["tags"],
                "properties": run["properties"],
                "interactionEndpoints": {},
            },
            "systemData": system_data(record),
        }


def _exists(name: str) -> AzureError:
    return conflict(f"A job with the name '{name}' exists already.")


def _token(call: Call) -> str:
    """The end of a job's name: an invocation that a client sends twice is one job."""
    repeated = call.headers.get(_REPEATED)
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{call.path}/{repeated}") if repeated else uuid.uuid4())


def routes(emulator: Emulator) -> list[Route]:
    own, listed = BatchJobs(emulator), f"//mferp/managementfrontend{emulator.workspace_id}/batchEndpoints/{{endpoint}}"
    of_one = f"{listed}/deployments/{{deployment}}/jobs"
    named = "jobs are named `batchjob-<uuid>`; no v1 datasets; without a default deployment 400"
    return [
        Route("POST", "//batch/{endpoint}/jobs", own.invoke, "batch_endpoints.invoke", named, auth="data"),
        Route("GET", f"{listed}/jobs", own.list_of_endpoint, "batch_endpoints.list_jobs", auth="data"),
        Route("GET", of_one, own.list_of_deployment, "batch_deployments.list_jobs", auth="data"),
    ]
