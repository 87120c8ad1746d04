"""How schedules fire: at times of our own, so that no test waits for a clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.azureml import schedules
from local.azureml.call import Answer, Call
from local.azureml.faults import Match, OperationFault, Rule
from local.azureml.scheduling.scheduler import Scheduler
from local.certificates import Certificates
from local.storage.azurite import Azurite
from tests.local.azureml.job_lab import Lab, node
from tests.local.azureml.pipelines import deadline

pytestmark = pytest.mark.train_environment

NIGHTLY = {"triggerType": "Cron", "expression": "0 2 * * *", "timeZone": "UTC"}
CREATED = datetime(2031, 5, 1, 12, tzinfo=UTC)
NIGHT = datetime(2031, 5, 2, 2, tzinfo=UTC)


class Clockwork:
    """A lab whose schedules are told the time."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.now = CREATED
        self._take_over()

    def _take_over(self) -> None:
        self.scheduler.clock = lambda: self.now
        self.handlers = {route.method: route.handler for route in schedules.routes(self.lab.emulator)}

    @property
    def scheduler(self) -> Scheduler:
        return self.lab.emulator.scheduler

    def restart(self) -> None:
        self.lab.emulator.close()
        self.lab.start()
        self._take_over()

    def put(
        self, name: str, nodes: dict[str, Any], trigger: dict[str, Any] = NIGHTLY, *, settled: str = "Succeeded", **more: Any
    ) -> Answer:
        job = self.lab.pipeline(nodes, **more.pop("job", {}))
        action = {"actionType": "CreateJob", "jobDefinition": job}
        body = {"properties": {"trigger": trigger, "action": action, **more}}
        answer = self.handlers["PUT"](Call("PUT", "", {"name": name}, body=body))
        self.until(name, settled)
        return answer

    def until(self, name: str, expected: str) -> None:
        def state() -> str:
            body = self.lab.emulator.store.get("schedules", name)
            assert body is not None
            return str(body["properties"]["provisioningState"])

        with deadline(30, f"{name} did not settle") as check:
            while state() != expected:
                check()

    def at(self, now: datetime) -> datetime | None:
        """Let it be `now`; when the next occurrence is due."""
        self.now = now
        return self.scheduler.fire_due(now)

    def jobs(self, schedule: str) -> list[str]:
        found = sorted(
            record.name for record in self.lab.emulator.store.records("jobs") if record.name.startswith(f"{schedule}-2")
        )
        for job in found:
            assert self.lab.runner.wait(job, 60)
        return found


@pytest.fixture
def clockwork(tmp_path: Path, state: Path, certificates: Certificates, azurite: Azurite) -> Iterator[Clockwork]:
    lab = Lab(tmp_path / "lab", state / "certificates", azurite.blob_url)
    yield Clockwork(lab)
    lab.close()


@pytest.fixture
def nodes(clockwork: Clockwork) -> dict[str, Any]:
    own = clockwork.lab.component(
        "say",
        "import sys; print('said', sys.argv[1])",
        command="python run.py ${{inputs.word}}",
        inputs={"word": {"type": "string"}},
    )
    return {"say": node(own, {"word": "${{parent.inputs.word}}"})}


WORD = {"inputs": {"word": {"jobInputType": "literal", "value": "${{creation_context.trigger_time}}"}}}


def test_an_occurrence_submits_one_job_named_after_its_time_and_tells_the_job_that_time(
    clockwork: Clockwork, nodes: dict[str, Any]
) -> None:
    clockwork.put("nightly", nodes, job=WORD)
    assert clockwork.at(NIGHT - timedelta(seconds=1)) == NIGHT
    assert clockwork.jobs("nightly") == []
    assert clockwork.at(NIGHT + timedelta(seconds=5)) == NIGHT + timedelta(days=1)
    clockwork.at(NIGHT + timedelta(seconds=6))
    assert clockwork.jobs("nightly") == ["nightly-20310502T020000Z"]
    assert "said 2031-05-02T02:00:00Z" in clockwork.lab.log("nightly-20310502T020000Z", "say")
    assert clockwork.lab.get("nightly-20310502T020000Z")["properties"]["displayName"] == "nightly-20310502T020000Z"


def test_what_was_missed_is_not_made_up_for(clockwork: Clockwork, nodes: dict[str, Any]) -> None:
    clockwork.put("nightly", nodes, job=WORD)
    assert clockwork.at(NIGHT + timedelta(days=3, hours=1)) == NIGHT + timedelta(days=4)
    assert clockwork.jobs("nightly") == []
    clockwork.at(NIGHT + timedelta(days=4, seconds=1))
    assert clockwork.jobs("nightly") == ["nightly-20310506T020000Z"]


