"""Schedules through the unmodified MLClient: made, triggered, disabled, refused. How they fire: test_schedules_fire.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from local.azureml.mlflow import MlflowServer
from tests.local.azureml.pipelines import LOG_SCORE, component, deadline, newest_jobs, until_ended

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

Name = Callable[[str], str]
pytestmark = pytest.mark.train_environment

NIGHTLY = {"triggerType": "Cron", "expression": "0 2 * * *", "timeZone": "UTC"}
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
        while not (fired := [job for job in newest_jobs(ml_client) if job.startswith(f"{own}-")]):
            check()
    assert until_ended(ml_client, fired[0]).status == "Completed"

    asked.trigger = RecurrenceTrigger(
        frequency="week", interval=2, schedule=RecurrencePattern(hours=4, minutes=[0, 30], week_days=["monday"])
    )
    trigger = ml_client.schedules.begin_create_or_update(asked).result().trigger
    assert (trigger.frequency, trigger.interval, trigger.schedule.hours) == ("week", 2, [4])
    assert (trigger.schedule.minutes, [day.lower() for day in trigger.schedule.week_days]) == ([0, 30], ["monday"])
    ml_client.schedules.begin_disable(own).result()
    assert len([job for job in newest_jobs(ml_client) if job.startswith(f"{own}-")]) == 1


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


def test_a_schedule_of_nested_pipelines_and_a_sweep_runs_all_of_it(
    ml_client: MLClient, mlflow_server: MlflowServer, tmp_path: Path, name: Name
) -> None:
    from azure.ai.ml import dsl
    from azure.ai.ml.entities import CronTrigger, Environment, JobSchedule
    from azure.ai.ml.sweep import Choice

    assert mlflow_server.url
    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    trial = component(
        tmp_path, "scheduled_trial", LOG_SCORE, command="python run.py ${{inputs.rate}}", inputs={"rate": {"type": "number"}}
    )

    @dsl.pipeline
    def inner() -> None:
        trial(rate=0.5)

    @dsl.pipeline(default_compute="serverless", experiment_name="scheduled", force_rerun=True)
    def outer() -> None:
        inner()
        swept = trial(rate=Choice([0.1, 0.2])).sweep(primary_metric="score", goal="maximize", sampling_algorithm="grid")
        swept.set_limits(max_total_trials=2, max_concurrent_trials=2)

    trigger = CronTrigger(expression="0 2 1 1 *", start_time=datetime(2099, 1, 1))
    own = name("whole")
    ml_client.schedules.begin_create_or_update(JobSchedule(name=own, trigger=trigger, create_job=outer())).result()
    job = ml_client.schedules.trigger(own).job_name
    assert until_ended(ml_client, job).status == "Completed"
    below = {
        step.display_name: [child.status for child in ml_client.jobs.list(parent_job_name=step.name)]
        for step in ml_client.jobs.list(parent_job_name=job)
    }
    assert below == {"inner": ["Completed"], "swept": ["Completed"] * 2}
    ml_client.schedules.begin_disable(own).result()


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
