"""`env`, `status` and `reset`: about the emulator of a state folder, from outside."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from local.azureml.command_line.running import (
    Note,
    Port,
    State,
    ask,
    find,
    locked,
    not_its_emulator,
    nothing_answers,
)
from local.azureml.environment import environment
from local.certificates import ensure_certificates
from local.processes import port_answers

Format = Literal["shell", "dotenv", "json"]
NOT_RUNNING = 3
"""Exit code of `status` when nothing answers."""
_OWN = ("azureml", "azurite", "mlflow", "logs")
"""What `reset` empties. Certificates and the identity stay, so that a shell whose variables are set goes on working."""


def env(
    state: State = Path(".state"),
    port: Port = None,
    form: Annotated[Format, typer.Option("--format", help="dotenv suits $GITHUB_ENV; shell is for eval.")] = "shell",
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until it answers.")] = 0.0,
) -> None:
    """Print the environment variables that lead Microsoft's SDKs to the running emulator; fail when none answers.

    eval "$(python -m local.azureml env --wait 120)"
    """
    note = _answering(state, port, wait)
    settings = note.settings(state)
    typer.echo(lines(environment(settings, ensure_certificates(settings.state / "certificates")), form), nl=False)


def status(
    state: State = Path(".state"),
    port: Port = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Say whether the emulator is up and what is in it. Exit code 3 when it is not."""
    note = find(state, port)
    if not port_answers(note.port):
        if as_json:
            typer.echo(json.dumps({"up": False, "port": note.port}))
        else:
            typer.echo(str(nothing_answers(note.port)), err=True)
        raise typer.Exit(NOT_RUNNING)
    found = overview(state, note)
    if as_json:
        typer.echo(json.dumps({"up": True, "port": note.port, **found}))
    else:
        _show(note, found)


def reset(
    state: State = Path(".state"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Empty the state of an emulator that is stopped: jobs, assets, endpoints, blobs, runs and logs are gone."""
    folder = state.resolve()
    if not (folder / "azureml" / "emulator.sqlite").is_file():
        # Somebody else's folder may have its own `logs`: nothing is removed where no emulator ever ran.
        typer.echo(f"{state} is not the state of an emulator: there is nothing to empty.")
        return
    there = [folder / part for part in _OWN if (folder / part).is_dir()]
    if not yes:
        typer.confirm(f"Empty {state} ({', '.join(part.name for part in there)})? Nothing of it can be had back.", abort=True)
    with locked(folder):
        for part in there:
            shutil.rmtree(part)
    typer.echo(f"{state} is empty.")


def lines(variables: Mapping[str, str], form: Format) -> str:
    """The variables for a shell's `eval`, as `NAME=value` lines, or as JSON."""
    if form == "json":
        return json.dumps(dict(variables)) + "\n"
    if form == "dotenv":
        return "".join(f"{name}={value}\n" for name, value in variables.items())
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def overview(state: Path, note: Note) -> dict[str, Any]:
    """What the emulator tells of itself; CommandError when what answers is not the one of this state folder."""
    answer = ask(state, note, "GET", "/overview")
    if answer.is_error:
        raise not_its_emulator(state, note, f"HTTP {answer.status_code}")
    found: dict[str, Any] = answer.json()
    return found


def _answering(state: Path, port: int | None, wait: float) -> Note:
    deadline = time.monotonic() + wait
    while True:
        note = find(state, port)
        if port_answers(note.port):
            return note
        if time.monotonic() >= deadline:
            raise nothing_answers(note.port)
        time.sleep(0.1)


def _show(note: Note, found: Mapping[str, Any]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("page", f"https://127.0.0.1:{note.port}/")
    for name, address in found["addresses"].items():
        table.add_row(name.lower(), address)
    table.add_row("workspace", str(found["workspace"]["name"]))
    table.add_row("", "")
    for name, count in found["counts"].items():
        table.add_row(name, str(count))
    under_way = [one for one in found["operations"] if one["status"] == "InProgress"]
    table.add_row("under way", ", ".join(f"{one['kind']} {one['resource']}" for one in under_way) or "no operation")
    table.add_row("faults", str(len(found["faults"])))
    Console(highlight=False, soft_wrap=True).print(table)
