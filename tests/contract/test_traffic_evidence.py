"""What the traffic evidence promises, on the fake and through Azure Monitor's client against the emulator.

Real in the second case: the client, the metrics API, the router's log of counts. The counts themselves are written by the tests,
except in the last one, where a scoring process answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from local.azureml.emulator import Emulator
from local.azureml.serving.counts import CountLog
from ml_core.errors import PermanentError
from ml_core.ports import Answered, Evidence, ModelVersion, NoData, SourceFailed, TrafficEvidence
from tests.contract.conftest import Place
from tests.contract.test_workspace import settled, spec
from tests.fakes import FakeEvidence

Name = Callable[[str], str]
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@dataclass
class Line:
    """An endpoint, and the other side of the port: requests that are answered (status, and the model's own status)."""

    port: TrafficEvidence
    endpoint: str
    answer: Callable[[int, int], None]

    def seen(self, deployment: str = "blue") -> Evidence:
        now = datetime.now(UTC)
        return self.port.read(self.endpoint, deployment, now - 5 * MINUTE, now + MINUTE, SECOND)


@pytest.fixture
def line(request: pytest.FixtureRequest, evidence: TrafficEvidence, name: Name) -> Line:
    """An endpoint that nobody has asked anything."""
    endpoint = name("line")
    if isinstance(evidence, FakeEvidence):
        fake = evidence

        def answer(status: int, model_status: int) -> None:
            shown = model_status if status == 424 and model_status else status
            fake.requests.append((endpoint, "blue", datetime.now(UTC), shown))

        return Line(evidence, endpoint, answer)
    emulator: Emulator = request.getfixturevalue("emulator")
    request.getfixturevalue("make_endpoint")(endpoint)

    def count(status: int, model_status: int) -> None:
        log = CountLog(emulator.serving.counts_file)
        log.add(endpoint, "blue", status, model_status, 0.02)
        log.close()

    return Line(evidence, endpoint, count)


def test_no_requests_are_no_evidence(line: Line) -> None:
    now = datetime.now(UTC)
    assert line.port.read(line.endpoint, "blue", now - 5 * MINUTE, now, MINUTE) == NoData()


def test_a_span_without_a_whole_bucket_is_no_evidence(line: Line) -> None:
    now = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
    assert line.port.read(line.endpoint, "blue", now - timedelta(seconds=20), now, MINUTE) == NoData()


@pytest.mark.parametrize(
    ("status", "model_status", "counted"),
    [
        (200, 200, Answered(3, 0)),
        (500, 0, Answered(4, 1)),
        (503, 0, Answered(4, 1)),
        (424, 500, Answered(4, 1)),
        (424, 0, Answered(4, 1)),
        (424, 429, Answered(4, 1)),
        (408, 0, Answered(4, 1)),
        (429, 0, Answered(4, 1)),
        (424, 400, Answered(3, 0, refused=1)),
        (424, 422, Answered(3, 0, refused=1)),
        (413, 0, Answered(3, 0, refused=1)),
    ],
)
def test_an_answer_counts_against_the_deployment_only_when_the_fault_is_its_own(
    line: Line, status: int, model_status: int, counted: Answered
) -> None:
    for _ in range(3):
        line.answer(200, 200)
    if status != 200:
        line.answer(status, model_status)
    assert line.seen() == counted
    assert line.seen("green") == NoData()


def test_requests_that_were_all_refused_are_told_and_prove_nothing(line: Line) -> None:
    for _ in range(30):
        line.answer(424, 400)
    assert line.seen() == Answered(0, 0, refused=30)


def test_more_status_codes_than_azure_answers_by_default_are_all_counted(line: Line) -> None:
    for status in range(500, 512):
        line.answer(status, 0)
    assert line.seen() == Answered(12, 12)


def test_a_source_that_fails_is_an_answer_and_not_an_error(evidence: TrafficEvidence, name: Name) -> None:
    if isinstance(evidence, FakeEvidence):
        evidence.broken = True
    now = datetime.now(UTC)
    seen = evidence.read(name("no-such-line"), "blue", now - 5 * MINUTE, now, MINUTE)
    assert isinstance(seen, SourceFailed)
    assert seen.reason


@pytest.mark.parametrize(("place", "evidence"), [("real", "real")], indirect=True)
def test_a_malformed_body_is_told_apart_from_a_model_that_fails(place: Place, evidence: TrafficEvidence, name: Name) -> None:
    endpoint, model = name("line"), name("model")
    place.register_model(ModelVersion(model, "1"))
    place.port.create_endpoint(endpoint, {})
    place.until(settled(place, endpoint))
    place.port.create_deployment(spec(endpoint, "blue", model))
    place.until(settled(place, endpoint))
    began = datetime.now(UTC)
    place.port.score(endpoint, "blue", {})
    for mistake in ("fail", "malformed"):
        with pytest.raises(PermanentError, match="blue answered 424"):
            place.port.score(endpoint, "blue", {mistake: True})

    def seen() -> Evidence:
        since = datetime.fromtimestamp(math.floor(began.timestamp()), UTC)
        return evidence.read(endpoint, "blue", since, datetime.now(UTC) + SECOND, SECOND)

    place.until(lambda: seen() == Answered(2, 1, refused=1), within=20)
