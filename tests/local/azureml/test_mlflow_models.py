"""Models that a job logs with the unmodified MLflow client, and what MLflow and the SDK make of them afterwards.

One job that logs is shared by all tests here: importing mlflow and scikit-learn takes seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from azure.ai.ml import Output
from azure.ai.ml.entities import Environment, Model
from azure.ai.ml.exceptions import AssetPathException
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, ServiceRequestError
from azure.storage.blob import ContainerClient

from local.azureml.emulator import Emulator
from local.azureml.events import EventSink
from local.azureml.mlflow import MlflowServer
from local.azureml.models import EVENT as REGISTERED
from tests.local.azureml.pipelines import unique

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

pytestmark = pytest.mark.train_environment
Run = Callable[..., tuple[str, str]]

JOB = """
import mlflow, mlflow.sklearn, pathlib, sys
from sklearn.dummy import DummyClassifier
name = sys.argv[1]
model = DummyClassifier(strategy="constant", constant=1).fit([[0.0], [1.0]], [0, 1])
plain = {"pip_requirements": ["scikit-learn"]}
with mlflow.start_run() as run:
    mlflow.sklearn.log_model(model, name="model", registered_model_name=name, **plain)
    mlflow.register_model(f"runs:/{run.info.run_id}/model", name, tags={"by": "runs"})
    mlflow.sklearn.save_model(model, "plain", **plain)
    mlflow.sklearn.save_model(model, sys.argv[2], **plain)
    mlflow.log_artifacts("plain", "plain")
    mlflow.register_model(f"runs:/{run.info.run_id}/plain", name)
    mlflow.log_metric("auc", 0.5)
print("RUN", run.info.run_id)
"""
CLIENT = """
import json, mlflow, sys
from mlflow import MlflowClient
name, job = sys.argv[1:3]
client, rows = MlflowClient(), [[3.0], [4.0]]
def loaded(uri):
    return [int(one) for one in mlflow.pyfunc.load_model(uri).predict(rows)]
versions = sorted(client.search_model_versions(f"name = '{name}'"), key=lambda one: int(one.version))
client.set_registered_model_alias(name, "champion", "4")
run = mlflow.get_run(job)
client.set_tag(job, "seen", "by name")
try:
    client.rename_registered_model(name, "other")
except mlflow.exceptions.MlflowException as error:
    renamed = error.error_code
print(json.dumps({
    "versions": {one.version: [one.run_id, one.source] for one in versions},
    "names": [one.name for one in client.search_registered_models()],
    "loaded": [loaded(f"models:/{name}/{one}") for one in ("1", "3", "4", "5", "latest")] + [loaded(f"models:/{name}@champion")],
    "run": run.info.run_id, "auc": run.data.metrics["auc"], "seen": mlflow.get_run(run.info.run_id).data.tags["seen"],
    "of run": loaded(f"runs:/{job}/plain"),
    "again": mlflow.register_model(f"models:/{name}/1", name).version,
    "renamed": renamed,
}))
"""


@dataclass(frozen=True)
class Logged:
    """What the job left: `run` is MLflow's id of its run, `events` what was published meanwhile (type, subject, data)."""

    model: str
    job: str
    run: str
    events: tuple[tuple[str, str, dict[str, Any]], ...]


