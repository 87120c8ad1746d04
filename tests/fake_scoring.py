"""Scores by hand: what a model says of rows is a hash of them, so that it is the same online and offline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_COLUMNS = ["carrier", "distance"]
_ROWS = {"golden_requests.json": 5, "shadow_requests.json": 60}


@dataclass(frozen=True)
class Scoring:
    """How the deployments of a model answer those who ask them directly."""

    shift: float = 0.0
    """What is added to the scores of about half of the rows, always the same ones."""

    shifts_all: bool = False
    """Whether it is added to every score."""

    fails_every: int = 0
    """Of so many requests the first fails; 0: none."""

    seconds: float = 0.02

    def scores(self, request: Mapping[str, Any]) -> list[float]:
        """What the model says of these rows."""
        return [self._shifted(score) for score in offline_scores(request)]

    def file(self, path: str) -> bytes | None:
        """What the training pipeline puts beside the model under this name; None: nothing."""
        if path not in _ROWS:
            return None
        rows = [["AA", 100 + number] for number in range(_ROWS[path])]
        request = {"input_data": {"columns": _COLUMNS, "index": list(range(len(rows))), "data": rows}}
        return json.dumps({"request": request, "scores": self.scores(request)}).encode()

    def _shifted(self, score: float) -> float:
        return min(1.0, score + self.shift) if self.shifts_all or int(score * 2**20) % 2 else score


def offline_scores(request: Mapping[str, Any]) -> list[float]:
    """What every model says of these rows, unless its `Scoring` says something else: 0 to 0.9."""
    rows = [json.dumps(row).encode() for row in request["input_data"]["data"]]
    return [int.from_bytes(hashlib.sha256(row).digest()[:4], "big") / 2**32 * 0.9 for row in rows]
