"""Asks every scoring process how it is, as often as its deployment wants, and tells what follows from the answers."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from local.azureml.serving import process
from local.azureml.serving.probes import Probe, Probes


class Watched:
    """One process under its two probes. `ready`: whether it is known to be; `started_at` is by time.monotonic()."""

    def __init__(self, port: int, probes: Probes, *, started_at: float, ready: bool) -> None:
        self.port, self._started_at = port, started_at
        self.readiness = Probe(probes.readiness, started_at=started_at, well=ready, eager=not ready)
        self.liveness = Probe(probes.liveness if ready else probes.while_starting, started_at=started_at, well=True)
        self.looks: list[tuple[Probe, Future[bool]]] = []

    def adjust(self, probes: Probes) -> None:
        """Go on with other settings."""
        self.readiness = Probe(probes.readiness, started_at=self._started_at, well=self.readiness.well)
        self.liveness = Probe(probes.liveness, started_at=self._started_at, well=self.liveness.well)


class Probing:
    """Looks in threads of its own: a process that hangs delays nobody else's looks. Used by one thread."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(8, "probe")

    def look(self, watched: Iterable[Watched]) -> bool:
        """Take the answers that have come, send the looks that are due; True when some process's readiness has changed."""
        now, changed = time.monotonic(), False
        for one in watched:
            waiting = []
            for probe, look in one.looks:
                if not look.done():
                    waiting.append((probe, look))
                elif probe.saw(look.result()) and probe is one.readiness:
                    changed = True
            one.looks = waiting
            busy = {id(probe) for probe, _ in waiting}
            for probe in (one.liveness, one.readiness):
                if id(probe) not in busy and probe.due(now):
                    one.looks.append((probe, self._threads.submit(process.healthy, one.port, probe.settings.timeout)))
        return changed

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