@pytest.fixture(scope="module")
def run_job(
    ml_client: MLClient, emulator: Emulator, mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Runs a script with arguments as a command job to its good end: the job's name and its log."""
    from azure.ai.ml import command

    def run(script: str, *arguments: str, **outputs: Output) -> tuple[str, str]:
        source = tmp_path_factory.mktemp("code")
        (source / "run.py").write_text(script)
        plain = Environment(name="mlflow-plain", version="1", image="python:3.11")
        job = command(code=str(source), command=" ".join(["python run.py", *arguments]), environment=plain, outputs=outputs)
        job.name = unique("mlflow")
        ml_client.jobs.create_or_update(job)
        assert emulator.jobs.wait(job.name, 120)
        log = emulator.jobs.log_file(emulator.jobs.runs.get(job.name)).read_text()
        assert ml_client.jobs.get(job.name).status == "Completed", log
        return job.name, log

    return run


class Published(EventSink):
    """Keeps what is published. Nobody has subscribed to the session's emulator; delivery has tests of its own."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def publish(self, event_type: str, subject: str, data: dict[str, Any]) -> None:
        self.events.append((event_type, subject, data))


@pytest.fixture(scope="module")
def logged(run_job: Run, emulator: Emulator) -> Logged:
    name, published = unique("logged"), Published(emulator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulator, "events", published)
        job, log = run_job(JOB, name, "${{outputs.kept}}", kept=Output(type="mlflow_model"))
    return Logged(name, job, log.split("RUN ")[1].split()[0], tuple(published.events))


def test_what_a_job_registers_with_mlflow_is_a_model_of_the_workspace(
    ml_client: MLClient, logged: Logged, tmp_path: Path
) -> None:
    assert sorted(one.version for one in ml_client.models.list(logged.model)) == ["1", "2", "3"]
    for version, folder in (("1", "model"), ("2", "model"), ("3", "plain")):
        model = ml_client.models.get(logged.model, version)
        assert (model.type, model.job_name) == ("mlflow_model", logged.job)
        assert set(model.flavors) == {"python_function", "sklearn"}
        assert model.flavors["python_function"]["loader_module"] == "mlflow.sklearn"
        assert f"/datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{logged.job}/" in model.path
        assert model.path.endswith(f"/{folder}")
        assert model.properties["mlflow.runId"] == logged.run
    assert ml_client.models.get(logged.model, "2").tags == {"by": "runs"}
    registered = [(subject, data) for kind, subject, data in logged.events if kind == REGISTERED]
    assert [subject for subject, _ in registered] == [f"models/{logged.model}:{version}" for version in (1, 2, 3)]
    data = registered[1][1]
    assert (data["ModelName"], data["ModelVersion"], data["ModelTags"]) == (logged.model, 2, {"by": "runs"})
    assert data["ModelProperties"]["mlflow.runId"] == logged.run
    ml_client.models.download(logged.model, "3", download_path=str(tmp_path))
    assert (tmp_path / logged.model / "plain" / "MLmodel").is_file()


def test_files_of_a_run_become_models_through_the_sdk(ml_client: MLClient, logged: Logged, tmp_path: Path) -> None:
    asset = unique("of-run")
    paths = (
        f"runs:/{logged.run}/plain",
        f"runs:/{logged.run}/model",  # MLflow 3 keeps it beside the run
        f"runs:/{logged.job}/plain",
        f"azureml://jobs/{logged.job}/outputs/artifacts/paths/plain/",
    )
    for number, path in enumerate(paths, 1):
        made = ml_client.models.create_or_update(Model(name=asset, path=path, type="mlflow_model"))
        assert (made.version, made.job_name) == (str(number), logged.job)
        assert "/datastores/workspaceartifactstore/paths/ExperimentRun/" in made.path
        assert "sklearn" in made.flavors
    ml_client.models.download(asset, "4", download_path=str(tmp_path))
    assert [file.name for file in tmp_path.rglob("MLmodel")] == ["MLmodel"]
    again = ml_client.models.create_or_update(Model(name=asset, version="1", path=paths[0], type="mlflow_model", tags={"a": "b"}))
    assert again.tags == {"a": "b"}
    log = f"azureml://jobs/{logged.job}/outputs/artifacts/paths/user_logs/std_log.txt"
    assert ml_client.models.create_or_update(Model(name=unique("log"), path=log)).type == "custom_model"
    for nothing in (f"runs:/{logged.run}/nothing", "runs:/0123456789abcdef0123456789abcdef/model"):
        with pytest.raises(ResourceNotFoundError, match="has no artifact"):
            ml_client.models.create_or_update(Model(name=asset, path=nothing, type="mlflow_model"))
    with pytest.raises(HttpResponseError, match="is no path of an artifact"):
        ml_client.models.create_or_update(Model(name=asset, path=f"runs:/{logged.run}/../../secret"))
    assert len(list(ml_client.models.list(asset))) == len(paths)


def test_the_mlflow_client_finds_and_loads_models_whichever_way_they_came(
    ml_client: MLClient, emulator: Emulator, logged: Logged, run_job: Run, tmp_path: Path
) -> None:
    ml_client.models.download(logged.model, "3", download_path=str(tmp_path))
    local = tmp_path / logged.model / "plain"
    assert ml_client.models.create_or_update(Model(name=logged.model, path=str(local), type="mlflow_model")).version == "4"
    tracking = ml_client.workspaces.get().mlflow_tracking_uri
    assert tracking == emulator.settings.mlflow_url
    assert ml_client.jobs.get(logged.job).services["Tracking"].endpoint == tracking
    output = f"azureml://jobs/{logged.job}/outputs/kept"
    fifth = ml_client.models.create_or_update(Model(name=logged.model, path=output, type="mlflow_model"))
    assert (fifth.version, set(fifth.flavors)) == ("5", {"python_function", "sklearn"})
    # A job's output has its place in the workspace, by which the SDK downloads it.
    assert (fifth.job_name, "/datastores/workspaceblobstore/paths/azureml/" in fifth.path) == (logged.job, True)
    ml_client.models.download(logged.model, "5", download_path=str(tmp_path / "fifth"))
    assert (tmp_path / "fifth" / logged.model / "kept" / "MLmodel").is_file()
    # As a job, because its process is forked from one that has imported mlflow already; the client would be the same outside.
    _, log = run_job(CLIENT, logged.model, logged.job)
    seen = json.loads(next(line for line in log.splitlines() if line.startswith("{")))
    assert {version: found[0] for version, found in seen["versions"].items()} == {**dict.fromkeys("1235", logged.run), "4": None}
    assert logged.model in seen["names"]
    assert seen["loaded"] == [[1, 1]] * 6
    assert seen["of run"] == [1, 1]
    assert (seen["run"], seen["auc"], seen["seen"]) == (logged.run, 0.5, "by name")
    assert (seen["again"], seen["renamed"]) == ("6", "NOT_IMPLEMENTED")
    assert ml_client.models.get(logged.model, "6").path == ml_client.models.get(logged.model, "1").path


def test_a_version_keeps_its_files_whatever_its_run_logs_later(
    ml_client: MLClient, emulator: Emulator, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    url, name = f"{emulator.settings.mlflow_url}/api/2.0", unique("kept")
    run = httpx.post(f"{url}/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]

    def registered(weights: bytes) -> str:
        for path, content in (("MLmodel", b"flavors: {python_function: {}}"), ("weights.bin", weights)):
            file = f"{url}/mlflow-artifacts/artifacts/0/{run}/artifacts/model/{path}"
            assert httpx.put(file, content=content).status_code == 200
        model = Model(name=name, path=f"runs:/{run}/model", type="mlflow_model")
        return str(ml_client.models.create_or_update(model).path)

    first, second, third, fourth = (registered(weights) for weights in (b"one", b"two", b"two", b"one"))
    # Parts of what is registered, one of them new, do not get into it either.
    httpx.put(f"{url}/mlflow-artifacts/artifacts/0/{run}/artifacts/model/late/file", content=b"late")
    for part in ("weights.bin", "late/file"):
        ml_client.models.create_or_update(Model(name=unique("part"), path=f"runs:/{run}/model/{part}"))
    assert first.endswith(f"/ExperimentRun/dcid.{run}/model")
    assert (first, second) == (fourth, third)
    assert second != first
    assert second.endswith("/model")
    for version, weights in (("1", b"one"), ("2", b"two"), ("3", b"two"), ("4", b"one")):
        ml_client.models.download(name, version, download_path=str(tmp_path / version))
        files = {file.name: file.read_bytes() for file in (tmp_path / version).rglob("*.*") if file.is_file()}
        assert (files["weights.bin"], len(list((tmp_path / version / name / "model").iterdir()))) == (weights, 2)
    for version, path in (("1", first), ("2", second)):
        again = Model(name=name, version=version, path=f"runs:/{run}/model", type="mlflow_model", tags={"a": "b"})
        changed = ml_client.models.create_or_update(again)
        assert (changed.path, changed.tags) == (path, {"a": "b"})
    httpx.put(f"{url}/mlflow-artifacts/artifacts/0/{run}/artifacts/other/MLmodel", content=b"flavors: {python_function: {}}")
    other = Model(name=name, version="1", path=f"runs:/{run}/other", type="mlflow_model")
    with pytest.raises((HttpResponseError, AssetPathException)):
        ml_client.models.create_or_update(other)


@pytest.fixture
def artifact(emulator: Emulator, mlflow_server: MlflowServer) -> Iterator[str]:
    """The address of an artifact, by the gateway, that a test may write."""
    url = f"{emulator.settings.mlflow_url}/api/2.0/mlflow-artifacts/artifacts/0/{unique('large')}"
    yield url
    httpx.delete(url)


def test_a_run_that_cannot_be_copied_whole_leaves_neither_a_version_nor_files(
    emulator: Emulator, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = ContainerClient.upload_blob

    def failing(client: ContainerClient, name: str, *data: Any, **options: Any) -> Any:
        if name.endswith("m.bin"):
            raise ServiceRequestError("the connection broke")
        return upload(client, name, *data, **options)

    url, name = f"{emulator.settings.mlflow_url}/api/2.0/mlflow", unique("half")
    run = httpx.post(f"{url}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    artifacts = f"{emulator.settings.mlflow_url}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/model"
    for path in ("MLmodel", "a.bin", "m.bin", "data/z.bin"):
        assert httpx.put(f"{artifacts}/{path}", content=b"flavors: {python_function: {}}").status_code == 200
    httpx.post(f"{url}/registered-models/create", json={"name": name}).raise_for_status()
    monkeypatch.setattr(ContainerClient, "upload_blob", failing)
    made = httpx.post(f"{url}/model-versions/create", json={"name": name, "source": f"runs:/{run}/model"}, timeout=30)
    assert (made.status_code, "the connection broke" in made.json()["message"]) == (500, True)
    assert httpx.get(f"{url}/model-versions/search", params={"filter": f"name = '{name}'"}).json()["model_versions"] == []
    assert emulator.storage.list("azureml", f"ExperimentRun/dcid.{run}") == []
    monkeypatch.undo()
    again = httpx.post(f"{url}/model-versions/create", json={"name": name, "source": f"runs:/{run}/model"}, timeout=30)
    assert again.json()["model_version"]["version"] == "1"
    assert len(emulator.storage.list("azureml", f"ExperimentRun/dcid.{run}")) == 4


def test_a_large_artifact_passes_the_gateway_in_a_stream(artifact: str) -> None:
    piece, count = os.urandom(1024 * 1024), 50
    process = psutil.Process()
    before = process.memory_info().rss
    most = before

    def content() -> Iterator[bytes]:
        nonlocal most
        for _ in range(count):
            most = max(most, process.memory_info().rss)
            yield piece

    length = {"Content-Length": str(len(piece) * count)}
    assert httpx.put(artifact, content=content(), headers=length, timeout=60).status_code == 200
    received = 0
    with httpx.stream("GET", artifact, timeout=60) as answer:
        for got in answer.iter_bytes():
            received += len(got)
            most = max(most, process.memory_info().rss)
    assert received == len(piece) * count
    assert most - before < 25 * 1024 * 1024
