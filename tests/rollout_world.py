"""An endpoint, the models that come to it, and everybody who works at it, in simulated time; all writes may fail.

Faked: the ports and time. Real: the reconciler of rollouts, what people ask of it, the requests, the timers' work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from ml_core.documents import from_document
from ml_core.errors import Conflict, PermanentError, TemporaryError
from ml_core.ports import EndpointState, ModelVersion, TrainingJob
from ml_core.reconciling import JOBS, ROLLOUTS
from ml_core.rollout import people, request
from ml_core.rollout.actions import Action
from ml_core.rollout.commands import What
from ml_core.rollout.decide import RULES
from ml_core.rollout.state import Observation, State
from ml_core.rollout.story import Decided
from tests.fake_scoring import Scoring
from tests.fake_workspace import AskedTraffic
from tests.story import ENDPOINT, decisions_taken, model_registered
from tests.world import Coming, World

MODEL = "flight-delay"
BAKE, EVIDENCE_DELAY = timedelta(minutes=6), timedelta(minutes=2)
Kind = Literal["good", "erring", "slow", "failing at the smoke test", "other decisions"]

CONFIG = """
poll: 2m
data_assets:
  flights: {container: flights, prefix: in/, inventory: 24h}
models:
  flight-delay:
    data_asset: flights
    target: {column: late, positive_value: "yes"}
    endpoint: {name: flight-delay}
    rollout:
      steps: [20, 50, 100]
      interval: 4m
      evidence_delay: 2m
      bake: 6m
      shadow: {mirror: 10, duration: 4m, requests: 60}
      supersede: SUPERSEDE
      deadlines: {provisioning: 30m, at_zero: 1h, no_traffic: 20m, source_failed: 10m, no_verdict: 2h,
                  paused: 1h, approval: 1h, repeat: 1h}
freeze:
  - {starts_at: 2026-03-01T14:00:00Z, ends_at: 2026-03-01T15:00:00Z, reason: "the quarter closes"}
