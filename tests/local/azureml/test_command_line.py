"""`python -m local.azureml` as a user runs it: a process of its own, stopped with Ctrl-C or SIGTERM."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from local.azureml import __main__ as command_line
from local.azureml.command_line.running import CommandError, find, locked
from local.azureml.execution.environments import EnvironmentMissing
from local.certificates import Certificates
from local.processes import free_port, port_answers
from local.storage import azurite as azurite_module
from local.storage.azurite import Azurite
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]


class Command:
    """The command as a process, its standard output and error in files."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(_command(*arguments), cwd=ROOT, stdout=out, stderr=err, start_new_session=True)

    def until(self, text: str) -> str:
        """Standard output once it holds `text`."""

        def there() -> str:
            assert self.process.poll() is None, self.err.read_text()
            said = self.out.read_text()
            return said if text in said else ""

        return wait_until(there, within=60, what=text)

    def stop(self, number: signal.Signals) -> int:
        """Its exit code after the signal; every process that it started has to be gone."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        assert family, "the router is a child of the emulator"
        self.process.send_signal(number)
        code = self.process.wait(60)
        assert psutil.wait_procs(family, timeout=30)[1] == []
        return code

    def end(self) -> None:
        """Whatever happened: nothing of it is left."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "local.azureml", *arguments]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Command]]:
    commands: list[Command] = []
    yield commands
    for command in commands:
        command.end()


@dataclass
class Ended:
    """What a command that ran in this process left."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """The command in this process, for what is over soon: a process of its own takes seconds to start."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str, stdin: str = "") -> Ended:
        monkeypatch.setattr(sys, "argv", ["azureml", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.run()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.train_environment
def test_alone_it_starts_azurite_and_mlflow_says_where_it_is_and_leaves_nothing_behind(
    tmp_path: Path, started: list[Command], run: Run
) -> None:
    state = tmp_path / "state"
    command = Command(tmp_path, "--state", str(state), "--free-ports")
    started.append(command)
    said = command.until("Ctrl-C stops it")
    assert "\x1b" not in said + command.err.read_text(), "no colours where nobody sees them"
    assert [part for part in ("azurite", "emulator", "mlflow") if f"✓ {part}" not in command.err.read_text()] == []
    note = find(state)
    assert f"https://127.0.0.1:{note.port}/" in said
    assert httpx.get(f"{note.mlflow_url}/health").status_code == 200
    shown = run("status", "--state", str(state))
    assert shown.code == 0
    assert f"https://127.0.0.1:{note.port}/" in shown.out
    assert command.stop(signal.SIGINT) == 0
    assert not port_answers(note.port)
    assert run("status", "--state", str(state)).code == 3


def test_its_environment_leads_here_and_the_other_commands_find_it(
    tmp_path: Path, certificates: Certificates, azurite: Azurite, started: list[Command], run: Run
) -> None:
    state = tmp_path / "state"
    shutil.copytree(certificates.bundle.parent, state / "certificates")
    command = Command(
        tmp_path, "--state", str(state), "--port", "0", "--router-port", "0", "--mlflow-port", "0", "--print-env",
        "--blob-url", azurite.blob_url, "--mlflow-url", "http://127.0.0.1:1", "--workspace", "mine",
    )  # fmt: skip
    started.append(command)
    lines = command.until("TIDEGATE_WORKSPACE").splitlines()
    assert [line for line in lines if not line.startswith("export ")] == [], "standard output is for `source` alone"
    variables = dict(shlex.split(line)[1].split("=", 1) for line in lines)
    asked = httpx.get(
        variables["IDENTITY_ENDPOINT"],
        params={"resource": "https://storage.azure.com"},
        headers={"X-IDENTITY-HEADER": variables["IDENTITY_HEADER"]},
        verify=ssl.create_default_context(cafile=variables["SSL_CERT_FILE"]),
    )
    assert asked.json()["token_type"] == "Bearer"
    assert run("env", "--state", str(state), "--wait", "5").out.splitlines() == lines, "the workspace's name too"
    dotenv = run("env", "--state", str(state), "--format", "dotenv").out.splitlines()
    assert dict(line.split("=", 1) for line in dotenv) == variables
    status = json.loads(run("status", "--state", str(state), "--json").out)
    assert status["up"]
    assert status["workspace"]["name"] == "mine"
    assert status["counts"]["jobs"] == 0
    assert variables["IDENTITY_HEADER"] not in json.dumps(status)
    second = run("--state", str(state), "--free-ports", "--blob-url", azurite.blob_url, "--mlflow-url", "http://127.0.0.1:1")
    assert (second.code, second.out) == (1, "")
    assert second.err.startswith("error: An emulator runs on")
    refused = run("reset", "--state", str(state), "--yes")
    assert (refused.code, refused.err.split(" on ")[0]) == (1, "error: An emulator runs")
    assert command.stop(signal.SIGTERM) == 0
    assert not (state / "azureml" / "running.json").exists()
    assert run("reset", "--state", str(state), stdin="n\n").code == 1
    assert (state / "azureml" / "emulator.sqlite").exists(), "who says no keeps everything"
    assert run("reset", "--state", str(state), "--yes").code == 0
    assert not (state / "azureml").exists()
    assert (state / "identity").exists(), "a shell whose variables are set goes on working"


def test_env_fails_when_nothing_answers(tmp_path: Path, run: Run) -> None:
    ended = run("env", "--state", str(tmp_path), "--port", str(free_port()))
    assert ended.code == 1
    assert ended.out == ""
    assert "Nothing answers" in ended.err


def test_what_is_in_the_way_is_one_line_that_says_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    (tmp_path / "file").write_text("")
    free = ("--free-ports", "--mlflow-url", "http://127.0.0.1:1")
    _one_line(run("--state", str(tmp_path / "file" / "state"), *free), "cannot be written")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        others = ("--port", "0", "--mlflow-port", "0", "--blob-port", "0", "--queue-port", "0")
        _one_line(run("--state", str(tmp_path / "a"), "--router-port", port, *others), f"port {port} (--router-port)")
    shutil.copytree(certificates.bundle.parent, tmp_path / "b" / "certificates")
    with monkeypatch.context() as patch:
        patch.setattr(azurite_module, "NODE_MODULES", tmp_path / "nowhere")
        _one_line(run("--state", str(tmp_path / "b"), *free), "make setup")
    with monkeypatch.context() as patch:

        def missing() -> Path:
            raise EnvironmentMissing("No local Python: .environments/train is missing. Run `make setup`.")

        patch.setattr("local.azureml.mlflow.server.default_interpreter", missing)
        _one_line(run("--state", str(tmp_path / "b"), "--free-ports"), "make setup")
    wrong = run("--state", str(tmp_path / "b"), "--faults", str(tmp_path / "absent.yaml"))
    assert (wrong.code, "absent.yaml" in wrong.err) == (2, True)


def _one_line(ended: Ended, part: str) -> None:
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1), ended.err
    assert part in ended.err


def test_reset_touches_no_folder_where_no_emulator_ran(tmp_path: Path, run: Run) -> None:
    (tmp_path / "logs").mkdir()
    ended = run("reset", "--state", str(tmp_path), "--yes")
    assert (ended.code, "nothing to empty" in ended.out) == (0, True)
    assert (tmp_path / "logs").exists()


def test_a_state_folder_is_held_by_one_process_only(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(CommandError, match="runs on"), locked(tmp_path):
        pass
    with locked(tmp_path):
        assert tmp_path.stat().st_mode & 0o077 == 0
