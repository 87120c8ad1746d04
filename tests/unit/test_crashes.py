"""What becomes of the work when a tick dies between two writes, loses a race, or is told something that cannot be.

Faked: the ports. Real: the loop, every reconciler, the requests.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ml_core import operations
from ml_core.adapters.failures import told_as
from ml_core.errors import Conflict, PermanentError, TemporaryError
from ml_core.ports import ModelVersion
from ml_core.reconciling import DATA_ASSETS, MODELS, ROLLOUTS, handle
from ml_core.rollout import reconcile as rollouts
from ml_core.rollout.request import requested_versions
from ml_core.services import Services
from tests.fakes import Flaky
from tests.story import CONFIG, ENDPOINT, Story, decisions_taken, first_canary_step_takes, first_model_serves


@pytest.fixture
def story() -> Story:
    return Story()


def breaking(story: Story, port: str, **failures: int) -> Services:
    """The story's services, of which one port fails so many times."""
    changes: dict[str, Any] = {port: Flaky(getattr(story.services, port), failures)}
    return replace(story.services, **changes)


def test_a_look_that_died_before_the_queue_had_the_next_one_is_worked_off_when_it_comes_again(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(lambda: len(story.workspace.submitted) == 1)
    story.until(lambda: len([kind for _, kind, _ in story.queue.messages if kind == MODELS]) == 1)
    ((at, kind, message),) = [waiting for waiting in story.queue.messages if waiting[1] == MODELS]
    assert "look" in message
    story.queue.messages.clear()
    story.clock.moment = at
    with pytest.raises(TemporaryError):
        handle(breaking(story, "queue", enqueue=1), kind, message, lambda *_: timedelta(seconds=1))
    assert not story.queue.messages
    looked: list[str] = []

    def look(_: Services, key: str) -> timedelta:
        looked.append(key)
        return timedelta(seconds=1)

    handle(story.services, kind, message, look)
    assert looked == ["flight-delay"]
    assert len(story.queue.messages) == 1
    handle(story.services, kind, story.queue.messages[0][2], look)
    assert looked == ["flight-delay"] * 2


def test_a_look_far_away_comes_early_enough_for_the_queue(story: Story) -> None:
    handle(story.services, MODELS, '{"key": "flight-delay"}', lambda *_: timedelta(days=30))
    ((at, _, _),) = story.queue.messages
    assert at - story.clock() == timedelta(hours=1)


def test_a_step_of_many_days_is_watched_to_its_end_though_looks_come_every_hour() -> None:
    story = Story(CONFIG.replace("interval: 10m", "interval: 9d").replace("poll: 15s", "poll: 8d"))
    assert first_canary_step_takes(story) >= timedelta(days=9)


def test_what_cannot_be_listed_is_noted_and_looked_at_again_by_the_sweep(story: Story) -> None:
    first_model_serves(story)
    before = story.ledger.entries["data-assets/flights.json"].value["state"]
    blobs = story.containers.blobs

    def refuse(*_: str) -> Any:
        raise PermanentError("The container's name is not one (status 400).")

    object.__setattr__(story.containers, "blobs", refuse)
    story.clock.advance(timedelta(hours=1))
    story.sweep()
    story.rest()
    document = story.ledger.entries["data-assets/flights.json"].value
    assert document["answer"] == {"kind": "refused", "reason": "The container's name is not one (status 400)."}
    assert document["state"] == before
    object.__setattr__(story.containers, "blobs", blobs)
    story.sweep()
    story.rest()
    assert story.ledger.entries["data-assets/flights.json"].value["answer"]["kind"] == "rest"


def test_a_decision_of_a_tick_that_lost_the_race_is_not_on_the_chain_of_those_taken(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.until(lambda: story.workspace.serving(ENDPOINT).get("flight-delay:2") == "green 10 %")
    document = story.ledger.entries[f"{ROLLOUTS}/{ENDPOINT}.json"]
    kept_before = set(story.ledger.keys("decisions/rollouts/"))
    story.clock.advance(timedelta(hours=1))
    story.evidence.saw(ENDPOINT, "green", story.clock() - timedelta(seconds=1), requests=50)
    # It decides and keeps the decision; then it cannot write the document.
    with pytest.raises(TemporaryError):
        rollouts.reconcile(breaking(story, "ledger", put=1), ENDPOINT)
    (lost,) = set(story.ledger.keys("decisions/rollouts/")) - kept_before
    assert story.ledger.entries[f"{ROLLOUTS}/{ENDPOINT}.json"] == document
    story.rest()
    taken = [entry.key for entry in decisions_taken(story, ROLLOUTS, ENDPOINT)]
    assert lost not in taken
    assert set(taken) == set(story.ledger.keys("decisions/rollouts/")) - {lost}
    assert taken == sorted(taken, reverse=True)


def test_every_decision_of_an_undisturbed_story_is_on_its_chain(story: Story) -> None:
    first_model_serves(story)
    for kind, key in ((DATA_ASSETS, "flights"), (MODELS, "flight-delay"), (ROLLOUTS, ENDPOINT)):
        taken = {entry.key for entry in decisions_taken(story, kind, key)}
        assert taken == set(story.ledger.keys(f"decisions/{kind}/{key}/"))
        assert taken


def test_of_the_requests_for_rollouts_only_the_names_are_read(story: Story) -> None:
    for version in ("1", "2", "9", "10", "1234567890", "\u0661"):
        story.ledger.claim(f"rollout-requests/{ENDPOINT}/{version}.json", {})
    unread = breaking(story, "ledger", get=1, list=1)
    assert requested_versions(unread, ENDPOINT, above=1) == ["10", "9", "2"]


def test_a_model_that_somebody_registered_by_hand_is_refused_and_holds_nobody_up(story: Story) -> None:
    story.workspace.register_model(ModelVersion("flight-delay", "999"))
    story.model_registered("999")
    story.rest()
    assert not story.workspace.endpoints
    assert story.rollout()["refused"]["999"].startswith("flight-delay:999 does not say where it comes from")
    story.workspace.models.clear()
    first_model_serves(story)
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"}


def test_a_model_that_names_a_strange_job_is_refused(story: Story) -> None:
    first_model_serves(story)
    for version, job in (("2", "../models/flight-delay"), ("3", "train-of-somebody-else")):
        story.workspace.register_model(ModelVersion("flight-delay", version, {"job": job, "data_version": "v1"}))
        story.model_registered(version)
    story.rest()
    assert set(story.rollout()["refused"]) == {"2", "3"}
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"}


def test_a_model_that_left_the_configuration_in_the_middle_of_a_rollout_is_shown_as_that(story: Story) -> None:
    first_model_serves(story)
    story.upload("incoming/february.csv")
    story.until(lambda: {"blue": 90, "green": 10} in story.workspace.traffic_history)
    without = Story("data_assets:\n  flights: {container: flights}").services.config
    shown = operations.status(replace(story.services, config=without))["rollouts"]
    assert shown[ENDPOINT]["state"]["active"]["version"] == "2"
    assert shown[ENDPOINT]["note"].startswith("no model of the configuration serves at this endpoint any more")
    assert "note" not in operations.status(story.services)["rollouts"][ENDPOINT]


def test_data_that_goes_back_to_an_older_content_is_told_as_that(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.until(story.settled(2))
    story.rest()
    story.delete("incoming/february.csv")
    story.rest()
    reasons = [entry.value["action"]["reason"] for entry in story.ledger.list("decisions/")]
    assert any("they are those of the earlier version v" in reason for reason in reasons)
    assert any("The newer version 2 stays; ask for a training" in reason for reason in reasons)
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:2": "green 100 %"}


def error_of_the_sdk(behind: Exception) -> Exception:
    from azure.ai.ml.exceptions import ErrorTarget, ValidationException

    try:
        try:
            raise behind
        except type(behind):
            raise ValidationException("You don't have permission", "no", target=ErrorTarget.ARTIFACT)  # noqa: B904 - as the SDK does
    except ValidationException as error:
        return error


@pytest.mark.parametrize(
    ("status", "kind"), [(403, TemporaryError), (401, TemporaryError), (503, TemporaryError), (400, PermanentError)]
)
def test_an_error_that_the_sdk_wraps_into_its_own_is_judged_by_what_is_behind_it(status: int, kind: type[Exception]) -> None:
    from azure.core.exceptions import HttpResponseError

    behind = HttpResponseError("AuthorizationPermissionMismatch")
    behind.status_code = status
    with pytest.raises(kind) as raised, told_as("register a data version"):
        raise error_of_the_sdk(behind)
    assert not isinstance(raised.value, Conflict)


def test_an_error_of_the_sdk_with_nothing_behind_it_is_permanent() -> None:
    from azure.ai.ml.exceptions import ErrorTarget, ValidationException

    with pytest.raises(PermanentError), told_as("register a data version"):
        raise ValidationException("the name is too long", "no", target=ErrorTarget.DATA)
