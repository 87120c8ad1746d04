"""What people had Tidegate do, by whom and why. A note is written before the deed: none is done that is not noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ml_core.documents import time_name
from ml_core.errors import PermanentError

if TYPE_CHECKING:
    from ml_core.ports import Entry, Ledger
    from ml_core.services import Services


def record(
    services: Services, *, by: str, what: str, subject: str, reason: str = "", detail: Mapping[str, Any] | None = None
) -> str:
    """Keep `{"at", "by", "what", "subject", "reason", "detail"}` as `audit/<time>-<n>.json`; return that name.

    `what` is a verb ("replay"), `subject` the ledger's name of what it was done to ("inbox/0123456789ab"), `detail` small JSON.
    Raises PermanentError when nobody is named: a deed without a doer explains nothing.
    """
    if not by.strip():
        raise PermanentError(f"Somebody wants to {what} {subject} without a name; say who it is (--by on the command line).")
    now = services.now()
    note = {"at": now.isoformat(), "by": by, "what": what, "subject": subject, "reason": reason, "detail": dict(detail or {})}
    number = 0
    while not services.ledger.claim(name := f"audit/{time_name(now)}-{number}.json", note):
        number += 1
    return name


def entries(ledger: Ledger) -> Iterator[Entry]:
    """Every note, oldest first."""
    yield from ledger.list("audit/")
