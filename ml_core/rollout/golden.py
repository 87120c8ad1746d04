"""Asks deployments what their model brings to be asked: golden requests before any traffic, held-out rows in the shadow.

Both files lie in the model's own folder, written by the training pipeline. Their rows may be personal data: they go to the
deployments and nowhere else. What is kept of the answers are counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from ml_core.errors import PermanentError, TemporaryError
from ml_core.ports import Question, Reply
from ml_core.rollout.judge.pairs import Pairs, SliceTally
from ml_core.rollout.slices import slices_of
from ml_core.rollout.smoke import Rows, SmokeTest, UnusableError, compare, golden_rows, scores_in, shadow_rows
from ml_core.rollout.state import Rollout
from ml_core.services import Services

if TYPE_CHECKING:
    from ml_core.config_rollout import Shadow

GOLDEN, SHADOW = "golden_requests.json", "shadow_requests.json"
# The pipeline writes five golden rows, and up to a thousand for the shadow. More than this is another file of that name.
_GOLDEN_BYTES, _SHADOW_BYTES = 1_000_000, 20_000_000
_MOST_GOLDEN_ROWS = 50
# A look must be over long before the host ends it, and others wait for it.
_CHUNK, _CHUNK_SECONDS = 50, 15.0
# The endpoint does not know the deployment, or not yet: nothing was asked.
_UNKNOWN = 404
# What may have passed when one asks again: no answer in time, too many requests, not ready.
_PASSING = (0, 408, 429, 502, 503, 504)
_MOST_SILENT = 3


def smoke_test(services: Services, endpoint: str, rollout: Rollout) -> SmokeTest:
    """Ask the candidate its golden requests: all rows at once, and each alone. What fails is an outcome, no error."""
    model, rules = f"{rollout.model}:{rollout.version}", services.config.models[rollout.model].rollout.smoke
    try:
        content = services.workspace.model_file(rollout.model, rollout.version, GOLDEN, at_most=_GOLDEN_BYTES)
        if content is None:
            return SmokeTest("none", f"the model {model} brings no {GOLDEN}")
        golden = golden_rows(content)
        if len(golden.rows) > _MOST_GOLDEN_ROWS:
            raise UnusableError(f"expected at most {_MOST_GOLDEN_ROWS} rows, found {len(golden.rows)}")
        replies = _asked(services, endpoint, rollout.candidate, golden, rules.timeout)
    except UnusableError as error:
        return SmokeTest("failed", f"{GOLDEN} of the model {model} cannot be used: {error}")
    except PermanentError as error:
        return SmokeTest("failed", str(error))
    except TemporaryError as error:
        return SmokeTest("error", str(error))
    if any(reply.status == _UNKNOWN for _, reply in replies):
        return SmokeTest("error", f"{endpoint} does not know the deployment {rollout.candidate} (yet)")
    return compare(golden, replies, model, rules.tolerance, rules.timeout)


def _asked(
    services: Services, endpoint: str, deployment: str, golden: Rows, timeout: timedelta
) -> list[tuple[tuple[int, ...], Reply]]:
    """Each question's rows and its answer. What may pass is asked once more: the first requests to a server may be slow. After
    three that have failed so the rest is not asked: it would take minutes and say no more."""
    every = tuple(range(len(golden.rows)))
    replies: list[tuple[tuple[int, ...], Reply]] = []
    silent = 0
    for numbers in (every, *((number,) for number in every if len(every) > 1)):
        question = Question(deployment, golden.request(*numbers))
        (reply,) = services.workspace.ask(endpoint, [question], timeout)
        if reply.status in _PASSING:
            (reply,) = services.workspace.ask(endpoint, [question], timeout)
            silent += reply.status in _PASSING
        replies.append((numbers, reply))
        if silent == _MOST_SILENT:
            break
    return replies


def next_pairs(services: Services, endpoint: str, rollout: Rollout) -> Pairs:
    """Ask both deployments the next held-out rows, from row `rollout.pairs.asked` on: 50 rows, or as many as 15 s allow.

    What fails is told by the answer, no error. Azure Monitor counts these questions as it counts clients' requests: while they
    are asked, no interval should be judged by it.
    """
    first, shadow = rollout.pairs.asked, services.config.models[rollout.model].rollout.shadow
    if shadow is None or shadow.requests == 0 or rollout.stable is None:
        return _nothing(first, last=True, note="none are asked for")
    try:
        rows = _rows(services, rollout, shadow)
        if isinstance(rows, str):
            return _nothing(first, last=True, note=rows)
        return _compared(services, endpoint, rollout, shadow, rows)
    except TemporaryError as error:
        return _nothing(first, error=str(error))
    except PermanentError as error:
        return _nothing(first, last=True, note=str(error))


def _nothing(first: int, *, last: bool = False, note: str = "", error: str = "") -> Pairs:
    return Pairs(first, 0, 0, 0, 0, 0, 0, 0, last, note=note, error=error)


def _rows(services: Services, rollout: Rollout, shadow: Shadow) -> Rows | str:
    """The rows to be asked in this rollout, or why there are none."""
    model = f"{rollout.model}:{rollout.version}"
    content = services.workspace.model_file(rollout.model, rollout.version, SHADOW, at_most=_SHADOW_BYTES)
    if content is None:
        return f"the model {model} brings no {SHADOW}"
    try:
        rows = shadow_rows(content)
    except UnusableError as error:
        return f"{SHADOW} of the model {model} cannot be used: {error}"
    if not rows.rows:
        return f"{SHADOW} of the model {model} holds no rows"
    return Rows(rows.columns, rows.rows[: shadow.requests])


def _compared(services: Services, endpoint: str, rollout: Rollout, shadow: Shadow, rows: Rows) -> Pairs:
    """The next chunk. Row by row, as a client asks: so failures and times are each row's own."""
    first, timeout = rollout.pairs.asked, services.config.models[rollout.model].rollout.smoke.timeout
    slices, counts = slices_of(rows, shadow.slices), _Counts(shadow)
    at, seconds = first, 0.0
    while at < min(first + _CHUNK, len(rows.rows)) and seconds < _CHUNK_SECONDS:
        candidate, stable = _pair(services, endpoint, rollout, rows, at, timeout)
        if _UNKNOWN in (candidate.status, stable.status):
            return _nothing(first, error=f"{endpoint} does not know the deployments {rollout.candidate} and {rollout.stable}")
        counts.add(candidate, stable, slices[at])
        seconds += candidate.seconds + stable.seconds
        at += 1
    unknown = [name for name in shadow.slices if name not in rows.columns]
    note = f"no slices by {', '.join(unknown)}: the rows have no such column" if unknown else ""
    names = sorted({name for of_a_row in slices for name in of_a_row})
    return counts.pairs(first, at - first, at >= len(rows.rows), names, note)


