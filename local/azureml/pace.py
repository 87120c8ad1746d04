"""How long things take: at once for tests, Azure's usual times, scaled, for demonstrations, or until somebody looked n times."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

# Seconds on a quiet Azure subscription, rounded. They shape a demonstration and promise nothing.
REALISTIC_SECONDS = {
    "job.queued": 10.0,
    "job.preparing": 60.0,
    "endpoint.create": 30.0,
    "endpoint.update": 10.0,
    "endpoint.delete": 30.0,
    "deployment.create": 300.0,
    "deployment.update": 120.0,
    "deployment.delete": 60.0,
}
_LOOK_SECONDS = 0.02
_LARGEST = 100_000.0


@dataclass(frozen=True)
class Pace:
    """`scale` 0: every transition happens at once. 1: Azure's usual time. 0.1: a tenth of it.

    `reads` above 0: a transition ends when its resource was read that often, whatever the clock says.
    `durations`: seconds, before the scale, of transitions that are to take another time than the usual one.
    """

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}

    scale: float = 0.0
    reads: int = 0
    durations: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (0 <= self.scale <= _LARGEST and 0 <= self.reads <= _LARGEST):
            raise ValueError(f"scale and reads must be between 0 and {_LARGEST:.0f}")
        if self.scale and self.reads:
            raise ValueError("only one of scale and reads can be above 0")
        for transition, seconds in self.durations.items():
            if transition not in REALISTIC_SECONDS:
                raise ValueError(f"durations: there is no transition {transition!r}: {', '.join(REALISTIC_SECONDS)}")
            if not 0 <= seconds <= _LARGEST:
                raise ValueError(f"durations: {transition} must be between 0 and {_LARGEST:.0f} seconds")

    @classmethod
    def immediate(cls) -> Pace:
        return cls(0.0)

    def seconds(self, transition: str) -> float:
        """The extra time that `transition` takes; KeyError when it is not one of REALISTIC_SECONDS."""
        return self.durations.get(transition, REALISTIC_SECONDS[transition]) * self.scale

    def over(self, transition: str, seconds: float, reads: int) -> bool:
        """True when a transition that began `seconds` ago and was looked at `reads` times has had its time."""
        return reads >= self.reads if self.reads else seconds >= self.seconds(transition)

    def poll_headers(self) -> dict[str, str]:
        """What a client that polls a long-running operation is told to wait."""
        return {"Retry-After": "1"} if self.scale else {"retry-after-ms": "50"}


class Transitions:
    """Lets time pass at the pace of now. Thread-safe. A resource is named by its path in the workspace ("/jobs/x")."""

    def __init__(self, pace: Pace) -> None:
        self._changed = threading.Condition()
        self._reads: dict[str, int] = {}
        self.pace = pace
        self.counting = pace.reads > 0
        """Whether `read` has any effect; asked first, so that reads cost nothing otherwise."""

    def change(self, pace: Pace) -> None:
        """From now on, also for what waits already: its time so far counts."""
        with self._changed:
            self.pace, self.counting = pace, pace.reads > 0
            self._changed.notify_all()

    def read(self, resource: str) -> None:
        """Somebody has looked at the resource, or polled the operation on it."""
        key = resource.lower()
        with self._changed:
            if key in self._reads:
                self._reads[key] += 1
                self._changed.notify_all()

    def wait(self, transition: str, resource: str, stop: threading.Event) -> bool:
        """Let the transition's time pass; True when `stop` was set meanwhile."""
        key, began = resource.lower(), time.monotonic()
        with self._changed:
            self._reads[key] = 0
            try:
                # `stop` cannot wake a condition, so it is looked at.
                while not self.pace.over(transition, time.monotonic() - began, self._reads.get(key, 0)) and not stop.is_set():
                    self._changed.wait(_LOOK_SECONDS)
            finally:
                self._reads.pop(key, None)
        return stop.is_set()
