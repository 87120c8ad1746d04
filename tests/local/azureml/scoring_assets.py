"""A tiny model, a tiny scoring script and the environment they run in, shared by the tests of online endpoints."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from local.azureml.emulator import Emulator
from local.azureml.execution.environments import ENVIRONMENTS, link
from local.azureml.pace import Pace
from tests.waiting import wait_until

CONDA_FILE = Path(__file__).resolve().parents[3] / "components/environment/serve.conda.yaml"
SCRIPT = """
import json, os, time
from pathlib import Path

def init():
    global slope
    time.sleep(float(os.environ.get("INIT_SECONDS", 0)))
    document = json.loads(next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("model.json")).read_text())
    print("loading a model with", document)
    if "broken" in document:
        raise RuntimeError("this model is broken on purpose")
    slope = document["slope"]

def run(raw):
    asked = json.loads(raw)
    time.sleep(asked.get("sleep", 0))
    if asked.get("fail"):
        raise ValueError("asked to fail")
    tag, secret = os.environ.get("TAG"), os.environ.get("IDENTITY_HEADER")
    return {"y": slope * asked["x"], "pid": os.getpid(), "tag": tag, "secret": secret}
"""


def link_environment() -> None:
    """As the set-up does: the serving environment stands for its conda file."""
    link(CONDA_FILE, ENVIRONMENTS / "serve")


@dataclass(frozen=True)
class Gated(Pace):
    """A pace whose transitions wait for a gate; open unless a test shuts it."""

    gate: threading.Event = field(default_factory=threading.Event)

    def over(self, transition: str, seconds: float, reads: int) -> bool:
        return self.gate.is_set()

    @contextlib.contextmanager
    def shut(self) -> Iterator[None]:
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()


def trust(emulator: Emulator) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=emulator.certificates.bundle)


class Workspace:
    """The REST API as a plain client sees it."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        token, _ = emulator.tokens.issue("https://management.azure.com/")
        self.http = httpx.Client(
            base_url=emulator.base_url + emulator.workspace_id,
            headers={"Authorization": f"Bearer {token}"},
            params={"api-version": "2024-04-01"},
            verify=trust(emulator),
            timeout=60,
        )

    def make_assets(self) -> None:
        """Code, an environment, the models line:2 and line:3 (their slope is their version), and broken:1."""
        link_environment()
        storage = self.emulator.storage
        storage.write("azureml-blobstore", "code/score/score.py", SCRIPT.encode())
        for name, version, document in (
            ("line", "2", {"slope": 2}),
            ("line", "3", {"slope": 3}),
            ("broken", "1", {"broken": True}),
        ):
            path = f"models/{name}-{version}"
            storage.write("azureml-blobstore", f"{path}/model.json", json.dumps(document).encode())
            uri = f"azureml://datastores/workspaceblobstore/paths/{path}"
            self.put(f"/models/{name}/versions/{version}", {"modelUri": uri, "modelType": "custom_model"})
        self.put("/codes/score/versions/1", {"codeUri": f"{storage.container_url('azureml-blobstore')}/code/score"})
        self.put("/environments/serve/versions/1", {"image": "python:3.11", "condaFile": CONDA_FILE.read_text()})

    def put(self, path: str, properties: dict[str, Any], **more: Any) -> httpx.Response:
        answer = self.http.put(path, json={"properties": properties, **more})
        answer.raise_for_status()
        return answer

    def ask(self, path: str, properties: dict[str, Any], **more: Any) -> httpx.Response:
        """A PUT that may be refused."""
        return self.http.put(path, json={"location": "local", "properties": properties, **more})

    def finished(self, answer: httpx.Response) -> dict[str, Any]:
        """Wait for a long-running operation; its last status."""
        assert answer.is_success, answer.text
        status: dict[str, Any] = {}
        wait_until(
            lambda: (
                status.update(self.http.get(answer.headers["azure-asyncoperation"]).json()) or status["status"] != "InProgress"
            )
        )
        return status

    def endpoint(self, name: str, **properties: Any) -> dict[str, Any]:
        return self.finished(self.ask(f"/onlineEndpoints/{name}", {"authMode": "Key", **properties}, location="local"))

    def deployment(self, model: str = "line", version: str = "2", **properties: Any) -> dict[str, Any]:
        """The properties of a deployment of `model`."""
        assets = self.emulator.workspace_id
        return {
            "model": f"{assets}/models/{model}/versions/{version}",
            "environmentId": f"{assets}/environments/serve/versions/1",
            "codeConfiguration": {"codeId": f"{assets}/codes/score/versions/1", "scoringScript": "score.py"},
            "instanceType": "Standard_DS3_v2",
            "endpointComputeType": "Managed",
            **properties,
        }

    def deploy(self, endpoint: str, name: str, **settings: Any) -> dict[str, Any]:
        return self.finished(self.ask(f"/onlineEndpoints/{endpoint}/deployments/{name}", self.deployment(**settings)))

    def properties(self, path: str) -> dict[str, Any]:
        return dict(self.http.get(path).raise_for_status().json()["properties"])

    def score(
        self, endpoint: str, document: dict[str, Any] | None = None, *, deployment: str = "", key: str = ""
    ) -> httpx.Response:
        if not key:
            key = self.http.post(f"/onlineEndpoints/{endpoint}/listKeys").raise_for_status().json()["primaryKey"]
        headers = {"Authorization": f"Bearer {key}"}
        if deployment:
            headers["azureml-model-deployment"] = deployment
        url = self.properties(f"/onlineEndpoints/{endpoint}")["scoringUri"]
        return httpx.post(url, json=document or {"x": 1}, headers=headers, verify=trust(self.emulator), timeout=30)


def family(pid: int) -> list[psutil.Process]:
    """A process with its descendants."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def gone(processes: list[psutil.Process]) -> bool:
    """True when none of them runs any more."""
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
