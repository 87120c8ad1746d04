"""What people are shown of rollouts on the command line. Faked: the ports and time. Real: the rollouts, the commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console
from typer.testing import Result

from ml_core import bootstrap
from ml_core.cli import show
from ml_core.cli.rollout_plot import plot
from ml_core.errors import PermanentError
from ml_core.ports import DeploymentSpec, Entry
from ml_core.reconciling import ROLLOUTS
from ml_core.rollout import people
from ml_core.rollout import story as stories
from ml_core.rollout.chapters import Share
from tests import cli_runner
from tests.rollout_world import FREEZE, MODEL, Kind, RolloutWorld, first_version_serves
from tests.story import ENDPOINT

MINUTE = timedelta(minutes=1)


@pytest.fixture
def world() -> Iterator[RolloutWorld]:
    """The first version serves, and the calendar holds nobody."""
    found = first_version_serves(lasts=timedelta(hours=1))
    bootstrap.use(found.services)
    yield found
    bootstrap.use(None)


def run(*arguments: str) -> Result:
    return cli_runner.run("rollout", *arguments)


def answer(*arguments: str) -> str:
    return cli_runner.answer("rollout", *arguments)


def document(*arguments: str) -> Any:
    return cli_runner.document("rollout", *arguments)


def status() -> Any:
    return cli_runner.document("status")


def newest(world: RolloutWorld) -> str:
    return stories.stories(world.ledger, ENDPOINT)[0].id


# ---- list -------------------------------------------------------------------------------------------------------------


def test_rollouts_are_listed_the_newest_first_with_how_they_ended(world: RolloutWorld) -> None:
    for kind in ("good", "erring", "failing at the smoke test"):
        world.a_model_comes(kind)
        world.pass_time(timedelta(hours=1))
    listed = document("list")
    assert [(one["version"], one["outcome"]) for one in listed] == [
        ("4", "failed"),
        ("3", "rolled back"),
        ("2", "succeeded"),
        ("1", "succeeded"),
    ]
    assert "fails more often" in listed[1]["reason"]
    assert all(one["began_at"] < one["ended_at"] for one in listed)
    assert [line.split()[0] for line in answer("list").splitlines()[1:]] == [one["id"] for one in listed]
    assert len(document("list", ENDPOINT, "--newest", "2")) == 2


def test_a_rollout_under_way_is_listed_without_an_end(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.pass_time(5 * MINUTE)
    (one, _) = document("list")
    assert (one["ended_at"], one["outcome"]) == (None, "")
    assert "under way" in answer("list")


def test_a_rollout_that_azure_has_refused_is_over_and_says_why(world: RolloutWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: DeploymentSpec) -> None:
        raise PermanentError("There is no quota for it (status 400).")

    monkeypatch.setattr(world.workspace, "create_deployment", refused)
    world.a_model_comes("good")
    world.pass_time(timedelta(hours=1))
    (one, _) = document("list")
    assert (one["outcome"], one["reason"]) == ("refused", "There is no quota for it (status 400).")
    assert one["ended_at"]
    assert "refused" in answer("show", one["id"]).splitlines()[0]


def test_a_version_that_was_refused_between_two_rollouts_hides_the_end_of_neither(world: RolloutWorld) -> None:
    world.a_model_comes("erring")
    world.pass_time(timedelta(hours=1))
    world.workspace.models[MODEL].append(replace(world.workspace.models[MODEL][0], version="3", tags={}))
    world.told_of("3")
    world.pass_time(timedelta(hours=1))
    world.a_model_comes("good")
    world.pass_time(timedelta(hours=1))
    assert [one["outcome"] for one in document("list")] == ["succeeded", "rolled back", "succeeded"]


def test_of_years_of_rollouts_only_those_that_are_shown_are_read(world: RolloutWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for year in range(2000, 2026):
        world.ledger.overwrite(f"rollout-stories/{ENDPOINT}/{ENDPOINT}-1-{year}0101T120000.000000Z.json", {"model": MODEL})
    read: list[str] = []
    get = world.ledger.get

    def noted(key: str) -> Entry | None:
        read.append(key)
        return get(key)

    monkeypatch.setattr(world.ledger, "get", noted)
    (one,) = document("list", "--newest", "1")
    assert one["outcome"] == "succeeded"
    assert [key for key in read if key.startswith("rollout-stories/")] == [f"rollout-stories/{ENDPOINT}/{one['id']}.json"]
    assert len(read) < 10


def test_an_endpoint_that_nobody_knows_has_an_exit_code_of_its_own(world: RolloutWorld) -> None:
    for arguments in (("list", "nowhere"), ("show", "nowhere"), ("list", "../decisions"), ("show", "a/../../b")):
        result = run(*arguments)
        assert result.exit_code == 3
        assert "the endpoints are: flight-delay" in result.stderr
    unknown = run("show", "flight-delay-77-20260301T120000.000000Z")
    assert unknown.exit_code == 3
    assert "No rollout is known as" in unknown.stderr
    assert run("replay", "flight-delay-77-20260301T120000.000000Z").exit_code == 3


def test_where_nothing_has_begun_yet_it_says_so() -> None:
    bootstrap.use(RolloutWorld().services)
    try:
        assert answer("list") == "No rollout has begun yet.\n"
        assert run("show").exit_code == 3
    finally:
        bootstrap.use(None)


# ---- show -------------------------------------------------------------------------------------------------------------


def test_a_rollout_is_drawn_with_its_shares_its_evidence_and_who_did_what(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.pass_time(timedelta(hours=1))
    shown = answer("show", ENDPOINT)
    lines = shown.splitlines()
    assert lines[0] == f"{MODEL}:2 at {ENDPOINT}  succeeded"
    assert re.search(r"^100 %┤ +█+$", shown, re.MULTILINE)
    assert re.search(r"^ +┤ +░+█+$", shown, re.MULTILINE)
    assert re.search(r"^canary 50 % +\d\d:\d\d:\d\d  0 of \d+ +0 of \d+ ", shown, re.MULTILINE)
    assert re.search(r"^  \d\d:\d\d:\d\d  traffic  promoting: blue 0 %, green 100 %, because at 50 %", shown, re.MULTILINE)
    assert re.search(r"^held-out rows  \d+ asked of both: 0 of \d+ decisions flipped", shown, re.MULTILINE)
    assert lines[-1].endswith("  rollout  the rollout ended: succeeded")
    assert max(len(line) for line in lines if "┤" in line) <= 80


def test_what_was_judged_sums_up_to_what_the_judge_remembers(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.pass_time(timedelta(hours=1))
    told = document("show")
    tally = stories.story(world.ledger, newest(world)).rollout.tally
    assert [step["phase"] for step in told["evidence"]] == ["shadow", "canary", "canary", "baking"]
    for arm, whole in (("candidate", tally.candidate), ("stable", tally.stable)):
        assert sum(step[arm]["requests"] for step in told["evidence"]) == whole.requests > 0
    assert sum(step["intervals"] for step in told["evidence"]) == tally.intervals


def test_a_rollback_says_what_spoke_against_the_candidate(world: RolloutWorld) -> None:
    world.a_model_comes("erring")
    world.pass_time(timedelta(hours=1))
    told = document("show")
    assert told["heading"]["outcome"] == "rolled back"
    last = told["evidence"][-1]["figures"]
    assert last["errors_e_value"] >= last["errors_roll_back_at"]
    assert told["shares"][-1]["live"] == 0
    (back,) = (one for one in told["happenings"] if one["told"].startswith("rolling back: "))
    assert "fails more often than the stable deployment" in back["told"]


def test_what_people_said_is_told_with_who_and_why(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.pass_time(20 * MINUTE)
    world.somebody_says("pause")
    world.pass_time(10 * MINUTE)
    assert "stands still   since" in answer("show")
    assert "paused in " in answer("show").splitlines()[0]
    assert document("show")["pause"]["by"] == "ada"
    world.somebody_says("abort")
    world.pass_time(timedelta(hours=1))
    said = [one for one in document("show")["happenings"] if one["by"]]
    assert [one["told"] for one in said] == ["ada said pause: she has her reasons", "ada said abort: she has her reasons"]
    assert "person   ada said abort: she has her reasons" in answer("show")


def test_a_change_by_somebody_else_is_in_the_picture(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.pass_time(16 * MINUTE)
    world.somebody_meddles("sets a split of their own")
    world.pass_time(10 * MINUTE)
    told = document("show")
    assert told["pause"]["cause"] == "conflict"
    assert told["shares"][-1]["live"] == 35


def test_a_step_that_azure_loses_again_and_again_is_told_once(world: RolloutWorld) -> None:
    world.workspace.change_error = "an internal error"
    world.a_model_comes("good")
    world.pass_time(timedelta(hours=1))
    happenings = document("show")["happenings"]
    told = [one["told"] for one in happenings if one["what"] == "traffic"]
    assert len(told) <= 1 + sum(one["what"] == "alert" for one in happenings)
    assert [one for one in told if not re.search(r" \(\d+ times\)$", one)] == []


def test_what_others_wrote_cannot_steer_the_terminal(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.pass_time(20 * MINUTE)
    people.ask(world.services, ENDPOINT, "pause", "eve\x1b[2J", "\x1b[31mred\x1b[0m\nnext line")
    world.pass_time(10 * MINUTE)
    shown = answer("show")
    assert "\x1b" not in shown
    assert "eve\\u001b[2J said pause: \\u001b[31mred\\u001b[0m\\u000anext line" in shown


def test_a_terminal_gets_a_plot_of_its_own_width_and_colours(world: RolloutWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.a_model_comes("good")
    world.pass_time(timedelta(hours=1))
    monkeypatch.setattr(show, "_console", lambda: Console(force_terminal=True, width=60, highlight=False, markup=False))
    shown = answer("show")
    assert "\x1b[32m" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert {len(line) for line in plain.splitlines() if line.startswith("  0 %└")} == {59}
    assert max(len(line) for line in plain.splitlines() if re.match(r"  \d\d:\d\d:\d\d  ", line)) <= 60


def test_without_a_name_the_newest_rollout_of_all_is_shown(world: RolloutWorld) -> None:
    assert document("show")["heading"]["id"] == newest(world)


# ---- status -----------------------------------------------------------------------------------------------------------


def test_status_says_where_a_rollout_stands_and_what_was_to_be_expected(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.pass_time(12 * MINUTE)
    (row,) = (key for key in status()["keys"] if key["kind"] == ROLLOUTS)
    assert row["stands_at"] == "version 2 canary 20 %"
    assert re.search(r"; a verdict was to be expected after about \d+ min \(it began at 2026-03-0", row["answer"])
    assert [one for one in status()["attention"] if "rollouts/" in one] == []


def test_a_rollout_that_stands_still_needs_a_person_and_status_says_which_words_help(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.pass_time(12 * MINUTE)
    world.somebody_says("pause")
    world.pass_time(4 * MINUTE)
    told = status()
    assert (
        f"{ROLLOUTS}/{ENDPOINT}: it stands still (person): she has her reasons; rollout resume, promote or abort"
        in told["attention"]
    )
    assert "stands still (person)" in told["keys"][2]["stands_at"]


def test_what_people_were_told_of_a_rollout_needs_a_person_as_long_as_it_lasts(world: RolloutWorld) -> None:
    world.a_model_comes("good")
    world.pass_time(12 * MINUTE)
    world.evidence.broken = True
    world.pass_time(40 * MINUTE)
    assert any("source failed, told 1 time: " in one for one in status()["attention"])
    world.evidence.broken = False
    world.pass_time(timedelta(hours=2))
    assert [one for one in status()["attention"] if "source failed" in one] == []


# ---- replay -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["good", "erring", "slow", "failing at the smoke test", "other decisions"])
def test_every_decision_comes_out_as_it_did(world: RolloutWorld, kind: Kind) -> None:
    world.a_model_comes(kind)
    world.pass_time(4 * MINUTE)
    world.somebody_says("pause")
    world.pass_time(10 * MINUTE)
    world.somebody_says("resume")
    world.pass_time(timedelta(hours=4))
    told = document("replay", newest(world))
    assert told["differences"] == []
    assert told["decisions"] == len(stories.story(world.ledger, newest(world)).decisions) > 4
    assert "each comes out as it did" in answer("replay", newest(world))


def test_a_decision_that_was_tampered_with_is_told_with_what_would_be_decided(world: RolloutWorld) -> None:
    world.a_model_comes("erring")
    world.pass_time(timedelta(hours=1))
    (back,) = (
        key
        for key, entry in world.ledger.entries.items()
        if key.startswith(f"decisions/{ROLLOUTS}/") and entry.value["action"].get("phase") == "rolling back"
    )
    value = world.ledger.entries[back].value
    split = {**value["action"]["split"], "weights": {"blue": 0, "green": 100}}
    world.ledger.overwrite(back, {**value, "action": {**value["action"], "split": split}})
    result = run("replay", newest(world))
    assert result.exit_code == 1
    assert f"  {back}\n" in result.stdout
    assert "in:   split.weights.blue: 0 and 100" in result.stdout
    told = json.loads(run("replay", newest(world), "--json").stdout)
    assert [one["document"] for one in told["differences"]] == [back]


def test_decisions_that_this_version_cannot_read_are_an_error_that_names_them(world: RolloutWorld) -> None:
    key = next(key for key in world.ledger.keys(f"decisions/{ROLLOUTS}/{ENDPOINT}/"))
    value = world.ledger.entries[key].value
    world.ledger.overwrite(key, {**value, "observation": {"rules": "of another time"}})
    result = run("replay", newest(world))
    assert result.exit_code == 1
    assert f"{key} was kept by another version of the app" in result.stderr


# ---- plan -------------------------------------------------------------------------------------------------------------


def test_the_next_rollout_is_planned_from_the_requests_since_the_stable_deployment_has_them_all(world: RolloutWorld) -> None:
    told = document("plan", ENDPOINT)
    assert told["stable"] == "blue"
    assert told["plan"]["requests_per_minute"] == pytest.approx(3000, rel=0.01)
    assert 0 < told["plan"]["promoted_after"] < 3600
    assert answer("plan", ENDPOINT).startswith(f"{ENDPOINT}, by the last day of blue: 3,000 requests a minute")


def test_where_nothing_serves_there_is_nothing_to_plan_with() -> None:
    bootstrap.use(RolloutWorld().services)
    try:
        assert "Nothing has traffic" in run("plan", ENDPOINT).stderr
        assert "the endpoints are: flight-delay" in run("plan", "elsewhere").stderr
    finally:
        bootstrap.use(None)


# ---- the plot ---------------------------------------------------------------------------------------------------------


def test_a_share_that_lasted_for_a_moment_is_still_seen() -> None:
    at = FREEZE[0]
    shares = [Share(at, "canary", 0, 0), Share(at + MINUTE, "canary", 50, 0), Share(at + 1.01 * MINUTE, "canary", 0, 0)]
    lines = plot(shares, at + timedelta(days=3), 60)
    assert sum("█" in line for line in lines) == 4


def test_one_percent_is_not_nothing_and_a_hundred_fill_the_whole_height() -> None:
    at = FREEZE[0]
    low, whole = (plot([Share(at, "canary", share, 0)], at + MINUTE, 40) for share in (1, 100))
    assert low[-3].endswith("┤" + "▁" * 33)
    assert all("█" * 33 in line for line in whole[:-2])


def test_of_nothing_nothing_is_drawn() -> None:
    assert plot([], FREEZE[0], 80) == []
    at = FREEZE[0]
    assert len(plot([Share(at, "gated", 0, 0)], at, 80)) == 10
