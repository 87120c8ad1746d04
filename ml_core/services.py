"""Everything a capability may use, as one argument. Made by `bootstrap` for production and by hand for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ml_core.ports import Containers, Ledger, TrafficEvidence, WorkQueue, Workspace

if TYPE_CHECKING:  # pydantic is only needed where the file is read
    from ml_core.config import Config


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Services:
    """The configuration, the ports and the clock. `ledger_container` is never watched, or every note would cause another."""

    config: Config
    ledger: Ledger
    queue: WorkQueue
    containers: Containers
    workspace: Workspace
    evidence: TrafficEvidence
    ledger_container: str = "tidegate-ledger"
    now: Callable[[], datetime] = utc_now
