"""Puts the parts together: one Host per app, started and stopped by the event loop that runs its HTTP server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from local.host.admin import Admin
from local.host.connections import Connections
from local.host.eventgrid import EventGridWebhook
from local.host.function import HostFunction
from local.host.http import HttpFunctions
from local.host.invoker import Invoker
from local.host.keys import Keys
from local.host.queues import Polling, Queues
from local.host.settings import HostOptions
from local.host.timers import TimerListener

_log = logging.getLogger("tidegate.host")


class Listener(Protocol):
    """Something that fires functions by itself."""

    async def start(self) -> None: ...
    async def run(self) -> None: ...
    async def stop(self) -> None: ...


class Host:
    """The running host of one app. Make it inside a running event loop. `settings` are the app settings."""

    def __init__(
        self, functions: Sequence[HostFunction], options: HostOptions, settings: Mapping[str, str], state: Path, polling: Polling
    ) -> None:
        connections = Connections(settings)
        connections.check(list(functions))
        threads = settings.get("PYTHON_THREADPOOL_THREAD_COUNT")
        self._queues = Queues(connections, options.queues, polling)
        self.invoker = Invoker(
            timeout=options.function_timeout,
            threads=int(threads) if threads else None,
            send=self._queues.send,
            finished=self._queues.wake,
        )
        self.keys = Keys.ensure(state)
        self._listeners = [listener for item in functions if (listener := self._listener(item, state)) is not None]
        self._tasks: list[asyncio.Task[None]] = []
        self.app = self._application(functions, options)

    async def start(self) -> None:
        """Prepare every listener, then let them all run. Raises what the storage account says when it cannot be reached."""
        await asyncio.gather(*(listener.start() for listener in self._listeners))
        for listener in self._listeners:
            task = asyncio.create_task(listener.run())
            task.add_done_callback(_tell_if_it_died)
            self._tasks.append(task)

    async def stop_listening(self) -> None:
        """No new work from queues and timers; what runs goes on. HTTP is the server's."""
        for listener in self._listeners:
            await listener.stop()

    async def drain(self, grace: float) -> bool:
        """Wait for what runs and settle its messages; False when the grace was too short."""
        work = {*self._tasks, asyncio.create_task(self.invoker.drain())}
        _, unfinished = await asyncio.wait(work, timeout=grace)
        if unfinished:
            _log.error("%d invocations were cut off after %.0f s; their queue messages come back", self.invoker.running, grace)
        self._queues.close()
        return not unfinished

    def _listener(self, function: HostFunction, state: Path) -> Listener | None:
        if function.trigger_type == "queueTrigger":
            return self._queues.listen(function, self.invoker)
        if function.trigger_type == "timerTrigger":
            return TimerListener(function, self.invoker, state)
        return None

    def _application(self, functions: Sequence[HostFunction], options: HostOptions) -> Starlette:
        by_name = {item.name: item for item in functions}
        routes: list[Route] = [
            Route("/", _front_page),
            EventGridWebhook(by_name, self.invoker, self.keys).route(),
            *Admin(by_name, self.invoker, self.keys).routes(),
        ]
        app = Starlette(routes=routes)
        # Anything else is for the HTTP functions; Starlette's own route table would order and answer them otherwise.
        http = HttpFunctions(functions, options.route_prefix, self.invoker, self.keys)
        app.router.default = _fallback(http)
        return app


def _fallback(http: HttpFunctions):  # type: ignore[no-untyped-def]
    async def answer(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] == "http":
            await (await http.answer(Request(scope, receive)))(scope, receive, send)

    return answer


async def _front_page(_request: Request) -> Response:
    return PlainTextResponse("Your Functions app is up and running.\n")


def _tell_if_it_died(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("a listener died; its function is fired no more until the host is restarted", exc_info=error)
