"""The command line, driven as a shell drives it. Faked: the ports. Real: the commands, the exit codes, what is printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from ml_core import audit, bootstrap, inbox
from ml_core.cli import show
from ml_core.cli.commands import app
from ml_core.ingestion.record import receive as receive_blob_event
from ml_core.ports import ModelVersion
from ml_core.rollout.request import receive as receive_model_event
from tests.cli_runner import answer, document, run
from tests.story import ENDPOINT, Story, first_model_serves, model_registered

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "\x1b[31mred\x1b[0m \u202e reversed [bold]markup[/bold]"


@pytest.fixture
def story() -> Iterator[Story]:
    told = Story()
    bootstrap.use(told.services)
    yield told
    bootstrap.use(None)


def unreadable_event(story: Story, text: str = "this is no event") -> str:
    """Its item's id."""
    receive_blob_event(story.services, text)
    (item,) = inbox.items(story.ledger)
    return item.id


def test_status_tells_of_every_key_what_the_last_look_decided(story: Story) -> None:
    first_model_serves(story)
    lines = answer("status").splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["data-assets", "flights"],
        ["models", "flight-delay"],
        ["rollouts", "flight-delay"],
    ]
    assert "version 1 succeeded" in lines[3]
    assert "no newer version was asked for" in lines[3]


def test_status_names_a_model_version_that_is_not_rolled_out(story: Story) -> None:
    first_model_serves(story)
    story.workspace.register_model(ModelVersion("flight-delay", "2"))  # by nobody of us: without a job or data
    story.model_registered("2")
    story.rest()
    assert "version 2 refused" in answer("status").splitlines()[3]


def test_status_as_json_holds_the_whole_documents(story: Story) -> None:
    first_model_serves(story)
    found = document("status")
    assert [key["kind"] for key in found["keys"]] == ["data-assets", "models", "rollouts"]
    assert found["keys"][2]["document"]["state"]["settled"] == 1
    assert (found["attention"], found["inbox"]) == ([], 0)


def test_status_of_an_app_that_was_never_started_is_no_error(story: Story) -> None:
    assert "was never looked at" in answer("status")


def test_a_check_passes_while_nobody_is_needed_and_fails_once_somebody_is(story: Story) -> None:
    first_model_serves(story)
    assert run("status", "--check").exit_code == 0
    unreadable_event(story)
    checked = run("status", "--check")
    assert checked.exit_code == 4
    assert "1 item of the inbox waits for a person" in checked.stdout
    assert run("status").exit_code == 0


def test_a_refused_step_needs_a_person(story: Story) -> None:
    story.workspace.data.clear()
    story.upload("incoming/january.csv")
    story.until(lambda: bool(story.workspace.data))
    story.workspace.data.clear()
    story.until(lambda: story.answers().get("models/flight-delay.json", {}).get("kind") == "refused")
    assert any("its data does not exist" in told for told in document("status")["attention"])


def test_why_tells_a_story_and_where_it_ends(story: Story) -> None:
    first_model_serves(story)
    printed = answer("why", "flight-delay:1")
    assert printed.startswith("version 1 of the model flight-delay\n")
    assert re.search(r"^  12:\d\d:\d\d  traffic   promoting: blue 100 %", printed, re.MULTILINE)
    assert printed.rstrip().endswith(f"=> flight-delay:1 serves: it has 100 % of the traffic of {ENDPOINT}, in blue.")


def test_why_as_json_has_the_same_steps(story: Story) -> None:
    first_model_serves(story)
    found = document("why", "flight-delay:1")
    printed = answer("why", "flight-delay:1")
    assert [step["told"] for step in found["steps"] if step["told"] not in printed] == []
    assert found["ends"]


def test_what_nobody_knows_is_an_error_of_one_line_with_an_exit_code_of_its_own(story: Story) -> None:
    failed = run("why", "fligth-delay")
    assert failed.exit_code == 3
    assert failed.stdout == ""
    assert failed.stderr.count("\n") == 1
    assert "Was 'flight-delay' meant?" in failed.stderr


def test_an_empty_inbox_says_so(story: Story) -> None:
    assert answer("inbox", "list") == "Nothing in the inbox waits for a person.\n"
    assert document("inbox", "list") == []


def test_the_inbox_lists_what_failed_and_shows_it_with_what_is_known(story: Story) -> None:
    number = unreadable_event(story)
    listed = answer("inbox", "list")
    assert number in listed
    assert "not JSON" in listed
    shown = answer("inbox", "show", number[:4])
    assert "this is no event" in shown
    assert "nobody can read it" in shown
    assert document("inbox", "show", number)["item"]["attempts"] == 1


