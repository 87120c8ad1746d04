"""The seam where deliveries can be disturbed: which copies of a matched event are sent, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from local.eventgrid.schema import Event


class DeliveryPolicy(Protocol):
    """Asked once per event and subscription, when the event is published."""

    def plan(self, topic: str, subscription: str, event: Event) -> Sequence[timedelta]:
        """One delay for each copy to deliver: none loses the event, two send it twice, unequal ones reorder. Not scaled."""
        ...


class Honest:
    """Every event once, at once."""

    def plan(self, topic: str, subscription: str, event: Event) -> Sequence[timedelta]:  # noqa: ARG002 - the seam's signature
        return (timedelta(0),)
