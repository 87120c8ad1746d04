"""How long things take: at once for tests, or Azure's usual times, scaled, for demonstrations."""

from __future__ import annotations

import threading
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Pace:
    """`scale` 0: every transition happens at once. 1: Azure's usual time. 0.1: a tenth of it."""

    scale: float = 0.0

    @classmethod
    def immediate(cls) -> Pace:
        return cls(0.0)

    @classmethod
    def realistic(cls, scale: float = 1.0) -> Pace:
        return cls(scale)

    def seconds(self, transition: str) -> float:
        """The extra time that `transition` takes; KeyError when it is not one of REALISTIC_SECONDS."""
        return REALISTIC_SECONDS[transition] * self.scale

    def wait(self, transition: str, stop: threading.Event) -> bool:
        """Let the transition's time pass; True when `stop` was set meanwhile."""
        return stop.wait(self.seconds(transition))

    def poll_headers(self) -> dict[str, str]:
        """What a client that polls a long-running operation is told to wait."""
        return {"Retry-After": "1"} if self.scale else {"retry-after-ms": "50"}
