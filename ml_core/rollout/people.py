"""What people ask of a rollout: kept in the ledger, one after the other, each with who and why; a look carries it out.

`rollout-commands/<endpoint>/<number>.json` is claimed, so that two people who ask at the same time get two numbers, and the next
one to carry out is found by its name. A command does nothing by itself: `decide` obeys it, or says why it cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from ml_core import audit
from ml_core.documents import from_document, to_document
from ml_core.errors import PermanentError
from ml_core.naming import is_model_version
from ml_core.ports import EndpointState
from ml_core.reconciling import ROLLOUTS, wake
from ml_core.rollout.commands import Command, What
from ml_core.rollout.yesterday import in_todays_shape
from ml_core.services import Services

WHAT: tuple[What, ...] = get_args(What)
# They are shown in tables, cards and terminals, and kept for ever.
_LONGEST_NAME, _LONGEST_REASON = 200, 2000


class NotKnown(PermanentError):
    """There is no such endpoint or version."""


class NotNow(PermanentError):
    """As things stand there is nothing that this could be done to."""


def ask(services: Services, endpoint: str, what: What, by: str, reason: str, version: str = "") -> Command:
    """Keep a person's command, and have the endpoint looked at. `version`: of "roll back", the model version that is wanted back.

    It is about the rollout that is under way now, and about no later one. Raises PermanentError for what cannot be meant,
    NotKnown for an endpoint or a version that nobody knows, NotNow when nothing is under way that this could be done to.
    """
    model = model_at(services, endpoint)
    _check(what, by, reason, version)
    if what == "roll back" and services.workspace.model(model, version) is None:
        raise NotKnown(f"There is no version {version} of the model {model} in the workspace.")
    document = services.ledger.get(f"{ROLLOUTS}/{endpoint}.json")
    state = in_todays_shape(document.value["state"]) if document else {}
    number = int(state.get("commands", 0)) + 1
    waiting = services.ledger.get(_name(endpoint, number)) is not None
    _check_that_it_fits(endpoint, what, state, waiting=waiting)
    if what == "roll back" and not waiting and not state.get("active"):
        _check_that_it_does_not_serve(services.workspace.endpoint(endpoint), f"{model}:{version}")
    rollout = str((state.get("active") or {}).get("id", ""))
    detail = {"rollout": rollout, "version": version}
    audit.record(services, by=by, what=f"{what} rollout", subject=f"{ROLLOUTS}/{endpoint}", reason=reason, detail=detail)
    command = Command(number, what, by, reason, services.now(), rollout, version)
    while not services.ledger.claim(_name(endpoint, command.number), to_document(command)):
        command = replace(command, number=command.number + 1)
    wake(services, ROLLOUTS, endpoint)
    return command


def model_at(services: Services, endpoint: str) -> str:
    """The model that the configuration wants at an endpoint; NotKnown when it wants none there."""
    model = services.config.model_at(endpoint)
    if model is None:
        known = ", ".join(sorted(one.endpoint.name for one in services.config.models.values())) or "none"
        raise NotKnown(f"No model of the configuration serves at an endpoint {endpoint[:100]!r}; the endpoints are: {known}.")
    return model


def next_command(services: Services, endpoint: str, after: int) -> Command | None:
    """The command that follows number `after`, if there is one yet."""
    entry = services.ledger.get(_name(endpoint, after + 1))
    if entry is None:
        return None
    found: Command = from_document(Command, entry.value)
    return found


def _name(endpoint: str, number: int) -> str:
    return f"rollout-commands/{endpoint}/{number:06d}.json"


def _check(what: str, by: str, reason: str, version: str) -> None:
    if what not in WHAT:
        raise PermanentError(f"{what!r} is nothing that can be asked of a rollout; expected one of {', '.join(WHAT)}.")
    if not by.strip() or not reason.strip():
        missing = "by whom" if not by.strip() else "why"
        raise PermanentError(f"It is not said {missing}; a command is kept with who gave it and with the reason.")
    if len(by) > _LONGEST_NAME or len(reason) > _LONGEST_REASON:
        raise PermanentError(f"A name has at most {_LONGEST_NAME} characters and a reason {_LONGEST_REASON}; shorten it.")
    if what == "roll back" and not is_model_version(version):
        raise PermanentError(f"The version is {version!r}; expected a model version such as 12, the one that is wanted back.")
    if what != "roll back" and version:
        raise PermanentError(f"A version ({version!r}) belongs to 'roll back'; {what!r} is about the rollout that is under way.")


def _check_that_it_does_not_serve(seen: EndpointState | None, wanted: str) -> None:
    for slot, deployment in seen.deployments.items() if seen else ():
        if seen and deployment.model == wanted and seen.traffic.get(slot) == 100:
            raise NotNow(f"{wanted} serves already: {slot} has all traffic of {seen.name}.")


def _check_that_it_fits(endpoint: str, what: What, state: Mapping[str, Any], *, waiting: bool) -> None:
    """Say at once what can be known at once. Whatever waits to be carried out may change it, so then the look decides."""
    if what == "roll back" or waiting:
        return
    active = state.get("active")
    if not active:
        last = f"; the last one {state['outcome']}: {state.get('reason', '')}" if state.get("outcome") else ""
        raise NotNow(f"There is no rollout under way at {endpoint} to {what}{last}")
    paused = active.get("pause")
    if what == "pause" and paused:
        raise NotNow(f"The rollout {active.get('id', '')} stands still already: {paused['reason']}")
    if what == "resume" and not paused:
        raise NotNow(f"The rollout {active.get('id', '')} does not stand still, so there is nothing to resume.")
