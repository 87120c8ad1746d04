"""Brings an endpoint in line with the newest model version that was asked for: one step per look."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from ml_core.ports import DeploymentSpec
from ml_core.reconciling import ROLLOUTS, handle, tick
from ml_core.rollout.actions import (
    Action,
    Begin,
    CreateDeployment,
    CreateEndpoint,
    DeleteDeployment,
    Hold,
    ShiftTraffic,
    Weigh,
)
from ml_core.rollout.decide import RULES
from ml_core.rollout.observe import observe
from ml_core.rollout.state import Observation, State
from ml_core.rollout.telling import tell
from ml_core.rollout.yesterday import in_todays_shape
from ml_core.services import Services


def receive(services: Services, message: str) -> None:
    """Work off one message of the queue of rollouts."""
    handle(services, ROLLOUTS, message, reconcile)


def reconcile(services: Services, endpoint: str) -> timedelta | None:
    """One look at an endpoint; returns when to look again."""
    model = services.config.model_at(endpoint)
    if model is None:
        return None  # it was taken out of the configuration while its key was waiting
    look = _Look(services, endpoint, model)
    rules = replace(RULES, in_todays_shape=partial(in_todays_shape, endpoint=endpoint))
    look_again_in = tick(rules, endpoint, services, look.observe, look.act)
    tell(services, endpoint)
    if look_again_in is None and look.state.active is not None and _under_way(services, endpoint):
        # Azure has refused a step, or could not be asked. A rollout with traffic is not left alone until the next sweep.
        return services.config.poll
    return look_again_in


def _under_way(services: Services, endpoint: str) -> bool:
    entry = services.ledger.get(f"{ROLLOUTS}/{endpoint}.json")
    return entry is not None and entry.value["state"].get("active") is not None


@dataclass
class _Look:
    """The world's half of a look."""

    services: Services
    endpoint: str
    model: str
    state: State = field(default_factory=State)

    def observe(self, state: State) -> Observation:
        self.state = state
        return observe(self.services, self.endpoint, self.model, state)

    def act(self, action: Action) -> None:
        self._note_story(action)
        workspace = self.services.workspace
        if isinstance(action, CreateEndpoint):
            workspace.create_endpoint(self.endpoint, {"tidegate.model": self.model})
        elif isinstance(action, CreateDeployment):
            workspace.create_deployment(self._spec(action))
        elif isinstance(action, ShiftTraffic):
            tags = {"tidegate.correlation_id": action.correlation_id} if action.correlation_id else {}
            split = action.split
            workspace.set_traffic(self.endpoint, split.weights, tags, mirror=split.mirror, step=action.step)
        elif isinstance(action, DeleteDeployment):
            workspace.delete_deployment(self.endpoint, action.slot, model=action.model)

    def _spec(self, action: CreateDeployment) -> DeploymentSpec:
        place = self.services.config.models[self.model].endpoint
        return DeploymentSpec(
            endpoint=self.endpoint,
            slot=action.slot,
            model=action.model,
            version=action.version,
            instance_type=place.instance_type,
            instance_count=place.instance_count,
            image=place.image,
            correlation_id=action.correlation_id,
        )

    def _note_story(self, action: Action) -> None:
        """Claim the rollout's place among the endpoint's stories: when it begins, and at its steps, lest a crash lost it."""
        if isinstance(action, Begin):
            name, now = action.rollout, self.services.now()
            note = {"model": action.model, "version": action.version, "began_at": now.isoformat()}
            note["correlation_id"] = action.correlation_id
        elif (active := self.state.active) and active.endpoint and not isinstance(action, Hold | Weigh):
            name = active.id
            note = {"model": active.model, "version": active.version, "began_at": active.began_at.isoformat()}
            note["correlation_id"] = active.correlation_id
        else:
            return
        self.services.ledger.claim(f"rollout-stories/{self.endpoint}/{name}.json", note)
