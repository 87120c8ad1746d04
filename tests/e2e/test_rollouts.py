"""Candidates behind a real endpoint under load: one that fails now and then, a slow one, and a good one under a host that dies.

Real: the stack, the training of the first version, the scoring processes, the clients. The later versions are the first one's
files, registered again by the same job: what makes them bad are the emulator's faults, which strike one deployment's answers.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest

from examples.flights import flights_file, flights_requests
from local.demo.traffic import Traffic
from local.identity import TokenIssuer
from local.observe import Endpoint
from local.stack import Stack
from tests.command_line import ask
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.train_environment]

NAME = "arrival-delay"
"""The model's and its endpoint's."""
RATE = 40.0
"""So many requests a second are sent, one after the other: a deployment with Azure's default settings takes two at a time, and
one of them may be a question of the shadow's."""
PAUSE = 0.2
"""Seconds between two looks of a test: what it asks takes the processor from those whom it watches."""

Read = Callable[[str], dict[str, Any]]


@dataclass
class Service:
    """The endpoint with a client who asks it all the time, and the people beside it who register versions and break things."""

    stack: Stack
    ledger: Read
    http: httpx.Client
    client: Traffic | None = None

    def endpoint(self) -> Endpoint:
        return next((one for one in self.stack.observer.endpoints() if one.name == NAME), Endpoint(NAME, "", {}, ""))

    def weights(self) -> dict[str, int]:
        return {slot: weight for slot, weight in self.endpoint().traffic.items() if weight}

    def state(self) -> dict[str, Any]:
        """What the app remembers of the endpoint."""
        documents = list(self.ledger(f"rollouts/{NAME}.json").values())
        return dict(documents[0]["state"]) if documents else {}

    def start_client(self) -> None:
        endpoint, key = self.endpoint(), self.stack.observer.endpoint_key(NAME)
        trust = self.stack.environment.ssl_context()
        self.client = Traffic(endpoint.scoring_uri, key, flights_requests(4, 100), verify=trust, rate=RATE)
        self.client.start()

    def errors(self) -> dict[str, int]:
        """What the client got instead of a score, so far."""
        return dict(self.client.errors) if self.client else {}

    def register(self, version: int) -> None:
        """The first version's files once more, under the next number."""
        path = f"models/{NAME}/versions"
        first = self.http.get(f"{path}/1").raise_for_status().json()["properties"]
        kept = {name: first[name] for name in ("modelUri", "modelType", "tags", "properties", "flavors") if first.get(name)}
        self.http.put(f"{path}/{version}", json={"properties": kept}).raise_for_status()

    def candidate(self, version: int) -> str:
        """The slot in which a version stands, once it does."""

        def slot() -> str:
            found = self.endpoint().deployments
            return next((one.name for one in found if one.model == f"{NAME}:{version}" and one.state == "Succeeded"), "")

        return wait_until(slot, what=f"a deployment of version {version}", every=PAUSE)

    def settled(self, version: int) -> dict[str, Any]:
        """The state after the end of a version's rollout."""
        what = f"the end of the rollout of version {version}"
        return wait_until(lambda: self.over(version), within=240, what=what, every=PAUSE)

    def over(self, version: int) -> dict[str, Any]:
        """The same, or nothing while it is under way."""
        state = self.state()
        return state if state.get("settled", 0) >= version and state.get("active") is None else {}

    def strike(self, slot: str, **how: Any) -> None:
        """From now on the answers of a deployment are struck."""
        rule = {"id": "bad-candidate", "match": {"name": f"{NAME}/{slot}"}, **how}
        self._faults("POST", "", json=rule)

    def heal(self) -> None:
        self._faults("DELETE", "/bad-candidate")

    def _faults(self, method: str, path: str, **options: Any) -> None:
        environment = self.stack.environment
        headers = {"X-IDENTITY-HEADER": environment.identity_header}
        url = f"{environment.base_url}/_emulator/faults{path}"
        self.http.request(method, url, headers=headers, **options).raise_for_status()

    def decided(self) -> int:
        """How many decisions about the endpoint there are."""
        container = self.stack.blobs().get_container_client("tidegate-ledger")
        return sum(1 for _ in container.list_blob_names(name_starts_with=f"decisions/rollouts/{NAME}/"))

    def decisions(self, version: int) -> list[dict[str, Any]]:
        """What was decided about a version, in order."""
        found = [one for _, one in sorted(self.ledger(f"decisions/rollouts/{NAME}/").items())]
        return [one for one in found if _version(one) == str(version)]


def _version(decision: dict[str, Any]) -> str:
    active = decision["state"].get("active") or {}
    return str(active.get("version") or decision["action"].get("version", ""))


def shares(decisions: list[dict[str, Any]], slot: str) -> list[int]:
    """The live traffic that was asked for a slot, in percent."""
    shifts = [one["action"]["split"]["weights"].get(slot, 0) for one in decisions if one["action"]["kind"] == "shift traffic"]
    return [share for number, share in enumerate(shifts) if number == 0 or shifts[number - 1] != share]


