"""What all commands share: their options, the services, and how an error is told."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ml_core.errors import PermanentError, SettingError, TemporaryError, TidegateError
from ml_core.rollout.people import NotKnown
from ml_core.trail.values import NothingKnown

if TYPE_CHECKING:
    from ml_core.services import Services

FAILED, UNKNOWN, ATTENTION = 1, 3, 4
"""Exit codes besides 0 and 2 (the command line itself is wrong): it could not be done; nothing of that name is known; `status
--check` found something that needs a person."""

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, for programs.")]
By = Annotated[str, typer.Option(help="Who does it, for the record. By default the user of this machine.", show_default=False)]
ItemId = Annotated[str, typer.Argument(metavar="ID", help="The item's id, or the beginning of it.")]


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Errors that we know say what to do; anything else is a mistake of ours and keeps its traceback."""
    try:
        yield
    except (NothingKnown, NotKnown) as error:
        _end(str(error), UNKNOWN)
    except SettingError as error:
        here = 'on a laptop eval "$(.venv/bin/python -m local env)" brings them there (docs/how-to/operate.md)'
        _end(f"{error} The command line reads the settings from the environment: {here}.", FAILED)
    except TemporaryError as error:
        _end(f"{error} Ask again in a moment.", FAILED)
    except TidegateError as error:
        _end(str(error), FAILED)


def _end(told: str, code: int) -> NoReturn:
    from ml_core.cli.show import harmless

    typer.echo(f"error: {harmless(told.replace(chr(10), '; '))}", err=True)
    raise typer.Exit(code) from None


def services() -> Services:
    from ml_core import bootstrap

    return bootstrap.services()


def who(name: str) -> str:
    """Who it is, for the audit."""
    if name.strip():
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        raise PermanentError("Nobody knows who you are here; say it with --by NAME, for the record.") from None


def moment(text: str, now: datetime) -> datetime:
    """A time, or how long ago."""
    from pydantic import TypeAdapter, ValidationError

    from ml_core.config_values import Duration

    expected = "2026-03-01T08:00 (UTC unless it says otherwise), or 30m, 2h, 1d for so long ago"
    try:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            ago: timedelta = TypeAdapter(Duration).validate_python(text)
            return now - ago
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValidationError, OverflowError):
        raise PermanentError(f"{text!r} is no time; expected {expected}.") from None
