"""Makes a local virtual environment from a conda file with uv, and lets it stand for the file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.azureml.execution.conda import Asked, CondaFileError, read_conda
from local.azureml.execution.environments import ENVIRONMENTS, asked_file, environment_key, link, python_of

RESERVED = ("train", "serve", "worker", "asked")
"""Made by the set-up, or for something else."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEY = re.compile(r"[0-9a-f]{12}")


class BuildError(RuntimeError):
    """The environment could not be made, listed or removed; the message says what to do."""


_STDERR = 2
Say = Callable[[str], None]


@dataclass(frozen=True)
class Standing:
    """What stands for what: `key` of the conda file, `environment` or None when it is yet to be made."""

    key: str
    environment: str | None
    conda_file: Path | None


def add(conda_file: Path, name: str | None, say: Say, *, replace: bool = False, folder: Path = ENVIRONMENTS) -> Path:
    """Build, link, and return the environment's folder. What was begun and failed is removed again."""
    text, asked = _read(conda_file)
    chosen = _name(name or asked.name or f"conda-{environment_key(text)}")
    target = folder / chosen
    if target.exists() and not replace:
        raise BuildError(f"There is an environment '{chosen}' already: choose another name (--name), or --replace it.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _build(target, asked, conda_file.resolve().parent, say)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    (target / "conda.yaml").write_text(text)
    made = link(target / "conda.yaml", target, folder)
    asked_file(made.name, folder).unlink(missing_ok=True)
    say(f"{chosen} stands for this conda file ({made.name})")
    return target


def standing(folder: Path = ENVIRONMENTS) -> list[Standing]:
    """Every conda file that is known, those without an environment last."""
    links = [one for one in sorted(folder.glob("*")) if one.is_symlink() and _KEY.fullmatch(one.name)]
    known = [Standing(one.name, one.resolve().name, _kept(one.resolve())) for one in links if one.exists()]
    missing = [Standing(one.name.partition(".")[0], None, one) for one in sorted((folder / "asked").glob("*.conda.yaml"))]
    return known + missing


def remove(name: str, folder: Path = ENVIRONMENTS) -> None:
    """Remove an environment that `add` made, and its links."""
    target = folder / _name(name)
    if target.is_symlink() or not (target / "conda.yaml").is_file():
        raise BuildError(f"There is no environment '{name}' that `environments add` made.")
    for one in folder.glob("*"):
        if one.is_symlink() and one.resolve() == target.resolve():
            one.unlink()
    shutil.rmtree(target)


def _read(conda_file: Path) -> tuple[str, Asked]:
    try:
        text = conda_file.read_text()
        return text, read_conda(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{conda_file} cannot be read: {error}") from error
    except CondaFileError as error:
        raise BuildError(f"{conda_file}: {error}") from error


def _name(name: str) -> str:
    if not _NAME.fullmatch(name) or _KEY.fullmatch(name) or name.lower() in RESERVED:
        raise BuildError(
            f"'{name[:64]}' cannot be an environment's name: 1 to 64 letters, digits, '.', '-' and '_', none of "
            f"{', '.join(RESERVED)}. Choose one with --name."
        )
    return name


def _kept(environment: Path) -> Path | None:
    kept = environment / "conda.yaml"
    return kept if kept.is_file() else None


def _build(target: Path, asked: Asked, base: Path, say: Say) -> None:
    python = _python(asked.python, say)
    say(f"making {target.name} with {python}")
    _uv(["venv", "--quiet", "--clear", "--no-project", "--python", python, str(target)], base, "")
    if asked.requirements:
        say(f"installing {len(asked.requirements)} requirements")
        arguments = [
            "pip",
            "install",
            "--compile-bytecode",
            "--python",
            str(python_of(target, target.name)),
            "--requirements",
            "-",
        ]
        _uv(arguments, base, "\n".join(asked.requirements) + "\n")


def _python(asked: str | None, say: Say) -> str:
    """Of the version asked for, when this machine has it; the running one otherwise, and says so."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if asked is None or asked == running:
        return sys.executable
    found = subprocess.run(
        [_uv_program(), "python", "find", "--no-project", "--no-python-downloads", asked],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode == 0 and found.stdout.strip():
        return found.stdout.strip()
    say(f"warning: Python {asked} is not on this machine; Python {running} is taken, and may not suit every version asked for")
    return sys.executable


def _uv(arguments: list[str], base: Path, requirements: str) -> None:
    """Run uv where the conda file lies, so that relative paths in it mean what they mean there. Its progress goes to stderr."""
    command = [_uv_program(), *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    ended = subprocess.run(command, cwd=base, input=requirements, text=True, stdout=_STDERR, env=environment, check=False)
    if ended.returncode != 0:
        raise BuildError(
            f"uv ended with {ended.returncode}; it says why above. Without a network only what is in its cache can be installed."
        )


def _uv_program() -> str:
    beside = Path(sys.executable).with_name("uv.exe" if os.name == "nt" else "uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        raise BuildError("uv is not installed: run `make setup`.")
    return program
