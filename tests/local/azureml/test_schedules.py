"""Schedules through the unmodified MLClient, and how they fire: at times of our own, so that no test waits for a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from local.azureml import schedules
from local.azureml.call import Answer, Call
from local.azureml.faults import Match, OperationFault, Rule
from local.azureml.scheduling.scheduler import Scheduler
from local.certificates import Certificates
from local.storage.azurite import Azurite
from tests.local.azureml.job_lab import Lab, node
from tests.local.azureml.pipelines import component, deadline, until_ended

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

Name = Callable[[str], str]
pytestmark = pytest.mark.train_environment

NIGHTLY = {"triggerType": "Cron", "expression": "0 2 * * *", "timeZone": "UTC"}
CREATED = datetime(2031, 5, 1, 12, tzinfo=UTC)
NIGHT = datetime(2031, 5, 2, 2, tzinfo=UTC)
MONITOR = {
    "actionType": "CreateMonitor",
    "monitorDefinition": {
        "computeConfiguration": {
            "computeType": "ServerlessSpark",
            "instanceType": "standard_e4s_v3",
            "runtimeVersion": "3.4",
            "computeIdentity": {"computeIdentityType": "AmlToken"},
        },
        "monitoringTarget": {"taskType": "classification"},
        "signals": {
            "quality": {
                "signalType": "DataQuality",
                "mode": "Disabled",
                "productionData": {
                    "inputDataType": "Trailing",
                    "dataContext": "model_inputs",
                    "jobInputType": "uri_folder",
                    "uri": "azureml:prod:1",
                    "windowSize": "P1D",
                    "windowOffset": "P0D",
                },
                "referenceData": {
                    "inputDataType": "Fixed",
                    "dataContext": "training",
                    "jobInputType": "mltable",
                    "uri": "azureml:ref:1",
                },
                "metricThresholds": [{"dataType": "Numerical", "metric": "nullValueRate", "threshold": {"value": 0.01}}],
            }
        },
    },
}


# through the SDK


@pytest.fixture(scope="module")
def pipeline(ml_client: MLClient, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """Makes a pipeline job of one quick step."""
    from azure.ai.ml import dsl
    from azure.ai.ml.entities import Environment

    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    say = component(
        tmp_path_factory.mktemp("scheduled"), "say", "import sys\nprint('said', sys.argv[1])\n",
        command="python run.py ${{inputs.word}}",
        inputs={"word": {"type": "string"}},
    )  # fmt: skip

    @dsl.pipeline(default_compute="cpu-cluster", experiment_name="scheduled")
    def scheduled() -> None:
        say(word="moin")

    return scheduled


def test_a_cron_schedule_is_created_triggered_disabled_enabled_and_deleted(
    ml_client: MLClient, pipeline: Callable[[], Any], name: Name
) -> None:
    from azure.ai.ml.entities import CronTrigger, JobSchedule
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    own = name("nightly")
    trigger = CronTrigger(expression="0 2 1 1 *", start_time=datetime(2099, 1, 1), time_zone="W. Europe Standard Time")
    asked = JobSchedule(name=own, trigger=trigger, create_job=pipeline(), description="at night", tags={"a": "b"})
    created = ml_client.schedules.begin_create_or_update(asked).result()
    assert (created.name, created.is_enabled, created.provisioning_state) == (own, True, "Succeeded")
    read = ml_client.schedules.get(own)
    assert (read.description, read.tags, read.trigger.expression) == ("at night", {"a": "b"}, "0 2 1 1 *")
    assert read.trigger.time_zone == "W. Europe Standard Time"
    assert own in [found.name for found in ml_client.schedules.list()]

    job = ml_client.schedules.trigger(own).job_name
    assert job.startswith(f"{own}-20")
    ended = until_ended(ml_client, job)
    assert (ended.status, ended.display_name, ended.experiment_name) == ("Completed", job, "scheduled")

    assert not ml_client.schedules.begin_disable(own).result().is_enabled
    assert own not in [found.name for found in ml_client.schedules.list()]
    assert own in [found.name for found in ml_client.schedules.list(list_view_type="DisabledOnly")]
    assert ml_client.schedules.begin_enable(own).result().is_enabled
    with pytest.raises(HttpResponseError, match="must be disabled to be deleted"):
        ml_client.schedules.begin_delete(own).result()
    ml_client.schedules.begin_disable(own).result()
    ml_client.schedules.begin_delete(own).result()
    with pytest.raises(ResourceNotFoundError):
        ml_client.schedules.get(own)
    assert own not in [found.name for found in ml_client.schedules.list(list_view_type="All")]


def test_a_recurrence_without_a_start_fires_at_once_and_its_pattern_can_be_read(
    ml_client: MLClient, pipeline: Callable[[], Any], name: Name
) -> None:
    from azure.ai.ml.entities import JobSchedule, RecurrencePattern, RecurrenceTrigger

    own = name("daily")
    asked = JobSchedule(name=own, trigger=RecurrenceTrigger(frequency="day", interval=1), create_job=pipeline())
    ml_client.schedules.begin_create_or_update(asked).result()
    with deadline(60, "the schedule did not fire") as check:
        while not (fired := [job.name for job in ml_client.jobs.list() if job.name.startswith(f"{own}-")]):
            check()
    assert until_ended(ml_client, fired[0]).status == "Completed"

    asked.trigger = RecurrenceTrigger(
        frequency="week", interval=2, schedule=RecurrencePattern(hours=4, minutes=[0, 30], week_days=["monday"])
    )
    trigger = ml_client.schedules.begin_create_or_update(asked).result().trigger
    assert (trigger.frequency, trigger.interval, trigger.schedule.hours) == ("week", 2, [4])
    assert (trigger.schedule.minutes, [day.lower() for day in trigger.schedule.week_days]) == ([0, 30], ["monday"])
    ml_client.schedules.begin_disable(own).result()
    assert len([job for job in ml_client.jobs.list() if job.name.startswith(f"{own}-")]) == 1


def test_a_schedule_of_a_job_that_exists_runs_that_job_again(
    ml_client: MLClient, pipeline: Callable[[], Any], name: Name
) -> None:
    from azure.ai.ml.entities import CronTrigger, JobSchedule

    job = pipeline()
    job.name = name("source")
    source = ml_client.jobs.create_or_update(job)
    own = name("again")
    far = CronTrigger(expression="0 2 * * *", start_time="2099-01-01T00:00:00")
    ml_client.schedules.begin_create_or_update(JobSchedule(name=own, trigger=far, create_job=source.id)).result()
    assert set(ml_client.schedules.get(own).create_job.jobs) == {"say"}
    assert until_ended(ml_client, ml_client.schedules.trigger(own).job_name).status == "Completed"


def test_a_monitor_is_kept_and_listed_and_never_run(http: httpx.Client, ml_client: MLClient, name: Name) -> None:
    own = name("monitor")
    body = {"properties": {"trigger": NIGHTLY, "action": MONITOR}}
    assert http.put(f"/schedules/{own}", json=body).status_code == 201
    read = ml_client.schedules.get(own)
    assert (read.type, list(read.create_monitor.monitoring_signals)) == ("monitor", ["quality"])
    assert own in [found.name for found in ml_client.schedules.list()]
    response = http.post(f"/schedules/{own}/trigger", json={})
    assert response.status_code == 501
    assert "never runs them" in response.text


# refused


SPARK = {
    "computeType": "ServerlessSpark",
    "computeIdentity": {"computeIdentityType": "AmlToken"},
    "instanceType": "Standard_E4s_v3",
    "runtimeVersion": "3.3",
}


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        ({"trigger": None}, 400, "trigger"),
        ({"trigger": {**NIGHTLY, "endTime": "2020-01-01T00:00:00", "startTime": "2019-01-01T00:00:00"}}, 400, "in the past"),
        ({"trigger": {**NIGHTLY, "endTime": "2020-01-01T00:00:00"}}, 400, "in the past"),
        ({"action": None}, 400, "action"),
        ({"action": {"actionType": "CreateJob"}}, 400, "jobDefinition"),
        (
            {"action": {"actionType": "CreateJob", "jobDefinition": {"jobType": "Pipeline", "sourceJobId": "/jobs/no"}}},
            400,
            "/jobs/no",
        ),
        ({"action": {"actionType": "CreateJob", "jobDefinition": {"jobType": "Pipeline", "jobs": {}}}}, 400, "at least one step"),
        (
            {
                "action": {
                    "actionType": "CreateJob",
                    "jobDefinition": {"jobType": "Command", "command": "true", "environmentId": "e", "computeId": "nowhere"},
                }
            },
            400,
            "Unknown compute target 'nowhere'.",
        ),
        ({"action": {"actionType": "InvokeBatchEndpoint", "endpointInvocationDefinition": {}}}, 501, "InvokeBatchEndpoint"),
        ({"action": {"actionType": "CreateMonitor", "monitorDefinition": {}}}, 400, "computeConfiguration"),
        (
            {"action": {**MONITOR, "monitorDefinition": {"computeConfiguration": SPARK, "signals": {}}}},
            400,
            "signals",
        ),
        (
            {
                "action": {
                    **MONITOR,
                    "monitorDefinition": {"computeConfiguration": {"computeType": "x"}, "signals": {"s": {"signalType": "Mood"}}},
                }
            },
            400,
            "Mood",
        ),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_and_not_kept(
    http: httpx.Client, name: Name, change: dict[str, Any], status: int, named: str
) -> None:
    own = name("no")
    response = http.put(f"/schedules/{own}", json={"properties": {"trigger": NIGHTLY, "action": MONITOR, **change}})
    assert response.status_code == status
    assert named in response.json()["error"]["message"]
    assert http.get(f"/schedules/{own}").status_code == 404


def test_names_views_and_times_are_checked(http: httpx.Client, name: Name) -> None:
    body = {"properties": {"trigger": NIGHTLY, "action": MONITOR}}
    assert http.put("/schedules/-front", json=body).status_code == 400
    assert http.get("/schedules", params={"listViewType": "Some"}).status_code == 400
    assert http.delete(f"/schedules/{name('none')}").status_code == 204
    assert http.post(f"/schedules/{name('none')}/trigger", json={}).status_code == 404


# firing


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
