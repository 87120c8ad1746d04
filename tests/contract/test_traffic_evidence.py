"""The evidence port: one suite for the fake and for both sources through the unmodified SDKs against the emulator.

Real in the latter cases: the clients, the APIs, the router's logs. What is in the logs is written by the tests, except in the
last one, where a scoring process answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from local.azureml.emulator import Emulator
from local.azureml.serving.counts import CountLog
from local.azureml.serving.request_log import Line, RequestLog
from ml_core.adapters.azure_monitor import AzureMonitorEvidence
from ml_core.adapters.log_analytics import LogAnalyticsEvidence
from ml_core.adapters.scoring import USER_AGENT
from ml_core.bootstrap import credential
from ml_core.ports import Counts, History, Interval, Measured, ModelVersion, Question, SourceFailed, TrafficEvidence
from tests.contract.conftest import Place
from tests.contract.test_workspace import settled, spec
from tests.fake_evidence import Asked, FakeEvidence

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

Name = Callable[[str], str]
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@dataclass
class Traffic:
    """An endpoint, and the other side of the port: requests that are answered."""

    port: TrafficEvidence
    endpoint: str
    log: Callable[[Asked, int, str, int], None]
    """A request, the model's own status, the client's user agent; and how often."""

    def answer(
        self,
        at: datetime,
        status: int = 200,
        model: int = 200,
        *,
        ms: float = 20.0,
        slot: str = "blue",
        agent: str = "",
        times: int = 1,
    ) -> None:
        self.log(Asked(self.endpoint, slot, at, status, ms), model, agent, times)

    def seen(self, since: datetime, until: datetime, width: timedelta, slower_than_ms: float | None = None) -> list[Interval]:
        found = self.port.intervals(self.endpoint, ("blue", "green"), since, until, width, slower_than_ms)
        assert isinstance(found, Measured), found
        return list(found.intervals)

    def counts(self, since: datetime, slower_than_ms: float | None = None) -> dict[str, Counts]:
        """Of the second that begins then."""
        (interval,) = self.seen(since, since + SECOND, SECOND, slower_than_ms)
        return {slot: counts for slot, counts in interval.counts.items() if counts != Counts()}


@pytest.fixture
def traffic(request: pytest.FixtureRequest, evidence: TrafficEvidence, name: Name) -> Traffic:
    """An endpoint that nobody has asked anything."""
    endpoint = name("line")
    if isinstance(evidence, FakeEvidence):
        fake = evidence

        def note(asked: Asked, model: int, _agent: str, times: int) -> None:
            fake.requests += [asked._replace(status=model if asked.status == 424 and model else asked.status)] * times

        return Traffic(evidence, endpoint, note)
    emulator: Emulator = request.getfixturevalue("emulator")
    request.getfixturevalue("make_endpoint")(endpoint)

    def log(asked: Asked, model: int, agent: str, times: int) -> None:
        counts, lines = CountLog(emulator.serving.counts_file), RequestLog(emulator.serving.logs)
        seconds, at = asked.ms / 1000, asked.at.timestamp()
        for _ in range(times):
            counts.add(endpoint, asked.deployment, asked.status, model, seconds, at=at)
            lines.add(Line(endpoint, asked.deployment, seconds, b"POST", b"/score", asked.status, model, b"", False, at, agent))
        counts.close()
        lines.flush()

    return Traffic(evidence, endpoint, log)


@pytest.fixture
def then() -> datetime:
    """The beginning of a minute that is over; the next one is over as well."""
    return datetime.now(UTC).replace(second=0, microsecond=0) - 3 * MINUTE


def test_intervals_without_requests_are_told_and_hold_no_counts(traffic: Traffic, then: datetime) -> None:
    seen = traffic.seen(then, then + 3 * MINUTE, MINUTE)
    assert [(one.start, one.end) for one in seen] == [(then + n * MINUTE, then + (n + 1) * MINUTE) for n in range(3)]
    assert not any(counts != Counts() for one in seen for counts in one.counts.values())


def test_only_whole_intervals_are_told(traffic: Traffic, then: datetime) -> None:
    half = timedelta(seconds=30)
    assert [one.start for one in traffic.seen(then - half, then + MINUTE + half, MINUTE)] == [then]
    assert traffic.seen(then - half, then + half, MINUTE) == []
    assert traffic.seen(then, then - MINUTE, MINUTE) == []


def test_a_request_belongs_to_the_interval_of_its_answer_and_to_no_other(traffic: Traffic, then: datetime) -> None:
    for at in (0.0, 0.5, 0.999, 1.0, 2.5):
        traffic.answer(then + at * SECOND)
    traffic.answer(then + SECOND, slot="green")
    seen = traffic.seen(then, then + 3 * SECOND, SECOND)
    assert [one.counts.get("blue", Counts()).requests for one in seen] == [3, 1, 1]
    assert [one.counts.get("green", Counts()).requests for one in seen] == [0, 1, 0]


def test_an_interval_of_minutes_holds_what_each_of_its_minutes_does(traffic: Traffic) -> None:
    start = datetime.fromtimestamp((datetime.now(UTC).timestamp() // 120 - 2) * 120, UTC)
    for minute in (0, 0, 0, 1, 1):
        traffic.answer(start + minute * MINUTE, 500 if minute else 200, 0 if minute else 200)
    first, second = traffic.seen(start, start + 4 * MINUTE, 2 * MINUTE)
    assert first.counts["blue"] == Counts(5, 2)
    assert second.counts.get("blue", Counts()) == Counts()


@pytest.mark.parametrize(
    ("status", "model_status", "counted"),
    [
        (200, 200, Counts(3)),
        (500, 0, Counts(4, 1)),
        (503, 0, Counts(4, 1)),
        (424, 500, Counts(4, 1)),
        (424, 0, Counts(4, 1)),
        (424, 429, Counts(4, 1)),
        (408, 0, Counts(4, 1)),
        (429, 0, Counts(4, 1)),
        (424, 400, Counts(3, 0, refused=1)),
        (424, 422, Counts(3, 0, refused=1)),
        (413, 0, Counts(3, 0, refused=1)),
    ],
)
def test_an_answer_counts_against_the_deployment_only_when_the_fault_is_its_own(
    traffic: Traffic, then: datetime, status: int, model_status: int, counted: Counts
) -> None:
    traffic.answer(then, times=3)
    if status != 200:
        traffic.answer(then, status, model_status)
    assert traffic.counts(then) == {"blue": counted}


def test_failures_of_the_model_and_before_it_are_told_apart_in_the_same_interval(traffic: Traffic, then: datetime) -> None:
    for model_status in (400, 400, 500, 0):
        traffic.answer(then, 424, model_status)
    assert traffic.counts(then) == {"blue": Counts(2, 2, refused=2)}


def test_requests_that_were_all_refused_are_told_and_prove_nothing(traffic: Traffic, then: datetime) -> None:
    traffic.answer(then, 424, 400, ms=900.0, times=10)
    assert traffic.counts(then, 100.0) == {"blue": Counts(0, 0, refused=10)}


def test_more_status_codes_than_azure_answers_by_default_are_all_counted(traffic: Traffic, then: datetime) -> None:
    for status in range(500, 512):
        traffic.answer(then, status, 0)
    assert traffic.counts(then) == {"blue": Counts(12, 12)}


@pytest.mark.parametrize("slow", [0, 1, 10, 40, 100])
def test_the_slow_requests_lie_within_the_bracket(traffic: Traffic, then: datetime, slow: int) -> None:
    traffic.answer(then, ms=900.0, times=slow)
    traffic.answer(then, times=100 - slow)
    counts = traffic.counts(then, 100.0)["blue"]
    assert counts.slow <= slow <= counts.slow_at_most <= 100
    assert counts.slow >= slow // 4 - 1, "so wide a bracket says nothing"
    assert traffic.counts(then)["blue"] == Counts(100), "nothing is slow where no threshold is"


def test_a_log_counts_the_slow_ones_and_the_metrics_bracket_them(traffic: Traffic, then: datetime) -> None:
    traffic.answer(then, 424, 400, ms=900.0, times=2)
    traffic.answer(then, ms=900.0, times=2)
    traffic.answer(then, times=16)
    counts = traffic.counts(then, 100.0)["blue"]
    exact = not isinstance(traffic.port, AzureMonitorEvidence)
    # The metrics do not say whether the two refused requests were among the slow ones.
    assert counts == (Counts(18, 0, 2, 2, 2) if exact else Counts(18, 0, 2, 0, 10))


def test_the_history_of_a_deployment_is_what_it_answered_and_how_fast(traffic: Traffic, then: datetime) -> None:
    traffic.answer(then, 500, 0, ms=40.0, times=2)
    traffic.answer(then + MINUTE, ms=40.0, times=18)
    traffic.answer(then, 424, 400)
    traffic.answer(then, slot="green")
    found = traffic.port.history(traffic.endpoint, "blue", then, then + 2 * MINUTE)
    assert isinstance(found, History)
    assert (found.requests, found.errors, found.seconds) == (20, 2, 120.0)
    if isinstance(traffic.port, FakeEvidence):
        assert found.p95_ms is not None
    else:
        assert found.p95_ms == pytest.approx(40.0, rel=0.03)


def test_a_deployment_that_nobody_asked_has_an_empty_history(traffic: Traffic, then: datetime) -> None:
    assert traffic.port.history(traffic.endpoint, "blue", then, then + MINUTE) == History(0, 0, 60.0)


@pytest.mark.parametrize("evidence", ["log"], indirect=True)
def test_what_the_app_itself_asks_is_nobodys_traffic(traffic: Traffic, then: datetime) -> None:
    traffic.answer(then, agent="python-httpx/0.28")
    for agent in (USER_AGENT, f"{USER_AGENT}/1.0", USER_AGENT.upper()):
        traffic.answer(then, 500, 0, agent=agent)
    assert traffic.counts(then) == {"blue": Counts(1)}


@pytest.mark.parametrize("evidence", ["log"], indirect=True)
def test_a_name_cannot_change_the_question(traffic: Traffic, then: datetime) -> None:
    traffic.answer(then, 500, 0)
    for name in ("x' or EndpointName != '", "x\\", "x' | take 1 //"):
        found = traffic.port.intervals(name, ("blue", name), then, then + SECOND, SECOND, None)
        assert isinstance(found, Measured)
        assert [dict(one.counts) for one in found.intervals] == [{}]
    refused = traffic.port.intervals("two\nlines", ("blue",), then, then + SECOND, SECOND, None)
    assert isinstance(refused, SourceFailed)


@pytest.mark.parametrize("evidence", ["fake", "metrics"], indirect=True)
def test_a_source_that_fails_is_an_answer_and_not_an_error(evidence: TrafficEvidence, then: datetime, name: Name) -> None:
    if isinstance(evidence, FakeEvidence):
        evidence.broken = True
    _fails(evidence, then, name("no-such-line"))


@pytest.mark.parametrize(
    "address", ["https://127.0.0.1:1", "the emulator"], ids=["an address where nobody listens", "a workspace of somebody else"]
)
def test_a_log_that_cannot_be_read_is_an_answer_and_not_an_error(
    azure_environment: dict[str, str], address: str, then: datetime
) -> None:
    found = azure_environment["TIDEGATE_RESOURCE_MANAGER"] if address == "the emulator" else address
    _fails(LogAnalyticsEvidence(found, "11111111-1111-1111-1111-111111111111", "/subscriptions/s", credential), then, "line")


def _fails(evidence: TrafficEvidence, then: datetime, endpoint: str) -> None:
    seen = evidence.intervals(endpoint, ("blue",), then, then + MINUTE, MINUTE, None)
    history = evidence.history(endpoint, "blue", then, then + MINUTE)
    for found in (seen, history):
        assert isinstance(found, SourceFailed)
        assert found.reason


@pytest.mark.parametrize(("place", "evidence"), [("real", "metrics"), ("real", "log")], indirect=True)
def test_clients_malformed_bodies_and_a_model_that_fails_are_told_apart(
    place: Place, evidence: TrafficEvidence, name: Name, ml_client: MLClient
) -> None:
    endpoint, model = name("line"), name("model")
    place.register_model(ModelVersion(model, "1"))
    place.port.create_endpoint(endpoint, {})
    place.until(settled(place, endpoint))
    place.port.create_deployment(spec(endpoint, "blue", model))
    place.until(settled(place, endpoint))
    began = datetime.now(UTC).replace(microsecond=0)
    key = ml_client.online_endpoints.get_keys(endpoint).primary_key
    headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": "blue"}
    address = ml_client.online_endpoints.get(endpoint).scoring_uri
    for body, status in (({}, 200), ({"fail": True}, 424), ({"malformed": True}, 424)):
        assert httpx.post(address, json=body, headers=headers).status_code == status
    (own,) = place.port.ask(endpoint, [Question("blue", {})], timedelta(seconds=10))
    assert own.status == 200
    # The metrics know no user agents: what the app itself asked is among their counts.
    expected = Counts(3 if isinstance(evidence, AzureMonitorEvidence) else 2, 1, refused=1)

    def seen() -> Counts:
        found = evidence.intervals(endpoint, ("blue",), began, datetime.now(UTC) + SECOND, SECOND, None)
        assert isinstance(found, Measured)
        return sum((one.counts.get("blue", Counts()) for one in found.intervals), Counts())

    place.until(lambda: seen() == expected, within=20)
