"""`python -m local.demo`: start the stack, tell the story, show the summary. Exit code 1 names what did not happen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from local.__main__ import Stopped, data_assets, stop_on_signals
from local.demo.stages import Stages, StoryStopped
from local.demo.story import STACK, TITLES, Story
from local.demo.summary import print_summary
from local.demo.view import DemoView
from local.layout import Ports, StackEnvironment
from local.stack import Stack, StackError

CONFIG = Path(__file__).with_name("tidegate.yaml")


def main(
    state: Annotated[Path, typer.Option(help="The demo's own folder; emptied at every start.")] = Path(".state/demo"),
    rows: Annotated[int | None, typer.Option(help="Only so many flights a file; all of the month when left out.")] = None,
    patience: Annotated[float, typer.Option(help="Multiplies every deadline, for slow machines.")] = 1.0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder when the demo succeeded, to look around in it.")] = False,
) -> None:
    """Two months of real flights: the first becomes a served model, the second a canary that takes over."""
    console, stages = Console(), Stages(TITLES)
    stop_on_signals()
    shutil.rmtree(state, ignore_errors=True)
    environment = StackEnvironment.prepare(state, Ports.free(), CONFIG)
    story: Story | None = None
    try:
        stack = Stack(environment, watched=sorted(set(data_assets(CONFIG).values())))
        with DemoView(console, stages):
            try:
                with stages.running(STACK) as stage:
                    stack.start()
                    stage.detail = (
                        f"control plane {environment.base_url}, host {environment.host_url}, MLflow {environment.mlflow_url}"
                    )
                story = Story(stack, stages, rows=rows, patience=patience)
                outcome = story.tell()
            finally:
                stack.stop()
    except Stopped:
        console.print("stopped: every process of the demo has ended")
        raise typer.Exit(130) from None
    except (StoryStopped, StackError) as error:
        console.print(f"\n{error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    print_summary(console, stages, outcome)
    if not keep:
        shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
