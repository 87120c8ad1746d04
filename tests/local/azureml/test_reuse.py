"""Reuse of steps: what did the same before stands for a step, and everything that makes it another prevents that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from local.azureml.execution.plan import AssetName, Command, Data, FromStep, Output, Step
from local.azureml.execution.reuse import component_digest, fingerprint
from local.certificates import Certificates
from local.storage.azurite import Azurite
from tests.local.azureml.job_lab import Lab, node
from tests.local.azureml.pipelines import component, submit, until_ended
from tests.waiting import wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

SPEC = {"name": "train", "version": "1", "command": "python run.py", "code": "codes/a/versions/1", "environment": "env/1"}
STEP = Step(
    "train", "Train", Command("python run.py", "blob/code", "conda"),
    inputs={
        "rate": "0.5",
        "raw": Data("blob/raw", "uri_file", "ro_mount", "data/raw/versions/1"),
        "model": FromStep("a", "m", "ro_mount"),
    },
    outputs={"model": Output("uri_folder", parent_output="model")},
    environment_variables={"A": "1"}, timeout=None, component=component_digest(SPEC),
)  # fmt: skip
ORIGINS = {"a": "run-1"}


@pytest.mark.parametrize(
    "other",
    [
        replace(STEP, name="other", display_name="Other"),
        replace(STEP, component=component_digest({**SPEC, "name": "fit", "version": "2", "description": "says more"})),
        replace(STEP, outputs={"model": Output("uri_folder", parent_output="another")}),
    ],
    ids=["names", "names of the component", "which output of the job it is"],
)
def test_what_does_not_change_what_a_step_does_leaves_it_the_same(other: Step) -> None:
    assert fingerprint(other, ORIGINS) == fingerprint(STEP, ORIGINS)


@pytest.mark.parametrize(
    ("other", "origins"),
    [
        (replace(STEP, component=component_digest({**SPEC, "code": "codes/a/versions/2"})), ORIGINS),
        (replace(STEP, component=component_digest({**SPEC, "environment": "env/2"})), ORIGINS),
        (replace(STEP, component=component_digest({**SPEC, "command": "python other.py"})), ORIGINS),
        (replace(STEP, work=Command("python run.py", "blob/other", "conda")), ORIGINS),
        (replace(STEP, inputs={**STEP.inputs, "rate": "0.6"}), ORIGINS),
        (replace(STEP, inputs={**STEP.inputs, "raw": Data("blob/new", "uri_file", "ro_mount")}), ORIGINS),
        (replace(STEP, inputs={**STEP.inputs, "raw": Data("blob/raw", "uri_file", "ro_mount", "data/raw/versions/2")}), ORIGINS),
        (replace(STEP, inputs={**STEP.inputs, "raw": Data("blob/raw", "uri_file", "download", "data/raw/versions/1")}), ORIGINS),
        (STEP, {"a": "run-2"}),
        (replace(STEP, environment_variables={"A": "2"}), ORIGINS),
        (replace(STEP, outputs={"model": Output("uri_folder", uri="azureml://elsewhere")}), ORIGINS),
        (replace(STEP, outputs={"model": Output("uri_folder", asset=AssetName("model"))}), ORIGINS),
    ],
    ids=[
        "code", "environment", "command", "code's place", "literal", "data's place", "data's version", "mode", "earlier step",
        "environment variable", "output's place", "output's asset",
    ],
)  # fmt: skip
def test_every_change_that_matters_makes_another_step(other: Step, origins: dict[str, str]) -> None:
    assert fingerprint(other, origins) != fingerprint(STEP, ORIGINS)


def test_a_component_that_is_not_deterministic_is_never_the_same() -> None:
    assert fingerprint(replace(STEP, component=component_digest({**SPEC, "is_deterministic": False})), ORIGINS) is None


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, state: Path, certificates: Certificates, azurite: Azurite) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("reuse"), state / "certificates", azurite.blob_url)
    yield lab
    lab.close()


COUNT = "import sys, uuid\nopen(sys.argv[1] + '/made.txt', 'w').write(uuid.uuid4().hex)"


@pytest.mark.train_environment
def test_outputs_that_are_gone_from_storage_are_made_again(lab: Lab) -> None:
    made = lab.component("gone", COUNT, command="python run.py ${{outputs.o}}", outputs={"o": {"type": "uri_folder"}})
    job = lab.pipeline({"make": node(made)})
    lab.run("first", job)
    lab.run("second", job)
    first, second = lab.steps("first")["make"], lab.steps("second")["make"]
    assert second["properties"]["azureml.reusedrunid"] == first["runId"]
    assert second["properties"]["azureml.reusedpipelinerunid"] == "first"
    assert second["outputs"] == first["outputs"]
    assert "this step started no process" in lab.log("second", "make")
    place = lab.emulator.storage.resolve(first["outputs"]["o"])
    for blob in lab.emulator.storage.list(*place):
        lab.emulator.storage.delete(place.container, blob)
    lab.run("third", job)
    third = lab.steps("third")["make"]
    assert "azureml.isreused" not in third["properties"]
    lab.run("fourth", job)
    assert lab.steps("fourth")["make"]["properties"]["azureml.reusedrunid"] == third["runId"]


@pytest.mark.train_environment
def test_a_later_step_finds_what_a_reused_one_stands_for_as_the_jobs_output(lab: Lab, tmp_path: Path) -> None:
    made = lab.component("promoted", COUNT, command="python run.py ${{outputs.o}}", outputs={"o": {"type": "uri_folder"}})
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists():\n    time.sleep(0.01)"
    late = lab.component("late", wait, command="python run.py ${{inputs.o}}", inputs={"o": {"type": "uri_folder"}})
    make = node(made, outputs={"o": "${{parent.outputs.model}}"})
    outputs = {"model": {"jobOutputType": "uri_folder"}}
    lab.run("early", lab.pipeline({"make": make}, outputs=outputs))
    place = lab.emulator.storage.resolve("azureml://jobs/early/outputs/model")
    lab.put(
        "waiting", lab.pipeline({"make": make, "late": node(late, {"o": "${{parent.jobs.make.outputs.o}}"})}, outputs=outputs)
    )
    wait_until(lambda: lab.steps("waiting").get("late", {}).get("status") == "Running", what="the second step")
    assert lab.emulator.storage.resolve("azureml://jobs/waiting/outputs/model") == place
    (tmp_path / "go").touch()
    assert lab.runner.wait("waiting", 60)
    assert lab.steps("waiting")["make"]["properties"]["azureml.isreused"] == "true"


@pytest.mark.train_environment
def test_a_failed_step_stands_for_nothing(lab: Lab) -> None:
    broken = lab.component("broken", "raise SystemExit(1)")
    for name in ("failing", "failing-again"):
        lab.run(name, lab.pipeline({"fail": node(broken)}))
        step = lab.steps(name)["fail"]
        assert (step["status"], step["properties"].get("azureml.isreused")) == ("Failed", None)


def pipeline(folder: Path, script: str, text: str, **settings: Any) -> Any:
    """Two steps from YAML: one writes, with a random mark, what it is told; the next copies it to the job's output."""
    from azure.ai.ml import load_job

    folder.mkdir(exist_ok=True)
    component(
        folder, "write", script,
        command="python run.py ${{inputs.text}} ${{outputs.made}}",
        inputs={"text": {"type": "string"}}, outputs={"made": {"type": "uri_folder"}},
    )  # fmt: skip
    component(
        folder, "copy", "import shutil, sys\nshutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)",
        command="python run.py ${{inputs.made}} ${{outputs.copy}}",
        inputs={"made": {"type": "uri_folder"}}, outputs={"copy": {"type": "uri_folder"}},
    )  # fmt: skip
    job = {
        "type": "pipeline", "experiment_name": "reuse", "settings": {"default_compute": "azureml:serverless", **settings},
        "outputs": {"copy": {"type": "uri_folder"}},
        "jobs": {
            "write": {"type": "command", "component": "./write/component.yaml", "inputs": {"text": text}},
            "copy": {
                "type": "command", "component": "./copy/component.yaml",
                "inputs": {"made": "${{parent.jobs.write.outputs.made}}"}, "outputs": {"copy": "${{parent.outputs.copy}}"},
            },
        },
    }  # fmt: skip
    (folder / "pipeline.yml").write_text(yaml.safe_dump(job))
    return load_job(folder / "pipeline.yml")


