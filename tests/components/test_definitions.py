"""The YAML that Azure ML reads: loaded and validated by Microsoft's own SDK, as `az ml job create` does before it sends it."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from . import jobs

PIPELINE = jobs.COMPONENTS / "pipelines/train.yml"


@pytest.fixture(scope="module")
def job():
    from azure.ai.ml import load_job

    return load_job(PIPELINE)


def test_the_pipeline_is_valid_for_az_ml_job_create(job) -> None:
    result = job._validate()
    assert result.passed, result.error_messages
    assert list(job.jobs) == list(jobs.STEPS)


def test_no_pipeline_input_is_lost_on_its_way_to_azure(job) -> None:
    # The SDK drops inputs that are None or an empty text, and leaves the steps' bindings to them dangling.
    sent = job._to_rest_object().properties.inputs
    assert set(sent) == set(job.inputs) == {
        "data", "data_asset", "data_version", "data_account_url", "model_name", "target_column", "positive_value", "id_columns",
        "git_commit", "cause", "correlation_id", "seed", "shadow_rows", "test_fraction",
        "min_auc", "min_average_precision", "max_log_loss", "max_calibration_error",
    }  # fmt: skip


def test_registration_waits_for_the_verdict() -> None:
    bound = yaml.safe_load(PIPELINE.read_text())["jobs"]["register"]["inputs"]
    assert bound["evaluation"] == "${{parent.jobs.evaluate.outputs.evaluation}}"


@pytest.mark.parametrize("step", jobs.STEPS)
def test_the_code_that_is_uploaded_has_every_module_that_the_step_imports(step: str) -> None:
    from azure.ai.ml import load_component

    component = load_component(jobs.COMPONENTS / step / "component.yaml")
    assert component._validate().passed
    with component._generate_additional_includes_obj().merge_local_code_and_additional_includes() as folder:
        modules = {path.stem: path for path in Path(folder).glob("*.py")}
        ours = {path.stem for code in (*jobs.FOLDERS, jobs.ROOT / "ml_core") for path in code.glob("*.py")}
        needed = {name for path in modules.values() for name in _imports(path)} & ours
    assert needed <= set(modules)


@pytest.mark.parametrize("step", jobs.STEPS)
def test_what_a_step_takes_from_the_app_imports_the_standard_library_alone(step: str) -> None:
    included = [(jobs.COMPONENTS / step / include).resolve() for include in jobs.component(step).get("additional_includes", [])]
    borrowed = [path for path in included if jobs.COMPONENTS not in path.parents]
    assert [path.name for path in borrowed] == (["naming.py"] if step == "validate" else [])
    assert all(_imports(path) <= sys.stdlib_module_names for path in borrowed)


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("step", jobs.STEPS)
def test_a_command_is_one_python_script_with_arguments(step: str) -> None:
    text = jobs.component(step)["command"]
    assert shlex.split(text)[:2] == ["python", f"{step}.py"]
    assert not set("|;&<>`") & set(text)


@pytest.mark.parametrize("step", jobs.STEPS)
def test_every_input_and_output_of_a_component_is_passed_on(step: str) -> None:
    spec = jobs.component(step)
    for kind in ("inputs", "outputs"):
        for name in spec.get(kind, {}):
            assert f"--{name} " in spec["command"]
            assert f"${{{{{kind}.{name}}}}}" in spec["command"]


@pytest.mark.parametrize("name", ["train", "serve"])
def test_the_conda_file_has_exactly_the_pins_of_the_lock_file(name: str) -> None:
    folder = jobs.COMPONENTS / "environment"
    sys.path.insert(0, str(folder))
    try:
        import lock
    finally:
        sys.path.remove(str(folder))
    text = (folder / f"{name}.conda.yaml").read_text()
    assert text == lock.conda(name, (folder / f"{name}.txt").read_text()), "run `make lock`"
    # The SDK sends this text, parsed and dumped: it must be the file, byte for byte, so that both have one hash.
    assert yaml.dump(yaml.safe_load(text)) == text
    with pytest.raises(ValueError, match="unknown marker"):
        lock.pins("foo==1 ; sys_platform == 'plan9' \\")


@pytest.mark.parametrize("name", ["train", "serve"])
def test_an_environment_file_loads_with_its_conda_file(name: str) -> None:
    document = environment(name)
    assert (jobs.COMPONENTS / "environment" / document["conda_file"]).is_file()


def environment(name: str) -> dict[str, str]:
    return yaml.safe_load((jobs.COMPONENTS / f"environment/{name}.environment.yaml").read_text())


def test_training_serving_and_the_configurations_default_are_built_on_one_dated_image() -> None:
    from ml_core.config import Endpoint

    image = Endpoint.model_fields["image"].default
    assert [environment(name)["image"] for name in ("train", "serve")] == [image, image]
    # A tag that moves would build another environment next month from the same commit.
    assert re.fullmatch(r"mcr\.microsoft\.com/azureml/[a-z0-9.-]+:20\d{6}\.v\d+", image)


PINNED = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


@pytest.mark.train_environment
@pytest.mark.parametrize("name", ["train", "serve"])
def test_the_laptops_environment_is_the_one_that_azure_builds(name: str) -> None:
    pins = yaml.safe_load((jobs.COMPONENTS / f"environment/{name}.conda.yaml").read_text())["dependencies"][-1]["pip"]
    expected = dict(pin.split("==") for pin in pins)
    names = [pin.split("[")[0] for pin in expected]
    assert list(json.loads(jobs.script(PINNED, *names, environment=name)).values()) == list(expected.values())
