"""Traffic evidence by hand: requests that a test has counted, and a stream that follows the traffic of the fake workspace."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import floor
from typing import NamedTuple

from ml_core.ports import Counts, EndpointState, History, Interval, Measured, SourceFailed
from tests.fake_workspace import FakeWorkspace

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_P95_MS = 25.0


class Asked(NamedTuple):
    """A request that was answered. `status`: for a 424 what stands behind it."""

    endpoint: str
    deployment: str
    at: datetime
    status: int
    ms: float = 20.0


@dataclass(frozen=True)
class Behaviour:
    """Which shares of the live requests, and of their copies, a model fails at or is slow to answer."""

    errors: float = 0.0
    slow: float = 0.0


@dataclass
class _Stream:
    """Per endpoint: from each of `starts` on so many requests, errors and slow ones come per second to each deployment.
    `before` are the sums until then."""

    starts: list[datetime] = field(default_factory=list)
    flows: list[dict[str, tuple[float, float, float]]] = field(default_factory=list)
    before: list[dict[str, tuple[float, float, float]]] = field(default_factory=list)

    def goes_on(self, at: datetime, flow: dict[str, tuple[float, float, float]]) -> None:
        if self.flows and self.flows[-1] == flow:
            return
        slots = {slot for one in (*self.before[-1:], *self.flows[-1:]) for slot in one}
        self.before.append({slot: self.sums(slot, at) for slot in slots})
        self.starts.append(at)
        self.flows.append(flow)

    def sums(self, slot: str, at: datetime) -> tuple[float, float, float]:
        """All until then."""
        number = bisect_right(self.starts, at) - 1
        if number < 0:
            return (0.0, 0.0, 0.0)
        seconds = (at - self.starts[number]).total_seconds()
        nothing = (0.0, 0.0, 0.0)
        known, flow = self.before[number].get(slot, nothing), self.flows[number].get(slot, nothing)
        return (known[0] + flow[0] * seconds, known[1] + flow[1] * seconds, known[2] + flow[2] * seconds)

    def counts(self, slot: str, since: datetime, until: datetime) -> Counts:
        # Rounded sums: no request is counted twice or never, wherever the intervals are cut.
        first, last = self.sums(slot, since), self.sums(slot, until)
        requests, errors, slow = (floor(b + 1e-6) - floor(a + 1e-6) for a, b in zip(first, last, strict=True))
        return Counts(requests, min(errors, requests), slow=min(slow, requests), slow_at_most=min(slow, requests))


class FakeEvidence:
    """`requests` were counted by a test; beside them, `per_minute` come to each endpoint of `workspace` and are split as its
    traffic says at each moment, copies to a mirror included. They are evenly spaced: nothing here is random."""

    def __init__(self, workspace: FakeWorkspace | None = None) -> None:
        self.workspace = workspace
        self.requests: list[Asked] = []
        self.broken = False
        """The source fails."""
        self.silent = False
        """The source works and tells of no request."""
        self.late = timedelta(0)
        """An interval that ended less than that ago is told with half of its requests only."""
        self._per_minute = 0.0
        self._behaviours: dict[str, Behaviour] = {}
        self._streams: dict[str, _Stream] = {}
        self._seen: dict[str, int] = {}

    @property
    def per_minute(self) -> float:
        """How many live requests come to each endpoint from now on."""
        return self._per_minute

    @per_minute.setter
    def per_minute(self, requests: float) -> None:
        self._follow()
        self._per_minute = requests
        self._turn()

    def behaves(self, model: str, *, errors: float = 0.0, slow: float = 0.0) -> None:
        """How `<name>:<version>` answers from now on."""
        self._follow()
        self._behaviours[model] = Behaviour(errors, slow)
        self._turn()

    def saw(self, endpoint: str, deployment: str, at: datetime, *, requests: int, errors: int = 0, slow: int = 0) -> None:
        for number in range(requests):
            ms = 1000.0 if number >= requests - slow else 20.0
            self.requests.append(Asked(endpoint, deployment, at, 500 if number < errors else 200, ms))

    def intervals(
        self,
        endpoint: str,
        deployments: Sequence[str],
        since: datetime,
        until: datetime,
        granularity: timedelta,
        slower_than_ms: float | None,
    ) -> Measured | SourceFailed:
        if self.broken:
            return SourceFailed("the metrics answer 503")
        start, found = _EPOCH + -((_EPOCH - since) // granularity) * granularity, []
        while (end := start + granularity) <= until:
            counts = {slot: self._told(endpoint, slot, start, end, slower_than_ms) for slot in deployments}
            found.append(Interval(start, end, {slot: one for slot, one in counts.items() if one != Counts()}))
            start = end
        return Measured(tuple(found))

    def history(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> History | SourceFailed:
        if self.broken:
            return SourceFailed("the metrics answer 503")
        found = self._counts(endpoint, deployment, since, until, None)
        asked = 0 if self.silent else found.requests
        return History(asked, found.errors if asked else 0, (until - since).total_seconds(), _P95_MS if asked else None)

    def really(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> Counts:
        """What came, whatever the source tells."""
        return self._counts(endpoint, deployment, since, until, None)

    def _told(self, endpoint: str, slot: str, start: datetime, end: datetime, slower_than_ms: float | None) -> Counts:
        if self.silent:
            return Counts()
        if self.workspace and end > self.workspace.clock() - self.late:
            end = start + (end - start) / 2
        return self._counts(endpoint, slot, start, end, slower_than_ms)

    def _counts(self, endpoint: str, slot: str, since: datetime, until: datetime, slower_than_ms: float | None) -> Counts:
        self._follow()
        stream = self._streams.get(endpoint)
        flown = stream.counts(slot, since, until) if stream else Counts()
        ours = [Asked(*one) for one in self.requests if one[:2] == (endpoint, slot) and since <= one[2] < until]
        good = sum(one.status < 400 for one in ours)
        failed = sum(one.status >= 500 or one.status in (408, 424, 429) for one in ours)
        counted = [one for one in ours if one.status < 400 or one.status >= 500 or one.status in (408, 424, 429)]
        slow = sum(one.ms > slower_than_ms for one in counted) if slower_than_ms is not None else 0
        flown_slow = flown.slow if slower_than_ms is not None else 0
        requests, errors = flown.requests + good + failed, flown.errors + failed
        return Counts(requests, errors, len(ours) - good - failed, slow + flown_slow, slow + flown_slow)

    def _follow(self) -> None:
        """Take over how the endpoints' traffic went since."""
        if self.workspace is None:
            return
        for endpoint in self.workspace.endpoints:
            history = self.workspace.history(endpoint)
            stream = self._streams.setdefault(endpoint, _Stream())
            for at, state in history[self._seen.get(endpoint, 0) :]:
                stream.goes_on(at, self._flow(state))
            self._seen[endpoint] = len(history)

    def _turn(self) -> None:
        """From now on another stream comes."""
        if self.workspace is None:
            return
        for endpoint, stream in self._streams.items():
            stream.goes_on(self.workspace.clock(), self._flow(self.workspace.endpoints[endpoint]))

    def _flow(self, state: EndpointState) -> dict[str, tuple[float, float, float]]:
        flow = {}
        for slot, percent in [*state.traffic.items(), *state.mirror.items()]:
            how = self._behaviours.get(state.deployments[slot].model, Behaviour()) if slot in state.deployments else Behaviour()
            each = self._per_minute / 60 * percent / 100
            flow[slot] = (each, each * how.errors, each * how.slow)
        return flow
