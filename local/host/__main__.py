"""`python -m local.host --app . --port 7071 --state .state/host`: run a Functions app on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from azure.core.exceptions import AzureError

from local.host import log
from local.host.errors import AppRefused
from local.host.function import HostFunction
from local.host.host import Host
from local.host.loader import load
from local.host.queues import Polling
from local.host.settings import HostOptions, apply_local_settings, read_host_json

_log = logging.getLogger("tidegate.host")


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: it would end the process by the signal, and we want listeners stopped first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main(
    app: Annotated[Path, typer.Option(help="Folder with function_app.py and host.json.", exists=True, file_okay=False)] = Path(),
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 7071,
    state: Annotated[Path, typer.Option(help="Folder for keys, timer status and logs.")] = Path(".state/host"),
    grace: Annotated[float, typer.Option(help="Seconds that running functions get at the end.")] = 30.0,
    longest_poll: Annotated[float, typer.Option(help="Seconds between looks at an idle queue, at most.")] = 0.5,
    lease: Annotated[float, typer.Option(help="Seconds until an unfinished message of a killed host comes back.")] = 30.0,
    check: Annotated[
        bool, typer.Option("--check", help="Only index the app as Azure would, print its functions, and end.")
    ] = False,
) -> None:
    """Run the app until Ctrl-C or SIGTERM. Exit code 1: the app was refused, or functions were cut off at the end."""
    app, state = app.resolve(), state.resolve()
    log.configure(state)
    os.chdir(app)
    try:
        options = read_host_json(app)
        for name in apply_local_settings(app, os.environ):
            _log.info("local.settings.json: %s is left as the environment has it", name)
        functions = load(app, os.environ)
        if check:
            for function in functions:
                typer.echo(f"{function.trigger_type:<18} {function.name}")
            return
        code = asyncio.run(_run(functions, options, state, port, grace, Polling(longest=longest_poll, lease=lease)))
    except AppRefused as refused:
        _log.error("the app is refused:\n%s", refused)
        sys.exit(1)
    sys.stdout.flush()
    # A function that hangs in a thread must not keep the process: Python would join it for ever.
    os._exit(code)


async def _run(
    functions: Sequence[HostFunction], options: HostOptions, state: Path, port: int, grace: float, polling: Polling
) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _on_signal, stop)
    host = Host(functions, options, os.environ, state, polling)
    listening = _bind(port)
    config = uvicorn.Config(
        host.app, log_config=None, access_log=False, timeout_graceful_shutdown=max(1, round(grace)), lifespan="off"
    )
    server = _Server(config)
    try:
        await host.start()
    except AzureError as error:
        raise AppRefused([f"the storage account cannot be reached: {type(error).__name__}: {error}"]) from error
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    for function in functions:
        _log.info("%s: %s", function.name, function.trigger_type)
    _log.info("listening on http://127.0.0.1:%d with %d functions", listening.getsockname()[1], len(functions))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, serving}, return_when=asyncio.FIRST_COMPLETED)
    _log.info("stopping")
    await host.stop_listening()
    server.should_exit = True
    await serving
    return 0 if await host.drain(grace) else 1


def _on_signal(stop: asyncio.Event) -> None:
    if stop.is_set():
        _log.warning("told twice to stop: stopping at once; unfinished queue messages come back")
        os._exit(1)
    stop.set()


def _bind(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        raise AppRefused([f"port {port} on 127.0.0.1 cannot be used ({error.strerror}); choose another with --port."]) from error
    return listening


if __name__ == "__main__":
    typer.run(main)
