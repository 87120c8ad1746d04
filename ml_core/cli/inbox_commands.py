"""`inbox list | show | replay | discard`."""

from __future__ import annotations

from typing import Annotated

import typer

from ml_core.cli.answering import AsJson, By, ItemId, errors_in_one_line, services, who

inbox_commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""What could not be done and waits for a person: unreadable events, work that keeps failing, dead letters.

    \b
    python -m ml_core.cli inbox list
    python -m ml_core.cli inbox show 3f9a
    python -m ml_core.cli inbox replay 3f9a
    python -m ml_core.cli inbox discard 3f9a --reason "a test event of the platform team"
    """,
)


@inbox_commands.command("list")
def list_items(
    every: Annotated[bool, typer.Option("--all", help="Also those that were replayed or discarded, or that succeeded.")] = False,
    json: AsJson = False,
) -> None:
    """The open items, the newest failure first.

    \b
    python -m ml_core.cli inbox list
    python -m ml_core.cli inbox list --all --json
    """
    from ml_core import inbox
    from ml_core.cli import show

    with errors_in_one_line():
        found = sorted(inbox.items(services().ledger, None if every else "open"), key=lambda item: item.last_at, reverse=True)
    if json:
        show.as_json(found)
    elif found:
        show.table(
            ("id", "kind", "status", "attempts", "last at (UTC)", "about", "error"),
            [
                (one.id, one.kind, one.status, str(one.attempts), one.last_at[:19], one.key or one.source, one.error)
                for one in found
            ],
        )
    else:
        show.line("The inbox is empty." if every else "Nothing in the inbox waits for a person.")


@inbox_commands.command("show")
def show_item(item: ItemId, json: AsJson = False) -> None:
    """An item with its event, its error and its attempts, and what is known of the thing that it is about.

    \b
    python -m ml_core.cli inbox show 3f9a
    """
    from ml_core import inbox
    from ml_core.cli import show
    from ml_core.trail.ask import trail_of_item

    with errors_in_one_line():
        chosen = services()
        found = inbox.find(chosen.ledger, item)
        told = trail_of_item(chosen, found)
    if json:
        show.as_json({"item": found, "trail": told})
    else:
        show.item(found)
        show.line("")
        show.trail(told)


@inbox_commands.command("replay")
def replay_items(
    items: Annotated[list[str], typer.Argument(metavar="ID...", help="The items' ids, or the beginnings of them.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit.", show_default=False)] = "",
    by: By = "",
    json: AsJson = False,
) -> None:
    """Try again what failed. It is safe: what was done before is not done twice. What fails again stays in the inbox.

    \b
    python -m ml_core.cli inbox replay 3f9a
    python -m ml_core.cli inbox replay 3f9a 07c1 --reason "the quota was raised" --by anna
    """
    from ml_core import inbox, operations
    from ml_core.cli import show

    done: list[inbox.Item] = []
    try:
        with errors_in_one_line():
            for item in items:
                done.append(operations.replay(services(), item, who(by), reason))
                if not json:
                    show.line(f"{done[-1].id} is {done[-1].status}: {done[-1].history[-1].reason}")
    finally:  # what was done before one failed is told all the same
        if json:
            show.as_json(done)


@inbox_commands.command("discard")
def discard_item(
    item: ItemId,
    reason: Annotated[str, typer.Option(help="Why nobody needs it. It is audited.")],
    by: By = "",
    json: AsJson = False,
) -> None:
    """Close an item for good, with a reason. It stays in the ledger, and who discarded it.

    \b
    python -m ml_core.cli inbox discard 3f9a --reason "a test event of the platform team"
    """
    from ml_core import inbox
    from ml_core.cli import show

    with errors_in_one_line():
        done = inbox.discard(services(), item, who(by), reason)
    show.as_json(done) if json else show.line(f"{done.id} is {done.status}: {reason}")
