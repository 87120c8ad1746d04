"""`python -m local.azureml`: the emulator alone, without the app, Event Grid or the Functions host."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from local.azureml import coverage as coverage_page
from local.azureml.command_line import environments, inspection, steering
from local.azureml.command_line.running import DEFAULT_PORT, CommandError
from local.azureml.command_line.start import Alone, Start, log_to_stderr
from local.azureml.emulator import DEFAULT_SUBSCRIPTION, EmulatorSettings
from local.azureml.environment import environment
from local.azureml.execution.environments import Policy
from local.azureml.faults import Rule
from local.azureml.pace import Pace
from local.azureml.steering import InvalidRules, read_rules
from local.certificates import ensure_certificates

_HELP = """
Azure Machine Learning on this machine: the REST API that azure-ai-ml speaks, with Azurite and MLflow beside it.

Without a command it starts and runs until Ctrl-C (or SIGTERM).

Examples:

\b
  python -m local.azureml                              start on the usual ports
  eval "$(python -m local.azureml env)"                lead the SDK of this shell to it
  python -m local.azureml --free-ports --state /tmp/a  a second one beside it
  python -m local.azureml --time-scale 0.1             transitions at a tenth of Azure's usual time
  python -m local.azureml environments add conda.yaml  a local Python for your conda file
  python -m local.azureml status                       is it up, and what is in it

Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 it could not start or a part of it ended, 2 wrong options, 3 `status`: it is not up.
"""
app = typer.Typer(add_completion=False, help=_HELP, rich_markup_mode=None)
app.add_typer(environments.app, name="environments")
app.add_typer(steering.faults, name="faults")
app.command()(steering.pace)
app.command()(inspection.env)
app.command()(inspection.status)
app.command()(inspection.reset)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    state: Annotated[Path, typer.Option(help="The state folder; it is made on first use.")] = Path(".state"),
    port: Annotated[int, typer.Option(help="Control plane, token endpoint and page (https). 0: any free one.")] = DEFAULT_PORT,
    router_port: Annotated[int, typer.Option(help="Scoring (https).")] = 5444,
    blob_url: Annotated[str | None, typer.Option(help="A running Azurite's blob service; without it one is started.")] = None,
    blob_port: Annotated[int, typer.Option(help="Blob port of the Azurite that is started.")] = 10000,
    queue_port: Annotated[int, typer.Option(help="Queue port of the Azurite that is started.")] = 10001,
    mlflow_url: Annotated[
        str | None, typer.Option(help="A running mlflow server to stand before; without it one is started.")
    ] = None,
    mlflow_port: Annotated[int, typer.Option(help="The workspace's MLflow tracking URI (http).")] = 5050,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Take free ports instead of the usual ones.")] = False,
    subscription_id: Annotated[str, typer.Option()] = DEFAULT_SUBSCRIPTION,
    resource_group: Annotated[str, typer.Option()] = "tidegate-local",
    workspace: Annotated[str, typer.Option()] = "tidegate-local",
    time_scale: Annotated[float, typer.Option(min=0, help="Length of transitions: 0 immediate, 1 as slow as Azure.")] = 0.0,
    reads: Annotated[int, typer.Option(min=0, help="Transitions end after that many reads, instead of after a time.")] = 0,
    faults: Annotated[Path | None, typer.Option(help="Fault rules (YAML); docs/how-to/steer-the-emulator.md.")] = None,
    policy: Annotated[
        Policy,
        typer.Option("--environments", help="A job's conda file that nothing stands for: an error, or the default Python."),
    ] = "strict",
    event_topic_url: Annotated[str | None, typer.Option(help="Event Grid topic for the workspace's events.")] = None,
    event_topic_key: Annotated[
        str | None, typer.Option(envvar="TIDEGATE_EVENT_TOPIC_KEY", help="The topic's key; better given in the environment.")
    ] = None,
    print_env: Annotated[bool, typer.Option(help="Standard output is the export lines and nothing else.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say on stderr what it does.")] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    log_to_stderr(verbose)
    pace, rules = _steered(time_scale, reads, faults)
    usual = 0 if free_ports else 1
    start = Start(
        state.resolve(), port * usual, router_port * usual, blob_url, blob_port * usual, queue_port * usual,
        mlflow_url, mlflow_port * usual, subscription_id, resource_group, workspace, pace, rules, policy,
        event_topic_url, event_topic_key,
    )  # fmt: skip
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    Alone(start, errors).run(_print_lines if print_env else lambda settings: _tell(settings, state))


@app.command()
def coverage(as_json: Annotated[bool, typer.Option("--json", help="The rows as JSON, for programs.")] = False) -> None:
    """Print what the emulator covers, and how it differs from Azure (docs/reference/emulator-coverage.md)."""
    typer.echo(json.dumps(coverage_page.rows(), indent=1) if as_json else coverage_page.table().rstrip("\n"))


def _steered(time_scale: float, reads: int, faults: Path | None) -> tuple[Pace, tuple[Rule, ...]]:
    """What the options say; a mistake in them is shown before anything starts."""
    try:
        return Pace(time_scale, reads), read_rules(faults) if faults else ()
    except (InvalidRules, OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def _print_lines(settings: EmulatorSettings) -> None:
    variables = environment(settings, ensure_certificates(settings.state / "certificates"))
    typer.echo(inspection.lines(variables, "shell"), nl=False)


def _tell(settings: EmulatorSettings, state: Path) -> None:
    option = "" if state == Path(".state") else f" --state {state}"
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\nThe emulator is up: [bold]https://127.0.0.1:{settings.port}/[/] shows what is in it.")
    console.print("azure-ai-ml of another shell comes here after", markup=False)
    console.print(f'  eval "$({_python()} -m local.azureml env{option})"', markup=False)
    names = f"{settings.subscription_id} / {settings.resource_group} / {settings.workspace}"
    console.print(f"with DefaultAzureCredential and the workspace {names}.", markup=False)
    console.print("Ctrl-C stops it.", markup=False)


def _python() -> str:
    """This Python as one writes it in this folder."""
    here, python = Path.cwd(), Path(sys.executable)
    return str(python.relative_to(here) if python.is_relative_to(here) else python)


def run() -> None:
    """Every known obstacle is one line on stderr and exit code 1."""
    try:
        app()
    except CommandError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", style="red", markup=False)
        raise SystemExit(1) from error


if __name__ == "__main__":
    run()
