"""`python -m local up | env | upload`: the local stack from the command line."""

from __future__ import annotations

import shlex
import signal
import time
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
import yaml
from rich.console import Console

from local.activity import Activity
from local.layout import Ports, StackEnvironment
from local.stack import Stack, StackError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Tidegate's local stack: everything that Azure is, on this machine."
)
State = Annotated[Path, typer.Option(help="Folder that holds everything the stack keeps.")]
DEFAULT_STATE = Path(".state")


class Stopped(Exception):
    """SIGTERM or Ctrl-C."""


def stop_on_signals() -> None:
    """Turn SIGTERM into the same clean end as Ctrl-C."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def data_assets(config: Path) -> dict[str, str]:
    """The data assets that tidegate.yaml names, each with its container; the app checks the file in full."""
    try:
        document = yaml.safe_load(config.read_text()) or {}
        return {str(name): str(asset["container"]) for name, asset in document["data_assets"].items()}
    except FileNotFoundError:
        raise StackError(f"{config} is not there: name the configuration with --config.") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise StackError(f"{config} names no data_assets with containers ({type(error).__name__}: {error}).") from None


@app.command()
def up(
    state: State = DEFAULT_STATE,
    config: Annotated[Path, typer.Option(help="What to watch and how.")] = Path("tidegate.yaml"),
    free_ports: Annotated[bool, typer.Option(help="Take ports that are free instead of the usual ones.")] = False,
    pace: Annotated[float, typer.Option(min=0, help="Length of Azure ML's transitions: 0 immediate, 1 as slow as Azure.")] = 0.0,
    chaos: Annotated[
        str, typer.Option(help="Disturb Event Grid's deliveries: seed=7,duplicate=0.3,delay=2,reorder=0.2,drop=0.1.")
    ] = "",
) -> None:
    """Start the whole stack and keep it up until Ctrl-C."""
    console = Console(stderr=True)
    stop_on_signals()
    try:
        environment = StackEnvironment.prepare(state, Ports.free() if free_ports else Ports(), config)
        stack = Stack(
            environment,
            watched=sorted(set(data_assets(config).values())),
            pace=pace,
            chaos=chaos,
            report=lambda name, address: console.print(f"  {name:<12} {address}"),
        )
        with stack:
            _tell(console, state)
            activity = Activity(stack.observer, list(data_assets(config)))
            while True:
                stack.check()
                for line in activity.news():
                    console.print(f"{datetime.now():%H:%M:%S} {line}", markup=False, highlight=False, soft_wrap=True)
                time.sleep(0.5)
    except Stopped:
        console.print("stopped")
    except StackError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _tell(console: Console, state: Path) -> None:
    option = "" if state == DEFAULT_STATE else f" --state {shlex.quote(str(state))}"
    console.print("\nThe Azure SDK of another shell comes here after", markup=False)
    console.print(f'  eval "$(.venv/bin/python -m local env{option})"', markup=False)
    console.print("A file is uploaded by", markup=False)
    console.print(f"  .venv/bin/python -m local upload FILE CONTAINER/NAME{option}", markup=False)
    console.print("Ctrl-C stops everything.\n")


@app.command()
def env(state: State = DEFAULT_STATE) -> None:
    """Print the environment variables that lead Azure's SDKs to the stack, for `eval`."""
    for name, value in _loaded(state).variables().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file.")],
    target: Annotated[
        str, typer.Argument(help="CONTAINER/NAME in the stack's storage; a name that ends with / keeps the file's own.")
    ],
    state: State = DEFAULT_STATE,
) -> None:
    """Upload a file to a container of the running stack."""
    container, _, name = target.partition("/")
    name = name + file.name if not name or name.endswith("/") else name
    Stack(_loaded(state), watched=[]).upload(container, name, file.read_bytes())
    typer.echo(f"{container}/{name}: {file.stat().st_size:,} bytes")


def _loaded(state: Path) -> StackEnvironment:
    try:
        return StackEnvironment.load(state)
    except FileNotFoundError:
        typer.echo(f"No stack was started on {state}: run `make up` first, or name its folder with --state.", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
