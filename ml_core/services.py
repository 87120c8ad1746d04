"""Everything a capability may use, as one argument. Made by `bootstrap` for production and by hand for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ml_core.errors import ConfigError
from ml_core.ports import Containers, DeadLetters, Ledger, Notifier, TrafficEvidence, WorkQueue, Workspace

if TYPE_CHECKING:  # pydantic is only needed where the file is read
    from ml_core.config import Config


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Services:
    """The configuration, the ports, what events may speak of, and the clock."""

    config: Config
    ledger: Ledger
    queue: WorkQueue
    containers: Containers
    workspace: Workspace
    evidence: TrafficEvidence
    dead_letters: DeadLetters
    notifier: Notifier

    data_account_url: str
    """The watched account, https://<account>.blob.core.windows.net. Events that name another are forged or mistaken."""

    workspace_id: str
    """The ARM id of the Azure ML workspace. Events that name another are forged or mistaken."""

    own_containers: frozenset[str]
    """The ledger's and the dead letters' containers. They are never watched: a note about a note would never end."""

    now: Callable[[], datetime] = utc_now

    def __post_init__(self) -> None:
        for name, asset in self.config.data_assets.items():
            if asset.container in self.own_containers:
                own = " and ".join(sorted(self.own_containers))
                raise ConfigError(
                    f"data_assets.{name}.container: {asset.container!r} holds Tidegate's own notes ({own} do), and each of them "
                    "would cause the next. Expected a container with data: name another one."
                )
