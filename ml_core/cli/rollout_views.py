"""`rollout list | show | replay | plan`: what rollouts did, why, and what is to be expected of the next one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ml_core.cli.answering import FAILED, AsJson, errors_in_one_line, services
from ml_core.cli.rollout_commands import rollout_commands

if TYPE_CHECKING:
    from ml_core.rollout.chapters import StepEvidence
    from ml_core.rollout.judge.pairs import PairsTally
    from ml_core.rollout.story import Heading, Story
    from ml_core.services import Services

__all__ = ["rollout_commands"]  # with all of its commands

# In a pipe there is no width; this fits a page.
_WIDTH_IN_A_PIPE, _WIDEST = 80, 120


@rollout_commands.command("list")
def list_rollouts(
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name. By default every one of tidegate.yaml.")] = "",
    newest: Annotated[int, typer.Option(min=1, max=1000, help="So many of each endpoint.")] = 10,
    json: AsJson = False,
) -> None:
    """The newest rollouts, how long they took and how they ended.

    \b
    python -m ml_core.cli rollout list
    python -m ml_core.cli rollout list flight-delay --newest 50 --json
    """
    from ml_core.cli import show
    from ml_core.rollout.planner import span
    from ml_core.rollout.story import stories

    with errors_in_one_line():
        chosen = services()
        found = [one for name in _endpoints(chosen, endpoint) for one in stories(chosen.ledger, name, newest)]
        now = chosen.now()
    if json:
        show.as_json(found)
    elif found:
        rows = [
            (
                one.id,
                f"{one.began_at:%Y-%m-%d %H:%M}",
                span((one.ended_at or now) - one.began_at),
                one.outcome or "under way",
                one.reason,
            )
            for one in found
        ]
        show.table(("id", "began (UTC)", "took", "outcome", "because"), rows)
    else:
        show.line("No rollout has begun yet.")


@rollout_commands.command("show")
def show_rollout(
    which: Annotated[
        str, typer.Argument(metavar="[ENDPOINT|ID]", help="An endpoint, for its newest rollout, or a rollout.")
    ] = "",
    json: AsJson = False,
) -> None:
    """Draw a rollout: the candidate's share over time, the evidence of each step, and who did what and why.

    \b
    python -m ml_core.cli rollout show
    python -m ml_core.cli rollout show flight-delay
    python -m ml_core.cli rollout show flight-delay-8-20260301T120000.000000Z --json
    """
    from ml_core.cli import show
    from ml_core.rollout import chapters

    with errors_in_one_line():
        chosen = services()
        told = _story(chosen, which)
        now = chosen.now()
    if json:
        show.as_json(
            {
                "heading": told.heading,
                "phase": told.rollout.phase.value,
                "pause": told.rollout.pause,
                "plan": chapters.plan_of(told),
                "pairs": told.rollout.pairs,
                "shares": chapters.shares(told),
                "evidence": chapters.evidence(told),
                "happenings": chapters.happenings(told),
            }
        )
    else:
        _draw(told, now)


@rollout_commands.command("replay")
def replay_rollout(rollout: Annotated[str, typer.Argument(metavar="ID", help="The rollout's id.")], json: AsJson = False) -> None:
    """Make every decision of a rollout again from what it was made from. Exit code 1 when one comes out otherwise.

    \b
    python -m ml_core.cli rollout replay flight-delay-8-20260301T120000.000000Z
    """
    from ml_core.cli import show
    from ml_core.rollout.story import decide_again
    from ml_core.trail.values import count

    with errors_in_one_line():
        told = _story(services(), rollout)
        differences = decide_again(told)
    if json:
        show.as_json({"rollout": told.heading.id, "decisions": len(told.decisions), "differences": differences})
    elif not differences:
        show.line(f"{count(len(told.decisions), 'decision')} of {told.heading.id}, made again: each comes out as it did.")
    else:
        show.line(
            f"{len(differences)} of {count(len(told.decisions), 'decision')} of {told.heading.id} come out otherwise today:"
        )
        for one in differences:
            show.line(f"  {one.document}")
            show.line(f"    then: {one.kept}", indent=10)
            show.line(f"    now:  {one.again}", indent=10)
            show.line(f"    in:   {one.why}", indent=10)
    if differences:
        raise typer.Exit(FAILED)


@rollout_commands.command("plan")
def plan_rollout(
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name in tidegate.yaml.")], json: AsJson = False
) -> None:
    """Say how long the next rollout will wait for a verdict, and what to change when that is too long.

    \b
    python -m ml_core.cli rollout plan flight-delay
    """
    from ml_core.cli import show
    from ml_core.rollout.forecast import forecast

    with errors_in_one_line():
        expected = forecast(services(), endpoint)
    if json:
        show.as_json(expected)
    else:
        show.line(f"{expected.endpoint}, by the last day of {expected.stable}: {expected.told}.")


def _endpoints(chosen: Services, endpoint: str) -> list[str]:
    """This one, or all of the configuration. An endpoint may have left it; its name becomes part of a path, so it is checked."""
    from ml_core.rollout.story import is_endpoint
    from ml_core.trail.values import NothingKnown

    names = [model.endpoint.name for model in chosen.config.models.values()]
    if not endpoint:
        return names
    if endpoint not in names and not is_endpoint(chosen.ledger, endpoint):
        raise NothingKnown(
            f"Nothing is known of an endpoint {endpoint[:100]!r}; the endpoints are: {', '.join(names) or 'none'}."
        )
    return [endpoint]


def _story(chosen: Services, which: str) -> Story:
    """A rollout by its id; an endpoint's newest; the newest of all."""
    from ml_core.rollout.story import NoSuchRolloutError, is_rollout_id, stories, story
    from ml_core.trail.values import NothingKnown

    try:
        if is_rollout_id(which):
            return story(chosen.ledger, which)
        begun: list[Heading] = [one for name in _endpoints(chosen, which) for one in stories(chosen.ledger, name, newest=1)]
        if not begun:
            raise NothingKnown(f"No rollout has begun yet{f' at {which}' if which else ''}.")
        return story(chosen.ledger, max(begun, key=lambda one: one.began_at).id)
    except NoSuchRolloutError as error:
        raise NothingKnown(str(error)) from error


