"""What all evidence so far adds up to. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ml_core.ports import Counts, History, SourceFailed
from ml_core.rollout.judge.betting import by_ratio
from ml_core.rollout.judge.sequential import SPLIT_ALPHA, Tally, contradiction
from ml_core.rollout.judge.values import Arms, Finding, Promises, Ruling, Verdict

# Nobody minds one failure in a thousand, if the configuration says nothing else.
LEAST_TOLERABLE = 0.001
# The risk of taking the stable deployment's history for worse than it was.
_DOUBT = 0.05


def rule(tally: Tally, promises: Promises) -> Ruling:
    """The verdict at this look. In this order: the obvious; evidence that cannot be trusted; guilt; merits."""
    figures = _figures(tally, promises)
    told = _told(tally)

    def ruling(verdict: Verdict, finding: Finding, reason: str) -> Ruling:
        return Ruling(verdict, finding, f"{reason}: {told}" if tally.intervals else reason, figures)

    if _tripped(tally, promises):
        first, beside = tally.first_candidate, tally.first_stable
        reason = f"the candidate failed all of its first {first.requests} requests, the stable deployment {_of(beside)}"
        return Ruling(Verdict.ROLL_BACK, Finding.BAD, reason, figures)
    if mistrust := tally.distrusted or _wrong_split(tally):
        return ruling(Verdict.UNDECIDED, Finding.ERROR, mistrust)
    if not tally.asked_in_step:
        return ruling(Verdict.UNDECIDED, Finding.NONE, "nobody asked the candidate anything in this step that can be judged")
    guilt = [name for name in ("errors", "slow") if figures[f"{name}_e_value"] >= figures[f"{name}_roll_back_at"]]
    if guilt:
        return ruling(Verdict.ROLL_BACK, Finding.BAD, f"the candidate {' and '.join(_GUILT[name] for name in guilt)}")
    if any(figures[f"{name}_e_value"] >= math.sqrt(figures[f"{name}_roll_back_at"]) for name in ("errors", "slow")):
        return ruling(Verdict.UNDECIDED, Finding.BAD, "the evidence is more than half of the way to a rollback")
    if figures["errors_promote_e_value"] >= figures["promote_at"] and figures["slow_promote_e_value"] >= figures["promote_at"]:
        return ruling(Verdict.PROMOTE, Finding.OK, _merit(tally, promises))
    return ruling(Verdict.UNDECIDED, Finding.OK, "nothing speaks against the candidate, and not enough for it yet")


def finding(arms: Sequence[Arms]) -> Finding:
    """What these intervals are by themselves, whatever came before. BAD: the candidate did visibly worse, by chance or not."""
    if any(contradiction(one) for one in arms):
        return Finding.ERROR
    if not any(one.candidate.requests for one in arms):
        return Finding.NONE
    against = 0.0
    for one in arms:
        candidate, stable = one.candidate, one.stable
        if candidate.requests and stable.requests:
            q = candidate.requests / (candidate.requests + stable.requests)
            against += by_ratio(candidate.errors, stable.errors, q, 2.0)
    return Finding.BAD if against >= math.log(20) else Finding.OK


def promises_for(promises: Promises, history: History | SourceFailed | None) -> Promises:
    """The promises with a tolerable error rate, where none is configured: psi times what the stable deployment's error rate was
    at least, and `LEAST_TOLERABLE` if that is more. So a candidate psi times worse than that past is above it."""
    if promises.tolerable_error_rate is not None:
        return promises
    least = lowest_rate(history.errors, history.requests) if isinstance(history, History) else 0.0
    return replace(promises, tolerable_error_rate=min(max(LEAST_TOLERABLE, promises.psi * least), 0.5))


def lowest_rate(errors: int, requests: int) -> float:
    """The lowest error rate at which so many errors would not be a surprise: n KL(errors/n || rate) = log(1/0.05) (Chernoff)."""
    if errors <= 0 or requests <= 0:
        return 0.0
    seen = min(errors / requests, 1.0)
    low, high = 0.0, seen
    for _ in range(60):
        middle = (low + high) / 2
        rest = (1 - seen) * math.log((1 - seen) / (1 - middle)) if seen < 1 else 0.0
        surprise = requests * (seen * math.log(seen / middle) + rest)
        low, high = (middle, high) if surprise > math.log(1 / _DOUBT) else (low, middle)
    return low


def _tripped(tally: Tally, promises: Promises) -> bool:
    first, beside, enough = tally.first_candidate, tally.first_stable, promises.tripwire_at
    if not enough or first.requests < enough or beside.requests < enough:
        return False
    return first.errors == first.requests and 2 * beside.errors <= beside.requests


def _wrong_split(tally: Tally) -> str:
    most = max(tally.too_many.log, tally.too_few.log)
    if most < math.log(1 / SPLIT_ALPHA):
        return ""
    direction = "more" if tally.too_many.log > tally.too_few.log else "fewer"
    return f"the candidate answers {direction} requests than its {tally.share:.0%}: the two cannot be compared"


def _figures(tally: Tally, promises: Promises) -> dict[str, float]:
    relative, own = tally.errors_for.log, tally.rate_for.log
    # Both are bets against one hypothesis, "psi times worse, and above the tolerable rate": so their mean is one, too.
    errors_for = math.exp(relative)
    if promises.tolerable_error_rate is not None:
        errors_for = (errors_for + math.exp(own)) / 2
    figures = {
        "errors_e_value": math.exp(tally.errors_against.log_without_the_surest),
        "errors_roll_back_at": 1 / promises.alpha_for("errors"),
        "slow_e_value": math.exp(tally.slow_against.log_without_the_surest),
        "slow_roll_back_at": 1 / promises.alpha_for("slow"),
        "errors_promote_e_value": errors_for,
        "relative_e_value": math.exp(relative),
        "own_rate_e_value": math.exp(own),
        "slow_promote_e_value": (math.exp(tally.slow_for.log) + math.exp(tally.slow_rate_for.log)) / 2,
        "promote_at": 1 / promises.beta,
        "split_e_value": math.exp(max(tally.too_many.log, tally.too_few.log)),
        "split_wrong_at": 1 / SPLIT_ALPHA,
    }
    if promises.tolerable_error_rate is not None:
        figures["tolerable_error_rate"] = promises.tolerable_error_rate
    return figures


_GUILT = {"errors": "fails more often than the stable deployment", "slow": "is slow more often than the stable deployment"}


def _merit(tally: Tally, promises: Promises) -> str:
    if tally.rate_for.log > tally.errors_for.log and promises.tolerable_error_rate is not None:
        return f"the candidate fails less often than the tolerable {promises.tolerable_error_rate:.3%} of its requests"
    return f"the candidate is not {promises.psi:g} times worse than the stable deployment"


def _told(tally: Tally) -> str:
    slow = _slow(tally.candidate)
    beside = _slow(tally.stable)
    told = f"it failed {_of(tally.candidate)} requests, the stable deployment {_of(tally.stable)}"
    return f"{told}; slow were {slow} and {beside}" if tally.candidate.slow_at_most or tally.stable.slow_at_most else told


def _of(counts: Counts) -> str:
    return f"{counts.errors} of {counts.requests}"


def _slow(counts: Counts) -> str:
    return str(counts.slow) if counts.slow == counts.slow_at_most else f"{counts.slow} to {counts.slow_at_most}"