def test_an_item_whose_json_is_nested_beyond_reading_is_shown_as_it_came(story: Story) -> None:
    text = "[" * 50_000
    assert text in answer("inbox", "show", unreadable_event(story, text)).replace("\n", "")


def test_a_discarded_item_is_gone_from_the_list_and_kept_with_who_and_why(story: Story) -> None:
    number = unreadable_event(story)
    answer("inbox", "discard", number, "--reason", "a test of ours", "--by", "anna")
    assert "Nothing" in answer("inbox", "list")
    (kept,) = document("inbox", "list", "--all")
    assert (kept["status"], kept["history"][-1]["by"], kept["history"][-1]["reason"]) == ("discarded", "anna", "a test of ours")
    (note,) = audit.entries(story.ledger)
    assert (note.value["what"], note.value["by"]) == ("discard", "anna")


def test_discarding_without_a_reason_is_refused(story: Story) -> None:
    number = unreadable_event(story)
    assert run("inbox", "discard", number).exit_code == 2
    assert run("inbox", "discard", number, "--reason", " ").exit_code == 1


def test_a_replayed_item_is_done_again_and_closed(story: Story) -> None:
    first_model_serves(story)
    # An event of another workspace was refused; as if the configuration had been corrected, it is taken in now.
    event = json.loads(model_registered("flight-delay", "1"))
    number = inbox.put(
        story.services,
        kind="dead letter",
        identity="letter 1",
        source="letter 1",
        payload=json.dumps(event),
        error="MaxDeliveryAttemptsExceeded",
        permanent=False,
    )
    assert f"{number} is replayed" in answer("inbox", "replay", number, "--by", "anna", "--reason", "the gate was lifted")
    (done,) = document("inbox", "list", "--all")
    last = done["history"][-1]
    assert (done["status"], last["by"], last["reason"]) == ("replayed", "anna", "the gate was lifted")


def test_what_cannot_be_replayed_says_what_to_do_and_stays(story: Story) -> None:
    number = unreadable_event(story)
    failed = run("inbox", "replay", number)
    assert failed.exit_code == 1
    assert "Discard it with a reason" in failed.stderr
    assert [item["status"] for item in document("inbox", "list")] == ["open"]


def test_of_several_items_those_before_the_one_that_fails_are_done_and_told(story: Story) -> None:
    letter = {"kind": "dead letter", "source": "letter", "error": "TimedOut", "permanent": False}
    good, _ = (
        inbox.put(story.services, identity=name, payload=payload, **letter)
        for name, payload in (("1", model_registered("flight-delay", "1")), ("2", "no event"))
    )
    bad = next(item.id for item in inbox.items(story.ledger) if item.id != good)
    failed = run("inbox", "replay", good, bad, "--json")
    assert failed.exit_code == 1
    assert [(item["id"], item["status"]) for item in json.loads(failed.stdout)] == [(good, "replayed")]
    assert "Discard it with a reason" in failed.stderr


def test_an_id_that_does_not_exist_is_told_in_one_line(story: Story) -> None:
    failed = run("inbox", "show", "ffff")
    assert (failed.exit_code, failed.stderr.count("\n")) == (1, 1)
    assert "inbox list" in failed.stderr


def test_a_retraining_trains_the_same_data_again(story: Story) -> None:
    first_model_serves(story)
    assert "rerun-1" in answer("retrain", "flight-delay", "--reason", "the base image was patched", "--by", "anna")
    story.until(lambda: len(story.workspace.submitted) == 2)
    assert document("retrain", "flight-delay", "--reason", "once more")["cause"] == "rerun-2"


def test_a_retraining_of_a_model_that_nobody_knows_names_those_there_are(story: Story) -> None:
    failed = run("retrain", "flihgt", "--reason", "why not")
    assert failed.exit_code == 1
    assert "the models are: flight-delay" in failed.stderr


def test_a_replayed_window_finds_what_was_missed_and_changes_nothing_else(story: Story) -> None:
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.upload("incoming/lost.csv", announce=False)
    assert "1 event taken in again" in answer("replay-window", "flights", "--since", "2h", "--by", "anna")
    story.rest()
    assert len(story.workspace.submitted) == 2
    assert [(note.value["what"], note.value["by"]) for note in audit.entries(story.ledger)] == [("replay window", "anna")]
    assert document("replay-window", "flights", "--since", "1m")["events"] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("flihgts", "--since", "2h"), "expected one of flights"),
        (("flights", "--since", "yesterday"), "'yesterday' is no time; expected 2026-03-01T08:00"),
        (("flights", "--since", "9000000d"), "'9000000d' is no time"),
        (("flights", "--since", "0001-01-01T00:00+14:00"), "is no time"),
        (("flights", "--since", "1h", "--until", "2h"), "expected an end after the beginning"),
    ],
)
def test_a_span_that_cannot_be_meant_is_told_in_one_line(story: Story, arguments: tuple[str, ...], told: str) -> None:
    failed = run("replay-window", *arguments)
    assert (failed.exit_code, failed.stderr.count("\n")) == (1, 1)
    assert told in failed.stderr


