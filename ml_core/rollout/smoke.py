"""The smoke test: does a candidate at 0 % answer its golden requests as the model did offline? Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from ml_core.ports import Reply

# A reason is for people: with more failures than this it is the number that tells.
_MOST_NAMED = 3


@dataclass(frozen=True)
class SmokeTest:
    """`outcome`: passed; failed; none (the model brings no golden requests); error (nothing could be asked, try again)."""

    outcome: Literal["passed", "failed", "none", "error"]
    reason: str
    requests: int = 0
    largest_difference: float = 0.0
    slowest_seconds: float = 0.0


@dataclass(frozen=True)
class Rows:
    """Rows that a model may be asked, and its offline scores where they are known. In memory only: rows may be personal data."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    scores: tuple[float, ...] = ()

    def request(self, *numbers: int) -> dict[str, Any]:
        """The body of a scoring request for these rows, counted from 0."""
        data = [list(self.rows[number]) for number in numbers]
        return {"input_data": {"columns": list(self.columns), "index": list(range(len(data))), "data": data}}


class UnusableError(ValueError):
    """A file of requests that cannot be used. The message says what was expected where, and repeats none of the file's values."""


def golden_rows(content: bytes) -> Rows:
    """golden_requests.json: {"request": {"input_data": {"columns": [...], "data": [[...], ...]}}, "scores": [...]}."""
    document = _object(content)
    found, scores = _rows(document), document.get("scores")
    if not found.rows:
        raise UnusableError("request.input_data.data: expected at least one row")
    if not isinstance(scores, list) or len(scores) != len(found.rows) or not all(is_score(score) for score in scores):
        raise UnusableError(f"scores: expected {len(found.rows)} numbers from 0 to 1, one for each row")
    return Rows(found.columns, found.rows, tuple(float(score) for score in scores))


def shadow_rows(content: bytes) -> Rows:
    """shadow_requests.json: the same without scores, the rows in random order."""
    return _rows(_object(content))


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise UnusableError("expected JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise UnusableError(f"expected a JSON object, found {type(document).__name__}")
    return document


def _rows(document: Mapping[str, Any]) -> Rows:
    request = document.get("request")
    table = request.get("input_data") if isinstance(request, dict) else None
    columns, rows = (table.get("columns"), table.get("data")) if isinstance(table, dict) else (None, None)
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns) or not isinstance(rows, list):
        raise UnusableError('expected {"request": {"input_data": {"columns": [names], "data": [rows]}}}')
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            raise UnusableError(f"request.input_data.data, row {number}: expected a list of {len(columns)} values")
    return Rows(tuple(columns), tuple(tuple(row) for row in rows))


def is_score(value: Any) -> bool:
    """Whether a JSON value is a probability."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def scores_in(reply: Reply, rows: int, model: str = "") -> list[float] | str:
    """The scores of an answer, or what is wrong with it. Given `model`, `<name>:<version>`, it must be the one that answered."""
    if reply.status == 0:
        return reply.error or "nothing was answered"
    if reply.status != 200:
        # The text of an error may repeat what was asked.
        return f"the answer's status was {reply.status}"
    body = reply.body if isinstance(reply.body, dict) else {}
    scores = body.get("scores")
    if not isinstance(scores, list) or len(scores) != rows:
        found = f"{len(scores)}" if isinstance(scores, list) else "no list"
        return f'the answer is not as agreed: expected {{"scores": [...]}} of length {rows}, found {found}'
    if not all(is_score(score) for score in scores):
        return "the answer is not as agreed: a score is no number from 0 to 1"
    if model and body.get("model") != model:
        return f"another model answered: expected {model}, found {str(body.get('model'))[:80]!r}"
    return [float(score) for score in scores]


def compare(
    golden: Rows, replies: Sequence[tuple[tuple[int, ...], Reply]], model: str, tolerance: float, timeout: timedelta
) -> SmokeTest:
    """What the replies to golden requests say. Each comes with the numbers of the rows that were asked, counted from 0.

    Passed when every answer is as agreed, from `model`, within `timeout`, and no score is further than `tolerance` from offline.
    """
    failures: list[str] = []
    largest = 0.0
    for numbers, reply in replies:
        rows = _named(numbers)
        scores = scores_in(reply, len(numbers), model)
        if isinstance(scores, str):
            failures.append(f"{rows}: {scores}")
            continue
        differences = [abs(score - golden.scores[number]) for score, number in zip(scores, numbers, strict=True)]
        largest = max(largest, *differences)
        wrong = [(number, difference) for number, difference in zip(numbers, differences, strict=True) if difference > tolerance]
        if wrong:
            number, difference = wrong[0]
            failures.append(f"row {number}: the score is {difference:.3g} away from the offline one (allowed {tolerance:g})")
        elif reply.seconds > timeout.total_seconds():
            failures.append(f"{rows}: it took {reply.seconds:.2f} s (allowed {timeout.total_seconds():g} s)")
    slowest = max((reply.seconds for _, reply in replies), default=0.0)
    figures = (len(replies), largest, slowest)
    if failures:
        return SmokeTest("failed", f"{len(failures)} of {len(replies)} golden requests failed: {_told(failures)}", *figures)
    away = f"at most {largest:.1e} away" if largest else "exactly"
    said = f"{len(replies)} golden requests were answered as offline ({away}), the slowest in {slowest:.2f} s"
    return SmokeTest("passed", said, *figures)


def _told(failures: Sequence[str]) -> str:
    """The first of them. A row that is wrong alone is wrong among the others, too: once is enough."""
    each = list(dict.fromkeys(failures))
    more = f"; and {len(each) - _MOST_NAMED} more" if len(each) > _MOST_NAMED else ""
    return "; ".join(each[:_MOST_NAMED]) + more


def _named(numbers: tuple[int, ...]) -> str:
    return f"row {numbers[0]}" if len(numbers) == 1 else f"all {len(numbers)} rows in one request"
