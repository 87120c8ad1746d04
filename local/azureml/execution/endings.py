"""How a step can end other than well: raised in the middle of its work, told in its run document."""

from __future__ import annotations

import signal


class StepFailedError(Exception):
    """Ends a step; the message becomes its error."""


class StepTimedOutError(Exception):
    """Ends a step that ran longer than its limit: Azure ML cancels it then (REST description, CommandJobLimits.timeout)."""


class StepCanceledError(Exception):
    """The step was cancelled while it ran or before it began."""


def words_of(status: int | None) -> str:
    """The exit status of a process (negative: a signal's number) in words."""
    if status is not None and status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"exit code {status}"
