"""How jobs run: order, data, environment, places of outputs. Submitted through the PUT handler; real storage and processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.local.azureml.job_lab import Lab, node
from tests.local.azureml.job_pieces import reader, writer
from tests.local.azureml.pipelines import unique

pytestmark = pytest.mark.train_environment


def test_a_step_reads_what_an_earlier_step_wrote_and_the_jobs_output_is_in_storage(lab: Lab) -> None:
    nodes = {
        "read": node(reader(lab), {"data": "${{parent.jobs.write.outputs.out}}"}),
        "write": node(writer(lab), {"text": "${{parent.inputs.word}}"}, {"out": "${{parent.outputs.result}}"}),
    }
    job = unique("two-steps")
    inputs = {"word": {"jobInputType": "literal", "value": "hello"}}
    run = lab.run(job, lab.pipeline(nodes, inputs=inputs, outputs={"result": {"jobOutputType": "uri_folder"}}))
    assert run["status"] == "Completed", run["error"]
    assert "read hello" in lab.log(job, "read")
    assert lab.read(f"azureml://jobs/{job}/outputs/result/x.txt") == b"hello"
    assert lab.read(f"azureml://datastores/workspaceblobstore/paths/azureml/{job}/result/x.txt") == b"hello"
    step = lab.steps(job)["read"]
    stored = lab.read(
        f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{step['runId']}/user_logs/std_log.txt"
    )
    assert b"read hello" in stored


def test_independent_steps_overlap(lab: Lab, tmp_path: Path) -> None:
    """Each waits for the other's sign: one after the other, the first would never end."""
    meet = lab.component(
        "meet",
        "import sys, pathlib, time\nmine, other = map(pathlib.Path, sys.argv[1:])\nmine.touch()\n"
        "while not other.exists(): time.sleep(0.005)\n",
        command="python run.py ${{inputs.mine}} ${{inputs.other}}",
        inputs={"mine": {"type": "string"}, "other": {"type": "string"}},
    )
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    run = lab.run(
        unique("parallel"), lab.pipeline({"a": node(meet, {"mine": a, "other": b}), "b": node(meet, {"mine": b, "other": a})})
    )
    assert run["status"] == "Completed"


def test_a_job_is_told_what_azure_tells_it_and_little_of_this_machine(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "LocalCloud")
    show = lab.component("show", "import os, json; print('ENV', json.dumps(dict(os.environ)))")
    job = unique("env")
    lab.run(job, lab.pipeline({"show": node(show, environment_variables={"MINE": "1"})}))
    line = next(line for line in lab.log(job, "show").splitlines() if line.startswith("ENV "))
    env = json.loads(line.removeprefix("ENV "))
    settings, step = lab.settings, lab.steps(job)["show"]
    expected = {
        "AZUREML_RUN_ID": step["runId"],
        "AZUREML_ROOT_RUN_ID": job,
        "AZUREML_EXPERIMENT_NAME": "lab",
        "AZUREML_ARM_SUBSCRIPTION": settings.subscription_id,
        "AZUREML_ARM_RESOURCEGROUP": settings.resource_group,
        "AZUREML_ARM_WORKSPACE_NAME": settings.workspace,
        "AZUREML_ARM_PROJECT_NAME": "lab",
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        "IDENTITY_ENDPOINT": f"{lab.emulator.base_url}/msi/token",
        "ARM_CLOUD_METADATA_URL": f"{lab.emulator.base_url}/metadata/endpoints",
        "MINE": "1",
    }
    assert {name: env.get(name) for name in expected} == expected
    assert not {"SECRET_OF_THE_HOST", "AZUREML_CURRENT_CLOUD"} & env.keys()


