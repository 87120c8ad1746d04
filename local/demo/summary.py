"""What the demo ends with: versions, metrics, who answered at which weight, and where the time went."""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.table import Table

from local.demo.stages import Stages
from local.demo.story import RAMP, Outcome
from local.demo.traffic import Traffic
from local.demo.view import bar
from local.observe import Model

_METRICS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
}


def print_summary(console: Console, stages: Stages, outcome: Outcome) -> None:
    """Three tables, and the rollout as the command line shows it; plain text when piped."""
    console.print()
    console.print(_models(outcome.models))
    if outcome.traffic:
        console.print(_traffic(outcome.traffic, outcome))
        console.print(_latency(outcome.traffic), soft_wrap=True)
    if outcome.rollout:
        console.print(outcome.rollout, markup=False, highlight=False, soft_wrap=True)
    console.print(_time(stages))


def _models(models: list[Model]) -> Table:
    table = Table("", *[f"{model.name}:{model.version}" for model in models], title="Models", title_justify="left")
    table.add_row("data version", *[model.tags["data_version"] for model in models])
    for name, title in _METRICS.items():
        table.add_row(title, *[f"{float(model.tags[name]):.4f}" for model in models])
    return table


def _traffic(traffic: Traffic, outcome: Outcome) -> Table:
    table = Table(
        "new deployment at", outcome.stable, outcome.candidate, "its share", title="Requests answered", title_justify="left"
    )
    for weight in RAMP:
        old, new = traffic.answered[(weight, outcome.stable)], traffic.answered[(weight, outcome.candidate)]
        share = f"{100 * new / (old + new):.0f} %" if old + new else ""
        table.add_row(f"{weight} %", str(old), str(new), share)
    return table


def _latency(traffic: Traffic) -> str:
    failed = sum(traffic.errors.values())
    text = f"{traffic.sent} requests, {failed} failed"
    if len(traffic.latencies) > 1:
        cuts = statistics.quantiles(traffic.latencies, n=100)
        text += f"; answered within {cuts[49] * 1000:.0f} ms (median), {cuts[98] * 1000:.0f} ms (p99)"
    return text + (f"; errors: {dict(traffic.errors)}" if failed else "") + "\n"


def _time(stages: Stages) -> Table:
    total = sum(stage.seconds for stage in stages.all) or 1.0
    table = Table("stage", "s", "", title=f"Where {total:.0f} s went", title_justify="left")
    for stage in stages.all:
        table.add_row(stage.title, f"{stage.seconds:.1f}", bar(stage.seconds / total))
        for name, _status, seconds in stage.parts:
            if seconds is not None:
                table.add_row(f"  {name}", f"{seconds:.1f}", bar(seconds / total), style="dim")
    return table
