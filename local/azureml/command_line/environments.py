"""`environments add | list | remove`: local Pythons for the conda files of a user's own project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from local.azureml.command_line.running import CommandError
from local.azureml.execution import environment_builder
from local.azureml.execution.environment_builder import BuildError
from local.azureml.execution.environments import ENVIRONMENTS

app = typer.Typer(help="Local Pythons that stand for the conda files of jobs and deployments.", no_args_is_help=True)
Folder = Annotated[Path, typer.Option(hidden=True)]


@app.command()
def add(
    conda_file: Annotated[Path, typer.Argument(help="The conda file that your job or deployment names.")],
    name: Annotated[str | None, typer.Option(help="A name for it; the conda file's own by default.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Make an existing one anew.")] = False,
    folder: Folder = ENVIRONMENTS,
) -> None:
    """Make a virtual environment with what the conda file asks for; from now on it stands for the file.

    python -m local.azureml environments add conda.yaml
    """
    try:
        environment_builder.add(conda_file, name, lambda text: typer.echo(text, err=True), replace=replace, folder=folder)
    except BuildError as error:
        raise CommandError(str(error)) from error


@app.command(name="list")
def list_all(folder: Folder = ENVIRONMENTS) -> None:
    """Show what stands for what, and the conda files that jobs asked for in vain."""
    table = Table("conda file", "environment", "where the file is", box=None, pad_edge=False)
    for one in environment_builder.standing(folder):
        table.add_row(one.key, one.environment or "missing: add it", str(one.conda_file or "made by the set-up"))
    Console(highlight=False, soft_wrap=True).print(table)


@app.command()
def remove(name: Annotated[str, typer.Argument(help="As `list` shows it.")], folder: Folder = ENVIRONMENTS) -> None:
    """Remove an environment that `add` made."""
    try:
        environment_builder.remove(name, folder)
    except BuildError as error:
        raise CommandError(str(error)) from error
    typer.echo(f"{name} is removed.", err=True)
