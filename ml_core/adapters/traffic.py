"""What the sources of traffic evidence have in common: whole intervals, whose fault an answer is, sums of counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ml_core.ports import Counts

# The endpoint's answer when the model's container answered anything but 200; the container's own is the model status.
# https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
MODEL_ERROR = 424
# 4xx by name, and yet the deployment's fault: it took too long, or had no room for the request.
_DEPLOYMENT_LIMITS = (408, 429)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Answer = tuple[int, int]
"""The endpoint's status, and the model's own behind a 424: 0 when the request never reached the model, or none is known."""


def whole_intervals(since: datetime, until: datetime, granularity: timedelta) -> list[datetime]:
    """The starts of the intervals that lie wholly within [since, until), on multiples of the granularity since 1970.

    Only whole ones: that in which a step begins holds requests of the step before.
    """
    first, end = -((_EPOCH - since) // granularity), (until - _EPOCH) // granularity
    return [_EPOCH + number * granularity for number in range(first, end)]


def counts_of(answers: Mapping[Answer, int]) -> Counts:
    """Requests, errors and refused ones, from requests by answer; `Counts` says what counts as what. Nothing is said of slow."""
    refused = sum(count for answer, count in answers.items() if callers_fault(answer))
    failed = sum(count for (status, _), count in answers.items() if status >= 400) - refused
    return Counts(sum(answers.values()) - refused, failed, refused)


def callers_fault(answer: Answer) -> bool:
    """Whether an answer says nothing about the deployment: what was asked was wrong."""
    status, of_model = answer
    behind = of_model if status == MODEL_ERROR and of_model else status
    return 400 <= behind < 500 and behind not in (MODEL_ERROR, *_DEPLOYMENT_LIMITS)


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC, with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
