"""Pipelines within pipelines, through the unmodified client: bindings through levels, a run per level, failure, cancellation."""

# Without postponed annotations: the decorator `dsl.pipeline` reads those of the functions here.
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from local.azureml.emulator import Emulator
from tests.local.azureml.pipelines import component, submit, unique, until_ended
from tests.waiting import wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

pytestmark = pytest.mark.train_environment

JOIN = """
import pathlib, sys
words = [(pathlib.Path(word) / "x").read_text() if pathlib.Path(word).is_dir() else word for word in sys.argv[2:]]
(pathlib.Path(sys.argv[1]) / "x").write_text("+".join(words))
"""


@pytest.fixture(scope="module")
def client(ml_client: "MLClient") -> "MLClient":
    from azure.ai.ml.entities import Environment

    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    return ml_client


@pytest.fixture
def join(tmp_path: Path) -> Any:
    """Writes its word, and what the folder `after` holds when it is given one, to its output."""
    return component(
        tmp_path, "join", JOIN,
        command="python run.py ${{outputs.out}} ${{inputs.word}} $[[${{inputs.after}}]]",
        inputs={"word": {"type": "string"}, "after": {"type": "uri_folder", "optional": True}},
        outputs={"out": {"type": "uri_folder"}},
    )  # fmt: skip


def node_of(run: Any) -> str:
    return str(run.properties["azureml.moduleName"])


def levels(client: "MLClient", name: str | None) -> dict[str, Any]:
    """Node -> status, or for what has children (status, their levels)."""
    found = {}
    for child in client.jobs.list(parent_job_name=name):
        below = levels(client, child.name)
        found[node_of(child)] = (child.status, below) if below else child.status
    return found


def child(client: "MLClient", name: str, *path: str) -> Any:
    """The child run of a job by the nodes that lead to it."""
    for label in path:
        name = next(one.name for one in client.jobs.list(parent_job_name=name) if node_of(one) == label)
    return client.jobs.get(name)


def three_levels(join: Any) -> Any:
    from azure.ai.ml import Input, dsl

    @dsl.pipeline()
    def innermost(word: str, after: Input(type="uri_folder", optional=True) = None) -> Any:  # type: ignore[valid-type]
        last = join(word=word, after=after)
        return {"made": last.outputs.out}

    @dsl.pipeline()
    def middle(word: str, times: int = 3) -> Any:
        first = join(word=times)
        with_data = innermost(word=word, after=first.outputs.out)
        without = innermost(word="alone")
        return {"joined": with_data.outputs.made, "alone": without.outputs.made}

    @dsl.pipeline(default_compute="serverless", experiment_name="nested", display_name="three levels")
    def outer(word: str = "hello") -> Any:
        below = middle(word=word)
        end = join(word="end", after=below.outputs.joined)
        return {"result": end.outputs.out, "alone": below.outputs.alone}

    return outer()


