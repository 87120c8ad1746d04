"""The page "Use your Azure ML project offline" does what it says: files, script, tests and commands here are the page's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/use-your-project-offline.md").read_text()
_FILE = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The page's files, where it says they are."""
    for name, content in _FILE.findall(PAGE):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path


@pytest.mark.train_environment
@pytest.mark.filterwarnings("ignore:This class is intended as a base class")  # the SDK's, of its own load_batch_deployment
def test_the_project_runs_from_yaml_to_answers(
    project: Path, ml_client: MLClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    script = (project / "run.py").read_text()
    exec(compile(script, "run.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - the page's own code
    assert '{"y": 42.0}' in capsys.readouterr().out.replace("\\", "")
    (answers,) = (project / "answers").rglob("answers.csv")
    assert "three.txt: 6.0" in answers.read_text()
    assert ml_client.schedules.get("fit-every-night").is_enabled
    ml_client.schedules.begin_disable("fit-every-night").result()
    ml_client.online_endpoints.begin_delete("line-online").result()
    ml_client.batch_endpoints.begin_delete("line-batch").result()


@pytest.mark.train_environment
def test_the_fixtures_serve_tests_of_a_project_elsewhere(tmp_path: Path) -> None:
    (block,) = (block for language, block in _BLOCK.findall(PAGE) if language == "python" and "pytest_plugins" in block)
    conftest, _, tests = block.partition("\n")
    (tmp_path / "conftest.py").write_text(conftest + "\n")
    (tmp_path / "test_mine.py").write_text(tests)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--without-mlflow",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout


def test_what_the_page_gives_to_ci_is_yaml_with_commands_that_exist() -> None:
    snippets = [yaml.safe_load(block) for language, block in _BLOCK.findall(PAGE) if language == "yaml"]
    (actions,) = (one for one in snippets if "pipeline" in one.get("jobs", {}))
    (pipelines,) = (one for one in snippets if "pool" in one)
    assert all("run" in step or "uses" in step for step in actions["jobs"]["pipeline"]["steps"])
    assert all({"checkout", "script", "bash"} & step.keys() for step in pipelines["steps"])


def test_every_command_of_the_page_is_known_to_the_command_line() -> None:
    from typer.main import get_command

    from local.azureml.__main__ import app

    known = get_command(app)
    for words in re.findall(r"-m local\.azureml((?: [\w-]+)*)", PAGE):
        here = known
        for word in words.split():
            if word.startswith("-"):
                assert word in {name for option in here.params for name in option.opts} | {"--help"}, words
            elif isinstance(getattr(here, "commands", None), dict):
                assert word in here.commands, words
                here = here.commands[word]
