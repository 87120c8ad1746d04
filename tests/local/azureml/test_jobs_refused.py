"""Submissions that are refused, and names that are taken: nothing of a refused job is kept."""

from __future__ import annotations

from typing import Any

import pytest

from local.azureml import jobs
from tests.local.azureml.job_lab import Lab, node
from tests.local.azureml.job_pieces import FOLDER_IN, FOLDER_OUT, READ, reader, writer
from tests.local.azureml.pipelines import unique

pytestmark = pytest.mark.train_environment


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


@pytest.mark.parametrize("timeout", ["PT0S", "P101D", f"P{'9' * 30}D", "soon", "-PT1S"])
def test_a_limit_that_no_step_could_keep_to_is_refused(lab: Lab, timeout: str) -> None:
    limited = node(writer(lab), {"text": "x"}, limits={"timeout": timeout})
    assert f"'{timeout}'" in refused(lab, lab.pipeline({"s": limited}))
