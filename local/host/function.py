"""One function as the host sees it: what it is called, what fires it, what goes in and out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

GENERIC = "generic"
RETURN = "$return"
TRIGGERS = frozenset({"eventGridTrigger", "queueTrigger", "timerTrigger", "httpTrigger"})
OUTPUTS = frozenset({"http", "queue"})


@dataclass(frozen=True)
class HostFunction:
    """A checked function. `trigger` and `outputs` are bindings as function.json would hold them (camelCase, text resolved)."""

    name: str
    call: Callable[..., Any]
    folder: str
    trigger: Mapping[str, Any]
    input_kind: str
    """The converter of the trigger's parameter: the trigger's type, or `generic` for a `str` or `bytes` annotation."""
    outputs: Mapping[str, Mapping[str, Any]]
    """Output bindings by parameter name (`$return` included)."""
    output_types: Mapping[str, Any]
    requires_context: bool

    @property
    def trigger_type(self) -> str:
        return str(self.trigger["type"])

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.call)