@pytest.mark.train_environment
def test_a_pipeline_submitted_again_reuses_its_steps_unless_something_changed(ml_client: MLClient, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Environment

    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    script = "import sys, uuid\nopen(sys.argv[2] + '/made.txt', 'w').write(sys.argv[1] + uuid.uuid4().hex)"
    found: dict[str, dict[str, Any]] = {}
    texts: dict[str, str] = {}

    def run(label: str, **settings: Any) -> None:
        job = until_ended(ml_client, submit(ml_client, pipeline(tmp_path / label, script, "a", **settings)).name)
        assert job.status == "Completed"
        found[label] = {
            step.display_name: ml_client.jobs.get(step.name) for step in ml_client.jobs.list(parent_job_name=job.name)
        }
        ml_client.jobs.download(job.name, download_path=tmp_path / "of" / label, output_name="copy")
        texts[label] = (tmp_path / "of" / label / "named-outputs/copy/made.txt").read_text()

    def reused(label: str, step: str) -> str | None:
        properties = found[label][step].properties
        return properties["azureml.reusedrunid"] if properties.get("azureml.isreused") == "true" else None

    run("first")
    run("again")
    assert reused("again", "write") == found["first"]["write"].name
    assert reused("again", "copy") == found["first"]["copy"].name
    assert texts["again"] == texts["first"], "the job's output is the earlier run's"
    ml_client.jobs.download(found["again"]["write"].name, download_path=tmp_path / "step", all=True)
    assert (tmp_path / "step/named-outputs/made/made.txt").read_text() == texts["first"]

    run("forced", force_rerun=True)
    assert (reused("forced", "write"), reused("forced", "copy")) == (None, None)
    assert texts["forced"] != texts["first"]
