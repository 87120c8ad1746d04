"""The calendar in which nothing is promoted. Rolling back is always allowed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class FreezeWindow:
    """From when until when (aware), once."""

    starts_at: datetime
    ends_at: datetime
    reason: str