def test_who_does_it_is_by_default_the_user_of_the_machine(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "bert")
    number = unreadable_event(story)
    assert document("inbox", "discard", number, "--reason", "a test")["history"][-1]["by"] == "bert"


def test_what_strangers_wrote_cannot_steer_the_terminal(story: Story) -> None:
    event = json.loads(model_registered(f"x{HOSTILE}", "1"))
    receive_model_event(story.services, json.dumps(event))
    receive_blob_event(story.services, HOSTILE)
    (item, *_) = inbox.items(story.ledger)
    printed = answer("inbox", "list") + answer("inbox", "show", item.id) + run("why", HOSTILE).output
    assert not re.search("[\x1b\u202e]", printed)
    assert "\\u001b[31mred" in printed
    assert "[bold]markup[/bold]" in printed


def test_a_name_with_line_breaks_cannot_pass_for_a_line_of_ours(story: Story) -> None:
    story.upload("incoming/a\n=> all is well.csv")
    story.look()
    assert "\n=> all is well" not in answer("why", "flights/incoming/a\n=> all is well.csv")


def test_in_a_pipe_there_are_whole_lines_without_colours(story: Story) -> None:
    first_model_serves(story)
    printed = answer("why", "flight-delay:1") + answer("status")
    assert "\x1b" not in printed
    assert max(len(line) for line in printed.splitlines()) > 120


def test_on_a_terminal_long_lines_are_wrapped_and_indented(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    first_model_serves(story)
    terminal = Console(force_terminal=True, width=70, color_system="standard", highlight=False, markup=False)
    monkeypatch.setattr(show, "_console", lambda: terminal)
    with terminal.capture() as captured:
        show.trail(show_trail(story))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    assert "\x1b[" in captured.get()
    assert max(len(line) for line in plain.splitlines()) <= 70
    assert re.search(r"^ {22}\S", plain, re.MULTILINE)


def show_trail(story: Story) -> Any:
    from ml_core.trail.ask import why

    return why(story.services, "flight-delay:1")


def test_a_missing_setting_is_told_in_one_line() -> None:
    command = [sys.executable, "-m", "ml_core.cli", "status"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": "/usr/bin"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "TIDEGATE_SUBSCRIPTION_ID is missing" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_is_there_without_any_setting_and_without_azure() -> None:
    code = """
import sys
from ml_core.cli.__main__ import main
sys.argv = ["cli", "--help"]
try:
    main()
finally:
    print([name for name in sys.modules if name.startswith(("azure", "pydantic"))])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": "/usr/bin"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("[]")


def test_without_its_packages_it_says_which_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from ml_core.cli.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "The command line needs the packages typer and rich, and typer is missing: pip install typer rich\n"


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_teaches_with_an_example_and_speaks_json(words: tuple[str, ...]) -> None:
    told = answer(*words, "--help")
    assert f"python -m ml_core.cli {' '.join(words)}" in told.split("Options:")[0].partition("\n\n")[2]
    assert "--json" in told


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_is_in_the_reference(words: tuple[str, ...]) -> None:
    page = (ROOT / "docs/reference/cli.md").read_text()
    section = page.partition(f"\n## `{' '.join(words)}")[2].partition("\n## ")[0]
    assert section, f"docs/reference/cli.md has no section about {' '.join(words)}"
    options = {option for parameter in COMMANDS[words].params for option in parameter.opts if option.startswith("--")}
    documented = set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE))
    assert documented == options - {"--help"}


def test_the_reference_names_no_command_that_is_not_there() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text() + (ROOT / "docs/how-to/operate.md").read_text()
    named = {tuple(line.split()[:2]) for line in re.findall(r"ml_core\.cli ([a-z][a-z -]*)", page)}
    known = {words[:2] for words in COMMANDS} | {(words[0],) for words in COMMANDS}
    assert {words for words in named if words not in known and words[:1] not in known} == set()


def test_spans_and_times_of_day_are_both_understood() -> None:
    from ml_core.cli.answering import moment

    now = Story().clock()
    assert moment("2h", now) == now - timedelta(hours=2)
    assert moment("2026-03-01T10:00", now) == now - timedelta(hours=2)
    assert moment("2026-03-01T11:00+01:00", now) == now - timedelta(hours=2)
