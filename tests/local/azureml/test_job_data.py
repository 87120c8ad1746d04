"""What jobs read and write, through the unmodified client: inputs in every form and mode, places of outputs, named outputs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.azureml.emulator import Emulator
from local.azureml.mlflow import MlflowServer
from tests.local.azureml.pipelines import component, submit, unique, until_ended

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

pytestmark = pytest.mark.train_environment

MINE = "azureml://datastores/workspaceblobstore/paths/mine/${{name}}/${{output_name}}/"
WRITE = "import pathlib, sys\nfor place in sys.argv[1:]: (pathlib.Path(place) / 'x').write_text('made')"


@pytest.fixture(scope="module")
def client(ml_client: MLClient) -> MLClient:
    from azure.ai.ml.entities import Environment

    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    return ml_client


def job_of(line: str, **more: Any) -> Any:
    from azure.ai.ml import command

    return command(command=line, environment="azureml:plain:1", experiment_name="data", **more)


def log_of(emulator: Emulator, name: str) -> str:
    return emulator.jobs.log_file(emulator.jobs.runs.get(name)).read_text()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A web server of the files in a folder; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_inputs_in_every_form_are_there_for_a_command(client: MLClient, tmp_path: Path, emulator: Emulator) -> None:
    from azure.ai.ml import Input, Output
    from azure.ai.ml.entities import Data, Model

    (tmp_path / "folder").mkdir()
    for file in ("folder/x", "folder/MLTable", "file.txt"):
        (tmp_path / file).write_text("paths: [{file: ./x}]" if file.endswith("MLTable") else f"in {file}")
    made = submit(client, job_of("echo produced > ${{outputs.o}}/x", outputs={"o": Output(type="uri_folder", path=MINE)})).name
    assert until_ended(client, made).status == "Completed", log_of(emulator, made)
    client.jobs.download(made, download_path=tmp_path / "made", output_name="o")
    assert (tmp_path / "made/named-outputs/o/x").read_text() == "produced\n"
    assert emulator.storage.read("azureml-blobstore", f"mine/{made}/o/x") == b"produced\n"

    asset = unique("folder")
    folder = client.data.create_or_update(Data(name=asset, version="1", type="uri_folder", path=str(tmp_path / "folder")))
    client.data.create_or_update(Data(name=f"{asset}-t", version="1", type="mltable", path=str(tmp_path / "folder")))
    client.models.create_or_update(Model(name=asset, version="3", type="custom_model", path=str(tmp_path / "folder")))
    blob = f"{emulator.storage.container_url('azureml-blobstore')}/mine/{made}/o/x"
    given = {
        "asset": (Input(type="uri_folder", path=f"azureml:{asset}:1"), "cat {}/x", "in folder/x"),
        "latest": (
            Input(type="uri_folder", path=f"{asset}@latest", mode="download"),
            "touch {0}/y; echo $(ls {0})",
            "MLTable x y",
        ),
        "writable": (
            Input(type="uri_folder", path=folder.path, mode="rw_mount"),
            "echo changed > {0}/x; touch {0}/new; cat {0}/x",
            "changed",
        ),
        "local": (Input(type="uri_file", path=str(tmp_path / "file.txt")), "cat {}", "in file.txt"),
        "job": (Input(type="uri_folder", path=f"azureml://jobs/{made}/outputs/o"), "cat {}/x", "produced"),
        "blob": (Input(type="uri_file", path=blob), "cat {}", "produced"),
        "direct": (
            Input(type="uri_folder", path=f"azureml://jobs/{made}/outputs/o", mode="direct"),
            "echo {}",
            f"jobs/{made}/out",
        ),
        "table": (Input(type="mltable", path=f"azureml:{asset}-t:1"), "cat {}/MLTable", "paths: [{file: ./x}]"),
        "model": (Input(type="custom_model", path=f"azureml:{asset}:3"), "cat {}/x", "in folder/x"),
        "triton": (Input(type="triton_model", path=f"azureml://jobs/{made}/outputs/o"), "cat {}/x", "produced"),
    }
    literals = {"text": "some words", "number": 0.5, "whole": 7, "flag": True}
    lines = [f"echo {name}: $({line.format('${{inputs.' + name + '}}')})" for name, (_, line, _) in given.items()]
    lines += [f"echo '{name}: ${{{{inputs.{name}}}}}'" for name in literals]
    inputs = {name: value for name, (value, _, _) in given.items()} | literals
    reads = submit(client, job_of(" && ".join(lines), inputs=inputs)).name
    assert until_ended(client, reads).status == "Completed", log_of(emulator, reads)
    said = dict(line.split(": ", 1) for line in log_of(emulator, reads).splitlines() if not line.startswith("[emulator]"))
    for name, (_, _, expected) in given.items():
        assert expected in said[name]
    assert {name: said[name] for name in literals} == {"text": "some words", "number": "0.5", "whole": "7", "flag": "True"}
    assert folder.path is not None
    kept = emulator.storage.resolve(folder.path)
    assert emulator.storage.read(kept.container, f"{kept.path}/x") == b"changed\n", "a writable mount is written through"
    assert [name.rpartition("/")[2] for name in emulator.storage.list(*kept)] == ["MLTable", "new", "x"]


@pytest.mark.parametrize("mode", ["eval_mount", "eval_download"])
def test_an_mltable_that_azure_would_evaluate_is_refused_by_name(client: MLClient, mode: str) -> None:
    from azure.ai.ml import Input
    from azure.core.exceptions import HttpResponseError

    table = Input(type="mltable", path="azureml://datastores/workspaceblobstore/paths/t/", mode=mode)
    with pytest.raises(HttpResponseError, match="does not support the input mode 'Eval"):
        submit(client, job_of("cat ${{inputs.t}}", inputs={"t": table}))


def test_named_outputs_of_pipelines_steps_and_commands_become_assets(
    client: MLClient, tmp_path: Path, emulator: Emulator
) -> None:
    from azure.ai.ml import Output, dsl

    outputs = {"data": {"type": "uri_folder"}, "model": {"type": "custom_model"}}
    write = component(tmp_path, "write", WRITE, command="python run.py ${{outputs.data}} ${{outputs.model}}", outputs=outputs)
    asset, model = unique("named"), unique("model")

    @dsl.pipeline(default_compute="serverless", experiment_name="data")
    def pipeline() -> Any:
        one = write()
        one.outputs.model = Output(type="custom_model", name=model, path=MINE)
        return {"data": one.outputs.data}

    for version in ("1", "2"):
        job = pipeline()
        job.outputs.data = Output(type="uri_folder", name=asset)
        name = submit(client, job).name
        assert until_ended(client, name).status == "Completed", emulator.store.get("runs", name)
        assert client.data.get(asset, version).properties == {"jobName": name}
        assert client.models.get(model, version).job_name == name
    client.models.download(model, "2", download_path=tmp_path / "got")
    assert [file.read_text() for file in (tmp_path / "got").rglob("x")] == ["made"]

    versioned = {"o": Output(type="mlflow_model", name=model, version="7")}
    line = "echo 'flavors: {python_function: {loader_module: x}}' > ${{outputs.o}}/MLmodel"
    name = submit(client, job_of(line, outputs=versioned)).name
    assert until_ended(client, name).status == "Completed", emulator.store.get("runs", name)
    assert client.models.get(model, "7").type == "mlflow_model"


def test_outputs_that_cannot_be_registered_fail_the_job_and_none_of_them_is(client: MLClient, emulator: Emulator) -> None:
    from azure.ai.ml import Output
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import ResourceNotFoundError

    taken, free = unique("taken"), unique("free")
    path = "azureml://datastores/workspaceblobstore/paths/taken/"
    client.data.create_or_update(Data(name=taken, version="1", type="uri_folder", path=path))
    named = {"a": Output(type="mltable", name=free), "b": Output(type="uri_folder", name=taken, version="1")}
    name = submit(client, job_of("touch ${{outputs.a}}/MLTable ${{outputs.b}}/x", outputs=named)).name
    assert until_ended(client, name).status == "Failed"
    assert f"data/{taken}/versions/1 exists already" in emulator.jobs.runs.get(name)["error"]["error"]["message"]
    with pytest.raises(ResourceNotFoundError):
        client.data.get(free, "1")
    assert client.data.get(taken, "1").path.endswith("/paths/taken/")


def test_a_job_chooses_the_datastore_of_its_outputs_and_a_step_writes_there_itself(
    client: MLClient, tmp_path: Path, emulator: Emulator
) -> None:
    from azure.ai.ml import Output, dsl

    write = component(
        tmp_path, "direct", "import sys; print('told', sys.argv[1])", command="python run.py ${{outputs.there}}",
        outputs={"there": {"type": "uri_folder"}},
    )  # fmt: skip
    plain = component(
        tmp_path, "plain", WRITE, command="python run.py ${{outputs.data}}", outputs={"data": {"type": "uri_folder"}}
    )

    @dsl.pipeline(default_compute="serverless", default_datastore="workspaceartifactstore", experiment_name="data")
    def pipeline() -> Any:
        itself = write()
        itself.outputs.there = Output(
            type="uri_folder", mode="direct", path="azureml://datastores/${{default_datastore}}/paths/a/${{output_name}}"
        )
        one = plain()
        return {"data": one.outputs.data}

    name = submit(client, pipeline()).name
    assert until_ended(client, name).status == "Completed", emulator.store.get("runs", name)
    assert emulator.storage.read("azureml", f"azureml/{name}/data/x") == b"made"
    client.jobs.download(name, download_path=tmp_path / "got", output_name="data")
    assert (tmp_path / "got/named-outputs/data/x").read_text() == "made"
    step = next(child for child in client.jobs.list(parent_job_name=name) if child.display_name == "itself")
    assert "told azureml://datastores/workspaceartifactstore/paths/a/there" in log_of(emulator, step.name)


def test_a_file_on_the_web_is_read_by_jobs_and_by_data_assets_and_a_folder_there_is_refused(
    client: MLClient, tmp_path: Path, emulator: Emulator
) -> None:
    from azure.ai.ml import Input
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import HttpResponseError

    (tmp_path / "web" / "datasets").mkdir(parents=True)
    (tmp_path / "web" / "datasets" / "iris.csv").write_text(", and a blob")
    (tmp_path / "web" / "ti tanic.csv").write_text("from the web")
    asset = unique("web")
    with serving(tmp_path / "web") as url:
        client.data.create_or_update(Data(name=asset, version="1", type="uri_file", path=f"{url}/ti%20tanic.csv"))
        given = {
            "web": Input(type="uri_file", path=f"{url}/ti%20tanic.csv"),
            "asset": Input(type="uri_file", path=f"azureml:{asset}:1"),
            "blob": Input(type="uri_file", path=f"wasb://datasets@{url.removeprefix('http://')}/iris.csv"),
            "direct": Input(type="uri_file", path=f"{url}/ti%20tanic.csv", mode="direct"),
        }
        lines = [
            "basename ${{inputs.web}}",
            "cat ${{inputs.web}} ${{inputs.asset}} ${{inputs.blob}}",
            "echo",
            "echo ${{inputs.direct}}",
        ]
        name = submit(client, job_of("; ".join(lines), inputs=given)).name
        assert until_ended(client, name).status == "Completed", log_of(emulator, name)
        assert log_of(emulator, name).splitlines()[-3:] == [
            "ti tanic.csv",
            "from the webfrom the web, and a blob",
            f"{url}/ti%20tanic.csv",
        ]

        absent = {"web": Input(type="uri_file", path=f"{url}/absent.csv")}
        name = submit(client, job_of("cat ${{inputs.web}}", inputs=absent)).name
        assert until_ended(client, name).status == "Failed"
        assert f"'{url}/absent.csv' could not be read" in emulator.jobs.runs.get(name)["error"]["error"]["message"]
        with pytest.raises(HttpResponseError, match="only files are read"):
            submit(client, job_of("ls ${{inputs.web}}", inputs={"web": Input(type="uri_folder", path=f"{url}/folder/")}))


def test_a_file_that_a_job_puts_out_is_downloaded_by_its_name(client: MLClient, tmp_path: Path, emulator: Emulator) -> None:
    from azure.ai.ml import Output

    name = submit(client, job_of("echo one > ${{outputs.report}}", outputs={"report": Output(type="uri_file")})).name
    assert until_ended(client, name).status == "Completed", log_of(emulator, name)
    client.jobs.download(name, download_path=tmp_path, output_name="report")
    assert (tmp_path / "named-outputs/report/report").read_text() == "one\n"
    assert emulator.storage.read(*emulator.storage.resolve(f"azureml://jobs/{name}/outputs/report")) == b"one\n"


def test_what_a_command_leaves_in_outputs_and_logs_is_kept_with_its_run_even_when_it_fails(
    client: MLClient, tmp_path: Path, emulator: Emulator, mlflow_server: MlflowServer
) -> None:
    from azure.ai.ml import Input

    assert mlflow_server.url  # asked whether the run logged the file
    line = "echo hello > ./outputs/hello.txt && mkdir logs/deep && echo line > ./logs/deep/own.log && exit 3"
    name = submit(client, job_of(line)).name
    assert until_ended(client, name).status == "Failed"
    client.jobs.download(name, download_path=tmp_path)
    kept = {file.relative_to(tmp_path / "artifacts").as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    assert kept == {"outputs/hello.txt", "logs/deep/own.log", "user_logs/std_log.txt"}
    left = {"left": Input(type="uri_file", path=f"azureml://jobs/{name}/outputs/artifacts/paths/outputs/hello.txt")}
    reads = submit(client, job_of("cat ${{inputs.left}}", inputs=left)).name
    assert until_ended(client, reads).status == "Completed", log_of(emulator, reads)
    assert log_of(emulator, reads).endswith("hello\n")
