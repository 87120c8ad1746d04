"""What ran lately: a bounded list for `/admin/host/invocations`, and counters that never shrink."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass
class Invocation:
    """One call of a function. `duration_ms` is None while it runs. `outcome`: running, succeeded, failed or timed out."""

    id: str
    function: str
    trigger: str
    started_at: datetime
    outcome: str = "running"
    duration_ms: float | None = None
    error: str | None = None


class Invocations:
    """Used on the event loop's thread only."""

    def __init__(self, keep: int = 500) -> None:
        self._recent: deque[Invocation] = deque(maxlen=keep)
        self._outcomes: Counter[tuple[str, str]] = Counter()

    def add(self, invocation: Invocation) -> None:
        self._recent.append(invocation)

    def finish(self, invocation: Invocation, outcome: str, duration_ms: float, error: str | None) -> None:
        invocation.outcome, invocation.duration_ms, invocation.error = outcome, round(duration_ms, 3), error
        self._outcomes[invocation.function, outcome] += 1

    def recent(self, function: str | None = None) -> list[dict[str, Any]]:
        """Newest first; times as ISO text."""
        chosen = [item for item in reversed(self._recent) if function is None or item.function == function]
        return [asdict(item) | {"started_at": item.started_at.isoformat()} for item in chosen]

    def counts(self) -> dict[str, dict[str, int]]:
        """`{function: {outcome: count}}` since the host started."""
        table: dict[str, dict[str, int]] = {}
        for (function, outcome), count in self._outcomes.items():
            table.setdefault(function, {})[outcome] = count
        return table
