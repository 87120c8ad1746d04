"""A ledger that an earlier version of the app has written stops nothing and doubles nothing. Faked: the ports."""

from __future__ import annotations

from typing import Any

import pytest

from ml_core import inbox, operations
from ml_core.ports import ModelVersion, TrainingJob
from ml_core.trail.ask import why
from tests.fakes import FakeClock
from tests.story import ENDPOINT, Story

MODEL = "flight-delay"


def of_yesterday(story: Story, running: str, last: str, status: str = "Completed") -> str:
    """The documents as they were written then, and the workspace that belongs to them; the data version's name.

    `running` and `last` are causes of runs, '' for none: documents knew one cause of a run.
    """
    story.containers.upload("flights", "incoming/january.csv")
    probe = Story()
    probe.containers.content |= story.containers.content
    probe.clock.moment = story.clock()
    probe.sweep()
    probe.until(lambda: bool(probe.workspace.data))
    ((_, version),) = probe.workspace.data
    story.workspace.register_data_version("flights", version, {}, {})
    note = {"version": version, "left_out": [], "registered_at": story.clock().isoformat()}
    story.ledger.overwrite("data-versions/flights.json", note)
    story.ledger.overwrite(f"data-versions/flights/{version}.json", note)
    asset = {"registered": version, "pending": "", "changed_at": story.clock().isoformat(), "refused": None}
    story.ledger.overwrite("data-assets/flights.json", document(story.clock, asset))
    ended = last and {"run": run(story, last, version), "status": status, "model_version": "1", "error": ""}
    state = {"running": run(story, running, version) if running else None, "last": ended or None, "answered_request": ""}
    for cause in filter(None, (last, running)):
        if status == "Refused":
            continue
        name = run(story, cause, version)["job"]
        story.ledger.overwrite(f"training-jobs/{name}.json", {"model": MODEL, "data_version": version, "cause": cause})
        story.workspace.submit_training(TrainingJob(name, "components/pipelines/train.yml", "flights", version, MODEL, cause, {}))
    if last and status != "Refused":
        story.workspace.register_model(
            ModelVersion(MODEL, "1", {"job": run(story, last, version)["job"], "data_version": version})
        )
        story.ledger.overwrite(
            f"rollout-requests/{ENDPOINT}/1.json", {"model": MODEL, "version": "1", "at": note["registered_at"]}
        )
    story.ledger.overwrite(f"models/{MODEL}.json", document(story.clock, state))
    look = {"look": "20260301T115900.000000Z-0a0a0a0a", "handled": "", "at": story.clock().isoformat()}
    story.ledger.overwrite(f"looks/models/{MODEL}.json", look)
    return version


def document(clock: FakeClock, state: dict[str, Any]) -> dict[str, Any]:
    return {"state": state, "answer": {"kind": "rest", "reason": "as it was"}, "at": clock().isoformat(), "decision": None}


def run(story: Story, cause: str, version: str) -> dict[str, Any]:
    job = f"train-{MODEL}-{version}" + ("" if cause == "data" else f"-{cause}")
    started_at = story.clock().isoformat()
    return {"job": job, "data_version": version, "cause": cause, "started_at": started_at, "completed_at": None}


@pytest.mark.parametrize(
    ("running", "last", "status"),
    [
        ("data", "", "Completed"),
        ("schedule-20260301T030000", "data", "Completed"),
        ("", "data", "Completed"),
        ("", "data", "Refused"),
    ],
)
def test_a_model_goes_on_from_where_yesterdays_app_has_left_it(running: str, last: str, status: str) -> None:
    story = Story()
    version = of_yesterday(story, running, last, status)
    story.evidence.per_minute = 600
    jobs = set(story.workspace.submitted) or {f"train-{MODEL}-{version}"}
    story.sweep()
    story.rest()
    story.sweep()
    story.rest()
    assert list(inbox.items(story.ledger)) == []
    assert set(story.workspace.submitted) == jobs, "each cause has the one job that it had"
    assert story.rollout()["settled"] == len(jobs)
    assert operations.status(story.services)["models"][MODEL]["state"]["running"] is None


@pytest.mark.parametrize("running", ["data", "schedule-20260301T030000"])
def test_people_can_ask_why_before_todays_app_has_looked(running: str) -> None:
    story = Story()
    version = of_yesterday(story, running, "data" if running != "data" else "")
    for text in (MODEL, f"train-{MODEL}-{version}", f"flights:{version}", "flights"):
        assert why(story.services, text).ends, text
