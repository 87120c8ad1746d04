"""Ports that fail in the middle: at the n-th write the process dies, the answer gets lost, or somebody else comes in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from ml_core.errors import PermanentError, TemporaryError
from ml_core.services import Services

WRITES = {
    "ledger": ("put", "overwrite", "claim", "delete"),
    "queue": ("enqueue",),
    "workspace": (
        "register_data_version",
        "submit_training",
        "create_endpoint",
        "create_deployment",
        "set_traffic",
        "delete_deployment",
    ),
    "dead_letters": ("remove",),
}


# Changes of traffic and deletions carry a fence: one that comes minutes late is refused. Azure has none for creations.
NEVER_STALLED = ("create_deployment",)
# What people must first correct. A rollout that is refused is over by design, and the ledger and the queue refuse nothing.
REFUSABLE = ("register_data_version", "submit_training")


class Died(BaseException):
    """The process was killed at this very place. No handler of the app may survive it, so it is no Exception."""


class Fault(StrEnum):
    """What happens at a write."""

    DIES_BEFORE = "the process dies just before it"
    DIES_AFTER = "it is done, and then the process dies"
    FAILS = "the service is away for a moment"
    ANSWER_LOST = "it is done, but the caller is told that it failed"
    REFUSED = "Azure refuses it, as things stand"
    OVERTAKEN = "just before it, another process does all that can be done"
    STALLED = "just before it, the process stands still while others work"


@dataclass
class Armed:
    """A fault that waits for the n-th write of a port ('' for any port's)."""

    fault: Fault
    port: str
    writes_until: int


@dataclass
class Faults:
    """Each fault that is armed strikes once; what follows must mend it."""

    others_work: Callable[[timedelta], None]
    """What other processes do within a span of time, should the fault be one that gives them some."""

    armed: list[Armed] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    """What happened where, for the story of a failure."""

    def arm(self, fault: Fault, port: str, writes_until: int) -> None:
        self.armed.append(Armed(fault, port, writes_until))

    def disarm(self) -> None:
        self.armed.clear()

    def beneath(self, services: Services) -> Services:
        """The same services, with these faults below every port that is written to."""
        ports: dict[str, Any] = {name: _Port(getattr(services, name), name, calls, self) for name, calls in WRITES.items()}
        return replace(services, **ports)

    def write(self, port: str, what: str, call: Callable[[], Any]) -> Any:
        fault = self._next(port)
        if fault is None:
            return call()
        if fault is Fault.STALLED and what.startswith(NEVER_STALLED):
            fault = Fault.OVERTAKEN
        if fault is Fault.REFUSED and not what.startswith(REFUSABLE):
            fault = Fault.FAILS
        self.struck.append(f"{port}.{what}: {fault.value}")
        if fault in (Fault.OVERTAKEN, Fault.STALLED):
            self.others_work(timedelta(minutes=10) if fault is Fault.STALLED else timedelta(0))
            return call()
        if fault in (Fault.DIES_AFTER, Fault.ANSWER_LOST):
            call()
        if fault in (Fault.DIES_BEFORE, Fault.DIES_AFTER):
            raise Died(what)
        error = PermanentError if fault is Fault.REFUSED else TemporaryError
        raise error(f"{what}: {fault.value}")

    def _next(self, port: str) -> Fault | None:
        for armed in self.armed:
            if armed.port not in ("", port):
                continue
            if armed.writes_until == 0:
                self.armed.remove(armed)
                return armed.fault
            armed.writes_until -= 1
        return None


class _Port:
    """Passes everything on, and asks the faults at each write."""

    def __init__(self, port: Any, name: str, writes: tuple[str, ...], faults: Faults) -> None:
        self._port, self._name, self._writes, self._faults = port, name, writes, faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in self._writes:
            return found

        def write(*arguments: Any, **named: Any) -> Any:
            what = f"{name}({arguments[0] if arguments else ''})"
            return self._faults.write(self._name, what, lambda: found(*arguments, **named))

        return write
