"""Takes in what Azure ML tells about runs. It says no more than "look again": the job itself is read by the reconciler."""

from __future__ import annotations

from ml_core import intake
from ml_core.events import Event, RunStatusChanged
from ml_core.intake import Outcome, ignored, matched
from ml_core.reconciling import JOBS, MODELS, wake
from ml_core.services import Services


def receive(services: Services, raw: str) -> None:
    """Take in one RunStatusChanged event."""
    intake.receive(services, raw, observe)


def observe(services: Services, event: Event) -> Outcome:
    """Wake the model whose running job this is. A pipeline announces its steps too: only the job itself counts."""
    if not isinstance(event, RunStatusChanged):
        return ignored("it says nothing about a run")
    for name in services.config.models:
        entry = services.ledger.get(f"{MODELS}/{name}.json")
        running = entry.value["state"]["running"] if entry else None
        if running and running["job"] == event.run_id:
            wake(services, MODELS, name)
            return matched(f"{JOBS}/{event.run_id}", f"it is the job that {name} is trained by; its status is {event.status}")
    return ignored(f"{event.run_id} is no training job that is being followed")
