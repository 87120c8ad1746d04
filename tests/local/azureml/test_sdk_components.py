"""Components and their code through the unmodified MLClient: every kind, every way to write them, what lands in the snapshot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from azure.ai.ml import Input, MLClient, Output, command, dsl, load_component
from azure.ai.ml.constants import ListViewType
from azure.ai.ml.entities import Component
from azure.ai.ml.parallel import RunFunction, parallel_run_function
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from local.azureml.emulator import Emulator

Name = Callable[[str], str]
ENVIRONMENT = "azureml://registries/azureml/environments/sklearn-1.5/versions/1"


@pytest.fixture
def component_name(name: Name) -> Callable[[str], str]:
    """Names of components are made of letters, digits and '_'."""
    return lambda prefix: name(prefix).replace("-", "_")


def load(folder: Path, **fields: Any) -> Component:
    """A command component from YAML, with `src/run.py` as its code unless the fields say otherwise."""
    source = folder / "src"
    source.mkdir(parents=True, exist_ok=True)
    (source / "run.py").write_text("print('run')\n")
    base = {"type": "command", "code": "./src", "environment": ENVIRONMENT, "command": "python run.py"}
    (folder / "component.yaml").write_text(yaml.safe_dump({**base, **fields}))
    return load_component(folder / "component.yaml")


def snapshot(emulator: Emulator, code_id: str) -> dict[str, bytes]:
    """The files of a code version, by their path."""
    name, version = code_id.split("/codes/")[1].split("/versions/")
    body = emulator.store.get("codes", name, version)
    assert body is not None
    container, path = emulator.storage.resolve(body["properties"]["codeUri"])
    return {
        blob.removeprefix(path).lstrip("/"): emulator.storage.read(container, blob)
        for blob in emulator.storage.list(container, path)
    }


def test_additional_includes_land_in_the_snapshot_that_a_job_runs(
    ml_client: MLClient, emulator: Emulator, component_name: Name, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    (shared / "deep").mkdir(parents=True)
    for file, text in (("shared/deep/b.py", "B"), ("one.py", "ONE = 1"), ("ignored.txt", "no")):
        (tmp_path / file).write_text(text)
    (shared / "c.tmp").write_text("no")
    (shared / ".amlignore").write_text("*.tmp\n")
    (shared / "a.py").write_text("A = 'from the folder'\n")
    (tmp_path / "mine").mkdir()
    component = load(
        tmp_path / "mine",
        name=component_name("inc"),
        version="1",
        additional_includes=["../shared", "../one.py"],
        command="python -c 'import run, one, shared.a; assert shared.a.A'",
    )
    made: Any = ml_client.components.create_or_update(component)
    files = snapshot(emulator, made.code)
    assert {path: text for path, text in files.items() if not path.endswith(".amlignore")} == {
        "run.py": b"print('run')\n",
        "shared/a.py": b"A = 'from the folder'\n",
        "shared/deep/b.py": b"B",
        "one.py": b"ONE = 1",
    }

    def pipeline():  # type: ignore[no-untyped-def]
        made()

    job = dsl.pipeline(pipeline, default_compute="serverless")()
    job.name = made.name
    ml_client.jobs.create_or_update(job)
    assert emulator.jobs.wait(job.name, 60)
    assert emulator.jobs.runs.get(job.name)["status"] == "Completed"


def test_code_is_uploaded_once_for_the_same_content_and_without_what_is_ignored(
    ml_client: MLClient, http: httpx.Client, emulator: Emulator, component_name: Name, tmp_path: Path
) -> None:
    unique = component_name("code")

    def make(folder: str, text: str) -> str:
        source = tmp_path / folder / "src"
        (source / "cache").mkdir(parents=True)
        for file, content in (("more.py", text), ("cache/x.bin", folder), (".amlignore", "cache/\n")):
            (source / file).write_text(content)
        made: Any = ml_client.components.create_or_update(load(tmp_path / folder, name=component_name("c"), version="1"))
        return str(made.code)

    first, again, other = make("a", unique), make("b", unique), make("c", f"{unique} changed")
    assert first == again != other
    assert http.delete(f"/codes/{other.split('/codes/')[1]}").status_code == 200
    assert make("d", f"{unique} changed") != other
    assert set(snapshot(emulator, first)) - {".amlignore"} == {"run.py", "more.py"}


def test_a_component_is_written_with_the_builder_and_with_a_pipeline_around_it(
    ml_client: MLClient, component_name: Name, tmp_path: Path
) -> None:
    (tmp_path / "run.py").write_text("print('x')\n")
    name = component_name("built")
    built = command(
        name=name,
        version="1",
        display_name="Built in code",
        code=str(tmp_path),
        environment=ENVIRONMENT,
        command="python run.py --rate ${{inputs.rate}} --out ${{outputs.out}}",
        inputs={"rate": Input(type="number", default=0.1, min=0, max=1)},
        outputs={"out": Output(type="uri_folder")},
        is_deterministic=False,
    )
    ml_client.components.create_or_update(built.component)
    read: Any = ml_client.components.get(name, "1")
    assert (read.type, read.is_deterministic, read.display_name) == ("command", False, "Built in code")
    assert float(read.inputs["rate"]["default"]) == 0.1

    around = component_name("around")

    @dsl.pipeline(name=around, version="1", description="Twice the same")  # type: ignore[call-overload]
    def twice(rate=0.5):  # type: ignore[no-untyped-def]
        first = read(rate=rate)
        second = read(rate=0.2)
        second.outputs.out.mode = "upload"
        return {"out": first.outputs.out}

    ml_client.components.create_or_update(twice)
    pipeline: Any = ml_client.components.get(around, "1")
    assert pipeline.type == "pipeline"
    assert set(pipeline.jobs) == {"first", "second"}
    assert set(pipeline.outputs) == {"out"}
    again: Any = ml_client.components.get(around, label="latest")
    assert again.id == pipeline.id


def test_pipeline_parallel_and_sweep_like_specifications_are_kept_as_they_are_sent(
    ml_client: MLClient, emulator: Emulator, component_name: Name, tmp_path: Path
) -> None:
    (tmp_path / "score.py").write_text("def run(batch): return batch\n")
    name = component_name("parallel")
    node = parallel_run_function(
        name=name,
        inputs={"data": Input(type="uri_folder", mode="ro_mount")},
        outputs={"scores": Output(type="uri_file")},
        input_data="${{inputs.data}}",
        instance_count=1,
        mini_batch_size="10",
        error_threshold=2,
        task=RunFunction(
            code=str(tmp_path),
            entry_script="score.py",
            program_arguments="--out ${{outputs.scores}}",
            environment=ENVIRONMENT,
            append_row_to="${{outputs.scores}}",
        ),
    )
    made = ml_client.components.create_or_update(node.component, version="1")
    body = emulator.store.get("components", name, str(made.version))
    assert body is not None
    spec = body["properties"]["componentSpec"]
    assert (spec["type"], spec["mini_batch_size"], str(spec["error_threshold"])) == ("parallel", "10", "2")
    assert spec["task"]["entry_script"] == "score.py"
    assert spec["task"]["code"].split("/codes/")[0].endswith(emulator.settings.workspace)
    read: Any = ml_client.components.get(name, str(made.version))
    assert read.type == "parallel"


def test_versions_of_a_component_are_counted_by_nobody_and_never_change_what_they_run(
    ml_client: MLClient, component_name: Name, tmp_path: Path
) -> None:
    name = component_name("versioned")
    ml_client.components.create_or_update(load(tmp_path, name=name, version="1", description="first"))
    ml_client.components.create_or_update(load(tmp_path, name=name, version="1", description="better said"))
    assert ml_client.components.get(name, "1").description == "better said"
    with pytest.raises(HttpResponseError, match="immutable"):
        ml_client.components.create_or_update(load(tmp_path, name=name, version="1", command="python run.py --other"))
    ml_client.components.create_or_update(load(tmp_path, name=name, version="2", command="python run.py --other"))
    assert [one.version for one in ml_client.components.list(name)] == ["2", "1"]
    assert ml_client.components.get(name).version == "2"

    ml_client.components.archive(name, version="2")
    assert ml_client.components.get(name, label="latest").version == "1"
    assert [one.version for one in ml_client.components.list(name, list_view_type=ListViewType.ARCHIVED_ONLY)] == ["2"]
    ml_client.components.restore(name, version="2")
    ml_client.components.archive(name)
    assert name not in [one.name for one in ml_client.components.list()]
    ml_client.components.restore(name)
    assert name in [one.name for one in ml_client.components.list()]
    with pytest.raises(ResourceNotFoundError):
        ml_client.components.get(name, "3")


def test_a_component_without_a_version_gets_the_next_one_or_stays_when_told_to_skip_what_did_not_change(
    ml_client: MLClient, component_name: Name, tmp_path: Path
) -> None:
    name = component_name("unversioned")

    def make(command: str, **options: Any) -> Any:
        return ml_client.components.create_or_update(load(tmp_path, name=name, command=command), **options).version

    assert make("python run.py") == "1"
    assert make("python run.py", skip_if_no_change=True) == "1"
    assert make("python run.py --other", skip_if_no_change=True) == "2"
    assert make("python run.py --other") == "3"
    assert [one.version for one in ml_client.components.list(name)] == ["3", "2", "1"]