def _pair(
    services: Services, endpoint: str, rollout: Rollout, rows: Rows, number: int, timeout: timedelta
) -> tuple[Reply, Reply]:
    """(the candidate's reply, the stable deployment's). Who is asked first changes as A B B A: so no chunk favours one."""
    request, order = rows.request(number), [rollout.candidate, rollout.stable or ""]
    candidate_first = number % 4 in (0, 3)
    asked: Sequence[str] = order if candidate_first else order[::-1]
    one, other = services.workspace.ask(endpoint, [Question(name, request) for name in asked], timeout)
    return (one, other) if candidate_first else (other, one)


class _Counts:
    """Counts pairs of replies."""

    def __init__(self, shadow: Shadow) -> None:
        self._threshold, self._times = shadow.decision_threshold, shadow.max_times_slower
        self._of: dict[str, int] = defaultdict(int)
        self._slices: dict[str, SliceTally] = defaultdict(SliceTally)
        self._sums = [0.0, 0.0]
        self._example = ""

    def add(self, candidate: Reply, stable: Reply, slices: Sequence[str]) -> None:
        found, control = scores_in(candidate, 1), scores_in(stable, 1)
        if isinstance(found, str) or isinstance(control, str):
            both, one = isinstance(found, str) and isinstance(control, str), isinstance(found, str)
            self._of["both_failed" if both else "candidate_failed" if one else "stable_failed"] += 1
            if isinstance(found, str) and not both and not self._example:
                self._example = f"for example: {found}"
            return
        difference = found[0] - control[0]
        flipped = (found[0] >= self._threshold) != (control[0] >= self._threshold)
        self._of["timed"] += 1
        self._of["flips"] += flipped
        self._of["slower"] += candidate.seconds > self._times * stable.seconds
        self._sums[0] += difference
        self._sums[1] += abs(difference)
        for name in slices:
            so_far = self._slices[name]
            flips, differences = so_far.flips + flipped, so_far.sum_of_differences + difference
            self._slices[name] = SliceTally(so_far.rows + 1, flips, differences)

    def pairs(self, first: int, rows: int, last: bool, names: Sequence[str], note: str) -> Pairs:
        of, slices = self._of, {name: self._slices[name] for name in names}
        return Pairs(
            first=first,
            rows=rows,
            flips=of["flips"],
            candidate_failed=of["candidate_failed"],
            stable_failed=of["stable_failed"],
            both_failed=of["both_failed"],
            slower=of["slower"],
            timed=of["timed"],
            last=last,
            sum_of_differences=self._sums[0],
            sum_of_distances=self._sums[1],
            slices=slices,
            note="; ".join(one for one in (note, self._example) if one),
        )