"""

FREEZE = (datetime.fromisoformat("2026-03-01T14:00:00+00:00"), datetime.fromisoformat("2026-03-01T15:00:00+00:00"))


_GLANCE = timedelta(seconds=15)


class RolloutWorld(World):
    """Models come, people speak, Azure is slow, and somebody has the portal open."""

    def __init__(self, supersede: str = "before traffic", more: str = "") -> None:
        super().__init__(CONFIG.replace("SUPERSEDE", supersede) + more)
        self.supersede = supersede
        # No two looks come at the same moment; the fake clock alone would have them do so.
        self.services = replace(self.services, now=self._a_moment_later)
        self.workspace.change_takes = timedelta(seconds=90)
        self.evidence.per_minute = 3000
        self.kinds: dict[str, Kind] = {}
        """Of the models, by version."""
        self.meddled_at: datetime | None = None
        """When somebody else changed the endpoint for the first time."""

    def _a_moment_later(self) -> datetime:
        self.clock.advance(timedelta(microseconds=1))
        return self.clock()

    # ---- models -----------------------------------------------------------------------------------------------------------

    def a_model_comes(self, kind: Kind) -> str:
        """Trained by us, registered, and told by an event."""
        version = str(len(self.workspace.models.get(MODEL, [])) + 1)
        job, data = f"train-{MODEL}-v{version}", f"v{version}"
        self.workspace.data["flights", data] = {}
        trained = TrainingJob(job, "train.yml", "flights", data, MODEL, "data", {})
        self.workspace.submitted[job] = (trained, self.clock() - timedelta(days=1))
        self.ledger.claim(f"{JOBS}/{job}.json", {"model": MODEL, "data_version": data, "correlation_id": f"trail-{version}"})
        self.workspace.register_model(ModelVersion(MODEL, version, {"job": job, "data_version": data}))
        self.kinds[version], name = kind, f"{MODEL}:{version}"
        if kind == "failing at the smoke test":
            self.workspace.scoring[name] = Scoring(fails_every=1)
        elif kind == "other decisions":
            self.workspace.scoring[name] = Scoring(shift=0.6, shifts_all=True)
        elif kind in ("erring", "slow"):
            self.evidence.behaves(name, errors=0.2 if kind == "erring" else 0.0, slow=0.6 if kind == "slow" else 0.0)
        self.told_of(version)
        return version

    def told_of(self, version: str) -> None:
        """The event comes, and comes again until it is taken in."""
        raw = model_registered(MODEL, version)
        self.coming.append(Coming(self.clock(), lambda: request.receive(self.services, raw)))
        self.pass_time(timedelta(0))

    # ---- people -----------------------------------------------------------------------------------------------------------

    def somebody_says(self, what: What, version: str = "") -> bool:
        """Whether it was taken down; what cannot be meant is refused at once."""
        said: list[int] = []

        def say() -> None:
            try:
                said.append(people.ask(self.services, ENDPOINT, what, "ada", "she has her reasons", version).number)
            except Conflict:
                raise
            except PermanentError:
                return

        self._run(say)
        return bool(said)

    def somebody_meddles(self, meddle: str) -> None:
        """In the portal. Azure refuses it now and then, as it refuses us."""
        endpoint = self.workspace.endpoints.get(ENDPOINT)
        if endpoint is None or self.workspace.busy(ENDPOINT) or not endpoint.traffic:
            return
        # Nobody can ask Azure for a change on the condition that it was not changed: what is not told yet may be overwritten.
        if self.workspace.reads_lag:
            return
        stable = max(endpoint.traffic, key=lambda slot: endpoint.traffic[slot])
        other = next((slot for slot in endpoint.deployments if slot != stable), "")
        try:
            if meddle == "removes the mirror":
                self.workspace.somebody_sets_traffic(ENDPOINT, endpoint.traffic)
            elif meddle == "sets a split of their own" and other:
                self.workspace.somebody_sets_traffic(ENDPOINT, {stable: 65, other: 35}, drops_tags=True)
            elif meddle == "sets everything back" and other:
                self.workspace.somebody_sets_traffic(ENDPOINT, {stable: 100, other: 0})
            elif meddle == "deletes the other deployment" and other:
                self.workspace.somebody_deletes(ENDPOINT, other)
            elif meddle == "makes the other deployment anew" and other:
                self.workspace.somebody_makes_anew(ENDPOINT, other, endpoint.deployments[other].model)
            else:
                return
        except (PermanentError, TemporaryError):
            return
        self.meddled_at = self.meddled_at or self.clock()

    def a_look_comes_out_of_turn(self, times: int) -> None:
        """Events and sweeps wake the endpoint, whoever looks at it already."""
        for _ in range(times):
            self.queue.enqueue(ROLLOUTS, f'{{"key": "{ENDPOINT}"}}')
        self.pass_time(timedelta(0))

    def until(self, condition: Callable[[], bool], limit: int | timedelta = timedelta(hours=9)) -> None:
        """Let time pass until something has happened, for so long or so many glances at most."""
        for _ in range(limit if isinstance(limit, int) else limit // _GLANCE):
            if condition():
                return
            self.pass_time(_GLANCE)
        assert condition(), f"it never happened: {self.answers()}"

    # ---- what is known ----------------------------------------------------------------------------------------------------

    def state(self) -> State:
        document = self.ledger.get(f"{ROLLOUTS}/{ENDPOINT}.json")
        return RULES.read(document.value["state"]) if document else State()

    def endpoint(self) -> EndpointState | None:
        """As it is, whatever is told."""
        self.workspace.busy(ENDPOINT)
        return self.workspace.endpoints.get(ENDPOINT)

    def decided(self) -> list[Decided]:
        """The decisions that were taken, oldest first."""
        return [
            Decided(
                datetime.fromisoformat(entry.value["now"]),
                RULES.read(entry.value["state"]),
                from_document(Observation, entry.value["observation"]),
                from_document(Action, entry.value["action"]),
                entry.key,
            )
            for entry in decisions_taken(self, ROLLOUTS, ENDPOINT)
        ][::-1]

    def asked(self) -> list[AskedTraffic]:
        """The app's own changes of traffic, also those that Azure refused."""
        return [one for one in self.workspace.traffic_asked if one.step is not None]

    # ---- the end ----------------------------------------------------------------------------------------------------------

    def everything_heals(self) -> None:
        """From now on nothing fails, there is traffic, its evidence can be read, and a person answers when asked."""
        self.faults.disarm()
        self.workspace.reads_lag, self.workspace.hangs = timedelta(0), False
        self.workspace.change_error = self.workspace.deployment_error = ""
        self.workspace.let_go()
        self.evidence.broken = self.evidence.silent = False
        self.evidence.per_minute = 6000
        for _ in range(40):
            self.tick_timers()
            self.pass_time(timedelta(minutes=30))
            state = self.state()
            if state.active is None and state.wanted is None and self.clock() > FREEZE[1]:
                return
            if state.active and state.active.pause:
                self.somebody_says("resume")
            if state.active is None:
                self.somebody_meddles("sets everything back")


def first_version_serves(more: str = "", lasts: timedelta = timedelta(minutes=30)) -> RolloutWorld:
    """A world in which version 1 was rolled out, at a time (Sunday, from 15:00 UTC on) when the calendar holds nobody."""
    world = RolloutWorld(more=more)
    world.clock.moment = FREEZE[1]
    world.a_model_comes("good")
    world.pass_time(lasts)
    assert world.workspace.serving(ENDPOINT) == {f"{MODEL}:1": "blue 100 %"}
    return world
