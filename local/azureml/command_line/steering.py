"""`python -m local.azureml faults ...` and `pace`: steer an emulator that runs on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer

from local.azureml.command_line.running import CommandError, Port, State, ask, find, nothing_answers
from local.azureml.steering import InvalidRules, read_rules
from local.processes import port_answers

faults = typer.Typer(help="Fault rules of a running emulator (docs/how-to/steer-the-emulator.md).", no_args_is_help=True)


@faults.command()
def add(file: Path, state: State = Path(".state"), port: Port = None) -> None:
    """Add the rules in a YAML file; print them with their ids."""
    try:
        rules = [rule.to_json() for rule in read_rules(file)]
    except (InvalidRules, OSError) as error:
        raise CommandError(str(error)) from error
    _show(_ask(state, port, "POST", "/faults", rules))


@faults.command(name="list")
def list_all(state: State = Path(".state"), port: Port = None) -> None:
    """Print the rules, and how often each has struck."""
    _show(_ask(state, port, "GET", "/faults"))


@faults.command()
def clear(
    identity: Annotated[str, typer.Argument(help="A rule's id; without it all rules go.")] = "",
    state: State = Path(".state"),
    port: Port = None,
) -> None:
    """Remove rules. What hung by them goes on."""
    _ask(state, port, "DELETE", f"/faults/{quote(identity, safe='')}" if identity else "/faults")


def pace(
    scale: Annotated[float | None, typer.Option(help="0 immediate, 1 as slow as Azure.")] = None,
    reads: Annotated[int | None, typer.Option(help="A transition ends after that many reads.")] = None,
    state: State = Path(".state"),
    port: Port = None,
) -> None:
    """Print the pace of a running emulator; with an option, change it first."""
    asked = {name: value for name, value in (("scale", scale), ("reads", reads)) if value is not None}
    answer = _ask(state, port, "PUT", "/pace", asked) if asked else _ask(state, port, "GET", "/pace")
    typer.echo(json.dumps(answer.json()))


def _ask(state: Path, port: int | None, method: str, path: str, body: Any = None) -> httpx.Response:
    note = find(state, port)
    if not port_answers(note.port):
        raise nothing_answers(note.port)
    answer = ask(state, note, method, path, body)
    if answer.is_error:
        raise CommandError(f"The emulator answered {answer.status_code}: {answer.text[:2000]}")
    return answer


def _show(answer: httpx.Response) -> None:
    for rule in answer.json()["value"]:
        typer.echo(json.dumps(rule))
