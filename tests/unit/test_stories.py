"""The whole road as a story of ticks, with simulated time. Faked: the ports. Real: every decision and every reconciler."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

import pytest

from ml_core import inbox
from ml_core.documents import from_document
from ml_core.ingestion.decide import RULES as INGESTION
from ml_core.ingestion.record import receive as receive_blob_event
from ml_core.reconciling import DATA_ASSETS, MODELS, ROLLOUTS, Rules, handle, replay
from ml_core.rollout.decide import RULES as ROLLOUT
from ml_core.training.decide import RULES as TRAINING
from ml_core.training.observe import receive as receive_run_event
from ml_core.training.request import request_due_training
from tests.fakes import Flaky
from tests.story import (
    ENDPOINT,
    Story,
    blob_created,
    blob_deleted,
    first_canary_step_takes,
    first_model_serves,
    run_status_changed,
)


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_file_becomes_a_version_a_job_a_model_and_a_deployment_with_all_traffic(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.rest()
    (name, version), files = next(iter(story.workspace.data.items()))
    assert name == "flights"
    assert set(files) == {"MLTable", "manifest.json"}
    assert list(story.workspace.submitted) == [f"train-flight-delay-{version}"]
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"}


def test_the_job_gets_everything_that_the_configuration_says(story: Story) -> None:
    first_model_serves(story)
    job, _ = next(iter(story.workspace.submitted.values()))
    assert job.inputs == {"target_column": "late", "positive_value": "yes", "id_columns": "flight,tail", "min_auc": 0.6}
    assert (job.data_asset, job.model, job.cause, job.pipeline) == (
        "flights",
        "flight-delay",
        "data",
        "components/pipelines/train.yml",
    )


def test_a_second_file_ramps_a_green_deployment_up_and_archives_the_blue_one(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.rest()
    assert story.workspace.traffic_history == [
        {"blue": 100},
        {"blue": 100, "green": 0},  # copies to green: the shadow
        {"blue": 90, "green": 10},
        {"blue": 75, "green": 25},
        {"blue": 50, "green": 50},
        {"blue": 0, "green": 100},
        {"blue": 0, "green": 100},  # copies to blue, while it stays warm
        {"blue": 0, "green": 100},
    ]
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:2": "green 100 %"}
    endpoint = story.workspace.endpoint(ENDPOINT)
    assert endpoint is not None
    assert set(endpoint.deployments) == {"green"}


def test_the_second_version_holds_both_files(story: Story) -> None:
    first_model_serves(story)
    story.upload("incoming/february.csv")
    story.until(lambda: len(story.workspace.data) == 2)
    manifest = list(story.workspace.data.values())[1]["manifest.json"]
    assert "january.csv" in manifest
    assert "february.csv" in manifest


def test_each_step_is_watched_for_its_whole_interval(story: Story) -> None:
    assert first_canary_step_takes(story) >= timedelta(minutes=10)


def test_an_unhealthy_candidate_is_rolled_back_and_stays_for_people_to_look_at(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.evidence.behaves("flight-delay:2", errors=0.05)
    story.upload("incoming/february.csv")
    story.rest()
    assert story.rollout()["outcome"] == "rolled back"
    assert "the candidate fails more often than the stable deployment" in story.rollout()["reason"]
    assert story.workspace.traffic_history[-1] == {"blue": 100, "green": 0}
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"}


def test_after_a_rollback_the_next_version_takes_the_same_slot(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.evidence.behaves("flight-delay:2", errors=0.05)
    story.upload("incoming/february.csv")
    story.rest()
    story.upload("incoming/march.csv")
    story.rest()
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:3": "green 100 %"}


def test_a_candidate_without_requests_is_held_and_neither_promoted_nor_rolled_back(story: Story) -> None:
    first_model_serves(story)
    story.upload("incoming/february.csv")
    story.until(lambda: {"blue": 90, "green": 10} in story.workspace.traffic_history)
    held_since = story.clock()
    story.until(lambda: story.clock() - held_since > timedelta(hours=2))
    assert story.workspace.traffic_history[-1] == {"blue": 90, "green": 10}
    assert "no request was seen" in story.answer(ROLLOUTS, ENDPOINT)


def test_metrics_that_cannot_be_read_hold_the_step(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.until(lambda: {"blue": 90, "green": 10} in story.workspace.traffic_history)
    story.evidence.broken = True
    held_since = story.clock()
    story.until(lambda: story.clock() - held_since > timedelta(hours=1))
    assert "the metrics cannot be read" in story.answer(ROLLOUTS, ENDPOINT)
    story.evidence.broken = False
    story.until(story.settled(2))


def test_a_change_of_traffic_by_somebody_else_pauses_the_rollout_until_it_is_set_back(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.until(lambda: story.workspace.serving(ENDPOINT).get("flight-delay:2") == "green 10 %")
    story.workspace.set_traffic(ENDPOINT, {"blue": 60, "green": 40})
    changed_at = story.clock()
    story.until(lambda: story.clock() - changed_at > timedelta(hours=2))
    assert story.workspace.traffic_history[-1] == {"blue": 60, "green": 40}
    assert "somebody else set the traffic to blue 60 %, green 40 %" in story.answer(ROLLOUTS, ENDPOINT)
    story.workspace.set_traffic(ENDPOINT, {"blue": 90, "green": 10})
    story.until(story.settled(2))


def test_a_deployment_that_fails_leaves_the_traffic_alone(story: Story) -> None:
    first_model_serves(story)
    story.workspace.deployment_error = "the container does not start: no module named xgboost"
    story.upload("incoming/february.csv")
    story.rest()
    assert story.rollout()["outcome"] == "failed"
    assert "no module named xgboost" in story.rollout()["reason"]
    assert story.workspace.traffic_history == [{"blue": 100}]


def test_a_candidate_that_fails_its_smoke_test_never_gets_traffic(story: Story) -> None:
    first_model_serves(story)
    story.workspace.scoring_error = "the columns are wrong"
    story.upload("incoming/february.csv")
    story.rest()
    assert story.rollout()["outcome"] == "failed"
    assert "smoke test" in story.rollout()["reason"]
    assert story.workspace.traffic_history == [{"blue": 100}]


def test_the_smoke_test_says_what_it_has_asked(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(lambda: bool(story.workspace.traffic_history))
    assert "golden requests were answered as offline" in story.answer(ROLLOUTS, ENDPOINT)


def test_a_newer_version_waits_for_the_end_of_the_rollout_under_way(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.until(lambda: {"blue": 90, "green": 10} in story.workspace.traffic_history)
    story.upload("incoming/march.csv")
    story.rest()
    shares = [
        max(weights, key=lambda slot: weights[slot]) for weights in story.workspace.traffic_history if 100 in weights.values()
    ]
    assert [slot for slot, _ in groupby(shares)] == ["blue", "green", "blue"]
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:3": "blue 100 %"}


def test_the_same_model_announced_twice_is_rolled_out_once(story: Story) -> None:
    first_model_serves(story)
    story.model_registered("1")
    story.model_registered("1")
    story.rest()
    assert story.workspace.traffic_history == [{"blue": 100}]


def test_a_model_that_does_not_exist_is_never_begun_and_blocks_nobody(story: Story) -> None:
    story.model_registered("999")
    first_model_serves(story)
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"}


def test_a_model_serves_even_when_its_event_is_lost(story: Story) -> None:
    # No ModelRegistered and no RunStatusChanged reaches the app in this whole story: the reconciler follows the job itself.
    first_model_serves(story)
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"}


def test_a_lost_upload_event_is_made_up_for_by_the_sweep(story: Story) -> None:
    story.upload("incoming/january.csv", announce=False)
    story.rest()
    assert not story.workspace.data
    story.sweep()
    story.rest()
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:1": "blue 100 %"}


def test_duplicate_events_make_one_version_and_one_job(story: Story) -> None:
    blob = story.upload("incoming/january.csv")
    for _ in range(5):
        receive_blob_event(story.services, blob_created(blob))
    story.rest()
    assert len(story.workspace.data) == 1
    assert len(story.workspace.submitted) == 1
    (window,) = [entry.value for entry in story.ledger.list("windows/flights/")]
    told = [receipt["outcome"] for receipts in window["receipts"].values() for receipt in receipts]
    assert sorted(told) == ["new"]


def test_an_old_deletion_that_arrives_late_undoes_nothing(story: Story) -> None:
    old = story.containers.upload("flights", "incoming/january.csv")
    story.containers.delete("flights", "incoming/january.csv")
    story.upload("incoming/january.csv")
    receive_blob_event(story.services, blob_deleted(old))
    story.rest()
    assert "january.csv" in next(iter(story.workspace.data.values()))["manifest.json"]


def test_files_of_one_delivery_become_one_version(story: Story) -> None:
    for number in range(10):
        story.upload(f"incoming/part-{number}.csv")
        story.clock.advance(timedelta(seconds=20))
    story.rest()
    assert len(story.workspace.data) == 1


def test_an_empty_file_is_noted_and_left_out_of_the_version(story: Story) -> None:
    story.upload("incoming/empty.csv", size=0)
    story.upload("incoming/january.csv")
    story.rest()
    (manifest,) = [files["manifest.json"] for files in story.workspace.data.values()]
    assert "empty.csv" not in manifest
    (version,) = [entry.value for entry in story.ledger.list("data-versions/flights/")]
    assert version["left_out"] == ["incoming/empty.csv"]


def test_only_an_empty_file_makes_no_version(story: Story) -> None:
    story.upload("incoming/empty.csv", size=0)
    story.rest()
    assert not story.workspace.data
    assert story.answer(DATA_ASSETS, "flights") == "there is no file that is not empty"


def test_a_file_that_is_replaced_makes_a_new_version(story: Story) -> None:
    first_model_serves(story)
    story.upload("incoming/january.csv")
    story.until(lambda: len(story.workspace.data) == 2)


def test_a_failed_job_is_kept_with_its_error_and_rolls_nothing_out(story: Story) -> None:
    story.workspace.training_error = "the gate min_auc was not reached: 0.55 < 0.6"
    story.upload("incoming/january.csv")
    story.rest()
    assert story.answer(MODELS, "flight-delay").endswith("has been trained on: Failed")
    last = story.ledger.entries["models/flight-delay.json"].value["state"]["last"]
    assert (last["status"], last["error"]) == ("Failed", "the gate min_auc was not reached: 0.55 < 0.6")
    assert not story.workspace.endpoints


def test_files_that_arrive_while_a_job_runs_lead_to_one_more_job(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(lambda: len(story.workspace.submitted) == 1)
    for month in ("february", "march", "april"):
        story.upload(f"incoming/{month}.csv")
        story.clock.advance(timedelta(seconds=90))
        story.until(lambda: not story.queue.messages or min(story.queue.messages)[0] > story.clock())
    story.evidence.per_minute = 600
    story.rest()
    # However many versions were made meanwhile, only the newest is pending.
    assert len(story.workspace.submitted) == 2
    (_, newest) = story.workspace.submitted.values()
    assert newest[0].data_version == list(story.workspace.data)[-1][1]


def test_a_schedule_that_has_come_due_trains_on_the_same_version_once(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.clock.moment = story.clock().replace(hour=3, minute=0, second=30) + timedelta(days=1)
    for _ in range(3):
        request_due_training(story.services)
    story.rest()
    jobs = list(story.workspace.submitted)
    assert len(jobs) == 2
    assert jobs[1].endswith("-schedule-20260302T030000")


def test_a_run_event_wakes_the_model_before_its_next_look(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(lambda: len(story.workspace.submitted) == 1)
    job = next(iter(story.workspace.submitted))
    story.until(lambda: story.queue.receive() is None)
    receive_run_event(story.services, run_status_changed(job, "Completed"))
    assert story.queue.receive() == (MODELS, '{"key": "flight-delay"}')


def test_the_event_of_a_step_or_of_a_foreign_run_wakes_nobody(story: Story) -> None:
    receive_run_event(story.services, run_status_changed("somebody-elses-run", "Completed"))
    assert not story.queue.messages
    (note,) = [entry.value for entry in story.ledger.list("events/")]
    assert note["reason"] == "somebody-elses-run is no training job that is being followed"


@pytest.mark.parametrize(
    "failures",
    [
        {"register_data_version": 3},
        {"submit_training": 3, "job": 2},
        {"create_endpoint": 2, "create_deployment": 2, "set_traffic": 4, "delete_deployment": 2},
        {"endpoint": 3, "model": 2, "model_of_job": 2},
    ],
)
def test_temporary_failures_anywhere_only_cost_time(failures: dict[str, int]) -> None:
    story = Story()
    object.__setattr__(story.services, "workspace", Flaky(story.workspace, failures))
    story.evidence.per_minute = 600
    story.upload("incoming/january.csv")
    story.until(story.settled(1))
    story.upload("incoming/february.csv")
    story.until(story.settled(2))
    assert story.workspace.serving(ENDPOINT) == {"flight-delay:2": "green 100 %"}
    assert not any(failures.values())


def test_every_decision_is_kept_and_replays_to_the_same_action(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.rest()
    rules: dict[str, Rules] = {DATA_ASSETS: INGESTION, MODELS: TRAINING, ROLLOUTS: ROLLOUT}  # type: ignore[type-arg]
    decisions = list(story.ledger.list("decisions/"))
    assert {entry.key.split("/")[1] for entry in decisions} == set(rules)
    for entry in decisions:
        rule = rules[entry.key.split("/")[1]]
        assert replay(rule, entry.value) == from_document(rule.action, entry.value["action"]), entry.key


def test_a_look_that_was_overtaken_is_dropped_so_that_looks_do_not_multiply(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(lambda: len(story.workspace.submitted) == 1)
    for _ in range(20):
        story.sweep()
    story.until(lambda: not [message for message in story.queue.messages if message[0] <= story.clock()])

    def waiting() -> list[str]:
        return [message for _, kind, message in story.queue.messages if kind == MODELS]

    tokens = [entry.value["look"] for entry in story.ledger.list("looks/models/")]
    assert len(tokens) == 1
    assert sum(tokens[0] in message for message in waiting()) == 1
    # While the job runs: its end is followed by no look at all.
    story.until(lambda: len(waiting()) == 1)


def test_a_message_that_nobody_of_us_wrote_is_kept_and_acknowledged(story: Story) -> None:
    messages = ["", "null", "[]", '{"no": "key"}', "not json", "[" * 50_000]
    for message in messages:
        handle(story.services, MODELS, message, lambda *_: pytest.fail("there is no key to look at"))
    kept = list(inbox.items(story.ledger))
    assert sorted(item.payload for item in kept) == sorted(messages)
    assert {(item.kind, item.permanent, item.source) for item in kept} == {("work", True, "queue tidegate-models")}


def test_a_key_that_left_the_configuration_is_let_go(story: Story) -> None:
    for kind in (DATA_ASSETS, MODELS, ROLLOUTS):
        story.queue.enqueue(kind, '{"key": "gone"}')
    story.rest()
    assert not story.answers()
