"""The run history, where the SDK finds steps, logs and errors, and where it changes tags: a data-plane service beside ARM."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from local.azureml import arm
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, bad_request, not_found, not_supported
from local.azureml.execution.runs import CHILDREN, Run, log_name
from local.azureml.operations import LOCATION
from local.azureml.queries import Query
from local.azureml.store import Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_CHILDREN = 1000
"""In a page: the most trials that a sweep can have. azure-ai-ml asks for no second page of children: what its generated
`runs.get_child` takes out of an answer (extract_data) is the runs, with None in the place of the nextLink."""
_CHANGEABLE = frozenset({"tags", "properties", "displayName", "description", "hidden"})


def routes(emulator: Emulator) -> list[Route]:
    history = _History(emulator)
    root = f"//history/v1.0{emulator.workspace_id}"
    resolve = f"//data/v1.0{emulator.workspace_id}/dataversion/batchGetResolvedUris"
    return [
        Route("GET", f"{root}/runs/{{run}}", history.get, "jobs.get (of a step)", auth="data"),
        Route("GET", f"{root}/runs/{{run}}/children", history.children, "jobs.list(parent_job_name=)", auth="data"),
        Route("GET", f"{root}/runs/{{run}}/details", history.details, "jobs.stream", auth="data"),
        Route(
            "GET",
            f"{root}/runs/{{run}}/serviceinstances/{{node}}",
            history.service_instances,
            "jobs.show_services",
            "always none: processes of jobs offer no ssh, JupyterLab and the like",
            auth="data",
        ),
        Route("POST", f"{root}/rundata", history.run_data, "jobs.download", auth="data"),
        Route(
            "PATCH",
            f"{root}/experiments/{{experiment}}/runs/{{run}}",
            history.change,
            "jobs.archive, jobs.restore (tags: REST clients)",
            auth="data",
        ),
        Route("POST", resolve, history.resolve_outputs, "jobs.download", "outputs of jobs only", auth="data"),
        Route(
            "GET", "//joblog/{run}", history.log, "jobs.stream", "live logs come from the emulator, not from storage", auth="open"
        ),
    ]


class _History:
    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._runner = emulator.jobs
        # Log URLs carry their own permission, as Azure's do; they end with this process.
        self._key = secrets.token_bytes(32)

    def get(self, call: Call) -> Answer:
        return Answer(self._shown(self._runner.runs.get(call.path_params["run"])))

    def children(self, call: Call) -> Answer:
        run = self._runner.runs.get(call.path_params["run"])
        below = Query(CHILDREN, name=run["runId"], newest_first=False)

        def shown(child: Record) -> dict[str, Any]:
            return self._shown(self._runner.runs.get(child.body["runId"]))

        return arm.stored_page(self._emulator, call, below, shown, size=_CHILDREN)

    def service_instances(self, call: Call) -> Answer:
        """Of a run there are none: ssh and the like are not offered."""
        self._runner.runs.get(call.path_params["run"])
        return Answer({"instances": {}})

    def details(self, call: Call) -> Answer:
        run = self._runner.runs.get(call.path_params["run"])
        shown = self._shown(run)
        return Answer({**shown, "createdTimeUtc": run["createdUtc"], "logFiles": {log_name(run): self._log_url(run)}})

    def run_data(self, call: Call) -> Answer:
        return Answer({"runMetadata": self._shown(self._runner.runs.get(str(call.field("runId"))))})

    def change(self, call: Call) -> Answer:
        run, body = self._runner.runs.get(call.path_params["run"]), call.body
        if not isinstance(body, dict):
            raise bad_request("The request body must be a JSON object.")
        if run["experimentName"] != call.path_params["experiment"]:
            raise not_found(f"Run '{run['runId']}' was not found in experiment '{call.path_params['experiment']}'.")
        fields = {key: value for key, value in body.items() if value is not None and key != "runId"}
        if unknown := sorted(set(fields) - _CHANGEABLE):
            raise not_supported(f"changing {', '.join(unknown)} of a run")
        return Answer(self._shown(self._runner.runs.change(run["runId"], fields)))

    def resolve_outputs(self, call: Call) -> Answer:
        return Answer({"values": {asset: self._output_of(asset) for asset in call.field("values")}})

    def log(self, call: Call) -> Answer:
        name = call.path_params["run"]
        if not hmac.compare_digest(call.query.get("sig", "").encode(), self._signature(name).encode()):
            raise AzureError(403, "AuthenticationFailed", "The signature of this log's URL is not valid (any more).")
        return Answer(self._runner.log_file(self._runner.runs.get(name)))

    def _shown(self, run: Run) -> dict[str, Any]:
        outputs = {
            name: {"assetId": self._asset_id(run, name), "type": self._kind_of(uri)} for name, uri in run["outputs"].items()
        }
        # Not told: `name` is ours (the step in the pipeline), the SDK knows it as displayName and azureml.moduleName.
        return {"warnings": [], **run, "outputs": outputs}

    def _asset_id(self, run: Run, output: str) -> str:
        workspace = self._emulator.settings.workspace
        return (
            f"azureml://locations/{LOCATION}/workspaces/{workspace}/data/azureml_{run['runId']}_output_data_{output}/versions/1"
        )

    def _kind_of(self, uri: str) -> str:
        location = self._emulator.storage.resolve(uri)
        return "uri_file" if self._emulator.storage.list(*location) == [location.path] else "uri_folder"

    def _output_of(self, asset: str) -> dict[str, str]:
        run, output = _named_by(asset)
        found = self._runner.runs.find(run)
        uri = found["outputs"].get(output) if found else None
        if uri is None:
            raise not_found(f"'{asset}' is no output of a job.")
        return {"uri": uri, "type": self._kind_of(uri)}

    def _log_url(self, run: Run) -> str:
        name = run["runId"]
        return f"{self._emulator.base_url}/joblog/{quote(name)}?sig={self._signature(name)}"

    def _signature(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), sha256).hexdigest()


def _named_by(asset: str) -> tuple[str, str]:
    """(run, output) of an id that `_asset_id` made; of any other there is no such run."""
    name = asset.removesuffix("/versions/1").rpartition("/")[2]
    run, _, output = name.removeprefix("azureml_").rpartition("_output_data_")
    return run, output
