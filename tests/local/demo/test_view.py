"""What a person sees of the demo, in a terminal and piped."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from local.demo.stages import Stages, StoryStopped
from local.demo.story import Outcome
from local.demo.summary import print_summary
from local.demo.traffic import Traffic
from local.demo.view import DemoView
from local.observe import Model


def _console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    screen = io.StringIO()
    return Console(file=screen, force_terminal=terminal, width=100), screen


def test_a_terminal_shows_every_stage_and_the_steps_of_the_running_one() -> None:
    console, screen = _console(terminal=True)
    stages = Stages(["First", "Second"])
    with DemoView(console, stages), stages.running("First") as stage:
        stage.detail, stage.parts = "job-1", [("Validate data", "Completed", 1.5), ("Train", "Running", None)]
    assert all(words in screen.getvalue() for words in ("First", "Second", "job-1", "Validate data", "Train", "✓"))


def test_a_pipe_gets_one_plain_line_when_a_stage_ends() -> None:
    console, screen = _console(terminal=False)
    stages = Stages(["First", "Second"])

    def tell() -> None:
        with stages.running("First") as stage:
            stage.detail = "a detail [not markup] " + "x" * 100
        with stages.running("Second"):
            raise StoryStopped("no")

    with DemoView(console, stages), pytest.raises(StoryStopped, match="no"):
        tell()
    first, second = screen.getvalue().splitlines()
    assert first.startswith("✓ First: a detail [not markup] xxx")
    assert second.startswith("✗ Second")
    assert "\x1b" not in screen.getvalue()


def test_what_does_not_happen_in_time_is_named_with_what_was_seen_last_and_where_to_look() -> None:
    stages = Stages(["Model is registered"])
    with pytest.raises(
        StoryStopped, match=r"'Model is registered' did not happen within 0 s. Last seen: nothing.\nLook at: host.log"
    ):
        stages.wait(stages["Model is registered"], lambda: False, within=0.0, look_at="host.log")


def test_the_summary_tells_versions_metrics_traffic_and_time() -> None:
    console, screen = _console(terminal=False)
    stages = Stages(["First"])
    with stages.running("First"):
        pass
    tags = {"data_version": "v1", "auc": "0.7", "average_precision": "0.5", "log_loss": "0.4", "calibration_error": "0.01"}
    traffic = Traffic("https://127.0.0.1:1", "key", [], verify=True)
    traffic.answered[(10, "blue")], traffic.answered[(10, "green")], traffic.errors["HTTP 500"] = 9, 1, 2
    outcome = Outcome(models=[Model("m", "1", tags), Model("m", "2", tags)], stable="blue", candidate="green", traffic=traffic)
    print_summary(console, stages, outcome)
    text = screen.getvalue()
    assert all(words in text for words in ("m:1", "m:2", "v1", "0.7000", "10 %", "12 requests, 2 failed", "HTTP 500", "First"))
