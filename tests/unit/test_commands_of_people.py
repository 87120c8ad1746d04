"""What people say to a rollout: kept in order, each with who and why, over HTTP and the command line. Faked: the ports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from ml_core import audit, bootstrap
from ml_core.cli.commands import app
from ml_core.errors import PermanentError
from ml_core.ports import ModelVersion
from ml_core.reconciling import ROLLOUTS
from ml_core.rollout import people
from ml_core.rollout.commands import Command
from ml_core.rollout.decide import RULES
from ml_core.rollout.people_over_http import answer
from tests.story import ENDPOINT, Story

RUNNING = {"id": "flight-delay-2-20260301T120000Z", "model": "flight-delay", "version": "2", "road": "canary"}


def standing(active: dict[str, Any] | None, **state: Any) -> Story:
    """An endpoint whose state is what matters to somebody who asks."""
    story = Story()
    document = {"state": {"active": active, **state}, "answer": {"kind": "hold", "reason": ""}, "at": "", "decision": None}
    story.ledger.put(f"{ROLLOUTS}/{ENDPOINT}.json", document, etag=None)
    story.workspace.register_model(ModelVersion("flight-delay", "1"))
    return story


@pytest.fixture
def running() -> Iterator[Story]:
    story = standing(RUNNING, commands=0)
    bootstrap.use(story.services)
    yield story
    bootstrap.use(None)


def post(story: Story, what: str, *, endpoint: str = ENDPOINT, **fields: Any) -> tuple[int, dict[str, Any]]:
    found = answer(story.services, endpoint, what, json.dumps(fields).encode())
    return found.status, found.document


def test_a_command_is_kept_with_who_and_why_and_wakes_the_endpoint(running: Story) -> None:
    asked = people.ask(running.services, ENDPOINT, "pause", "anna", "odd scores")
    assert asked == Command(1, "pause", "anna", "odd scores", running.clock(), RUNNING["id"])
    assert people.next_command(running.services, ENDPOINT, 0) == asked
    assert [(kind, json.loads(message)["key"]) for _, kind, message in running.queue.messages] == [(ROLLOUTS, ENDPOINT)]
    (note,) = audit.entries(running.ledger)
    assert (note.value["by"], note.value["what"], note.value["reason"]) == ("anna", "pause rollout", "odd scores")
    assert note.value["detail"] == {"rollout": RUNNING["id"], "version": ""}


def test_commands_are_found_in_the_order_in_which_they_were_given(running: Story) -> None:
    for what in ("pause", "resume", "abort"):
        people.ask(running.services, ENDPOINT, what, "anna", "as agreed")
    found = [people.next_command(running.services, ENDPOINT, after) for after in range(4)]
    assert [one and (one.number, one.what) for one in found] == [(1, "pause"), (2, "resume"), (3, "abort"), None]


def test_two_people_at_the_same_moment_get_two_numbers(running: Story) -> None:
    claim, others = running.ledger.claim, ["rollout-commands/flight-delay/000001.json"]

    def overtaken(key: str, value: dict[str, Any]) -> bool:
        if others and key == others[0]:
            claim(others.pop(), {**value, "by": "ben"})
        return claim(key, value)

    running.ledger.claim = overtaken  # type: ignore[method-assign, assignment]
    asked = people.ask(running.services, ENDPOINT, "abort", "anna", "wrong month")
    assert (asked.number, asked.by) == (2, "anna")
    first = people.next_command(running.services, ENDPOINT, 0)
    assert first is not None
    assert first.by == "ben"


def test_numbers_go_on_where_the_last_command_was_carried_out() -> None:
    story = standing(RUNNING, commands=41)
    assert people.ask(story.services, ENDPOINT, "promote", "anna", "checked by hand").number == 42


def test_a_command_names_the_rollout_that_an_earlier_version_of_the_app_has_begun() -> None:
    under_way = {
        **{"model": "flight-delay", "version": "2", "phase": "ramping", "candidate": "green", "stable": "blue", "reason": ""},
        **{"since": "2026-03-01T12:00:00Z", "intended": {"blue": 90, "green": 10}, "before": {"blue": 100}},
    }
    story = standing(under_way)
    asked = people.ask(story.services, ENDPOINT, "abort", "anna", "wrong month")
    document = story.ledger.get(f"{ROLLOUTS}/{ENDPOINT}.json")
    assert document is not None
    read = RULES.read(document.value["state"])
    assert read.active is not None
    assert asked.rollout == read.active.id


@pytest.mark.parametrize(
    ("active", "what", "told"),
    [
        (None, "pause", "no rollout under way at flight-delay to pause; the last one succeeded: all well"),
        (None, "abort", "no rollout under way"),
        (RUNNING, "resume", "does not stand still"),
        ({**RUNNING, "pause": {"reason": "odd scores"}}, "pause", "stands still already: odd scores"),
    ],
)
def test_what_fits_nothing_is_refused_at_once(active: dict[str, Any] | None, what: str, told: str) -> None:
    story = standing(active, outcome="succeeded", reason="all well")
    status, document = post(story, what, by="anna", reason="because")
    assert status == 409
    assert told in document["error"]
    assert not list(story.ledger.keys("rollout-commands/"))
    assert not list(audit.entries(story.ledger))


def test_what_may_fit_once_an_earlier_command_is_carried_out_is_kept(running: Story) -> None:
    assert post(running, "pause", by="anna", reason="odd scores")[0] == 202
    assert post(running, "resume", by="anna", reason="they were a test")[0] == 202


def test_a_version_comes_back_although_nothing_is_under_way() -> None:
    story = standing(None)
    status, document = post(story, "roll-back", by="anna", reason="night flights", version=1)
    assert (status, document["what"], document["version"], document["rollout"]) == (202, "roll back", "1", "")


@pytest.mark.parametrize(
    ("what", "fields", "status", "told"),
    [
        ("roll-back", {"by": "anna", "reason": "r", "version": "7"}, 404, "no version 7 of the model flight-delay"),
        ("roll-back", {"by": "anna", "reason": "r", "version": "../1"}, 400, "expected a model version such as 12"),
        ("roll-back", {"by": "anna", "reason": "r"}, 400, "expected a model version such as 12"),
        ("promote", {"by": "anna", "reason": "r", "version": "1"}, 400, "belongs to 'roll back'"),
        ("promote", {"by": "anna", "reason": " "}, 400, "not said why"),
        ("promote", {"reason": "r"}, 400, "not said by whom"),
        ("promote", {"by": "a" * 201, "reason": "r"}, 400, "at most 200 characters"),
        ("promote", {"by": "anna", "reason": ["r"]}, 400, "'reason' is ['r']"),
        ("promote", {"by": "anna", "reason": "r", "force": True}, 400, "'force'"),
        ("delete", {"by": "anna", "reason": "r"}, 404, "pause, resume, promote, abort, roll-back"),
        ("roll back", {"by": "anna", "reason": "r"}, 404, "pause, resume, promote, abort, roll-back"),
    ],
)
def test_a_request_that_cannot_be_meant_is_answered_with_what_was_expected(
    running: Story, what: str, fields: dict[str, Any], status: int, told: str
) -> None:
    found, document = post(running, what, **fields)
    assert found == status
    assert told in document["error"]
    assert not list(running.ledger.keys("rollout-commands/"))


@pytest.mark.parametrize("body", [b"", b"pause", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"by": "' + b"a" * 20_000 + b'"}'])
def test_a_body_that_is_no_json_object_is_answered_with_an_example(running: Story, body: bytes) -> None:
    found = answer(running.services, ENDPOINT, "pause", body)
    assert found.status == 400
    assert '{"by": "anna"' in found.document["error"]


@pytest.mark.parametrize("endpoint", ["another", "flight-delay/../x", ""])
def test_an_endpoint_that_nobody_knows_becomes_no_part_of_a_key(running: Story, endpoint: str) -> None:
    status, document = post(running, "pause", endpoint=endpoint, by="anna", reason="r")
    assert status == 404
    assert "the endpoints are: flight-delay" in document["error"]
    assert set(running.ledger.entries) == {f"{ROLLOUTS}/{ENDPOINT}.json"}


def test_a_ledger_that_does_not_answer_is_worth_another_try(running: Story) -> None:
    from tests.fakes import Flaky

    broken = Flaky(running.ledger, {"claim": 1})
    object.__setattr__(running.services, "ledger", broken)
    assert post(running, "pause", by="anna", reason="odd scores")[0] == 503
    assert post(running, "pause", by="anna", reason="odd scores")[0] == 202


def test_a_command_that_nobody_knows_is_a_mistake_of_the_caller(running: Story) -> None:
    with pytest.raises(PermanentError, match="expected one of pause, resume"):
        people.ask(running.services, ENDPOINT, "stop", "anna", "r")  # type: ignore[arg-type]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["rollout", *arguments])
    return result.exit_code, result.output


def test_the_command_line_asks_the_same(running: Story) -> None:
    code, output = run("abort", ENDPOINT, "--reason", "wrong month", "--by", "anna", "--json")
    assert code == 0
    assert {**json.loads(output), "at": ""} == {
        **{"number": 1, "what": "abort", "by": "anna", "reason": "wrong month", "at": ""},
        **{"rollout": RUNNING["id"], "version": ""},
    }
    code, output = run("rollback-to", ENDPOINT, "1", "--reason", "night flights", "--by", "anna")
    assert (code, output) == (
        0,
        "roll back to version 1 at flight-delay is asked for, as command 2. Follow it by: why endpoints/flight-delay\n",
    )


@pytest.mark.parametrize("what", ["pause", "resume", "promote", "abort"])
def test_the_command_line_wants_a_reason(running: Story, what: str) -> None:
    assert run(what, ENDPOINT)[0] == 2


def test_the_command_line_tells_what_is_not_known_from_what_cannot_be_done(running: Story) -> None:
    assert run("pause", "another", "--reason", "r", "--by", "anna")[0] == 3
    code, output = run("resume", ENDPOINT, "--reason", "r", "--by", "anna")
    assert code == 1
    assert output.startswith("error: The rollout flight-delay-2-")
