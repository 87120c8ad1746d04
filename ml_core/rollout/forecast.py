"""What the next rollout at an endpoint may expect, before anybody begins one."""

from __future__ import annotations

from dataclasses import dataclass

from ml_core.errors import PermanentError
from ml_core.reconciling import ROLLOUTS
from ml_core.rollout.decide import RULES
from ml_core.rollout.observe import rules_of, stable_history
from ml_core.rollout.people import model_at
from ml_core.rollout.planner import Plan, plan, told
from ml_core.rollout.state import State
from ml_core.services import Services


@dataclass(frozen=True)
class Forecast:
    """`told` is the plan in a sentence without its full stop; `stable` the slot whose last day it rests on."""

    endpoint: str
    stable: str
    plan: Plan
    told: str


def forecast(services: Services, endpoint: str) -> Forecast:
    """By today's configuration and the last day's requests. PermanentError: nothing serves there that could be compared with."""
    model, now = model_at(services, endpoint), services.now()
    seen = services.workspace.endpoint(endpoint)
    serving = [slot for slot, weight in seen.traffic.items() if weight] if seen else []
    if seen is None or not serving:
        raise PermanentError(
            f"Nothing has traffic at {endpoint} yet: its first deployment is smoke-tested and gets it all, so that there is no "
            "verdict to wait for."
        )
    stable = max(serving, key=lambda slot: seen.traffic[slot])
    rules = rules_of(services.config, model, now)
    holds = seen.deployments[stable].model if stable in seen.deployments else ""
    document = services.ledger.get(f"{ROLLOUTS}/{endpoint}.json")
    state = RULES.read(document.value["state"]) if document else State()
    made = plan(stable_history(services, endpoint, stable, holds, state, rules), rules)
    return Forecast(endpoint, stable, made, told(made, rules.promises.psi))
