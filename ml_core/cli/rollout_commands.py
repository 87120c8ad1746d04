"""`rollout pause | resume | promote | abort | rollback-to`: what people say to a rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ml_core.cli.answering import AsJson, By, errors_in_one_line, services, who

if TYPE_CHECKING:
    from ml_core.rollout.commands import What

rollout_commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Rollouts: what they do, and what people say to them.

    \b
    python -m ml_core.cli rollout pause flight-delay --reason "the call centre reports odd scores"
    python -m ml_core.cli rollout promote flight-delay --reason "12 errors, all from one test client" --by anna
    python -m ml_core.cli rollout rollback-to flight-delay 7 --reason "scores of the night flights are off"
    """,
)

Endpoint = Annotated[str, typer.Argument(help="The endpoint's name in tidegate.yaml.")]
Why = Annotated[str, typer.Option(help="Why. It is audited, and stands in the rollout's story.")]


@rollout_commands.command()
def pause(endpoint: Endpoint, reason: Why, by: By = "", json: AsJson = False) -> None:
    """Stand still until somebody resumes, promotes or aborts. The traffic stays as it is; a bad candidate is still rolled back.

    \b
    python -m ml_core.cli rollout pause flight-delay --reason "the call centre reports odd scores"
    """
    _ask(endpoint, "pause", reason, by, json)


@rollout_commands.command()
def resume(endpoint: Endpoint, reason: Why, by: By = "", json: AsJson = False) -> None:
    """Go on where the rollout was paused. After somebody has changed the traffic by hand: ask for the rollout's own again.

    \b
    python -m ml_core.cli rollout resume flight-delay --reason "the odd scores came from a test client"
    """
    _ask(endpoint, "resume", reason, by, json)


@rollout_commands.command()
def promote(endpoint: Endpoint, reason: Why, by: By = "", json: AsJson = False) -> None:
    """Go on without the judge's word: from a canary step to all traffic, from the shadow to the first step. You answer for it.

    \b
    python -m ml_core.cli rollout promote flight-delay --reason "too few requests at night; checked by hand"
    """
    _ask(endpoint, "promote", reason, by, json)


@rollout_commands.command()
def abort(endpoint: Endpoint, reason: Why, by: By = "", json: AsJson = False) -> None:
    """Give the stable deployment all its traffic back, and end the rollout.

    \b
    python -m ml_core.cli rollout abort flight-delay --reason "trained on the wrong month"
    """
    _ask(endpoint, "abort", reason, by, json)


@rollout_commands.command("rollback-to")
def rollback_to(
    endpoint: Endpoint,
    version: Annotated[str, typer.Argument(help="The model version that is wanted back.")],
    reason: Why,
    by: By = "",
    json: AsJson = False,
) -> None:
    """Bring back a model version, older than the live one or not. One that served not long ago skips shadow and canary.

    \b
    python -m ml_core.cli rollout rollback-to flight-delay 7 --reason "scores of the night flights are off"
    """
    _ask(endpoint, "roll back", reason, by, json, version)


def _ask(endpoint: str, what: What, reason: str, by: str, json: bool, version: str = "") -> None:
    from ml_core.cli import show
    from ml_core.rollout import people

    with errors_in_one_line():
        asked = people.ask(services(), endpoint, what, who(by), reason, version)
    if json:
        show.as_json(asked)
    else:
        about = f"to version {version}" if version else (asked.rollout or "the rollout")
        show.line(f"{what} {about} at {endpoint} is asked for, as command {asked.number}. Follow it by: why endpoints/{endpoint}")
