"""Which emulator runs on a state folder: a lock that ends with its process, and a note of where it is."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from local.azureml.emulator import DEFAULT_SUBSCRIPTION, EmulatorSettings
from local.azureml.environment import identity_header
from local.azureml.steering import ROOT
from local.certificates import ensure_certificates

DEFAULT_PORT = 5443
State = Annotated[Path, typer.Option(help="The state folder of the emulator.")]
Port = Annotated[int | None, typer.Option(help="Port of its control plane; usually the state folder knows it.")]


class CommandError(RuntimeError):
    """What is in the way, in one line, with what to do about it."""


@dataclass(frozen=True)
class Note:
    """What another command must know of the running emulator; no secrets."""

    pid: int
    port: int
    router_port: int
    blob_url: str
    mlflow_url: str
    subscription_id: str = DEFAULT_SUBSCRIPTION
    resource_group: str = "tidegate-local"
    workspace: str = "tidegate-local"

    def settings(self, state: Path) -> EmulatorSettings:
        """As far as the environment variables need them."""
        return EmulatorSettings(
            state=state.resolve(),
            port=self.port,
            router_port=self.router_port,
            blob_url=self.blob_url,
            mlflow_url=self.mlflow_url,
            identity_header=identity_header(state.resolve()),
            subscription_id=self.subscription_id,
            resource_group=self.resource_group,
            workspace=self.workspace,
        )


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the state folder; CommandError when it cannot be written, or an emulator runs on it."""
    try:
        (state / "azureml").mkdir(parents=True, exist_ok=True)
        state.chmod(0o700)  # logs, keys and data: for this user alone
        lock = (state / "azureml" / "lock").open("w")
    except OSError as error:
        raise CommandError(f"The state folder cannot be written: {error}. Name another one with --state.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(
                f"An emulator runs on {state} already. Stop it (Ctrl-C there), or name another folder: --state."
            ) from error
        yield


@contextmanager
def noted(state: Path, note: Note) -> Iterator[None]:
    """Leave the note as long as the emulator answers."""
    file = _file(state)
    file.write_text(json.dumps(asdict(note)))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def find(state: Path, port: int | None = None) -> Note:
    """Where the emulator of a state folder is, or would be: what it noted, else the usual places. `port` is stronger."""
    try:
        note = Note(**json.loads(_file(state).read_text()))
    except (OSError, ValueError, TypeError):
        note = Note(os.getpid(), DEFAULT_PORT, 0, "", "")
    return note if port in (None, note.port) else Note(os.getpid(), int(port or 0), 0, "", "")


def ask(state: Path, note: Note, method: str, path: str, body: Any = None) -> httpx.Response:
    """A request to the emulator's own routes, as who may steer it; CommandError when another program answers."""
    trust = ensure_certificates(state.resolve() / "certificates").ssl_context()
    headers = {"X-IDENTITY-HEADER": identity_header(state.resolve())}
    url = f"https://127.0.0.1:{note.port}{ROOT}{path}"
    try:
        return httpx.request(method, url, json=body, headers=headers, verify=trust, timeout=30.0, trust_env=False)
    except httpx.TransportError as error:
        raise not_its_emulator(state, note, str(error)) from error


def not_its_emulator(state: Path, note: Note, detail: str) -> CommandError:
    """Something answers on the port, and it is not the emulator of this state folder."""
    return CommandError(f"What answers on port {note.port} is not the emulator of {state}: {detail}")


def nothing_answers(port: int) -> CommandError:
    """Said by every command that needs a running emulator."""
    return CommandError(
        f"Nothing answers on port {port}: start it with `python -m local.azureml`, or name its --state or --port."
    )


def _file(state: Path) -> Path:
    return state / "azureml" / "running.json"
