"""Lists of jobs and what can be asked of one: filters, views, pages, changes, validation; stored documents stand for the jobs."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from local.azureml.emulator import Emulator
from local.azureml.execution.runs import COMMAND, PIPELINE
from tests.local.azureml.pipelines import component, unique

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

PAGE = 100


def ended_jobs(emulator: Emulator, count: int, *, steps: int = 0, **about: Any) -> list[str]:
    """So many jobs that have ended, without any process: the documents that a job leaves. Names in the order of creation."""
    names = [f"stored-{uuid.uuid4().hex[:12]}" for _ in range(count)]
    definition = {"jobType": "Pipeline", "jobs": {}, "inputs": {}, "outputs": {}, "experimentName": "lists"}
    for name in names:
        emulator.store.put("jobs", name, "", {"properties": definition, "submitted": definition})
        run = emulator.jobs.runs.create(name, PIPELINE, "lists", displayName=name, name=name, description=None, **about)
        for step in range(steps):
            emulator.jobs.runs.create(f"{name}_{step}", COMMAND, "lists", parent=run, displayName=f"step {step}", name=f"{step}")
            emulator.jobs.runs.set_status(f"{name}_{step}", "Completed")
        emulator.jobs.runs.set_status(name, "Completed")
    return names


def test_jobs_are_listed_newest_first_page_by_page(ml_client: MLClient, emulator: Emulator, http: httpx.Client) -> None:
    made = ended_jobs(emulator, PAGE + 20)
    first = http.get("/jobs").json()
    assert len(first["value"]) == PAGE
    assert [job["name"] for job in first["value"]] == made[: -PAGE - 1 : -1]
    listed = [job.name for job in ml_client.jobs.list()]
    assert listed[: len(made)] == made[::-1]
    assert len(set(listed)) == len(listed)


def test_jobs_are_found_by_tag_type_and_view(ml_client: MLClient, emulator: Emulator, http: httpx.Client) -> None:
    tag = unique("tag")
    tagged, other = ended_jobs(emulator, 2, tags={tag: "yes"}), ended_jobs(emulator, 1, tags={tag: "no"})
    ml_client.jobs.archive(tagged[0])

    def found(**query: str) -> set[str]:
        return {job["name"] for job in http.get("/jobs", params={"tag": tag, **query}).json()["value"]}

    assert found() == {tagged[1], *other}
    assert found(tag=f"{tag}=yes") == {tagged[1]}
    assert found(listViewType="ArchivedOnly") == {tagged[0]}
    assert found(listViewType="All") == {*tagged, *other}
    assert found(jobType="Pipeline") == {tagged[1], *other}
    assert found(jobType="Sweep") == set()
    assert tagged[0] in [job.name for job in ml_client.jobs.list(list_view_type="ArchivedOnly")]
    ml_client.jobs.restore(tagged[0])
    assert found(tag=f"{tag}=yes") == set(tagged)


def test_the_children_of_a_job_come_in_order_and_all_of_them(ml_client: MLClient, emulator: Emulator) -> None:
    [name] = ended_jobs(emulator, 1, steps=PAGE + 5)
    children = list(ml_client.jobs.list(parent_job_name=name))
    assert [child.display_name for child in children] == [f"step {number}" for number in range(PAGE + 5)]


def test_tags_and_words_of_a_job_can_be_changed_and_it_offers_no_services(ml_client: MLClient, emulator: Emulator) -> None:
    [name] = ended_jobs(emulator, 1, tags={"kept": "1"}, steps=1)
    ml_client.jobs.archive(name)
    ml_client.jobs.restore(name)
    job = ml_client.jobs.get(name)
    assert set(job.services) == {"Studio", "Tracking"}
    assert job.tags == {"kept": "1"}
    assert ml_client.jobs.show_services(name) is None
    assert ml_client.jobs.show_services(f"{name}_0") is None


def test_a_pipeline_is_validated_without_being_submitted(ml_client: MLClient, tmp_path: Path) -> None:
    from azure.ai.ml import dsl

    step = component(tmp_path, "checked", "", inputs={"needed": {"type": "string"}}, command="echo ${{inputs.needed}}")

    @dsl.pipeline(default_compute="serverless")
    def whole() -> None:
        step(needed="x")

    @dsl.pipeline(default_compute="serverless")
    def lacking() -> None:
        step()

    assert ml_client.jobs.validate(whole()).passed
    refused = ml_client.jobs.validate(lacking())
    assert not refused.passed
    assert "needed" in str(refused.error_messages)


@pytest.mark.parametrize("operation", ["get", "archive", "restore", "show_services"])
def test_what_is_asked_of_a_job_that_is_not_there_is_not_found(ml_client: MLClient, operation: str) -> None:
    from azure.core.exceptions import ResourceNotFoundError

    with pytest.raises(ResourceNotFoundError, match="no-such-job"):
        getattr(ml_client.jobs, operation)("no-such-job")
