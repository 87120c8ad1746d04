"""A scoring process that is slower than it is, or answers what it never said: faults on purpose, as the router plays them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from local.azureml.faults import Faults, ScoringFault, Subject
from local.azureml.serving.upstream import TooManyRequests, Upstream
from local.azureml.serving.wire import Message


def scoring_fault(faults: Faults, endpoint: str, deployment: str) -> ScoringFault | None:
    """What strikes this request, if anything does."""
    rule = faults.strike("scoring", Subject(path=f"/onlineEndpoints/{endpoint}/deployments/{deployment}"))
    return rule.scoring if rule else None


def send_faulty(
    upstream: Upstream, fault: ScoringFault, message: Message, path: bytes, done: Callable[[Message | Exception], None]
) -> None:
    """As `Upstream.send`. A delayed request is under way all the time: it counts towards the limit, and its deadline holds.

    The delay and the process's own time have the deadline each: together they may take a little longer than it.
    """
    if upstream.under_way >= upstream.target.limit:
        done(TooManyRequests())
        return
    upstream.under_way += 1
    deadline = upstream.target.timeout_seconds

    def go_on() -> None:
        upstream.under_way -= 1
        if fault.delay >= deadline:
            done(TimeoutError())
        elif fault.status is not None:
            done(_answer(fault.status))
        else:
            upstream.send(message, path, done)

    asyncio.get_running_loop().call_later(min(fault.delay, deadline), go_on)


def _answer(status: int) -> Message:
    answer = Message()
    answer.status = status
    answer.headers = [(b"content-type", b"text/plain")]
    answer.body = [b"This failure was injected into the emulator."]
    return answer
