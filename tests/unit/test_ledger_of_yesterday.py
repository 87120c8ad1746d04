"""A ledger that an earlier version of the app has written stops nothing and doubles nothing. Faked: the ports."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ml_core import inbox, operations
from ml_core.ports import ModelVersion, TrainingJob
from ml_core.rollout.decide import RULES as ROLLOUT
from ml_core.rollout.state import Phase
from ml_core.trail.ask import why
from tests.fakes import FakeClock
from tests.story import ENDPOINT, Story, first_model_serves

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


def mid_rollout(story: Story, phase: str, intended: dict[str, int], before: dict[str, int], first: bool = False) -> None:
    """The state of a rollout as it was written then; the workspace is where that rollout had come to."""
    candidate, stable = ("blue", None) if first else ("green", "blue")
    version = "1" if first else "2"
    state = story.ledger.entries.get(f"rollouts/{ENDPOINT}.json")
    active = {
        "model": MODEL,
        "version": version,
        "phase": phase,
        "candidate": candidate,
        "stable": stable,
        "since": story.clock().isoformat(),
        "intended": intended,
        "before": before,
        "reason": "as it was",
        "correlation_id": "",
    }
    old = {
        "active": active,
        "settled": 0 if first else 1,
        "outcome": "succeeded",
        "reason": "",
        "refused": {},
        "refused_by_azure": 0,
    }
    story.ledger.put(f"rollouts/{ENDPOINT}.json", document(story.clock, old), etag=state.etag if state else None)


@pytest.mark.parametrize(
    ("share", "phase", "ends_with"),
    [
        (0, "provisioning", "2"),
        (10, "ramping", "2"),
        (50, "ramping", "2"),
        (100, "ramping", "2"),
        (100, "archiving", "2"),
        (0, "rolling back", "1"),
    ],
)
def test_a_rollout_goes_on_from_where_yesterdays_app_has_left_it(share: int, phase: str, ends_with: str) -> None:
    story = Story()
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    # Today's app brings the workspace to where yesterday's had brought it; then the document is yesterday's.
    story.until(lambda: bool(story.workspace.endpoint(ENDPOINT).deployments.get("green")))  # type: ignore[union-attr]
    if share:
        story.until(lambda: story.workspace.serving(ENDPOINT).get(f"{MODEL}:2") == f"green {share} %")
    split = {"blue": 100 - share, "green": share}
    traffic = {slot: weight for slot, weight in split.items() if weight}
    found = story.workspace.endpoint(ENDPOINT)
    assert found is not None
    assert dict(found.traffic) == traffic
    mid_rollout(
        story, phase, {} if phase == "provisioning" else split, {} if phase == "provisioning" else {"blue": 90, "green": 10}
    )
    story.rest()
    assert list(story.workspace.serving(ENDPOINT)) == [f"{MODEL}:{ends_with}"]
    assert story.rollout()["active"] is None
    assert story.rollout()["settled"] == 2
    assert list(inbox.items(story.ledger)) == []


@pytest.mark.parametrize("split", [{}, {"blue": 100}])
def test_an_endpoints_first_rollout_of_yesterday_goes_on_too(split: dict[str, int]) -> None:
    story = Story()
    story.upload("incoming/january.csv")
    story.until(lambda: bool(story.workspace.traffic_history) == bool(split) and bool(story.workspace.endpoints))
    mid_rollout(story, "ramping" if split else "provisioning", split, {}, first=True)
    story.rest()
    assert story.workspace.serving(ENDPOINT) == {f"{MODEL}:1": "blue 100 %"}
    assert story.rollout()["settled"] == 1


def test_an_old_rollout_gets_an_id_that_is_fit_for_a_path() -> None:
    story = Story()
    first_model_serves(story)
    mid_rollout(story, "ramping", {"blue": 90, "green": 10}, {"blue": 100})
    state = ROLLOUT.read(story.ledger.entries[f"rollouts/{ENDPOINT}.json"].value["state"])
    assert state.active is not None
    assert re.fullmatch(r"[A-Za-z0-9.-]+", state.active.id)
    assert (state.active.phase, state.active.road) == (Phase.CANARY, "canary")


def test_people_are_told_how_a_rollout_of_yesterday_ends() -> None:
    story = Story()
    first_model_serves(story)
    mid_rollout(story, "rolling back", {"blue": 100, "green": 0}, {"blue": 90, "green": 10})
    story.sweep()
    story.rest()
    told = story.notifier.notices[-1]
    assert (told.endpoint, told.title) == (ENDPOINT, f"{MODEL}:2: rolled back")
    assert told.id.startswith(f"{ENDPOINT}-2026")
