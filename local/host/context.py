"""What a function's `context` parameter receives."""

from __future__ import annotations

import threading
from typing import Any

import azure.functions as func
from azure.functions import _abc  # the package does not export the two smaller interfaces

from local.host.function import HostFunction


class TraceContext(_abc.TraceContext):
    """W3C trace context of one invocation."""

    def __init__(self, trace_parent: str, trace_state: str = "") -> None:
        self._parent, self._state = trace_parent, trace_state

    @property
    def trace_parent(self) -> str:
        return self._parent

    @property
    def Traceparent(self) -> str:  # noqa: N802 - the worker's name for it
        return self._parent

    @property
    def trace_state(self) -> str:
        return self._state

    @property
    def Tracestate(self) -> str:  # noqa: N802
        return self._state

    @property
    def attributes(self) -> dict[str, str]:
        return {}

    @property
    def Attributes(self) -> dict[str, str]:  # noqa: N802
        return {}


class RetryContext(_abc.RetryContext):
    """No retry policies here: always the first attempt."""

    @property
    def retry_count(self) -> int:
        return 0

    @property
    def max_retry_count(self) -> int:
        return 0

    @property
    def exception(self) -> Any:
        return None


class Context(func.Context):
    """What a `context` parameter receives."""

    _threads = threading.local()

    def __init__(self, function: HostFunction, invocation_id: str, trace: TraceContext) -> None:
        self._function, self._id, self._trace = function, invocation_id, trace

    @property
    def invocation_id(self) -> str:
        return self._id

    @property
    def thread_local_storage(self) -> Any:
        return self._threads

    @property
    def function_name(self) -> str:
        return self._function.name

    @property
    def function_directory(self) -> str:
        return self._function.folder

    @property
    def trace_context(self) -> TraceContext:
        return self._trace

    @property
    def retry_context(self) -> RetryContext:
        return RetryContext()
