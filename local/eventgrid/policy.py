"""The seam where deliveries can be disturbed: which copies of a matched event are sent, and when."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, Protocol

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


MOST_COPIES = 5


@dataclass(frozen=True)
class Chaos:
    """Deliveries as they are promised at worst: at least once, in any order, some day; and, with `drop`, never.

    What happens to an event is drawn from the seed, its type, its subject and how many such events came before it, and from
    nothing else: a run that publishes the same events is disturbed in the same way, in whatever order they come.
    The counting begins anew with the process.
    """

    seed: int = 0
    """Another seed, other events are struck."""

    duplicate: float = 0.0
    """Chance of a second copy, and of one more after each, up to five in all."""

    delay: float = 0.0
    """Seconds, at most, that each copy comes late: every length up to it is as likely."""

    reorder: float = 0.0
    """Chance that a copy is held back for `hold`, so that what is published meanwhile overtakes it."""

    hold: float = 2.0
    """Seconds that a copy is held back, besides its delay."""

    drop: float = 0.0
    """Chance that an event is lost: no copy of it is ever sent, and it is no dead letter either."""

    _seen: Counter[tuple[str, ...]] = field(default_factory=Counter, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("duplicate", "reorder", "drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"chaos: {name} is {getattr(self, name):g}; it is a chance, from 0 to 1")
        for name in ("delay", "hold"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"chaos: {name} is {getattr(self, name):g}; it is a number of seconds, 0 or more")

    @classmethod
    def parse(cls, text: str) -> Chaos:
        """Read `seed=7,duplicate=0.3,delay=2`; what is not given stays as it is. ValueError says what is wrong."""
        given: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name not in _KINDS:
                raise ValueError(f"chaos: {part!r} is not known; expected name=number with one of {', '.join(_KINDS)}")
            try:
                given[name] = _KINDS[name](value)
            except ValueError:
                raise ValueError(f"chaos: {name} is {value!r}; expected a number, as in {name}=1") from None
        return cls(**given)

    def __str__(self) -> str:
        return ",".join(f"{name}={getattr(self, name)}" for name in _KINDS)

    def with_seed(self, seed: int) -> Chaos:
        """The same chances, other events."""
        return replace(self, seed=seed)

    def plan(self, topic: str, subscription: str, event: Event) -> Sequence[timedelta]:
        same = (topic, subscription, event.type, event.subject)
        self._seen[same] += 1
        chance = random.Random("\n".join((str(self.seed), *same, str(self._seen[same]))))  # noqa: S311 - a test's dice
        # All dice are thrown for every event: another `drop` must not change which others are doubled.
        dropped, copies = chance.random() < self.drop, 1
        while copies < MOST_COPIES and chance.random() < self.duplicate:
            copies += 1
        delays = [chance.uniform(0, self.delay) + (self.hold if chance.random() < self.reorder else 0.0) for _ in range(copies)]
        return () if dropped else tuple(timedelta(seconds=seconds) for seconds in delays)


_KINDS: Mapping[str, type[int] | type[float]] = {
    one.name: int if one.name == "seed" else float for one in fields(Chaos) if one.init
}
