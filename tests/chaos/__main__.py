"""`python -m tests.chaos --stories N --seed S`: more stories than the tests tell, one after the other on one stack."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from local.eventgrid.policy import Chaos
from tests.chaos.plan import plan
from tests.chaos.story import PATIENCE, WORST, Report, orphans_of, running_stack, tell


def main(
    stories: Annotated[int, typer.Option(min=1, help="How many; each has the seed after that of the one before.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the first story.")] = 1,
    changes: Annotated[int, typer.Option(min=1, help="Uploads, replacements and deletions of a story.")] = 300,
    kills: Annotated[int, typer.Option(min=0, help="SIGKILLs of a story.")] = 8,
    reruns: Annotated[int, typer.Option(min=0, help="Trainings that a person asks for in a story.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="In which the changes happen.")] = 25.0,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds after which what is still under way counts as left.")
    ] = PATIENCE,
    chaos: Annotated[str, typer.Option(help="What Event Grid does to the events.")] = str(WORST),
) -> None:
    """Tell seeded stories until one has a finding; exit code 1 then, and the stack's folder stays for a look."""
    console, total = Console(soft_wrap=True, highlight=False, markup=False), Report()
    state = Path(tempfile.mkdtemp(prefix="tidegate-chaos-"))
    with running_stack(state) as stack:
        for number in range(seed, seed + stories):
            story = plan(number, changes=changes, kills=kills, reruns=reruns, seconds=seconds, chaos=Chaos.parse(chaos))
            told = tell(stack, story, patience=patience)
            console.print(str(told))
            total += told
            if told.findings:
                break
    total.orphans += orphans_of(state)
    console.print(f"\nin all: {total}")
    for finding in total.findings:
        console.print(finding)
    if total.findings:
        console.print(f"logs and state: {state}")
        raise typer.Exit(1)
    shutil.rmtree(state)


if __name__ == "__main__":
    typer.run(main)