def test_values_go_through_three_levels_of_pipelines_and_every_level_is_a_run_of_its_own(
    client: "MLClient", join: Any, tmp_path: Path, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    name = submit(client, three_levels(join)).name
    job = until_ended(client, name)
    assert job.status == "Completed", emulator.store.get("runs", name)
    done, inner = "Completed", ("Completed", {"last": "Completed"})
    outermost = levels(client, name)
    middle = outermost.pop("below")
    assert outermost == {"end": done}
    assert middle == (done, {"first": done, "with_data": inner, "without": inner})
    run = child(client, name, "below")
    document = emulator.jobs.runs.get(run.name)
    assert (document["runType"], document["rootRunId"], document["parentRunId"]) == ("azureml.PipelineRun", name, name)

    client.jobs.download(name, download_path=tmp_path / "all", all=True)
    assert (tmp_path / "all/named-outputs/result/x").read_text() == "end+hello+3"
    assert (tmp_path / "all/named-outputs/alone/x").read_text() == "alone"
    client.jobs.download(run.name, download_path=tmp_path / "middle", all=True)
    assert "below ended: Completed" in (tmp_path / "middle/artifacts/logs/azureml/executionlogs.txt").read_text()
    client.jobs.download(run.name, download_path=tmp_path / "one", output_name="joined")
    assert (tmp_path / "one/named-outputs/joined/x").read_text() == "hello+3"
    client.jobs.stream(name)
    assert f"RunId: {name}" in capsys.readouterr().out


def test_a_pipeline_component_is_registered_used_as_a_node_and_submitted_by_itself(
    client: "MLClient", join: Any, tmp_path: Path, emulator: Emulator
) -> None:
    from azure.ai.ml import load_component, load_job
    from azure.ai.ml.entities import PipelineJob

    inner = {
        "type": "pipeline",
        "name": unique("inner").replace("-", "_"),
        "version": "1",
        "inputs": {"word": {"type": "string", "default": "by_default"}},
        "outputs": {"made": {"type": "uri_folder"}},
        "jobs": {
            "join": {
                "type": "command",
                "component": "./join/component.yaml",
                "inputs": {"word": "it_is_${{parent.inputs.word}}"},
                "outputs": {"out": "${{parent.outputs.made}}"},
            },
            "inline": {
                "type": "command",
                "command": "echo said ${{inputs.word}}; echo and $SAID",
                "environment": "azureml:plain:1",
                "inputs": {"word": "${{parent.inputs.word}}"},
                "environment_variables": {"SAID": "${{parent.inputs.word}}"},
            },
        },
    }
    (tmp_path / "inner.yml").write_text(yaml.safe_dump(inner))
    made = client.components.create_or_update(load_component(tmp_path / "inner.yml"))
    outer = {
        "type": "pipeline",
        "experiment_name": "nested",
        "settings": {"default_compute": "azureml:serverless"},
        "outputs": {"result": {"type": "uri_folder"}},
        "jobs": {
            "inner": {
                "type": "pipeline",
                "component": f"azureml:{made.name}:1",
                "outputs": {"made": "${{parent.outputs.result}}"},
            }
        },
    }
    (tmp_path / "outer.yml").write_text(yaml.safe_dump(outer))
    as_node = submit(client, load_job(tmp_path / "outer.yml")).name
    settings = {"default_compute": "serverless"}
    by_id = PipelineJob(
        component=f"azureml:{made.name}:1", inputs={"word": "itself"}, experiment_name="nested", settings=settings
    )
    alone = submit(client, by_id).name
    for name in (as_node, alone):
        assert until_ended(client, name).status == "Completed", emulator.store.get("runs", name)
    client.jobs.download(as_node, download_path=tmp_path, output_name="result")
    assert (tmp_path / "named-outputs/result/x").read_text() == "it_is_by_default"
    log = emulator.jobs.log_file(emulator.jobs.runs.get(child(client, as_node, "inner", "inline").name)).read_text()
    assert "said by_default\nand by_default" in log
    client.jobs.download(alone, download_path=tmp_path / "alone", output_name="made")
    assert (tmp_path / "alone/named-outputs/made/x").read_text() == "it_is_itself"


def test_what_fails_below_fails_above_and_other_branches_go_on_when_the_job_says_so(
    client: "MLClient", join: Any, tmp_path: Path, emulator: Emulator
) -> None:
    from azure.ai.ml import dsl

    broken = component(tmp_path, "broken", "raise SystemExit(3)", command="python run.py ${{outputs.out}}", outputs=join_out())

    @dsl.pipeline()
    def failing() -> Any:
        bad = broken()
        never = join(word="never", after=bad.outputs.out)
        return {"made": never.outputs.out}

    @dsl.pipeline(default_compute="serverless", experiment_name="nested", continue_on_step_failure=True)
    def outer() -> None:
        below = failing()
        after = join(word="after", after=below.outputs.made)  # noqa: F841 - a variable names its node
        other = join(word="other")
        further = join(word="further", after=other.outputs.out)  # noqa: F841

    job = outer()
    name = submit(client, job).name
    assert until_ended(client, name).status == "Failed"
    assert levels(client, name) == {
        "below": ("Failed", {"bad": "Failed", "never": "Canceled"}),
        "after": "Canceled",
        "other": "Completed",
        "further": "Completed",
    }
    assert "exit code 3" in emulator.jobs.runs.get(name)["error"]["error"]["message"]
    below = emulator.jobs.runs.get(child(client, name, "below").name)
    assert "below.bad" in below["error"]["error"]["message"]

    job.settings.continue_on_step_failure = False
    stopped = submit(client, job).name
    assert until_ended(client, stopped).status == "Failed"
    assert levels(client, stopped)["after"] == "Canceled"


def test_a_step_does_without_an_optional_input_whose_step_failed_when_the_job_says_so(
    client: "MLClient", join: Any, tmp_path: Path
) -> None:
    from azure.ai.ml import dsl

    broken = component(tmp_path, "lost", "raise SystemExit(3)", command="python run.py ${{outputs.out}}", outputs=join_out())

    @dsl.pipeline(default_compute="serverless", experiment_name="nested", continue_on_step_failure=True)
    def outer() -> Any:
        bad = broken()
        kept = join(word="kept", after=bad.outputs.out)
        return {"result": kept.outputs.out}

    job = outer()
    job.settings.continue_run_on_failed_optional_input = True
    name = submit(client, job).name
    assert until_ended(client, name).status == "Failed", "a step failed all the same"
    assert levels(client, name) == {"bad": "Failed", "kept": "Completed"}
    client.jobs.download(name, download_path=tmp_path, output_name="result")
    assert (tmp_path / "named-outputs/result/x").read_text() == "kept"


def test_a_cancelled_job_cancels_the_pipelines_below_it(client: "MLClient", join: Any, tmp_path: Path) -> None:
    from azure.ai.ml import dsl
    from azure.core.exceptions import HttpResponseError

    wait = component(
        tmp_path, "wait", "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\ntime.sleep(300)",
        command="python run.py ${{inputs.sign}}", inputs={"sign": {"type": "string"}},
    )  # fmt: skip

    @dsl.pipeline()
    def below() -> None:
        wait(sign=str(tmp_path / "runs"))

    @dsl.pipeline(default_compute="serverless", experiment_name="nested")
    def outer() -> None:
        below()

    name = submit(client, outer()).name
    wait_until(lambda: (tmp_path / "runs").exists(), within=60, what="the step's start")
    assert levels(client, name) == {"below": ("Running", {"wait": "Running"})}
    with pytest.raises(HttpResponseError, match=f"cancelling a part of a job; cancel the job '{name}'"):
        client.jobs.begin_cancel(child(client, name, "below").name)
    client.jobs.begin_cancel(name).result()
    assert until_ended(client, name).status == "Canceled"
    assert levels(client, name) == {"below": ("Canceled", {"wait": "Canceled"})}


def test_an_unknown_compute_inside_of_a_pipeline_component_is_refused(client: "MLClient", join: Any) -> None:
    from azure.ai.ml import dsl
    from azure.core.exceptions import HttpResponseError

    @dsl.pipeline()
    def below() -> None:
        join(word="x").compute = "no-such-cluster"

    @dsl.pipeline(default_compute="serverless", experiment_name="nested")
    def outer() -> None:
        below()

    with pytest.raises(HttpResponseError, match="Unknown compute target 'no-such-cluster'"):
        submit(client, outer())


def join_out() -> dict[str, Any]:
    return {"out": {"type": "uri_folder"}}
