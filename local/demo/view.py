"""How the demo looks in a terminal: a live table of stages while it runs, a summary at the end; plain lines when piped."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from local.demo.stages import Stage, Stages

_MARKS = {"waiting": ("·", "dim"), "running": ("▸", "cyan"), "done": ("✓", "green"), "failed": ("✗", "bold red")}


class DemoView:
    """Draws the stages in place on a terminal; elsewhere prints one line when a stage ends."""

    def __init__(self, console: Console, stages: Stages) -> None:
        self._console, self._stages = console, stages
        self._printed: set[str] = set()
        self._started = time.monotonic()
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._draw) if console.is_terminal else None
        stages.refresh = self._refresh

    def __enter__(self) -> DemoView:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.update(self._draw(), refresh=True)
            self._live.stop()

    def _refresh(self) -> None:
        if self._live:
            return
        for stage in self._stages.all:
            if stage.state in ("done", "failed") and stage.title not in self._printed:
                self._printed.add(stage.title)
                self._console.print(
                    f"{_MARKS[stage.state][0]} {stage.title}: {stage.detail} ({stage.seconds:.1f} s)",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )

    def _draw(self) -> Group:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", width=7, no_wrap=True)
        table.add_column(overflow="fold")
        for stage in self._stages.all:
            mark, style = _MARKS[stage.state]
            seconds = f"{stage.seconds:.1f} s" if stage.state != "waiting" else ""
            table.add_row(Text(mark, style=style), Text(stage.title, style=style), Text(seconds, style="dim"), Text(stage.detail))
            for part in _parts(stage):
                table.add_row("", *part)
        elapsed = Text(f"\n{time.monotonic() - self._started:.0f} s", style="dim")
        return Group(table, elapsed)


def _parts(stage: Stage) -> list[tuple[Text, Text, Text]]:
    """The steps of a pipeline, one indented line each while it runs."""
    if stage.state == "waiting":
        return []
    rows = []
    for name, status, seconds in stage.parts:
        style = {"Completed": "green", "Failed": "bold red", "Running": "cyan"}.get(status, "dim")
        took = f"{seconds:.1f} s" if seconds is not None else ""
        rows.append((Text(f"    {name}", style=style), Text(took, style="dim"), Text(status, style=style)))
    return rows


def bar(share: float, width: int = 30) -> str:
    """A bar of block characters, `share` of `width` long (share between 0 and 1)."""
    return "█" * round(max(0.0, min(1.0, share)) * width)
