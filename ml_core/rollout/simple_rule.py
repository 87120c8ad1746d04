"""Is the candidate healthy? The simple rule: requests were seen, and none failed.

A statistical judge will stand here behind the same signature. No data and a failed source count neither for nor against.
"""

from __future__ import annotations

from enum import Enum

from ml_core.ports import Answered, Evidence, SourceFailed


class Verdict(Enum):
    """What the evidence says."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    INCONCLUSIVE = "inconclusive"


def judge(evidence: Evidence | None, min_requests: int) -> tuple[Verdict, str]:
    """A verdict and its reason in plain words."""
    if isinstance(evidence, Answered) and evidence.errors:
        return Verdict.UNHEALTHY, f"{evidence.errors} of {evidence.requests} requests failed"
    if isinstance(evidence, Answered) and evidence.requests >= min_requests:
        return Verdict.HEALTHY, f"{evidence.requests} requests, none failed"
    if isinstance(evidence, Answered):
        refused = f"; {evidence.refused} more were refused, by the caller's fault" if evidence.refused else ""
        return Verdict.INCONCLUSIVE, f"{evidence.requests} requests, and {min_requests} are needed{refused}"
    if isinstance(evidence, SourceFailed):
        return Verdict.INCONCLUSIVE, f"the metrics cannot be read: {evidence.reason}"
    return Verdict.INCONCLUSIVE, f"no request was seen, and {min_requests} are needed"
