"""A user's own conda files: what they ask pip for, the environments made from them, and jobs whose file has none."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from local.azureml.command_line.environments import app
from local.azureml.command_line.running import CommandError
from local.azureml.execution import environments
from local.azureml.execution.conda import Asked, CondaFileError, read_conda
from local.azureml.execution.environments import EnvironmentMissing, environment_key, interpreter_for
from tests.local.azureml.pipelines import unique, until_ended

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from local.azureml.emulator import Emulator

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("conda", "pip"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy=1.26.*", "numpy==1.26.*"),
        ("numpy==1.26.4", "numpy==1.26.4"),
        ("numpy=1.26.4=py311h64a7726_0", "numpy==1.26.4"),
        ("conda-forge::pandas>=2,<3", "pandas>=2,<3"),
        ("pytorch=2.2", "torch==2.2.*"),
        ("scikit-learn 1.5.0", "scikit-learn==1.5.0"),
    ],
)
def test_a_conda_dependency_becomes_the_requirement_that_means_the_same(conda: str, pip: str) -> None:
    assert read_conda(f"dependencies: ['{conda}']") == Asked(None, None, (pip,))


def test_a_conda_file_is_read_as_people_write_it() -> None:
    text = "name: mine\nchannels: [conda-forge]\ndependencies:\n- python=3.10\n- pip\n- pip:\n  - -r more.txt\n  - ./local.whl\n"
    assert read_conda(text) == Asked("mine", "3.10", ("pip", "-r more.txt", "./local.whl"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dependencies: [cudatoolkit=11.8, openmpi, numpy]", "cudatoolkit=11.8, openmpi"),
        ("dependencies: ['numpy; rm -rf']", "numpy; rm -rf"),
        ("dependencies: ['python=three']", "python=three"),
        ("dependencies: [{npm: [left-pad]}]", "'npm'"),
        ("name: x", "list of 'dependencies'"),
        ("a: [", "not valid YAML"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(CondaFileError, match=says.replace("'", ".")):
        read_conda(text)


def _wheel(folder: Path) -> None:
    """A package of one line, which pip installs without a network."""
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": "ANSWER = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    folder = tmp_path / "environments"

    def run(*arguments: str) -> tuple[int, str]:
        ended = CliRunner().invoke(app, [*arguments, "--folder", str(folder)])
        said = str(ended.exception) if isinstance(ended.exception, CommandError) else ended.output
        return ended.exit_code, said

    return run


def test_an_environment_is_made_listed_used_and_removed(
    tmp_path: Path, command: Callable[..., tuple[int, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    folder, conda = tmp_path / "environments", tmp_path / "conda.yaml"
    _wheel(tmp_path)
    conda.write_text(f"name: mine\ndependencies:\n- python={RUNNING}\n- pip:\n  - ./tiny-1.0-py3-none-any.whl\n")
    with pytest.raises(EnvironmentMissing, match="environments add"):
        interpreter_for(conda.read_text(), folder)
    assert "missing: add it" in command("list")[1]
    code, said = command("add", str(conda))
    assert (code, "mine stands for this conda file" in said) == (0, True), said
    python = interpreter_for(conda.read_text(), folder)
    asked = subprocess.run([python, "-c", "import tiny; print(tiny.ANSWER)"], capture_output=True, text=True, check=True)
    assert asked.stdout == "42\n"
    listed = command("list")[1]
    assert environment_key(conda.read_text()) in listed
    assert "missing" not in listed
    code, said = command("add", str(conda))
    assert (code, "--replace" in said) == (1, True)
    assert command("remove", "mine")[0] == 0
    assert list(folder.glob("mine*")) == [path for path in folder.iterdir() if path.is_symlink()] == []
    assert command("remove", "mine")[0] == 1


def test_a_failed_installation_leaves_nothing_and_says_why(
    tmp_path: Path, command: Callable[..., tuple[int, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    conda = tmp_path / "conda.yaml"
    conda.write_text("name: mine\ndependencies:\n- pip:\n  - ./absent-1.0-py3-none-any.whl\n")
    code, said = command("add", str(conda))
    assert (code, said.startswith("uv ended with")) == (1, True)
    assert "absent-1.0" in capfd.readouterr().err
    assert not (tmp_path / "environments" / "mine").exists()
    for name in ("train", "0123456789ab", "../up"):
        assert command("add", str(conda), "--name", name)[0] == 1


def test_a_version_of_python_that_is_not_here_is_replaced_with_a_warning(
    tmp_path: Path, command: Callable[..., tuple[int, str]]
) -> None:
    conda = tmp_path / "conda.yaml"
    conda.write_text("name: old\ndependencies:\n- python=3.5\n")
    code, said = command("add", str(conda))
    assert (code, "warning: Python 3.5" in said) == (0, True), said


@pytest.mark.train_environment
def test_without_an_environment_a_job_is_refused_at_once_with_the_command_or_runs_by_default(
    tmp_path: Path,
    ml_client: MLClient,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment
    from azure.core.exceptions import HttpResponseError

    conda = tmp_path / "conda.yaml"
    conda.write_text(f"name: {unique('never-made')}\ndependencies:\n- python={RUNNING}\n")
    job = command(command="true", environment=Environment(image="python:3.11", conda_file=conda), name=unique("job"))
    with pytest.raises(HttpResponseError, match=r"python -m local\.azureml environments add \S+\.conda\.yaml") as refused:
        ml_client.jobs.create_or_update(job)
    assert refused.value.status_code == 400
    kept = environments.asked_file(environment_key(conda.read_text()))
    assert read_conda(kept.read_text()).python == RUNNING
    kept.unlink()
    monkeypatch.setattr(emulator, "settings", dataclasses.replace(emulator.settings, environments="default"))
    name = ml_client.jobs.create_or_update(job).name
    assert until_ended(ml_client, name).status == "Completed"
    ml_client.jobs.download(name, download_path=tmp_path / "job")
    (log,) = (tmp_path / "job").rglob("std_log.txt")
    assert "warning: the default environment is used instead." in log.read_text()
    kept.unlink()


@pytest.mark.parametrize("text", ["dependencies: [2026-01-01]", "a: &a [*a]", "1: x\nb: y", "{"])
def test_a_conda_file_that_is_none_is_refused_for_what_it_holds(text: str) -> None:
    with pytest.raises(EnvironmentMissing, match="conda file"):
        environment_key(text)