def test_schedules_survive_a_restart_and_what_was_due_while_nobody_ran_is_let_go(
    clockwork: Clockwork, nodes: dict[str, Any]
) -> None:
    clockwork.put("nightly", nodes, job=WORD)
    clockwork.restart()
    later = Scheduler(clockwork.lab.emulator, clock=lambda: NIGHT + timedelta(seconds=30))
    assert later.fire_due(NIGHT + timedelta(seconds=40)) == NIGHT + timedelta(days=1)
    assert clockwork.jobs("nightly") == []
    clockwork.at(NIGHT + timedelta(days=1))
    assert clockwork.jobs("nightly") == ["nightly-20310503T020000Z"]


def test_a_disabled_schedule_does_not_fire_and_an_enabled_one_only_from_then_on(
    clockwork: Clockwork, nodes: dict[str, Any]
) -> None:
    clockwork.put("nightly", nodes, job=WORD, isEnabled=False)
    assert clockwork.at(NIGHT + timedelta(seconds=5)) is None
    clockwork.put("nightly", nodes, job=WORD)
    assert clockwork.at(NIGHT + timedelta(seconds=6)) == NIGHT + timedelta(days=1)
    assert clockwork.jobs("nightly") == []


def test_a_schedule_may_be_changed_after_its_end_but_not_given_an_end_in_the_past(
    clockwork: Clockwork, nodes: dict[str, Any]
) -> None:
    from local.azureml.errors import AzureError

    trigger = {**NIGHTLY, "endTime": "2031-05-03T00:00:00"}
    clockwork.put("nightly", nodes, trigger, job=WORD)
    clockwork.now = CREATED + timedelta(days=30)
    clockwork.put("nightly", nodes, trigger, job=WORD, isEnabled=False)
    with pytest.raises(AzureError, match="in the past"):
        clockwork.put("nightly", nodes, {**NIGHTLY, "endTime": "2031-05-04T00:00:00"}, job=WORD)


def test_a_job_that_is_refused_when_it_is_due_does_not_stop_the_other_schedules(
    clockwork: Clockwork, nodes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    clockwork.put("broken", nodes, job={**WORD, "settings": {"default_compute": "cpu-cluster"}})
    clockwork.put("whole", nodes, job=WORD)
    clockwork.lab.emulator.store.delete("computes", "cpu-cluster")
    assert clockwork.at(NIGHT) == NIGHT + timedelta(days=1)
    assert clockwork.jobs("broken") == []
    assert clockwork.jobs("whole") == ["whole-20310502T020000Z"]
    assert "Unknown compute target 'cpu-cluster'." in caplog.text


def test_a_schedule_that_failed_to_be_made_does_not_fire(clockwork: Clockwork, nodes: dict[str, Any]) -> None:
    clockwork.put("nightly", nodes, job=WORD)
    failure = OperationFault(code="InternalServerError")
    clockwork.lab.emulator.faults.add([Rule(id="x", match=Match(operation="schedule update"), operation=failure)])
    clockwork.put("nightly", nodes, job=WORD, settled="Failed")
    assert clockwork.at(NIGHT) is None
    assert clockwork.jobs("nightly") == []


def test_two_triggers_within_one_second_are_two_jobs(clockwork: Clockwork, nodes: dict[str, Any]) -> None:
    clockwork.put("nightly", nodes, job=WORD)
    call = Call("POST", "", {"name": "nightly"}, body={"scheduleTime": "2031-05-01T13:00:00.5+00:00"})
    answers = [clockwork.handlers["POST"](call).body for _ in range(2)]
    assert [answer["scheduleActionType"] for answer in answers] == ["CreateJob"] * 2
    assert [answer["submissionId"] for answer in answers] == ["nightly-20310501T130000Z", "nightly-20310501T130001Z"]
    assert clockwork.jobs("nightly") == ["nightly-20310501T130000Z", "nightly-20310501T130001Z"]


def test_the_thread_fires_when_its_clock_has_come_to_the_time(clockwork: Clockwork, nodes: dict[str, Any]) -> None:
    clockwork.put("nightly", nodes, job=WORD)
    clockwork.now = NIGHT
    clockwork.scheduler.wake()
    with deadline(60, "the thread did not fire") as check:
        while not clockwork.jobs("nightly"):
            check()
    assert clockwork.jobs("nightly") == ["nightly-20310502T020000Z"]


def test_the_emulators_own_fields_of_a_schedule_are_not_shown(clockwork: Clockwork, nodes: dict[str, Any]) -> None:
    body = clockwork.put("nightly", nodes, job=WORD).body
    assert set(body) == {"id", "name", "type", "systemData", "properties"}
    assert body["type"] == "Microsoft.MachineLearningServices/workspaces/schedules"
