"""`python -m benchmarks [NAME ...]`: run the benchmarks, print a table, exit with 1 when a goal was missed."""

from __future__ import annotations

import importlib
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Comparison
from benchmarks.rollouts import STORIES

BENCHMARKS = {
    "cold-start": "import of the function app against `import azure.functions` alone",
    "submission": "from upload to job submitted, beyond the window",
    "burst": "10,000 events through the host against a function that does nothing: rate, memory, time to the version",
    "full-store": "get and list among 10,000 data versions and 2,000 jobs against the same among ten",
    "steps": "a pipeline's overhead per step over the bare child process, and the whole pipeline",
    "many-jobs": "memory after 300 pipelines against the same emulator's before them",
    "training": "the whole training pipeline against one plain script that does the same",
    "rollouts": "simulated rollouts by the product's judge and by the rules of others: wrong verdicts, minutes, bad answers",
    "scoring": "scoring through the router against calling the scoring process directly",
}


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Which ones; all when left out. One of: {', '.join(BENCHMARKS)}.")
    ] = None,
    stories: Annotated[int, typer.Option(min=1, help="How many stories of each scenario `rollouts` plays.")] = STORIES,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Run benchmarks. Each figure is a ratio measured in this run; absolute times are only told beside it."""
    unknown = set(names or ()) - set(BENCHMARKS)
    if unknown:
        raise typer.BadParameter(f"unknown benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    console, results = Console(stderr=as_json), list[Comparison]()
    for name in names or BENCHMARKS:
        console.print(f"[dim]{name}: {BENCHMARKS[name]}[/dim]")
        options = {"stories": stories, "show": lambda text: print(text, file=console.file)} if name == "rollouts" else {}
        results += importlib.import_module(f"benchmarks.{name.replace('-', '_')}").run(**options)
    if as_json:
        print(json.dumps([{**vars(result), "met": result.met} for result in results], indent=2))
    else:
        console.print(_table(results))
    raise typer.Exit(0 if all(result.met for result in results) else 1)


def _table(results: list[Comparison]) -> Table:
    table = Table("what", "value", "goal", "ours", "beside")
    for result in results:
        colour = "green" if result.met else "red"
        goal = f"{result.bound} {result.goal:g} {result.unit}"
        table.add_row(result.name, f"[{colour}]{result.value:.2f} {result.unit}[/]", goal, result.ours, result.theirs)
    return table


if __name__ == "__main__":
    typer.run(main)
