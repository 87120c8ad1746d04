"""Which Python stands for which conda file, and what a step's process is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.azureml.execution.environments import EnvironmentMissing, environment_key, interpreter_for, link, main
from local.azureml.execution.process_environment import script_of

CONDA = "name: train\ndependencies:\n  - python=3.11\n  - pip:\n    - pandas==2.3\n"
# As azure-ai-ml sends it: parsed, sorted, dumped.
SENT = "dependencies:\n- python=3.11\n- pip:\n  - pandas==2.3\nname: train\n"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    python = tmp_path / "environments" / "train" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return tmp_path / "environments" / "train"


def test_a_conda_file_is_known_again_after_the_sdk_has_rewritten_it() -> None:
    assert environment_key(CONDA) == environment_key("# a comment\n" + SENT)
    assert environment_key(CONDA) != environment_key(CONDA.replace("2.3", "2.4"))


def test_a_linked_environment_is_found_and_can_be_replaced(environment: Path, tmp_path: Path) -> None:
    conda = tmp_path / "train.conda.yaml"
    conda.write_text(CONDA)
    link(conda, environment, environment.parent)
    made = link(conda, environment, environment.parent)
    assert made.is_symlink()
    assert interpreter_for(SENT, environment.parent) == environment / "bin" / "python"


def test_a_conda_file_without_an_environment_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMissing, match="environments add"):
        interpreter_for(CONDA, tmp_path)
    (kept,) = (tmp_path / "asked").iterdir()
    assert kept.read_text() == CONDA, "so that the command can be run as it stands"


def test_the_command_line_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conda = tmp_path / "train.conda.yaml"
    conda.write_text(CONDA)
    assert main(["link", str(conda), str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_a_conda_file_that_is_no_yaml_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMissing, match="not valid YAML"):
        interpreter_for("a: [", tmp_path)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python train.py --a 1 --b 'two words'", ("train.py", "--a", "1", "--b", "two words")),
        ("python3 src/train.py", ("src/train.py",)),
        ("python -m train", ()),
        ("python train.py && echo done", ()),
        ("python train.py --x $HOME", ()),
        ("python train.py *.csv", ()),
        ("A=1 python train.py", ()),
        ("python train.py 'open", ()),
        ("echo python train.py", ()),
        ("python train.py --x a\rb", ()),
        ("python train.py --x 'a\nb'", ()),
        ("python train.py --x a\u00a0b", ()),
        ("python train.py --x a\x00b", ()),
    ],
)
def test_only_a_plain_python_command_is_forked_everything_else_is_bashs(command: str, words: tuple[str, ...]) -> None:
    assert script_of(command, {}) == words


def test_variables_that_are_read_when_a_process_starts_are_not_left_to_a_fork() -> None:
    assert script_of("python train.py", {"MY_FLAG": "1"}) == ("train.py",)
    for name in ("OMP_NUM_THREADS", "PATH", "LC_ALL", "BASH_ENV"):
        assert script_of("python train.py", {name: "1"}) == ()


def split_by_bash(folder: Path, command: str) -> list[str]:
    """The arguments that bash gives to a program named `python`, which writes them down, each followed by a NUL."""
    told = folder / "told"
    told.unlink(missing_ok=True)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    subprocess.run(["bash", "-c", command], cwd=folder, env=environment, check=False, capture_output=True)
    return told.read_text().split("\0")[:-1] if told.exists() else []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.text(st.sampled_from("a -='\"\t\r\x0b\x1c\x85\u00a0\u3000,:%^@+./"), max_size=6),
    form=st.sampled_from(["{}", "--x '{}' y", '"{}"', "--a={} b", "{}  "]),
)
def test_a_forked_script_gets_the_words_that_bash_would_give_it_whatever_an_input_holds(
    tmp_path: Path, value: str, form: str
) -> None:
    python = tmp_path / "python"
    if not python.exists():
        python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" > told\n")
        python.chmod(0o755)
    command = f"python train.py {form.format(value)}"
    words = script_of(command, {})
    assert list(words) in ([], split_by_bash(tmp_path, command))
