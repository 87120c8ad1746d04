"""Of model versions and endpoints: what was asked for, how the traffic moved, and why it did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ml_core.chain import decisions
from ml_core.ports import EndpointState, Entry, ModelVersion
from ml_core.reconciling import ROLLOUTS
from ml_core.rollout.chapters import is_worth_telling, sentence, stands_at, word
from ml_core.services import Services
from ml_core.trail.looks import answer_of, state_of
from ml_core.trail.values import Chapter, Step, moment


def version_told(services: Services, model: str, version: str) -> Chapter:
    """A model version from its registration on: its rollout, and whether it serves."""
    found = services.workspace.model(model, version)
    if model not in services.config.models:
        return Chapter(ends=(f"no model of the configuration is called {model}, so nobody rolls it out",))
    endpoint = services.config.models[model].endpoint.name
    asked = services.ledger.get(f"rollout-requests/{endpoint}/{version}.json")
    if found is None:
        return Chapter(ends=(f"the workspace holds no version {version} of {model}, so there is nothing to roll out",))
    if asked is None:
        return Chapter(
            ends=(f"nobody has asked for a rollout of {model}:{version}: no event has told of it, and no job of ours",)
        )
    step = _registered(found, asked)
    told = tuple(_steps(services, endpoint, version, asked))
    return Chapter((step, *told), (_how_it_stands(services, endpoint, found),), _correlation(found))


def endpoint_told(services: Services, endpoint: str) -> Chapter:
    """What serves at an endpoint now, and what the last look at it decided."""
    seen, answer = services.workspace.endpoint(endpoint), answer_of(services, ROLLOUTS, endpoint)
    standing = _traffic(seen) if seen else f"the workspace has no endpoint {endpoint} yet"
    return Chapter(ends=(standing, f"its rollouts: {answer}"))


def versions_at(services: Services, endpoint: str) -> list[tuple[str, str]]:
    """The versions (model, version) of the configuration's model that have traffic at an endpoint, or are being rolled out."""
    seen, model = services.workspace.endpoint(endpoint), services.config.model_at(endpoint)
    active = state_of(services, ROLLOUTS, endpoint).get("state", {}).get("active")
    versions = {_version(one.model) for slot, one in seen.deployments.items() if seen.traffic.get(slot)} if seen else set()
    versions |= {(str(active["model"]), str(active["version"]))} if active else set()
    return sorted(version for version in versions if version[0] == model)


def serving(seen: EndpointState | None, model: str, version: str) -> str:
    """'10 % of the traffic of <endpoint>, in green', or '' when it has none."""
    for slot, deployment in seen.deployments.items() if seen else ():
        share = seen.traffic.get(slot, 0) if seen else 0
        if seen and _version(deployment.model) == (model, version) and share:
            return f"{share} % of the traffic of {seen.name}, in {slot}"
    return ""


def _registered(found: ModelVersion, asked: Entry) -> Step:
    job = found.tags.get("job", "")
    told = f"{found.name}:{found.version} was registered" + (f" by {job}" if job else "") + ", and its rollout asked for"
    return Step(moment(asked.value, "at"), "model", told, see=f"{found.name}:{found.version}", document=asked.key)


def _steps(services: Services, endpoint: str, version: str, asked: Entry) -> Iterator[Step]:
    since = moment(asked.value, "at")
    if since is None:
        return
    for decision in decisions(services.ledger, ROLLOUTS, endpoint, since, services.now()):
        action, active = decision.value["action"], decision.value["state"]["active"]
        if not is_worth_telling(action) or _subject(action, active) != version:
            continue
        at = moment(decision.value, "now")
        yield Step(at, word(action), sentence(action), see=endpoint, document=decision.key)
        if action["kind"] in ("settle", "refuse"):
            return


def _subject(action: Mapping[str, Any], active: Mapping[str, Any] | None) -> str:
    """The model version that a decision is about; '' for one that is about none."""
    if action["kind"] in ("begin", "refuse", "settle"):
        # Earlier versions of the app kept the whole rollout with its end.
        return str(action["version"] if "version" in action else action["rollout"]["version"])
    return str(active["version"]) if active else ""


def _how_it_stands(services: Services, endpoint: str, found: ModelVersion) -> str:
    told, state = f"{found.name}:{found.version}", state_of(services, ROLLOUTS, endpoint).get("state", {})
    active = state.get("active")
    if active and active["version"] == found.version:
        return f"{told} is being rolled out ({stands_at(active)}): {answer_of(services, ROLLOUTS, endpoint)}"
    seen = services.workspace.endpoint(endpoint)
    if share := serving(seen, found.name, found.version):
        return f"{told} serves: it has {share}"
    if found.version in state.get("refused", {}):
        return f"{told} is not rolled out: {state['refused'][found.version]}"
    settled = int(state.get("settled") or 0)
    if settled == int(found.version) and state["outcome"] != "succeeded":
        return f"{told} does not serve: its rollout ended ({state['outcome']}), because {state['reason']}"
    if settled >= int(found.version):
        return f"{told} does not serve any more, or never has: {_traffic(seen) if seen else f'there is no endpoint {endpoint}'}"
    if active:
        return f"{told} waits until the rollout of {active['model']}:{active['version']} is over"
    return f"{told} is not rolled out yet: {answer_of(services, ROLLOUTS, endpoint)}"


def _traffic(seen: EndpointState) -> str:
    told = [f"{slot} ({seen.deployments[slot].model}) {weight} %" for slot, weight in seen.traffic.items() if weight]
    return f"{seen.name} is {seen.provisioning_state}; its traffic: {', '.join(told) or 'nothing'}"


def _version(model: str) -> tuple[str, str]:
    name, _, version = model.rpartition(":")
    return name, version


def _correlation(found: ModelVersion) -> tuple[str, ...]:
    return (found.tags["correlation_id"],) if found.tags.get("correlation_id") else ()