def counted(decisions: list[dict[str, Any]], slot: str) -> Counter[str]:
    """Requests, errors and slow answers of a slot that the judge was given, each interval once."""
    found = Counter[str]()
    for decision in decisions:
        if decision["action"]["kind"] == "weigh":
            evidence = decision["observation"].get("evidence") or {}
            for interval in evidence.get("intervals", ()):
                counts = interval["counts"].get(slot, {})
                found += Counter({name: counts.get(name, 0) for name in ("requests", "errors", "slow")})
    return found


@pytest.fixture(scope="module")
def service(stack: Stack, ledger: Read) -> Iterator[Service]:
    """Version 1 has been trained and serves; a client asks."""
    environment = stack.environment
    token = TokenIssuer(environment.signing_key).issue("https://management.azure.com")[0]
    base = f"{environment.base_url}{environment.workspace_id}/"
    options: dict[str, Any] = {"params": {"api-version": "2024-04-01"}, "headers": {"Authorization": f"Bearer {token}"}}
    with httpx.Client(base_url=base, verify=environment.ssl_context(), timeout=30.0, **options) as http:
        running = Service(stack, ledger, http)
        stack.upload("arrivals", "incoming/flights-2013-03.csv", flights_file(3, 2000))
        running.settled(1)
        assert list(running.weights().values()) == [100]
        running.start_client()
        yield running
        if running.client:
            running.client.stop()


def test_the_first_version_ever_serves_without_a_canary(service: Service) -> None:
    assert service.state()["outcome"] == "succeeded"
    (slot,) = service.weights()
    assert shares(service.decisions(1), slot) == [100]


def test_a_candidate_that_fails_from_a_quarter_of_the_traffic_on_is_rolled_back(service: Service) -> None:
    serving, before = service.weights(), service.errors()
    service.register(2)
    slot = service.candidate(2)
    wait_until(lambda: service.weights().get(slot, 0) >= 25, what="a quarter of the traffic", every=PAUSE)
    assert service.errors() == before
    service.strike(slot, scoring={"status": 500}, probability=0.05, seed=3)
    try:
        state = service.settled(2)
    finally:
        service.heal()
    bad, decisions = sum(service.errors().values()) - sum(before.values()), service.decisions(2)
    assert (state["outcome"], service.weights()) == ("rolled back", serving), state["reason"]
    assert shares(decisions, slot)[:3] == [0, 10, 25]
    assert shares(decisions, slot)[-1] == 0
    judged = counted(decisions, slot)
    told = f"{bad} bad answers reached the client; the judge was given {judged['errors']} errors in {judged['requests']} requests"
    print(told)  # noqa: T201 - shown by pytest -rP
    assert 0 < judged["errors"] <= bad <= 60, told
    assert "the candidate fails more often" in state["reason"], state["reason"]


def test_a_slow_candidate_is_rolled_back_though_every_answer_is_right(service: Service) -> None:
    serving, before = service.weights(), service.errors()
    service.register(3)
    slot = service.candidate(3)
    wait_until(lambda: service.weights().get(slot, 0) >= 10, what="the first live requests", every=PAUSE)
    service.strike(slot, scoring={"delay": 0.2})
    try:
        state = service.settled(3)
    finally:
        service.heal()
    assert (state["outcome"], service.weights()) == ("rolled back", serving), state["reason"]
    assert "slow" in state["reason"]
    assert counted(service.decisions(3), slot)["slow"] > 0
    assert service.errors() == before, "no answer was wrong"


def test_a_good_candidate_takes_over_step_by_step_though_the_host_is_killed_at_random(service: Service) -> None:
    seen, draw, before = list[dict[str, int]](), random.Random(5), service.errors()
    service.register(4)
    slot = service.candidate(4)

    def look() -> dict[str, Any]:
        if (weights := service.weights()) != (seen[-1] if seen else None):
            seen.append(weights)
        return service.over(4)

    def went_on(until: int) -> bool:
        return bool(look()) or service.decided() >= until

    for _ in range(3):
        enough = service.decided() + draw.randint(2, 7)
        wait_until(partial(went_on, enough), what="the host's next decisions", every=PAUSE)
        time.sleep(draw.uniform(0.0, 0.3))  # anywhere within a tick
        service.stack.kill("host")
        service.stack.restart("host")
    state = wait_until(look, within=240, what="the end of the rollout of version 4", every=PAUSE)
    assert (state["outcome"], service.weights()) == ("succeeded", {slot: 100}), state["reason"]
    grown = [weights.get(slot, 0) for weights in seen]
    assert grown == sorted(grown), "the candidate's share never fell"
    assert all(sum(weights.values()) == 100 for weights in seen)
    assert service.errors() == before, "the client has noticed nothing"
    decisions = service.decisions(4)
    assert shares(decisions, slot)[-4:] == [10, 25, 50, 100]
    assert counted(decisions, slot)["requests"] > 100
    assert [one.name for one in service.endpoint().deployments] == [slot], "the old slot is archived"
    stories = [one for one in ask(service.stack, "rollout", "list", NAME) if one["version"] == "4"]
    assert [one["outcome"] for one in stories] == ["succeeded"], "one rollout, however often it was taken up again"
    assert ask(service.stack, "rollout", "replay", stories[0]["id"]), "each decision, decided once more, comes out the same"
