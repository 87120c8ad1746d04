"""`python -m local.azureml`: the emulator alone, without the app, Event Grid or the Functions host."""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from local.azureml import steering_commands
from local.azureml.coverage import table
from local.azureml.emulator import DEFAULT_SUBSCRIPTION, Emulator, EmulatorSettings
from local.azureml.environment import environment, identity_header
from local.azureml.faults import Rule
from local.azureml.pace import Pace
from local.azureml.server import Server
from local.azureml.steering import InvalidRules, read_rules
from local.certificates import ensure_certificates
from local.processes import port_answers
from local.storage.azurite import Azurite

app = typer.Typer(add_completion=False, help="An emulator of the Azure Machine Learning REST API for this machine.")
app.add_typer(steering_commands.faults, name="faults")
app.command()(steering_commands.pace)

State = Annotated[Path, typer.Option(help="The state folder; it is made on first use.")]
Port = Annotated[int, typer.Option(help="Port of the control plane and the token endpoint (https).")]


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    state: State = Path(".state"),
    port: Port = 5443,
    router_port: Annotated[int, typer.Option(help="Port of the scoring router (https).")] = 5444,
    blob_url: Annotated[
        str | None, typer.Option(help="Azurite's blob service with its account; without it one is started.")
    ] = None,
    blob_port: Annotated[int, typer.Option(help="Blob port of the Azurite that is started.")] = 10000,
    queue_port: Annotated[int, typer.Option(help="Queue port of the Azurite that is started.")] = 10001,
    mlflow_url: Annotated[
        str | None, typer.Option(help="A running mlflow server to stand before; without it one is started.")
    ] = None,
    mlflow_port: Annotated[int, typer.Option(help="Port of the workspace's MLflow tracking URI (http).")] = 5050,
    subscription_id: Annotated[str, typer.Option()] = DEFAULT_SUBSCRIPTION,
    resource_group: Annotated[str, typer.Option()] = "tidegate-local",
    workspace: Annotated[str, typer.Option()] = "tidegate-local",
    time_scale: Annotated[float, typer.Option(min=0, help="Length of transitions: 0 immediate, 1 as slow as Azure.")] = 0.0,
    reads: Annotated[int, typer.Option(min=0, help="Transitions end after that many reads, instead of after a time.")] = 0,
    faults: Annotated[Path | None, typer.Option(help="Fault rules (YAML); docs/how-to/steer-the-emulator.md.")] = None,
    event_topic_url: Annotated[str | None, typer.Option(help="Event Grid topic for the workspace's events.")] = None,
    event_topic_key: Annotated[
        str | None, typer.Option(envvar="TIDEGATE_EVENT_TOPIC_KEY", help="The topic's key; better given in the environment.")
    ] = None,
    print_env: Annotated[bool, typer.Option(help="Print the export lines; they hold the token endpoint's secret.")] = True,
) -> None:
    """Start the emulator, print the environment that leads SDKs to it, run until Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    _log_to_stderr()
    pace, rules = _steered(time_scale, reads, faults)
    with contextlib.ExitStack() as running:
        settings = EmulatorSettings(
            state=state.resolve(),
            port=port,
            router_port=router_port,
            blob_url=blob_url or _start_azurite(running, state.resolve(), blob_port, queue_port),
            mlflow_url=f"http://127.0.0.1:{mlflow_port}",
            mlflow_server=mlflow_url or _start_mlflow(running, state.resolve()),
            identity_header=identity_header(state.resolve()),
            subscription_id=subscription_id,
            resource_group=resource_group,
            workspace=workspace,
            pace=pace,
            faults=rules,
            event_topic_url=event_topic_url,
            event_topic_key=event_topic_key,
        )
        stop = _stop_on_signals()
        server = Server(Emulator(settings))
        running.callback(server.stop)
        server.start()
        server.emulator.jobs.warm()
        if print_env:
            _print_environment(settings)
        stop.wait()


@app.command()
def env(state: State = Path(".state"), port: Port = 5443) -> None:
    """Print the export lines for an emulator that runs with its default workspace; fail when none answers."""
    if not port_answers(port):
        typer.echo(f"Nothing answers on port {port}: start it with `python -m local.azureml`.", err=True)
        raise typer.Exit(1)
    settings = EmulatorSettings(
        state=state.resolve(),
        port=port,
        router_port=0,
        blob_url="",
        mlflow_url="",
        identity_header=identity_header(state.resolve()),
    )
    _print_environment(settings)


@app.command()
def coverage() -> None:
    """Print docs/reference/emulator-coverage.md."""
    typer.echo(table(), nl=False)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for noisy in ("azure", "httpx"):  # a line per request
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _steered(time_scale: float, reads: int, faults: Path | None) -> tuple[Pace, tuple[Rule, ...]]:
    """What the options say; a mistake in them is shown before anything starts."""
    try:
        return Pace(time_scale, reads), read_rules(faults) if faults else ()
    except (InvalidRules, OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def _start_azurite(running: contextlib.ExitStack, state: Path, blob_port: int, queue_port: int) -> str:
    azurite = Azurite.start(
        state / "azurite",
        ensure_certificates(state / "certificates"),
        blob_port=blob_port,
        queue_port=queue_port,
        log=state / "logs" / "azurite.log",
    )
    running.callback(azurite.stop)
    return azurite.blob_url


def _start_mlflow(running: contextlib.ExitStack, state: Path) -> str:
    from local.azureml.mlflow import MlflowServer

    server = MlflowServer.start(state / "mlflow", log=state / "logs" / "mlflow.log")
    running.callback(server.stop)
    return server.url


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _print_environment(settings: EmulatorSettings) -> None:
    for name, value in environment(settings, ensure_certificates(settings.state / "certificates")).items():
        typer.echo(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    app()
