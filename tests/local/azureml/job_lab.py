"""An emulator of its own for tests of how jobs run: no HTTP in front, its events caught by a small server.

Real: storage (Azurite), the store, the processes. Submission goes through the same handler that HTTP would call.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local.azureml import jobs
from local.azureml.call import Answer, Call
from local.azureml.emulator import Emulator, EmulatorSettings
from local.azureml.execution.runner import JobRunner
from local.azureml.execution.runs import Run
from local.azureml.server import Server

WAIT_SECONDS = 60.0


class Topic:
    """Keeps the events that it is sent, in their order."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.arrived = threading.Condition()
        topic = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with topic.arrived:
                    topic.events += events
                    topic.arrived.notify_all()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/api/events"

    def of_run(self, run_id: str, *, last: str) -> list[dict[str, Any]]:
        """The events of a run, once the one with the status `last` (or the type, for RunCompleted) is among them."""

        def mine() -> list[dict[str, Any]]:
            return [event for event in self.events if event["data"].get("runId") == run_id]

        def complete() -> bool:
            return any(last in (event["data"].get("runStatus"), event["eventType"].rpartition(".")[2]) for event in mine())

        with self.arrived:
            assert self.arrived.wait_for(complete, WAIT_SECONDS), f"no event {last} of {run_id}: {mine()}"
            return mine()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Lab:
    """Registers components, submits pipelines of them, waits for their end."""

    def __init__(
        self,
        state: Path,
        certificates: Path,
        blob_url: str,
        *,
        mlflow_url: str | None = None,
        mlflow_server: str | None = None,
        serve: bool = False,
    ) -> None:
        """`serve`: with HTTP in front too, for steps that ask the emulator itself (azureml-mlflow does when it is imported)."""
        self.topic = Topic()
        if not (state / "certificates").exists():
            shutil.copytree(certificates, state / "certificates")
        known = {"mlflow_url": mlflow_url} if mlflow_url else {}
        self.settings = EmulatorSettings.on_free_ports(
            state, blob_url, mlflow_server=mlflow_server, event_topic_url=self.topic.url, **known
        )
        self._serve = serve
        self.start()

    def start(self) -> None:
        self.emulator = Emulator(self.settings)
        self._server = Server(self.emulator) if self._serve else None
        if self._server is not None:
            self._server.start()
        else:
            self.emulator.open()
        self.runner: JobRunner = self.emulator.jobs
        self._handlers = {route.method + route.path: route.handler for route in jobs.routes(self.emulator)}
        self.emulator.store.put("environments", "plain", "1", {"properties": {"image": "python"}})

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
        else:
            self.emulator.close()
        self.topic.close()

    def id(self, kind: str, name: str, version: str = "1") -> str:
        return f"{self.emulator.workspace_id}/{kind}/{name}/versions/{version}"

    def component(
        self,
        name: str,
        script: str,
        *,
        command: str = "python run.py",
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> str:
        """Register a component whose code is `run.py`; returns its ARM id."""
        container = f"code-{name.replace('_', '-')}"
        self.emulator.storage.create_container(container)
        self.emulator.storage.write(container, "src/run.py", script.encode())
        uri = f"{self.emulator.storage.container_url(container)}/src"
        self.emulator.store.put("codes", name, "1", {"properties": {"codeUri": uri}})
        spec = {
            "type": "command",
            "command": command,
            "inputs": dict(inputs or {}),
            "outputs": dict(outputs or {}),
            "code": f"azureml:{self.id('codes', name)}",
            "environment": f"azureml:{self.id('environments', 'plain')}",
        }
        self.emulator.store.put("components", name, "1", {"properties": {"componentSpec": spec}})
        return self.id("components", name)

    def pipeline(self, nodes: Mapping[str, Any], **properties: Any) -> dict[str, Any]:
        """The REST properties of a pipeline job."""
        return {"jobType": "Pipeline", "experimentName": "lab", "displayName": "lab", "jobs": dict(nodes), **properties}

    def put(self, name: str, properties: Mapping[str, Any]) -> Answer:
        """What `PUT /jobs/{name}` answers."""
        return self._handlers["PUT/jobs/{name}"](Call("PUT", "", {"name": name}, body={"properties": dict(properties)}))

    def get(self, name: str) -> dict[str, Any]:
        """What `GET /jobs/{name}` answers."""
        body: dict[str, Any] = self._handlers["GET/jobs/{name}"](Call("GET", "", {"name": name})).body
        return body

    def run(self, name: str, properties: Mapping[str, Any]) -> Run:
        """Submit, wait for the end; the job's run document."""
        self.put(name, properties)
        assert self.runner.wait(name, WAIT_SECONDS), f"{name} did not end"
        return self.runner.runs.get(name)

    def steps(self, name: str) -> dict[str, Run]:
        return {run["name"]: run for run in self.runner.runs.children(name)}

    def log(self, name: str, step: str) -> str:
        return self.runner.log_file(self.steps(name)[step]).read_text()

    def read(self, uri: str) -> bytes:
        """A blob by its URI."""
        return self.emulator.storage.read(*self.emulator.storage.resolve(uri))


def node(
    component: str, inputs: Mapping[str, Any] | None = None, outputs: Mapping[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """A step as the SDK writes it into a pipeline job."""
    return {
        "type": "command",
        "componentId": component,
        "inputs": {
            key: value if isinstance(value, dict) else {"job_input_type": "literal", "value": value}
            for key, value in (inputs or {}).items()
        },
        "outputs": {key: {"type": "literal", "value": value} for key, value in (outputs or {}).items()},
        **more,
    }
