"""The trail of everything, and why nothing ran. Faked: the ports. Real: what wrote the ledger, where a story can."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from ml_core import inbox
from ml_core.documents import to_document
from ml_core.ingestion.record import receive as receive_blob_event
from ml_core.ports import ModelVersion
from ml_core.reconciling import ROLLOUTS
from ml_core.rollout.request import request_rollout
from ml_core.trail.ask import why
from ml_core.trail.values import Chapter, NothingKnown, Step
from ml_core.trail.values import trail as in_order
from ml_core.training.observe import receive as receive_run_event
from ml_core.training.request import request_rerun
from tests.fakes import Flaky
from tests.story import (
    ENDPOINT,
    Story,
    blob_created,
    first_model_serves,
    model_registered,
    run_status_changed,
)
from tests.trails import ends, newest_job, newest_version, told, words

FIRST, SECOND = "flight-delay:1", "flight-delay:2"


@pytest.fixture
def story() -> Story:
    return Story()


def second_model_is_at(story: Story, weights: dict[str, int]) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.until(lambda: weights in story.workspace.traffic_history)


def test_a_model_version_is_told_from_its_data_to_its_traffic(story: Story) -> None:
    first_model_serves(story)
    trail = why(story.services, FIRST)
    assert words(trail)[-6:] == ["version", "job", "model", "rollout", "traffic", "rollout"]
    assert f"flights:{newest_version(story)} was registered" in told(trail)
    assert "caused by data" in told(trail)
    assert "blue 100 %" in told(trail)
    assert ends(trail) == f"{FIRST} serves: it has 100 % of the traffic of {ENDPOINT}, in blue"


def test_steps_come_in_the_order_of_time_and_name_the_documents_that_say_so(story: Story) -> None:
    first_model_serves(story)
    trail = why(story.services, FIRST)
    times = [step.at for step in trail.steps if step.at]
    assert times == sorted(times)
    documents = [step.document for step in trail.steps if step.document]
    assert len(documents) > 5
    assert [name for name in documents if story.ledger.get(name) is None] == []


def test_a_version_that_was_followed_by_a_newer_one_says_so(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.rest()
    assert "does not serve any more, or never has: flight-delay is Succeeded; its traffic: green (flight-delay:2) 100 %" in ends(
        why(story.services, FIRST)
    )


def test_a_rollout_under_way_says_what_it_waits_for(story: Story) -> None:
    second_model_is_at(story, {"blue": 90, "green": 10})
    story.until(lambda: "watched" in story.answer(ROLLOUTS, ENDPOINT))
    ends_at = datetime.fromisoformat(story.rollout()["active"]["standing_since"]) + timedelta(minutes=10)
    told = f"{SECOND} is being rolled out (canary 10 %): at 10 %, watched until {ends_at:%H:%M:%S}"
    assert told in ends(why(story.services, SECOND))


def test_a_version_that_waits_for_another_ones_rollout_tells_nothing_of_that(story: Story) -> None:
    second_model_is_at(story, {"blue": 90, "green": 10})
    story.evidence.per_minute = 0
    request_rerun(story.services, "flight-delay", reason="a third one", by="anna")
    story.until(lambda: f"rollout-requests/{ENDPOINT}/3.json" in story.ledger.entries)
    story.evidence.per_minute = 600
    story.until(lambda: {"blue": 75, "green": 25} in story.workspace.traffic_history)
    trail = why(story.services, "flight-delay:3")
    assert "flight-delay:3 waits until the rollout of flight-delay:2 is over" in ends(trail)
    assert "traffic" not in words(trail)
    assert "rollout" not in words(trail)


def test_steps_of_several_chapters_are_told_in_the_order_of_time_and_those_without_a_time_stay_where_they_are() -> None:
    noon = Story().clock()
    steps = [Step(noon + timedelta(minutes=2), "c", ""), Step(None, "d", ""), Step(noon, "a", ""), Step(None, "b", "")]
    assert [step.what for step in in_order("blob", "", Chapter(tuple(steps))).steps] == ["a", "b", "c", "d"]


def test_a_rollback_is_told_with_its_reason(story: Story) -> None:
    second_model_is_at(story, {"blue": 90, "green": 10})
    story.evidence.behaves("flight-delay:2", errors=0.3)
    story.rest()
    trail = why(story.services, SECOND)
    assert "rolling back: blue 100 %, green 0 %, because at 10 %" in told(trail)
    assert "does not serve: its rollout ended (rolled back)" in ends(trail)


def test_a_model_of_unknown_origin_is_told_to_be_refused(story: Story) -> None:
    first_model_serves(story)
    story.workspace.register_model(ModelVersion("flight-delay", "2", {"job": "by-hand", "data_version": "v1"}))
    request_rollout(story.services, ENDPOINT, "flight-delay", "2")
    story.rest()
    assert "flight-delay:2 is not rolled out: flight-delay:2 says that the job by-hand made it" in ends(
        why(story.services, SECOND)
    )


def test_a_version_that_nobody_asked_to_roll_out_says_so(story: Story) -> None:
    story.workspace.register_model(ModelVersion("flight-delay", "7", {}))
    assert "nobody has asked for a rollout of flight-delay:7" in ends(why(story.services, "flight-delay:7"))


def test_a_version_that_the_workspace_does_not_hold_says_so(story: Story) -> None:
    assert "the workspace holds no version 9 of flight-delay" in ends(why(story.services, "flight-delay:9"))


def test_a_job_that_failed_says_why_there_is_no_model(story: Story) -> None:
    story.workspace.training_error = "gate failed: auc 0.51 < 0.6"
    story.upload("incoming/january.csv")
    story.rest()
    trail = why(story.services, newest_job(story))
    assert "ended as Failed, so there is no model: gate failed: auc 0.51 < 0.6" in ends(trail)
    assert ends(trail) in ends(why(story.services, f"flights:{newest_version(story)}"))


def test_a_running_job_says_that_it_runs_and_when_it_is_looked_at_again(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(lambda: bool(story.workspace.submitted))
    job = newest_job(story)
    story.until(lambda: story.answer("models", "flight-delay") == f"{job} is Running")
    assert f"{job} is Running" in ends(why(story.services, job))
    assert "the next look is at 2026-03-01 12:" in ends(why(story.services, job))


def test_a_version_behind_a_running_job_waits_and_says_for_what(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(lambda: bool(story.workspace.submitted))
    first = newest_job(story)
    version = newest_version(story)
    story.upload("incoming/february.csv")
    story.until(lambda: newest_version(story) != version)
    assert f"flight-delay waits with {newest_version(story)} until {first} has ended" in ends(
        why(story.services, f"flights:{newest_version(story)}")
    )


def test_a_version_that_was_overtaken_while_it_waited_names_the_one_that_was_trained_on(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(lambda: bool(story.workspace.submitted))
    story.upload("incoming/february.csv")
    first = newest_version(story)
    story.until(lambda: newest_version(story) != first)
    overtaken = newest_version(story)
    story.until(lambda: overtaken in str(story.ledger.entries["models/flight-delay.json"].value["state"]["pending"]))
    story.upload("incoming/march.csv")
    story.until(lambda: len(story.workspace.submitted) == 2)
    assert ends(why(story.services, f"flights:{overtaken}")) == (
        f"flight-delay was not trained on {overtaken}: "
        f"while it waited, {newest_version(story)} came, and {newest_job(story)} took that"
    )


def test_a_rerun_is_told_with_who_asked_and_why(story: Story) -> None:
    first_model_serves(story)
    request_rerun(story.services, "flight-delay", reason="the base image was patched", by="anna")
    assert "a training was asked for by anna (rerun-1): the base image was patched" not in told(why(story.services, FIRST))
    story.until(lambda: len(story.workspace.submitted) == 2)
    trail = why(story.services, newest_job(story))
    assert "request: a training was asked for by anna (rerun-1): the base image was patched" in told(trail)


def test_a_model_at_rest_says_why_nothing_runs(story: Story) -> None:
    first_model_serves(story)
    assert "has been trained on: Completed" in ends(why(story.services, "flight-delay"))


def test_a_key_that_was_never_looked_at_asks_whether_the_app_runs(story: Story) -> None:
    assert "flight-delay was never looked at; the sweep does within five minutes of the start. If they are over: is the" in ends(
        why(story.services, "flight-delay")
    )


def test_a_look_that_never_came_asks_whether_the_app_runs(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(lambda: bool(story.workspace.submitted))
    story.look()
    story.clock.advance(timedelta(minutes=11))
    assert "has not come: is the function app running?" in ends(why(story.services, "flight-delay"))


def test_a_look_that_keeps_failing_says_so(story: Story) -> None:
    first_model_serves(story)
    failing = Flaky(story.workspace, {"endpoint": 99, "model": 99})
    object.__setattr__(story.services, "workspace", failing)
    request_rollout(story.services, ENDPOINT, "flight-delay", "2")
    story.look()
    object.__setattr__(story.services, "workspace", story.workspace)
    assert "the last look failed, 1 time so far: TemporaryError: model failed for a moment" in ends(
        why(story.services, f"endpoints/{ENDPOINT}")
    )


def test_an_endpoint_tells_what_serves_and_where_it_comes_from(story: Story) -> None:
    first_model_serves(story)
    trail = why(story.services, f"endpoints/{ENDPOINT}")
    assert f"its traffic: blue ({FIRST}) 100 %" in ends(trail)
    assert newest_job(story) in told(trail)


def test_an_event_that_was_matched_leads_to_what_it_was_about(story: Story) -> None:
    first_model_serves(story)
    story.model_registered("1")
    event_id = json.loads(model_registered("flight-delay", "1"))["id"]
    trail = why(story.services, event_id)
    assert "was matched" in told(trail)
    assert ends(trail) == f"{FIRST} serves: it has 100 % of the traffic of {ENDPOINT}, in blue"


def test_an_event_that_was_ignored_says_by_which_rule(story: Story) -> None:
    receive_run_event(story.services, run_status_changed("somebody-elses-run", "Completed"))
    trail = why(story.services, "somebody-elses-run-Completed")
    assert "nothing was done for it, because it was ignored: somebody-elses-run is no training job" in ends(trail)


def test_a_forged_event_is_told_to_be_refused_and_where_it_lies(story: Story) -> None:
    forged = json.loads(blob_created(story.containers.upload("flights", "incoming/a.csv"), event_id="forged"))
    forged["data"]["url"] = url = "https://stranger.blob.core.windows.net/flights/incoming/a.csv"
    receive_blob_event(story.services, json.dumps(forged))
    (item,) = inbox.items(story.ledger)
    for question in ("forged", url):
        assert "lies in another storage account" in ends(why(story.services, question))
        assert f"it lies in the inbox as {item.id}" in ends(why(story.services, question))


def test_an_event_that_nobody_knows_is_not_made_up(story: Story) -> None:
    with pytest.raises(NothingKnown, match="Nothing is known of 'no-such-event'"):
        why(story.services, "no-such-event")


def test_a_typing_mistake_is_told_what_was_perhaps_meant(story: Story) -> None:
    with pytest.raises(NothingKnown, match="Was 'flight-delay' meant"):
        why(story.services, "fligth-delay")


def test_a_container_that_nobody_watches_is_told_beside_those_that_are(story: Story) -> None:
    with pytest.raises(NothingKnown, match="no data asset watches a container 'fligths'; watched are flights"):
        why(story.services, "fligths/incoming/january.csv")


def test_the_beginning_of_a_data_version_is_enough(story: Story) -> None:
    first_model_serves(story)
    version = newest_version(story)
    assert why(story.services, f"flights:{version[:6]}").about == f"version {version} of the data asset flights"


@pytest.mark.parametrize(
    "text", ["flights:v", "flights:../../models", "flight-delay:01", "flight-delay:../1", "training-jobs/../x", "a" * 5000]
)
def test_what_cannot_be_a_name_is_never_looked_up(story: Story, text: str) -> None:
    with pytest.raises(NothingKnown):
        why(story.services, text)


def test_a_trail_becomes_json(story: Story) -> None:
    first_model_serves(story)
    document = to_document(why(story.services, FIRST))
    assert json.loads(json.dumps(document))["steps"][0]["at"].startswith("2026-03-01T12:00")


def test_a_training_that_is_pending_is_told_with_who_asked(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(lambda: bool(story.workspace.submitted))
    request_rerun(story.services, "flight-delay", reason="once more", by="anna")
    story.look()
    story.until(lambda: bool(story.ledger.entries["models/flight-delay.json"].value["state"]["pending"]))
    trail = why(story.services, "flight-delay")
    assert "a training was asked for by anna (rerun-1): once more" in told(trail)
    assert f"pending for flight-delay: a training on {newest_version(story)}, caused by rerun-1" in ends(trail)


def test_a_trail_reads_what_belongs_to_it_and_not_the_whole_ledger(story: Story) -> None:
    first_model_serves(story)
    job = newest_job(story)
    for number in range(300):
        later = story.clock() + timedelta(minutes=number + 1)
        story.ledger.overwrite(f"training-jobs/train-other-{number}.json", {"model": "other"})
        story.ledger.overwrite(
            f"decisions/models/flight-delay/{later:%Y%m%dT%H%M%S.%fZ}-0.json", {"follows": None, "action": {"kind": "rest"}}
        )
    read: list[str] = []
    get = story.ledger.get
    story.ledger.get = lambda key: read.append(key) or get(key)  # type: ignore[method-assign,func-returns-value]
    assert f"{FIRST} serves" in ends(why(story.services, job))
    assert len(read) < 100


def test_at_every_moment_of_a_story_every_question_has_an_answer(story: Story) -> None:
    story.evidence.per_minute = 600
    story.upload("incoming/january.csv")
    story.upload("incoming/february.csv", announce=False)
    asked = 0
    for moment in range(120):
        jobs = list(story.workspace.submitted)
        questions = ["flights", "flight-delay", FIRST, f"endpoints/{ENDPOINT}", "flights/incoming/february.csv", *jobs]
        for question in questions:
            assert why(story.services, question).ends, question
            asked += 1
        if moment == 40:
            story.upload("incoming/january.csv")
            story.delete("incoming/february.csv")
        if story.idle() or not story.look():
            break
    assert len(story.workspace.submitted) == 2
    assert asked > 200


def test_a_decision_that_lost_the_race_is_not_told(story: Story) -> None:
    first_model_serves(story)
    folder = f"decisions/{ROLLOUTS}/{ENDPOINT}/"
    begin = next(key for key in story.ledger.keys(folder) if story.ledger.entries[key].value["action"]["kind"] == "begin")
    lost = {**story.ledger.entries[begin].value, "follows": story.ledger.entries[begin].value["follows"]}
    lost["action"] = {**lost["action"], "candidate": "green"}
    story.ledger.overwrite(begin.replace("-0.json", "-7.json"), lost)
    begun = [step.told for step in why(story.services, FIRST).steps if "began" in step.told]
    assert begun == [f"the rollout of {FIRST} began at {ENDPOINT}, in blue: {FIRST} was registered; blue is idle"]
