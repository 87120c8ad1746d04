"""What jobs publish: every status of job, nested pipelines and steps, and the models that they register."""

from __future__ import annotations

import pytest

from tests.local.azureml.job_lab import Lab, node
from tests.local.azureml.job_pieces import WRITE, writer
from tests.local.azureml.pipelines import unique

pytestmark = pytest.mark.train_environment


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