def test_an_optional_input_without_a_value_is_left_out_and_defaults_are_filled_in(lab: Lab) -> None:
    show = lab.component(
        "optional",
        "import sys; print(sys.argv[1:])",
        command="python run.py $[[--note ${{inputs.note}}]] --rate ${{inputs.rate}}",
        inputs={"note": {"type": "string", "optional": True}, "rate": {"type": "number", "default": "0.5"}},
    )
    job = unique("optional")
    nodes = {
        "without": node(show),
        "with": node(show, {"note": "n", "rate": "1"}),
        "empty": node(show, {"note": ""}),
        "unbound": node(show, {"note": "${{parent.inputs.absent}}"}),
    }
    lab.run(job, lab.pipeline(nodes))
    said = {name: lab.log(job, name).splitlines()[-1] for name in nodes}
    alone = "['--rate', '0.5']"
    assert said == {"without": alone, "with": "['--note', 'n', '--rate', '1']", "empty": alone, "unbound": alone}


def test_a_shell_command_is_run_by_bash(lab: Lab) -> None:
    shell = lab.component("shell", "print('python ran')", command="set -e; for i in 1 2; do echo line $i; done; python run.py")
    job = unique("shell")
    lab.run(job, lab.pipeline({"s": node(shell)}))
    assert lab.log(job, "s").splitlines()[-3:] == ["line 1", "line 2", "python ran"]


def test_data_reaches_a_step_by_asset_by_uri_and_directly(lab: Lab) -> None:
    store = "azureml://datastores/workspaceblobstore/paths/in"
    location = lab.emulator.storage.resolve(f"{store}/table")
    lab.emulator.storage.write(location.container, "in/table/MLTable", b"type: mltable")
    lab.emulator.storage.write(location.container, "in/table/manifest.json", b"{}")
    lab.emulator.storage.write(location.container, "in/one.csv", b"a,b")
    lab.emulator.store.put("data", "table", "v1", {"properties": {"dataUri": f"{store}/table/", "dataType": "mltable"}})
    show = lab.component(
        "show_data",
        "import sys, os\nfor p in sys.argv[1:]:\n"
        "    print(sorted(os.listdir(p)) if os.path.isdir(p) else open(p).read() if os.path.exists(p) else p)",
        command="python run.py ${{inputs.table}} ${{inputs.one}} ${{inputs.uri}}",
        inputs={"table": {"type": "mltable"}, "one": {"type": "uri_file"}, "uri": {"type": "uri_folder"}},
    )
    asset = {"job_input_type": "mltable", "uri": lab.id("data", "table", "v1"), "mode": "ReadOnlyMount"}
    one = {"job_input_type": "uri_file", "uri": f"{lab.settings.blob_url}/{location.container}/in/one.csv", "mode": "Download"}
    direct = {"job_input_type": "uri_folder", "uri": f"{store}/table", "mode": "Direct"}
    job = unique("data")
    run = lab.run(job, lab.pipeline({"s": node(show, {"table": asset, "one": one, "uri": direct})}))
    assert run["status"] == "Completed", run["error"]
    assert lab.log(job, "s").splitlines()[-3:] == ["['MLTable', 'manifest.json']", "a,b", f"{store}/table"]


def test_an_output_goes_where_the_job_says(lab: Lab) -> None:
    place = "azureml://datastores/workspaceblobstore/paths/chosen/${{name}}/"
    nodes = {"w": node(writer(lab), {"text": "here"}, {"out": "${{parent.outputs.o}}"})}
    job = unique("placed")
    lab.run(job, lab.pipeline(nodes, outputs={"o": {"jobOutputType": "uri_folder", "uri": place}}))
    assert lab.read(f"azureml://datastores/workspaceblobstore/paths/chosen/{job}/x.txt") == b"here"
    assert lab.read(f"azureml://jobs/{job}/outputs/o/x.txt") == b"here"


def test_a_command_job_runs_without_a_pipeline(lab: Lab) -> None:
    writer(lab)
    job = unique("command")
    properties = {
        "jobType": "Command",
        "command": "python run.py ${{inputs.text}} ${{outputs.out}}",
        "codeId": lab.id("codes", "writer"),
        "environmentId": lab.id("environments", "plain"),
        "inputs": {"text": {"jobInputType": "literal", "value": "hi"}},
        "outputs": {"out": {"jobOutputType": "uri_folder"}},
        "experimentName": "lab",
    }
    assert lab.run(job, properties)["status"] == "Completed"
    assert lab.read(f"azureml://jobs/{job}/outputs/out/x.txt") == b"hi"
    assert lab.get(job)["properties"]["status"] == "Completed"
