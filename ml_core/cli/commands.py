"""The commands. Each asks one question of `ml_core`, or has one thing done, and shows the answer."""

from __future__ import annotations

from typing import Annotated

import typer

from ml_core.cli.answering import ATTENTION, AsJson, By, errors_in_one_line, moment, services, who
from ml_core.cli.inbox_commands import inbox_commands
from ml_core.cli.rollout_views import rollout_commands
from ml_core.trail.values import count

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="""Tidegate for the one on call: what is going on, why, and what to do about it.

    It works on the app settings in the environment, against Azure and the laptop alike.

    \b
    python -m ml_core.cli status
    python -m ml_core.cli why https://<account>.blob.core.windows.net/flights/incoming/march.csv
    python -m ml_core.cli inbox list
    """,
    epilog="Exit codes: 0 done, 1 it could not be done, 2 the command line is wrong, 3 nothing of that name is known, "
    "4 `status --check` found something that needs a person.",
)
app.add_typer(inbox_commands, name="inbox")
app.add_typer(rollout_commands, name="rollout")


@app.command()
def status(
    json: AsJson = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 4 when something needs a person, for a probe.")] = False,
) -> None:
    """Every data asset, model and endpoint: what the last look decided, when the next one comes, what needs a person.

    \b
    python -m ml_core.cli status
    python -m ml_core.cli status --check --json
    """
    from ml_core.cli import show
    from ml_core.cli.overview import overview

    with errors_in_one_line():
        found = overview(services())
    if json:
        show.as_json(found)
    else:
        show.table(("kind", "name", "stands at", "since", "last answer"), [key.row() for key in found.keys])
        for told in found.attention:
            show.line(("! ", "bold red"), told, indent=2)
    if check and found.attention:
        raise typer.Exit(ATTENTION)


@app.command()
def why(
    what: Annotated[
        str,
        typer.Argument(
            help="A blob's url or container/path, a job, a model or model:version, a data asset or asset:version, an endpoint, "
            "an event's id or a correlation id. Where a name means several things: endpoints/NAME, data-assets/NAME, ..."
        ),
    ],
    json: AsJson = False,
) -> None:
    """Tell the trail of a thing: what was received, which rule matched, what was decided and done; or why nothing was.

    \b
    python -m ml_core.cli why flights/incoming/march.csv
    python -m ml_core.cli why flight-delay:3
    python -m ml_core.cli why train-flight-delay-v1f0c2d3e4a5b6978
    python -m ml_core.cli why endpoints/flight-delay
    python -m ml_core.cli why 831e1650-001e-001b-66ab-eeb76e069631
    """
    from ml_core.cli import show
    from ml_core.trail.ask import why as trail_of

    with errors_in_one_line():
        told = trail_of(services(), what)
    show.as_json(told) if json else show.trail(told)


@app.command()
def retrain(
    model: Annotated[str, typer.Argument(help="The model's name in tidegate.yaml.")],
    reason: Annotated[str, typer.Option(help="Why the same data is trained on again. It is audited.")],
    by: By = "",
    json: AsJson = False,
) -> None:
    """Train a model again on its newest data version, although nothing is new. Each call is one more training.

    \b
    python -m ml_core.cli retrain flight-delay --reason "the base image was patched"
    """
    from ml_core import operations
    from ml_core.cli import show

    with errors_in_one_line():
        number = operations.retrain(services(), model, reason, who(by))
    if json:
        show.as_json({"model": model, "cause": f"rerun-{number}", "reason": reason})
    else:
        show.line(f"{model} is trained again: rerun-{number}. Follow it by: why {model}")


@app.command("replay-window")
def replay_window(
    asset: Annotated[str, typer.Argument(metavar="DATA_ASSET", help="The data asset's name in tidegate.yaml.")],
    since: Annotated[
        str, typer.Option(help="From when: 2026-03-01T08:00 (UTC unless it says otherwise), or 2h for so long ago.")
    ],
    until: Annotated[str, typer.Option(help="Until when, in the same ways. By default now.", show_default=False)] = "0s",
    reason: Annotated[str, typer.Option(help="Why, for the audit.", show_default=False)] = "",
    by: By = "",
    json: AsJson = False,
) -> None:
    """Take in again what the windows of a time span have received, and compare the data asset with its container now.

    It is safe: an arrival that is known changes nothing. Use it after a fault, when in doubt whether a file was missed.

    \b
    python -m ml_core.cli replay-window flights --since 2h
    python -m ml_core.cli replay-window flights --since 2026-03-01T08:00 --until 2026-03-01T12:00
    """
    from ml_core import operations
    from ml_core.cli import show

    with errors_in_one_line():
        chosen = services()
        first, last = moment(since, chosen.now()), moment(until, chosen.now())
        number = operations.replay_window(chosen, asset, first, last, who(by), reason)
    if json:
        show.as_json({"data_asset": asset, "since": first, "until": last, "events": number})
    else:
        show.line(f"{count(number, 'event')} taken in again; the container is compared with it. Follow it by: why {asset}")
