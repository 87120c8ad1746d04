"""Asks for a model version to be rolled out. Every request is a claim of its own: order and repetition do not matter."""

from __future__ import annotations

from ml_core import intake
from ml_core.events import Event, ModelRegistered
from ml_core.intake import Outcome, ignored, matched
from ml_core.naming import is_model_version
from ml_core.reconciling import MODELS, ROLLOUTS, wake
from ml_core.services import Services


def receive(services: Services, raw: str) -> None:
    """Take in one ModelRegistered event."""
    intake.receive(services, raw, on_model_registered)


def on_model_registered(services: Services, event: Event) -> Outcome:
    """Ask for the rollout of a model of ours. Whether the version exists is read from the workspace later."""
    if not isinstance(event, ModelRegistered):
        return ignored("it says nothing about a registered model")
    model = services.config.models.get(event.model)
    if model is None:
        return ignored(f"no model of the configuration is called {event.model!r}")
    if not is_model_version(event.version):
        return ignored(f"version {event.version!r} is no whole number of at most nine digits, so none of the pipeline's")
    request_rollout(services, model.endpoint.name, event.model, event.version)
    return matched(
        f"{MODELS}/{event.model}:{event.version}", f"version {event.version} is asked for at the endpoint {model.endpoint.name}"
    )


def request_rollout(services: Services, endpoint: str, model: str, version: str) -> None:
    """Note the wish and wake the endpoint."""
    note = {"model": model, "version": version, "at": services.now().isoformat()}
    services.ledger.claim(f"rollout-requests/{endpoint}/{version}.json", note)
    wake(services, ROLLOUTS, endpoint)


def requested_versions(services: Services, endpoint: str, *, above: int) -> list[str]:
    """The versions asked for that are newer than `above`, newest first. Versions are numbers: 10 is newer than 9."""
    # Names only: every request that was ever made is there, and a listing has a thousand names for one document's price.
    names = services.ledger.keys(f"rollout-requests/{endpoint}/")
    versions = [name.rsplit("/", 1)[1].removesuffix(".json") for name in names]
    return sorted((version for version in versions if is_model_version(version) and int(version) > above), key=int, reverse=True)


def is_requested(services: Services, endpoint: str, version: str) -> bool:
    """Whether the rollout of a version was asked for, by whomever."""
    return services.ledger.get(f"rollout-requests/{endpoint}/{version}.json") is not None