def _draw(told: Story, now: datetime) -> None:
    from ml_core.cli import show
    from ml_core.cli.rollout_plot import plot
    from ml_core.rollout import chapters
    from ml_core.rollout.planner import span

    heading, rollout = told.heading, told.rollout
    until = heading.ended_at or now
    stands = heading.outcome or (f"paused in {rollout.phase.value}" if rollout.pause else rollout.phase.value)
    show.line((f"{rollout.model}:{rollout.version} at {heading.endpoint}", "bold"), "  ", (stands, _style(heading.outcome)))
    show.line(("rollout        ", "dim"), heading.id)
    beside = f" beside {rollout.stable_model} in {rollout.stable}" if rollout.stable else ", the first deployment"
    show.line(("candidate      ", "dim"), f"{rollout.candidate}{beside}")
    show.line(("began          ", "dim"), f"{heading.began_at:%Y-%m-%d %H:%M:%S} UTC, {span(until - heading.began_at)} in all")
    if expected := chapters.plan_of(told):
        show.line(("to be expected ", "dim"), expected, indent=15)
    if rollout.pause and not heading.ended_at:
        pause = rollout.pause
        show.line(("stands still   ", "dim"), f"since {pause.at:%H:%M:%S} ({pause.cause}): {pause.reason}", indent=15)
    if heading.reason:
        show.line(("because        ", "dim"), heading.reason, indent=15)
    if pairs := _pairs(rollout.pairs):
        show.line(("held-out rows  ", "dim"), pairs, indent=15)
    show.line("")
    width = min(show.width() or _WIDTH_IN_A_PIPE, _WIDEST)
    for line in plot(chapters.shares(told), until, width):
        show.line(line)
    show.line("")
    _evidence(chapters.evidence(told))
    for one in chapters.happenings(told):
        show.line("  ", (f"{one.at:%H:%M:%S}", "dim"), "  ", (f"{one.what:<8}", _style(one.what)), " ", one.told, indent=21)


def _pairs(pairs: PairsTally) -> str:
    """What became of the rows that both deployments were asked; '' when none were."""
    if not pairs.asked:
        return ""
    told = (
        f"{pairs.asked} asked of both: {pairs.flips} of {pairs.timed} decisions flipped, {pairs.slower} were slower than allowed"
    )
    failed = f"failed on the candidate only {pairs.candidate_failed}, on the stable deployment only {pairs.stable_failed}"
    return f"{told}; {failed}, on both {pairs.both_failed}"


def _evidence(steps: list[StepEvidence]) -> None:
    """A line for each step: how many failed of how many, and how many were slow, on both sides; and what the judge made of it."""
    from ml_core.cli import show
    from ml_core.ports import Counts

    def counted(counts: Counts) -> str:
        slow = f", {_bracket(counts.slow, counts.slow_at_most)} slow" if counts.slow_at_most else ""
        return f"{counts.errors} of {counts.requests}{slow}"

    if not steps:
        return
    rows = [
        (
            one.phase + (f" {one.live} %" if one.live else f", copies of {one.copies} %" if one.copies else ""),
            f"{one.since:%H:%M:%S}",
            counted(one.candidate),
            counted(one.stable),
            _against(one.figures),
            _for(one.figures),
        )
        for one in steps
    ]
    show.table(("step", "since", "candidate failed", "stable failed", "against it", "for it"), rows)
    show.line("")


def _against(figures: Mapping[str, float]) -> str:
    """E-values, and at which of them the candidate is rolled back."""
    return ", ".join(
        f"{_e_value(figures[f'{metric}_e_value'])} of {figures[f'{metric}_roll_back_at']:.3g} ({metric})"
        for metric in ("errors", "slow")
        if f"{metric}_e_value" in figures
    )


def _for(figures: Mapping[str, float]) -> str:
    """E-values, and at which of them it is promoted: both must be reached."""
    return ", ".join(
        f"{_e_value(figures[f'{metric}_promote_e_value'])} of {figures['promote_at']:.3g} ({metric})"
        for metric in ("errors", "slow")
        if f"{metric}_promote_e_value" in figures
    )


def _e_value(number: float) -> str:
    if number >= 1000:
        return "over 1000"
    return f"{number:.0f}" if number >= 99.5 else f"{number:.2g}"


def _bracket(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _style(word: str) -> str:
    styles = {"succeeded": "green", "traffic": "green", "person": "cyan", "alert": "yellow", "paused": "yellow"}
    return styles.get(word, "red" if word in ("rolled back", "failed", "refused") else "")
