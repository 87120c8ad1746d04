"""Liveness and readiness: how often a scoring process is asked whether it is well, and what its answers mean.

https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online (ProbeSettings)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from local.azureml.durations import seconds
from local.azureml.errors import bad_request

_EAGER_SECONDS = 0.2


@dataclass(frozen=True)
class ProbeSettings:
    """The defaults are Azure's."""

    initial_delay: float = 10.0
    """Seconds between the start and the first look."""
    period: float = 10.0
    """Seconds between two looks."""
    timeout: float = 2.0
    """Seconds after which a look has failed."""
    success_threshold: int = 1
    failure_threshold: int = 30

    @classmethod
    def of(cls, asked: Mapping[str, Any] | None, name: str, **defaults: float) -> ProbeSettings:
        """From the REST body's `livenessProbe` or `readinessProbe`; 400 names what is wrong with it."""
        fields = ("initialDelay", "initial_delay"), ("period", "period"), ("timeout", "timeout")
        found: dict[str, Any] = dict(defaults)
        given = asked or {}
        for rest, own in fields:
            if given.get(rest) is not None:
                found[own] = seconds(given[rest], f"{name}.{rest}")
                if found[own] < 1:
                    raise bad_request(f"{name}.{rest} must be at least 1 second, not {given[rest]!r}.")
        for rest, own in (("successThreshold", "success_threshold"), ("failureThreshold", "failure_threshold")):
            if given.get(rest) is not None:
                found[own] = given[rest]
                if type(found[own]) is not int or found[own] < 1:
                    raise bad_request(f"{name}.{rest} must be an integer of at least 1, not {given[rest]!r}.")
        return cls(**found)

    def lasting(self, second: float) -> ProbeSettings:
        """With seconds that last `second` seconds."""
        times = self.initial_delay * second, self.period * second, self.timeout * second
        return replace(self, initial_delay=times[0], period=times[1], timeout=times[2])

    @property
    def patience(self) -> float:
        """Seconds after which a process that never answered has failed."""
        return self.initial_delay + self.period * self.failure_threshold


@dataclass(frozen=True)
class Probes:
    """The probes of a deployment."""

    liveness: ProbeSettings = field(default_factory=ProbeSettings)
    readiness: ProbeSettings = field(default_factory=lambda: ProbeSettings(initial_delay=0.0))
    """Its default delay is not Azure's 10 seconds: nobody wants to wait for what is ready."""
    startup: ProbeSettings | None = None
    """When there is one, it is this that says how long a start may take."""

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Probes:
        """From a deployment's REST properties; 400 names what is wrong."""
        startup = properties.get("startupProbe")
        return cls(
            ProbeSettings.of(properties.get("livenessProbe"), "livenessProbe"),
            ProbeSettings.of(properties.get("readinessProbe"), "readinessProbe", initial_delay=0.0),
            ProbeSettings.of(startup, "startupProbe") if startup else None,
        )

    def lasting(self, second: float) -> Probes:
        """With seconds that last `second` seconds."""
        startup = self.startup.lasting(second) if self.startup else None
        return Probes(self.liveness.lasting(second), self.readiness.lasting(second), startup)

    @property
    def patience(self) -> float:
        """Seconds that a process is given to answer for the first time."""
        return (self.startup or self.liveness).patience

    @property
    def while_starting(self) -> ProbeSettings:
        """The liveness probe of a process that was not well yet."""
        return replace(self.liveness, initial_delay=self.startup.patience) if self.startup else self.liveness

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Probes:
        startup = document.get("startup")
        liveness, readiness = ProbeSettings(**document["liveness"]), ProbeSettings(**document["readiness"])
        return cls(liveness, readiness, ProbeSettings(**startup) if startup else None)


class Probe:
    """Counts the answers in a row. `well` changes when one of the thresholds is reached, as Kubernetes does it."""

    def __init__(self, settings: ProbeSettings, *, started_at: float, well: bool, eager: bool = False) -> None:
        """`eager`: until it is well for the first time, look often instead of once in a period, since somebody waits for it."""
        self.settings, self.well = settings, well
        self._eager = eager
        self._next = started_at + settings.initial_delay
        self._in_a_row = 0

    def due(self, now: float) -> bool:
        """True once per period; the answer is given to `saw`."""
        if now < self._next:
            return False
        self._next = now + (_EAGER_SECONDS if self._eager else self.settings.period)
        return True

    def saw(self, answered: bool) -> bool:
        """Take one answer; True when `well` has changed by it."""
        if answered == self.well:
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        threshold = self.settings.success_threshold if answered else self.settings.failure_threshold
        if self._in_a_row < threshold:
            return False
        self.well, self._in_a_row, self._eager = answered, 0, False
        return True
