"""Jobs for the page: the newest ones, one with its graph, a log. A step is shown as a job is: it may have children of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from local.azureml.call import Answer, Call
from local.azureml.dashboard.paging import part
from local.azureml.errors import AzureError, bad_request
from local.azureml.execution.runs import COMMAND, PIPELINE, STEP, SWEEP, TERMINAL, Run
from local.azureml.lookup import find_version
from local.azureml.queries import Query

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

JOBS = "jobs"
LOG_BYTES = 65_536
_DIGITS = 18
"""Of an offset: no log is longer."""
_STEP_OUTPUT = re.compile(r"\$\{\{\s*parent\.jobs\.([\w-]+)\.outputs\.([\w-]+)\s*\}\}")
_TYPES = {PIPELINE: "pipeline", STEP: "step", COMMAND: "command", SWEEP: "sweep"}
Nodes = Mapping[str, Any]


class Jobs:
    """Read from the run documents and the stored definitions; nothing of a definition's environment variables is shown."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store, self._runner = emulator, emulator.store, emulator.jobs

    def newest(self, call: Call) -> Answer:
        """A page of the jobs, the newest first; archived ones too, and marked."""
        found = part(self._emulator, call, Query(JOBS))
        runs = [self._runner.runs.find(record.name) for record in found.records]
        jobs = [self._summary(run) for run in runs if run is not None]  # without one it is being submitted at this moment
        return Answer({"total": self._store.count(JOBS), "next": found.next, "value": jobs})

    def one(self, call: Call) -> Answer:
        """A run with its children and, where it is a graph, the edges between them."""
        run = self._runner.runs.get(call.path_params["name"])
        children = self._runner.runs.children(run["runId"])
        nodes = self._nodes(run)
        edges = list(_edges(nodes)) if children else []
        return Answer(
            {
                **self._summary(run),
                "parent": run["parentRunId"],
                "root": run["rootRunId"],
                "description": run.get("description"),
                "tags": run["tags"],
                "properties": run["properties"],
                "outputs": run["outputs"],
                "inputs": self._inputs(run),
                "children": [{**self._summary(child), "key": _key(child)} for child in children],
                "edges": edges,
            }
        )

    def log(self, call: Call) -> Answer:
        """`LOG_BYTES` of a run's log from `?offset=` (bytes); without it the last ones."""
        run = self._runner.runs.get(call.path_params["name"])
        asked = call.query.get("offset", "")
        if asked and (not asked.isdecimal() or len(asked) > _DIGITS):
            raise bad_request("offset must be a whole number of bytes.")
        file = self._runner.log_file(run)
        size = file.stat().st_size if file.is_file() else 0
        offset = min(int(asked), size) if asked else max(0, size - LOG_BYTES)
        content = b""
        if size:
            with file.open("rb") as stream:
                stream.seek(offset)
                content = stream.read(LOG_BYTES)
        ended = run["status"] in TERMINAL
        text = content.decode(errors="replace")
        return Answer({"offset": offset, "next": offset + len(content), "size": size, "ended": ended, "text": text})

    def _summary(self, run: Run) -> dict[str, Any]:
        error = run["error"] or {}
        return {
            "id": run["runId"],
            "name": str(run.get("name") or run["runId"]),
            "displayName": str(run.get("displayName") or run["runId"]),
            "type": _TYPES.get(run["runType"], str(run["runType"]).removeprefix("azureml.")),
            "experiment": run["experimentName"],
            "status": run["status"],
            "created": run["createdUtc"],
            "started": run["startTimeUtc"],
            "ended": run["endTimeUtc"],
            "archived": run["hidden"],
            "error": (error.get("error") or {}).get("message"),
            "reused": run["properties"].get("azureml.isreused", "").lower() == "true",
        }

    def _inputs(self, run: Run) -> dict[str, str]:
        """Of a job: literals as they are, data by its URI."""
        stored = self._store.get(JOBS, run["runId"]) if run["parentRunId"] is None else None
        given = (stored or {}).get("properties", {}).get("inputs") or {}
        return {name: str(value.get("uri") or value.get("value")) for name, value in given.items() if isinstance(value, dict)}

    def _nodes(self, run: Run) -> Nodes:
        """The nodes of a pipeline by name: from the job's definition, or from the component that a nested pipeline is."""
        if run["parentRunId"] is None:
            stored = self._store.get(JOBS, run["runId"]) or {}
            return stored.get("properties", {}).get("jobs") or {}
        node = self._nodes(self._runner.runs.get(run["parentRunId"])).get(_key(run)) or {}
        return node.get("jobs") or self._component(str(node.get("componentId") or node.get("component") or "")).get("jobs") or {}

    def _component(self, identity: str) -> Mapping[str, Any]:
        try:
            spec: Mapping[str, Any] = find_version(self._emulator, "components", identity).properties["componentSpec"]
        except AzureError:  # deleted since: the steps are shown without the edges between them
            return {}
        return spec


def _key(run: Run) -> str:
    """A node's own name: a nested node is named by its path."""
    return str(run.get("name") or "").rpartition(".")[2]


def _edges(nodes: Nodes) -> Iterator[dict[str, str]]:
    for name, node in nodes.items():
        for text in _texts((node or {}).get("inputs")):
            for step, output in _STEP_OUTPUT.findall(text):
                yield {"from": step, "to": name, "output": output}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
