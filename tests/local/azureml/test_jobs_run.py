"""How jobs run: order, data, failure, cancel, restart, events. Submitted through the PUT handler; real storage and processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.azureml import jobs
from local.certificates import Certificates
from local.storage.azurite import Azurite
from tests.local.azureml.job_lab import Lab, node
from tests.local.azureml.pipelines import deadline, unique

pytestmark = pytest.mark.train_environment

WRITE = "import sys, pathlib; p = pathlib.Path(sys.argv[2]); p.mkdir(exist_ok=True); (p / 'x.txt').write_text(sys.argv[1])"
READ = "import sys, pathlib; print('read', (pathlib.Path(sys.argv[1]) / 'x.txt').read_text())"
TEXT = {"text": {"type": "string"}}
FOLDER_OUT, FOLDER_IN = {"out": {"type": "uri_folder"}}, {"data": {"type": "uri_folder"}}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, state: Path, certificates: Certificates, azurite: Azurite) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"), state / "certificates", azurite.blob_url)
    yield lab
    lab.close()


def writer(lab: Lab) -> str:
    return lab.component(
        "writer", WRITE, command="python run.py ${{inputs.text}} ${{outputs.out}}", inputs=TEXT, outputs=FOLDER_OUT
    )


def reader(lab: Lab) -> str:
    return lab.component("reader", READ, command="python run.py ${{inputs.data}}", inputs=FOLDER_IN)


def until_logged(lab: Lab, job: str, step: str, text: str) -> None:
    with deadline(60, f"{step} never said {text!r}") as check:
        while (
            step not in lab.steps(job) or not lab.runner.log_file(lab.steps(job)[step]).exists() or text not in lab.log(job, step)
        ):
            check()


def statuses(lab: Lab, job: str) -> dict[str, str]:
    return {name: run["status"] for name, run in lab.steps(job).items()}


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


def test_a_failing_step_fails_the_job_with_the_end_of_its_log_and_cancels_the_rest(lab: Lab) -> None:
    broken = lab.component("broken", "print('reading'); raise ValueError('column age is missing')", outputs=FOLDER_OUT)
    job = unique("broken")
    nodes = {"first": node(broken), "then": node(reader(lab), {"data": "${{parent.jobs.first.outputs.out}}"})}
    run = lab.run(job, lab.pipeline(nodes))
    assert run["status"] == "Failed"
    message = run["error"]["error"]["message"]
    assert message.startswith("Step 'first' failed with exit code 1.")
    assert message.endswith("ValueError: column age is missing")
    assert statuses(lab, job) == {"first": "Failed", "then": "Canceled"}


def test_other_steps_go_on_after_a_failure_when_the_job_says_so(lab: Lab) -> None:
    broken = lab.component("broken2", "raise SystemExit(3)", outputs=FOLDER_OUT)
    job = unique("continue")
    nodes = {
        "bad": node(broken),
        "after_bad": node(reader(lab), {"data": "${{parent.jobs.bad.outputs.out}}"}),
        "write": node(writer(lab), {"text": "x"}),
        "after_write": node(reader(lab), {"data": "${{parent.jobs.write.outputs.out}}"}),
    }
    run = lab.run(job, lab.pipeline(nodes, settings={"continue_on_step_failure": True}))
    assert run["status"] == "Failed"
    assert statuses(lab, job) == {"bad": "Failed", "after_bad": "Canceled", "write": "Completed", "after_write": "Completed"}


def test_a_step_that_is_killed_says_by_which_signal(lab: Lab) -> None:
    killed = lab.component("killed", "import os; os.kill(os.getpid(), 9)")
    run = lab.run(unique("killed"), lab.pipeline({"s": node(killed)}))
    assert "signal SIGKILL" in run["error"]["error"]["message"]


def test_cancel_ends_the_job_and_every_process_of_it(lab: Lab) -> None:
    script = "import subprocess; child = subprocess.Popen(['sleep', '300']); print('PID', child.pid, flush=True); child.wait()"
    sleeper = lab.component("sleeper", script, outputs=FOLDER_OUT)
    job = unique("cancel")
    lab.put(job, lab.pipeline({"s": node(sleeper), "t": node(reader(lab), {"data": "${{parent.jobs.s.outputs.out}}"})}))
    until_logged(lab, job, "s", "PID")
    pid = int(lab.log(job, "s").rpartition("PID ")[2])
    lab.runner.cancel(job)
    assert lab.runner.wait(job, 60)
    assert lab.runner.runs.get(job)["status"] == "Canceled"
    assert statuses(lab, job) == {"s": "Canceled", "t": "Canceled"}
    with deadline(10, "the step's child lives on") as check:
        while psutil.pid_exists(pid):
            check()
    lab.runner.cancel(job)
    assert lab.runner.runs.get(job)["status"] == "Canceled", "cancelling what has ended changes nothing"


def test_a_step_that_runs_longer_than_its_limit_is_canceled_and_its_pipeline_fails(lab: Lab) -> None:
    slow, job = lab.component("slow", "import time; time.sleep(300)"), unique("limit")
    run = lab.run(job, lab.pipeline({"s": node(slow, limits={"timeout": "PT0.2S"})}))
    assert (statuses(lab, job), run["status"]) == ({"s": "Canceled"}, "Failed")
    assert "longer than its limit" in run["error"]["error"]["message"]


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


def test_data_that_is_not_there_fails_the_step_and_names_it(lab: Lab) -> None:
    absent = {"job_input_type": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/absent"}
    run = lab.run(unique("absent"), lab.pipeline({"s": node(reader(lab), {"data": absent})}))
    assert "Step 's' could not run" in run["error"]["error"]["message"]
    assert "azureml-blobstore/absent" in run["error"]["error"]["message"]


def test_an_output_goes_where_the_job_says(lab: Lab) -> None:
    place = "azureml://datastores/workspaceblobstore/paths/chosen/${{name}}/"
    nodes = {"w": node(writer(lab), {"text": "here"}, {"out": "${{parent.outputs.o}}"})}
    job = unique("placed")
    lab.run(job, lab.pipeline(nodes, outputs={"o": {"jobOutputType": "uri_folder", "uri": place}}))
    assert lab.read(f"azureml://datastores/workspaceblobstore/paths/chosen/{job}/x.txt") == b"here"
    assert lab.read(f"azureml://jobs/{job}/outputs/o/x.txt") == b"here"


def test_a_file_output_that_was_not_written_fails_the_step(lab: Lab) -> None:
    forgetful = lab.component(
        "forgetful", "", command="python run.py ${{outputs.report}}", outputs={"report": {"type": "uri_file"}}
    )
    run = lab.run(unique("forgetful"), lab.pipeline({"s": node(forgetful)}))
    assert "did not write its output 'report'" in run["error"]["error"]["message"]


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


def test_every_status_of_job_and_steps_leaves_as_an_event(lab: Lab) -> None:
    nodes = {"w": node(writer(lab), {"text": "x"})}
    job = unique("events")
    root = lab.run(job, lab.pipeline(nodes, tags={"model": "churn"}))
    events = lab.topic.of_run(job, last="RunCompleted")
    changes = [event for event in events if event["eventType"].endswith(".RunStatusChanged")]
    assert [event["data"]["runStatus"] for event in changes] == ["NotStarted", "Preparing", "Running", "Finalizing", "Completed"]
    assert events[-1]["eventType"] == "Microsoft.MachineLearningServices.RunCompleted"
    assert events[-1]["subject"] == f"experiments/{root['experimentId']}/runs/{job}"
    assert events[-1]["topic"] == lab.emulator.workspace_id
    keys = {"experimentId", "experimentName", "runId", "runType", "runTags", "runProperties"}
    assert events[-1]["data"].keys() == keys
    assert changes[0]["data"].keys() == {*keys, "runStatus"}
    assert events[-1]["data"]["runTags"] == {"model": "churn"}
    assert {event["data"]["runType"] for event in events} == {"azureml.PipelineRun"}
    step = lab.topic.of_run(lab.steps(job)["w"]["runId"], last="RunCompleted")
    assert {event["data"]["runType"] for event in step} == {"azureml.StepRun"}


def test_a_nested_pipeline_publishes_its_own_events(lab: Lab) -> None:
    spec = {"type": "pipeline", "jobs": {"w": node(writer(lab), {"text": "x"})}}
    lab.emulator.store.put("components", "nest", "1", {"properties": {"componentSpec": spec}})
    job = unique("nested-events")
    assert lab.run(job, lab.pipeline({"below": node(lab.id("components", "nest"), type="pipeline")}))["status"] == "Completed"
    below = lab.steps(job)["below"]
    events = lab.topic.of_run(below["runId"], last="RunCompleted")
    assert [event["data"].get("runStatus") for event in events] == ["NotStarted", "Running", "Completed", None]
    assert {event["data"]["runType"] for event in events} == {"azureml.PipelineRun"}
    step = lab.topic.of_run(lab.steps(below["runId"])["below.w"]["runId"], last="RunCompleted")
    assert {event["data"]["runType"] for event in step} == {"azureml.StepRun"}
    assert step[0]["data"]["runProperties"]["azureml.pipelinerunid"] == below["runId"]
    root = lab.topic.of_run(job, last="RunCompleted")
    ends = [lab.topic.events.index(each[-1]) for each in (step, events, root)]
    assert ends == sorted(ends), "the inner ones end first"


def test_a_model_that_a_job_registers_raises_model_registered_before_the_job_ends(lab: Lab) -> None:
    command = "python run.py x ${{outputs.out}}"
    model = lab.component("modeller", WRITE, command=command, outputs={"out": {"type": "custom_model"}})
    made, name = node(model), unique("model")
    made["outputs"] = {"out": {"job_output_type": "custom_model", "name": name}}
    job = unique("registers")
    assert lab.run(job, lab.pipeline({"s": made}))["status"] == "Completed"
    ended = lab.topic.of_run(job, last="RunCompleted")[-1]
    registered = [event for event in lab.topic.events if event["subject"] == f"models/{name}:1"]
    assert [event["eventType"] for event in registered] == ["Microsoft.MachineLearningServices.ModelRegistered"]
    assert registered[0]["data"].keys() == {"ModelName", "ModelVersion", "ModelTags", "ModelProperties"}
    assert lab.topic.events.index(registered[0]) < lab.topic.events.index(ended)


def test_a_failed_job_publishes_no_run_completed(lab: Lab) -> None:
    broken = lab.component("broken3", "raise SystemExit(1)")
    job = unique("failed-events")
    lab.run(job, lab.pipeline({"s": node(broken)}))
    events = lab.topic.of_run(job, last="Failed")
    assert not [event for event in events if event["eventType"].endswith(".RunCompleted")]


def test_a_stopped_emulator_ends_its_jobs_and_remembers_them(
    tmp_path: Path, state: Path, certificates: Certificates, azurite: Azurite
) -> None:
    lab = Lab(tmp_path / "state", state / "certificates", azurite.blob_url)
    sleeper = lab.component("sleeper", "import os, time; print('PID', os.getpid(), flush=True); time.sleep(300)")
    job = unique("stopped")
    lab.put(job, lab.pipeline({"s": node(sleeper)}))
    until_logged(lab, job, "s", "PID")
    pid = int(lab.log(job, "s").rpartition("PID ")[2])
    lab.emulator.close()
    assert not psutil.pid_exists(pid)
    lab.start()
    run = lab.runner.runs.get(job)
    assert run["status"] == "Failed"
    assert "emulator was stopped" in run["error"]["error"]["message"]
    assert statuses(lab, job) == {"s": "Failed"}
    lab.close()


def test_a_job_that_an_earlier_life_left_running_is_failed_at_the_next_start(
    tmp_path: Path, state: Path, certificates: Certificates, azurite: Azurite
) -> None:
    lab = Lab(tmp_path / "state", state / "certificates", azurite.blob_url)
    nodes = {"w": node(writer(lab), {"text": "x"})}
    job = unique("left")
    lab.run(job, lab.pipeline(nodes))
    step = lab.steps(job)["w"]["runId"]
    for run_id in (job, step):  # what a kill -9 in the middle leaves in the store
        lab.emulator.store.update("runs", run_id, "", lambda run: {**run, "status": "Running"})
    lab.emulator.close()
    lab.start()
    assert lab.runner.runs.get(job)["status"] == "Failed"
    assert lab.runner.runs.get(step)["status"] == "Failed"
    assert lab.topic.of_run(job, last="Failed")[-1]["data"]["runStatus"] == "Failed"
    lab.close()


def refused(lab: Lab, properties: dict[str, Any]) -> str:
    from local.azureml.errors import AzureError

    job = unique("refused")
    with pytest.raises(AzureError) as caught:
        lab.put(job, properties)
    assert lab.runner.runs.find(job) is None, "nothing of a refused job is kept"
    return f"{caught.value.status} {caught.value.message}"


def test_a_submission_that_cannot_run_is_refused_and_says_why(lab: Lab) -> None:
    write, read = writer(lab), reader(lab)

    def pipeline(*args: Any, **more: Any) -> str:
        return refused(lab, lab.pipeline({"s": node(*args, **more)}))

    assert "400 components/absent/versions/1 does not exist" in pipeline(lab.id("components", "absent"))
    assert "400 Step 's': the required input 'text' has no value" in pipeline(write)
    assert "400 Step 's' has no input txt; its inputs are ['text']" in pipeline(write, {"txt": "x"})
    assert "400 data/absent/versions/7 does not exist" in pipeline(
        read, {"data": {"job_input_type": "uri_folder", "uri": lab.id("data", "absent", "7")}}
    )
    assert "there is no output 'nothing' of a step 's'" in pipeline(read, {"data": "${{parent.jobs.s.outputs.nothing}}"})
    assert "is not a binding" in pipeline(write, {"text": "${{parent.input.x}}"})
    assert "input 'data' is of type uri_folder, but a literal was given" in pipeline(read, {"data": "x"})
    assert "is not bound to an output of the pipeline" in pipeline(write, {"text": "x"}, {"out": "${{parent.outputs.o}}"})
    # The SDK sends these of its private features only; spark and automl: test_job_wishes.py.
    for kind in ("if_else", "do_while", "parallel_for", "import", "data_transfer"):
        assert f"501 Step 's' is of type '{kind}'" in pipeline(write, {"text": "x"}, type=kind)
    assert "501" in refused(lab, {"jobType": "AutoML"})
    for ports in ({"inputs": {"../../x": {"type": "string"}}}, {"outputs": {"../../x": {"type": "uri_folder"}}}):
        assert "'../../x' is no valid name" in pipeline(lab.component(f"climbs-{next(iter(ports))}", "", **ports))
    settings = {"on_init": "s"}
    assert "the settings on_init of a pipeline job" in refused(
        lab, lab.pipeline({"s": node(write, {"text": "x"})}, settings=settings)
    )
    assert "at least one step" in refused(lab, lab.pipeline({}))


def test_steps_that_wait_for_each_other_are_refused(lab: Lab) -> None:
    both = lab.component(
        "both", READ, command="python run.py ${{inputs.data}} ${{outputs.out}}", inputs=FOLDER_IN, outputs=FOLDER_OUT
    )
    nodes = {
        "a": node(both, {"data": "${{parent.jobs.b.outputs.out}}"}),
        "b": node(both, {"data": "${{parent.jobs.a.outputs.out}}"}),
    }
    assert "wait for each other" in refused(lab, lab.pipeline(nodes))


@pytest.mark.parametrize(("kind", "value"), [("integer", "1.5"), ("number", "much"), ("boolean", "perhaps")])
def test_a_literal_of_the_wrong_type_is_refused(lab: Lab, kind: str, value: str) -> None:
    typed = lab.component(f"typed-{kind}", "", command="python run.py ${{inputs.x}}", inputs={"x": {"type": kind}})
    assert f"'{value}' is no {kind}" in refused(lab, lab.pipeline({"s": node(typed, {"x": value})}))


def test_the_same_job_again_is_the_same_job_and_another_definition_is_refused(lab: Lab) -> None:
    from local.azureml.errors import AzureError

    job, nodes = unique("again"), {"w": node(writer(lab), {"text": "x"})}
    assert lab.put(job, lab.pipeline(nodes)).status == 201
    again = lab.put(job, lab.pipeline(nodes, tags={"seen": "twice"}))
    assert again.status == 200
    assert again.body["properties"]["tags"] == {"seen": "twice"}
    with pytest.raises(AzureError, match="exists already and its definition cannot be changed"):
        lab.put(job, lab.pipeline({"w": node(writer(lab), {"text": "other"})}))
    assert lab.runner.wait(job, 60)
    assert len(lab.steps(job)) == 1


@pytest.mark.parametrize("name", ["-begins", "a b", "a" * 256, "../up", "dots.are.not"])
def test_a_bad_job_name_is_refused(lab: Lab, name: str) -> None:
    from local.azureml.errors import AzureError

    with pytest.raises(AzureError, match="not a valid job name"):
        lab.put(name, lab.pipeline({}))
    with pytest.raises(AzureError, match="not a valid job name"):  # as an invocation of a batch endpoint chooses it
        jobs.Jobs(lab.emulator).submit_new(name, lab.pipeline({}))
