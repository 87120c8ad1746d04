"""What people want of a rollout. Pure values; `people` asks for them and finds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

What = Literal["pause", "resume", "promote", "abort", "roll back"]


@dataclass(frozen=True)
class Command:
    """A person's word. `number` counts the commands of an endpoint: 1, 2, …; each is carried out once, in this order."""

    number: int
    what: What
    by: str
    reason: str
    at: datetime
    rollout: str = ""
    """The id of the rollout that it was said about. One that came too late must not strike the next rollout."""

    version: str = ""
    """Of "roll back": the model version that is wanted back."""
