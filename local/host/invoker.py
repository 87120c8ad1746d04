"""Runs functions: converts, calls (async on the loop, sync in threads), sends outputs, times out, counts and logs."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.functions.meta import Datum

from local.host.context import Context, TraceContext
from local.host.conversion import Out, decode, encode
from local.host.errors import InvocationFailed
from local.host.function import RETURN, HostFunction
from local.host.invocations import Invocation, Invocations
from local.host.log import current_function, current_invocation

_log = logging.getLogger("tidegate.host")

SendOutput = Callable[[Mapping[str, Any], Datum], Awaitable[None]]


@dataclass(frozen=True)
class Result:
    """How an invocation ended: `returned` is the encoded `$return`, `error` one line about the failure (never both)."""

    id: str
    returned: Datum | None = None
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.error is None


class Invoker:
    """One per host. `send` delivers a queue output; `finished` is called after every invocation."""

    def __init__(self, *, timeout: timedelta | None, threads: int | None, send: SendOutput, finished: Callable[[], None]) -> None:
        self.invocations = Invocations()
        self._timeout = timeout.total_seconds() if timeout else None
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="function")
        self._send, self._finished = send, finished
        self._running: set[str] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        return len(self._running)

    async def invoke(
        self, function: HostFunction, payload: Datum, metadata: Mapping[str, Datum] | None = None, trace: str = ""
    ) -> Result:
        """Run one invocation to its end. Never raises for what the function does; the failure is in the Result."""
        invocation = Invocation(str(uuid.uuid4()), function.name, function.trigger_type, datetime.now(UTC))
        # Its own context, so that the log's names end with this invocation and siblings keep theirs.
        return await asyncio.create_task(self._run(function, payload, metadata or {}, trace or _new_trace(), invocation))

    async def drain(self) -> None:
        """Wait until nothing runs."""
        await self._idle.wait()
        self._threads.shutdown(wait=False)

    async def _run(
        self, function: HostFunction, payload: Datum, metadata: Mapping[str, Datum], trace: str, invocation: Invocation
    ) -> Result:
        current_function.set(function.name)
        current_invocation.set(invocation.id)
        self.invocations.add(invocation)
        self._running.add(invocation.id)
        self._idle.clear()
        started = time.perf_counter()
        outcome, error, returned = "failed", None, None
        try:
            context = Context(function, invocation.id, TraceContext(trace))
            returned = await self._call_and_send(function, payload, metadata, context)
            outcome = "succeeded"
        except TimeoutError:
            outcome, error = "timed out", f"ran longer than functionTimeout ({self._timeout:.0f} s)"
        except InvocationFailed as failure:
            error = str(failure)
        finally:
            self._running.discard(invocation.id)
            if not self._running:
                self._idle.set()
            self.invocations.finish(invocation, outcome, (time.perf_counter() - started) * 1000, error)
            self._report(invocation)
            self._finished()
        return Result(invocation.id, returned, error)

    async def _call_and_send(
        self, function: HostFunction, payload: Datum, metadata: Mapping[str, Datum], context: Context
    ) -> Datum | None:
        arguments: dict[str, Any] = {function.trigger["name"]: decode(function, payload, metadata)}
        outs = {name: Out() for name in function.outputs if name != RETURN}
        arguments |= outs
        if function.requires_context:
            arguments["context"] = context
        value = await self._call(function, arguments)
        if value is not None and RETURN not in function.outputs:
            raise InvocationFailed(
                "returned a value, but has no $return binding; return None or add an output binding named $return"
            )
        to_send = [
            (function.outputs[name], encode(function, name, out.get())) for name, out in outs.items() if out.get() is not None
        ]
        returned = encode(function, RETURN, value) if RETURN in function.outputs else None
        if returned is not None and function.outputs[RETURN]["type"] != "http":
            to_send.append((function.outputs[RETURN], returned))
        for binding, datum in to_send:
            await self._deliver(binding, datum)
        return returned

    async def _call(self, function: HostFunction, arguments: dict[str, Any]) -> Any:
        if function.is_async:
            work = asyncio.ensure_future(_guarded_async(function, arguments))
        else:
            run = contextvars.copy_context().run
            loop = asyncio.get_running_loop()
            work = asyncio.ensure_future(loop.run_in_executor(self._threads, run, _guarded, function, arguments))
        done, _ = await asyncio.wait({work}, timeout=self._timeout)
        if done:
            return work.result()
        if not work.cancel() or not function.is_async:
            _log.error("its thread cannot be stopped and goes on running; Azure would restart the worker process")
        raise TimeoutError

    async def _deliver(self, binding: Mapping[str, Any], datum: Datum) -> None:
        try:
            await self._send(binding, datum)
        except Exception as error:
            raise InvocationFailed(f"output {binding['name']!r} could not be sent: {type(error).__name__}: {error}") from error

    def _report(self, invocation: Invocation) -> None:
        if invocation.error is None:
            _log.info("%s in %.0f ms (%s)", invocation.outcome, invocation.duration_ms, invocation.trigger)
        else:
            _log.error(
                "%s after %.0f ms (%s): %s", invocation.outcome, invocation.duration_ms, invocation.trigger, invocation.error
            )


def _guarded(function: HostFunction, arguments: dict[str, Any]) -> Any:
    try:
        return function.call(**arguments)
    except Exception as error:
        _log.exception("raised %s", type(error).__name__)
        raise InvocationFailed(f"{type(error).__name__}: {error}") from error


async def _guarded_async(function: HostFunction, arguments: dict[str, Any]) -> Any:
    try:
        return await function.call(**arguments)
    except Exception as error:
        _log.exception("raised %s", type(error).__name__)
        raise InvocationFailed(f"{type(error).__name__}: {error}") from error


def _new_trace() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
