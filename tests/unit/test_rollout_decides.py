"""Whatever is seen, in whatever order: a decision comes, and it is a safe one. Pure: no ledger, no reconciler, no Azure.

The machine shows `decide` worlds that need not follow from what it did: torn, late, foreign, gone. What it answers is taken into
the state by `evolve`, and the state goes through JSON at every look, as it does on its way to the ledger.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from ml_core.documents import to_document
from ml_core.ports import (
    Counts,
    DeploymentState,
    EndpointState,
    History,
    Interval,
    JobState,
    Measured,
    ModelVersion,
    SourceFailed,
)
from ml_core.rollout.actions import (
    Action,
    Begin,
    CreateDeployment,
    CreateEndpoint,
    DeleteDeployment,
    Obey,
    Settle,
    ShiftTraffic,
)
from ml_core.rollout.commands import Command, What
from ml_core.rollout.decide import RULES, decide
from ml_core.rollout.evolve import evolve
from ml_core.rollout.freeze import FreezeWindow
from ml_core.rollout.judge.pairs import Pairs, PairsPromises
from ml_core.rollout.provenance import Origin
from ml_core.rollout.smoke import SmokeTest
from ml_core.rollout.state import Observation, Phase, Split, State
from tests import rollout_by_hand

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FROZEN = FreezeWindow(NOON + timedelta(hours=2), NOON + timedelta(hours=3), "the quarter closes")
LINE = "line"
STORIES = os.environ.get("TIDEGATE_STORIES")
RULES_OF_TODAY = replace(
    rollout_by_hand.RULES_OF_TODAY,
    steps=(20, 50, 100),
    interval=timedelta(minutes=4),
    bake=timedelta(minutes=6),
    poll=timedelta(minutes=2),
    evidence_delay=timedelta(minutes=2),
    shadow=PairsPromises(),
    shadow_mirror=10,
    shadow_duration=timedelta(minutes=4),
    shadow_requests=60,
    supersede="always",
    freeze=(FROZEN,),
)
World = Literal[
    "as asked", "as before", "somebody else's", "at work", "gone", "candidate gone", "stable gone", "made anew", "failed"
]
WORLDS: tuple[World, ...] = get_args(World)
CHANGES = CreateEndpoint | CreateDeployment | ShiftTraffic | DeleteDeployment


class Decisions(RuleBasedStateMachine):
    """A state, a time, and looks at worlds of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.now = State(), NOON
        self.carried, self.anew, self.newest = Split(), 0, 1
        self.deployments: dict[str, DeploymentState] = {}

    @rule()
    def a_model_comes(self) -> None:
        self.newest += 1

    @rule(looks=st.integers(1, 15), minutes=st.sampled_from([2, 2, 5]))
    def all_goes_well_for_a_while(self, looks: int, minutes: int) -> None:
        for _ in range(looks):
            self._look(minutes, "as asked", "passed", "ok", "alike", None)

    @rule(
        minutes=st.sampled_from([0, 1, 2, 5, 10, 70]),
        world=st.sampled_from(WORLDS),
        smoke=st.sampled_from(["passed", "passed", "failed", "none", "error"]),
        evidence=st.sampled_from(["ok", "bad", "none", "error", "not asked"]),
        pairs=st.sampled_from(["alike", "flipped", "error", "not asked"]),
    )
    def the_world_is_odd(self, minutes: int, world: World, smoke: str, evidence: str, pairs: str) -> None:
        self._look(minutes, world, smoke, evidence, pairs, None)

    @rule(says=st.sampled_from(get_args(What)), world=st.sampled_from(["as asked", "as asked", "at work", "somebody else's"]))
    def a_person_speaks(self, says: What, world: World) -> None:
        self._look(1, world, "passed", "ok", "alike", says)

    def _look(self, minutes: int, world: World, smoke: str, evidence: str, pairs: str, says: What | None) -> None:
        """A look, and those that it asks for at once."""
        self.now += timedelta(minutes=minutes)
        for _ in range(8):
            action = self._one_look(world, smoke, evidence, pairs, says)
            if action.look_again_in != timedelta(0):
                return
            says = None

    def _one_look(self, world: World, smoke: str, evidence: str, pairs: str, says: What | None) -> Action:
        seen = self._endpoint(world)
        observation = Observation(
            rules=RULES_OF_TODAY,
            name=LINE,
            endpoint=seen,
            requested=self._requested(),
            origin=Origin({"model": "m", "data_version": "v"}, JobState("train-m", "Completed")),
            command=self._command(says),
            smoke=SmokeTest(smoke, "it was tried") if smoke != "error" else SmokeTest("error", "nobody answered"),  # type: ignore[arg-type]
            pairs=self._pairs(pairs),
            history=History(10_000, 10, 3600.0, 25.0),
            evidence=self._evidence(evidence),
        )
        action = decide(self.state, observation, self.now)
        self._is_safe(action, observation)
        self._takes_effect(action)
        after = evolve(self.state, action, self.now)
        assert RULES.read(to_document(after)) == after, "the state is not the same after JSON"
        self._keeps_its_word(action, after)
        self.state = after
        return action

    # ---- what is seen -------------------------------------------------------------------------------------------------

    def _endpoint(self, world: World) -> EndpointState | None:
        active = self.state.active
        if world == "gone" or not (self.deployments or active or self.carried.weights):
            return None
        shown = dict(self.deployments)
        state, split = "Succeeded", self.carried
        if active is not None and world == "as before":
            split = active.before
        if world == "somebody else's" and len(shown) == 2:
            split = Split({"blue": 65, "green": 35})
        if world == "at work":
            state = "Updating"
        missing = {"candidate gone": active.candidate, "stable gone": active.stable}.get(world) if active else None
        shown.pop(missing or "", None)
        if active and active.candidate in shown and world in ("made anew", "failed"):
            found = shown[active.candidate]
            anew = replace(found, created_at=found.created_at + "'") if world == "made anew" else None
            shown[active.candidate] = anew or replace(found, provisioning_state="Failed", error="out of memory")
        return EndpointState(LINE, state, split.weights, shown, split.mirror)

    def _requested(self) -> ModelVersion | None:
        wanted, active = self.state.wanted, self.state.active
        version = int(wanted.version) if wanted and active is None else self.newest
        if not version or (wanted is None and version <= (int(active.version) if active else self.state.settled)):
            return None
        return ModelVersion("m", str(version), {"job": "train-m", "data_version": "v"})

    def _command(self, says: What | None) -> Command | None:
        if says is None:
            return None
        rollout = self.state.active.id if self.state.active and says != "roll back" else ""
        version = str(max(1, self.state.settled)) if says == "roll back" else ""
        return Command(self.state.commands + 1, says, "ada", "she has her reasons", self.now, rollout, version)

    def _evidence(self, kind: str) -> Measured | SourceFailed | None:
        active = self.state.active
        if active is None or kind == "not asked":
            return None
        if kind == "error":
            return SourceFailed("the metrics answer 503")
        found: list[Interval] = []
        start = active.judged_until or active.since
        while (end := start + timedelta(minutes=1)) <= self.now - timedelta(minutes=2) and len(found) < 10:
            shares = {**self.carried.weights, **self.carried.mirror} if kind != "none" else {}
            fails = active.candidate if kind == "bad" else ""
            counts = {slot: Counts(50 * share, 20 * share if slot == fails else 0) for slot, share in shares.items()}
            found.append(Interval(start, end, counts))
            start = end
        return Measured(tuple(found))

    def _pairs(self, kind: str) -> Pairs | None:
        active = self.state.active
        if active is None or active.phase != Phase.SHADOW or kind == "not asked":
            return None
        first = active.pairs.asked
        if kind == "error":
            return Pairs(first, 0, 0, 0, 0, 0, 0, 0, False, error="nobody answered")
        return Pairs(first, 30, 25 if kind == "flipped" else 0, 0, 0, 0, 0, 30, first >= 30)

    # ---- what must hold -----------------------------------------------------------------------------------------------

    def _is_safe(self, action: Action, observation: Observation) -> None:
        """Whatever was seen, nothing is asked of Azure that must not be."""
        active, seen = self.state.active, observation.endpoint
        assert not observation.command or isinstance(action, Obey), "a person's word comes first"
        if not isinstance(action, CHANGES):
            return
        assert seen is None or seen.provisioning_state != "Updating", "Azure is at work"
        if isinstance(action, DeleteDeployment):
            assert seen is not None
            assert not seen.traffic.get(action.slot), "it has live traffic"
            assert not seen.mirror.get(action.slot), "copies are sent to it"
            assert seen.deployments[action.slot].model == action.model
        if isinstance(action, ShiftTraffic):
            assert active is not None
            assert seen is not None
            self._is_a_safe_split(action, seen)

    def _is_a_safe_split(self, action: ShiftTraffic, seen: EndpointState) -> None:
        active, weights = self.state.active, action.split.weights
        assert active is not None
        mirrored = {slot: share for slot, share in action.split.mirror.items() if share}
        assert sum(weights.values()) == 100, (action, active, seen)
        assert all(type(weight) is int and weight >= 0 for weight in weights.values())
        assert len(mirrored) <= 1
        assert all(0 < share <= 50 and not weights.get(slot) for slot, share in mirrored.items())
        assert action.step > self.state.steps, "the fencing token must grow"
        before, after = seen.traffic.get(active.candidate, 0), weights.get(active.candidate, 0)
        if after > before:
            assert active.phase != Phase.ROLLING_BACK, "a rollback is monotone"
            assert active.pause is None or active.pause.cause not in ("person", "no way back"), active.pause
            frozen = FROZEN.starts_at <= self.now < FROZEN.ends_at
            assert active.road == "return" or not frozen, "nothing is promoted in a freeze"
        if after or mirrored.get(active.candidate):
            deployment = seen.deployments[active.candidate]
            assert deployment.created_at == active.deployment, "another deployment than the tested one"
            assert deployment.model == f"{active.model}:{active.version}"
        now = Split(seen.traffic, seen.mirror)
        assert any(_same(now, known) for known in (active.intended, active.before)), "somebody else's split is overwritten"

    def _keeps_its_word(self, action: Action, after: State) -> None:
        """What is remembered fits what was decided."""
        before = self.state
        assert after.commands == before.commands + isinstance(action, Obey)
        assert after.steps >= before.steps
        assert after.settled >= before.settled
        if before.active and after.active:
            assert after.active.id == before.active.id, "one rollout at a time"
            assert before.active.phase != Phase.ROLLING_BACK or after.active.phase == Phase.ROLLING_BACK
        if before.active is None and after.active is not None:
            assert isinstance(action, Begin)
        if before.active is not None and after.active is None:
            assert isinstance(action, Settle)
        told = [notice.id for notice in after.notices]
        assert len(told) == len(set(told))

    def _takes_effect(self, action: Action) -> None:
        """Azure does what it was asked; what is shown of it at the next look is another matter."""
        if isinstance(action, CreateDeployment) and action.slot not in self.deployments:
            self.anew += 1
            made = DeploymentState(action.slot, f"{action.model}:{action.version}", "Succeeded", "", f"made {self.anew}")
            self.deployments[action.slot] = made
        if isinstance(action, CreateEndpoint):
            self.deployments = {}
        if isinstance(action, DeleteDeployment):
            self.deployments.pop(action.slot, None)
        if isinstance(action, ShiftTraffic):
            weights = {slot: weight for slot, weight in action.split.weights.items() if weight}
            self.carried = Split(weights, {slot: share for slot, share in action.split.mirror.items() if share})


def _same(one: Split, other: Split) -> bool:
    pairs = ((one.weights, other.weights), (one.mirror, other.mirror))
    return all({k: v for k, v in a.items() if v} == {k: v for k, v in b.items() if v} for a, b in pairs)


TestDecisions = Decisions.TestCase
TestDecisions.settings = settings(
    max_examples=int(STORIES or 60),
    stateful_step_count=30,
    deadline=None,
    derandomize=STORIES is None,
    suppress_health_check=list(HealthCheck),
)
