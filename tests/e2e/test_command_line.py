"""The command line in a shell of its own, against the whole stack: what Azure's SDKs read is what it reads."""

from __future__ import annotations

import pytest

from local.demo.story import ENDPOINT, MODEL, Outcome
from local.stack import Stack
from tests.command_line import ask
from tests.e2e.conftest import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train_environment]


def test_the_trail_of_a_file_ends_at_the_endpoint_that_serves_its_model(stack: Stack, outcome: Outcome) -> None:
    trail = ask(stack, "why", "flights/incoming/flights-2013-02.csv")
    told = {what: [step["told"] for step in trail["steps"] if step["what"] == what] for what in ("received", "job", "traffic")}
    assert any("flights-2013-02.csv was created, the event " in one for one in told["received"])
    assert any(f"registered version {outcome.models[-1].version}" in one for one in told["job"])
    assert any(f"{outcome.candidate} 100 %" in one for one in told["traffic"])
    assert f"{MODEL}:2 serves: it has 100 % of the traffic of {ENDPOINT}, in {outcome.candidate}" in trail["ends"]
    # The same trail from the other end, by the tag that the model carries in the workspace.
    correlation = outcome.models[-1].tags["correlation_id"]
    assert trail["correlation_ids"] == [correlation]
    assert ask(stack, "why", correlation)["ends"] == trail["ends"]


def test_a_rollout_is_drawn_and_each_of_its_decisions_comes_out_as_it_did(stack: Stack, outcome: Outcome) -> None:
    newest, first = ask(stack, "rollout", "list", ENDPOINT)
    assert [(one["version"], one["outcome"]) for one in (newest, first)] == [("2", "succeeded"), ("1", "succeeded")]
    assert outcome.rollout.startswith(f"{MODEL}:2 at {ENDPOINT}  succeeded\n")
    assert "█" in outcome.rollout
    replayed = ask(stack, "rollout", "replay", newest["id"])
    assert replayed["differences"] == []
    assert replayed["decisions"] > 10


def test_an_event_that_nobody_can_read_is_listed_shown_and_discarded(stack: Stack, host: Host) -> None:
    malformed = {"id": "broken-for-the-inbox", "eventType": "Microsoft.Storage.BlobCreated", "data": {"api": "PutBlob"}}
    assert host.post_events("register_uploaded_data", [malformed]).status_code == 202
    (item,) = [one for one in ask(stack, "inbox", "list") if "broken-for-the-inbox" in one["payload"]]
    assert "url" in ask(stack, "inbox", "show", item["id"])["item"]["error"]
    done = ask(stack, "inbox", "discard", item["id"], "--reason", "a test's own", "--by", "tests")
    assert (done["status"], done["history"][-1]["by"]) == ("discarded", "tests")
    assert [one for one in ask(stack, "inbox", "list") if one["id"] == item["id"]] == []
