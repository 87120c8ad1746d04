"""When a failed delivery is tried again, and when it is given up: Event Grid's rules as pure functions.

Source: learn.microsoft.com/azure/event-grid/delivery-and-retry. All times are Event Grid's own; the emulator scales them outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

SCHEDULE = tuple(
    timedelta(seconds=seconds) for seconds in (10, 30, 60, 5 * 60, 10 * 60, 30 * 60, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
)
RESPONSE_TIMEOUT = timedelta(seconds=30)
DEAD_LETTER_DELAY = timedelta(minutes=5)
DEAD_LETTER_PATIENCE = timedelta(hours=4)
DEAD_LETTER_RETRY = timedelta(minutes=1)
# Delayed delivery begins after this many failures in a row ("the first 10 events").
# How it grows is not documented: here like SCHEDULE, up to one hour.
PROBATION_AFTER = 10
_PROBATION_STEPS = SCHEDULE[:7]

_DELIVERED = range(200, 205)
_NEVER_RETRIED = (400, 401, 403, 413)
_MINIMUM_WAIT = {404: timedelta(minutes=5), 408: timedelta(minutes=2), 503: timedelta(seconds=30)}
_OUTCOME_NAMES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    408: "TimedOut",
    413: "PayloadTooLarge",
    429: "Busy",
    503: "Busy",
}


@dataclass(frozen=True)
class RetryPolicy:
    """A subscription's `retryPolicy`."""

    max_attempts: int = 30
    time_to_live: timedelta = timedelta(minutes=1440)


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended: Event Grid's word (`lastDeliveryOutcome`) and the HTTP status, if there was an answer."""

    name: str
    status: int | None = None

    @classmethod
    def of_status(cls, status: int) -> Outcome:
        return cls("Delivered" if status in _DELIVERED else _OUTCOME_NAMES.get(status, "GenericError"), status)

    @property
    def delivered(self) -> bool:
        return self.status in _DELIVERED

    @property
    def permanent(self) -> bool:
        """True for the answers that Event Grid takes as final."""
        return self.status in _NEVER_RETRIED


@dataclass(frozen=True)
class Retry:
    """Try again after this wait."""

    after: timedelta


@dataclass(frozen=True)
class GiveUp:
    """Dead-letter (or drop) it: `reason` is the deadLetterReason, `after` the wait before the blob is written."""

    reason: str
    after: timedelta


def after_failure(outcome: Outcome, attempts: int, policy: RetryPolicy, jitter: float = 0.0) -> Retry | GiveUp:
    """Decide about an event whose `attempts`-th attempt failed. `jitter`: what is added to the wait, as a fraction of it."""
    if outcome.permanent:
        return GiveUp("UndeliverableDueToClientError", timedelta(0))
    if attempts >= policy.max_attempts:
        return GiveUp("MaxDeliveryAttemptsExceeded", DEAD_LETTER_DELAY)
    step = SCHEDULE[min(attempts, len(SCHEDULE)) - 1]
    return Retry(max(step, _MINIMUM_WAIT.get(outcome.status or 0, SCHEDULE[0])) * (1 + jitter))


def expired(age: timedelta, policy: RetryPolicy) -> GiveUp | None:
    """Asked only when an attempt is due, as Event Grid does: an event can outlive its time by one wait."""
    return GiveUp("TimeToLiveExceeded", DEAD_LETTER_DELAY) if age >= policy.time_to_live else None


def probation(failures_in_a_row: int) -> timedelta | None:
    """How long all deliveries to an endpoint wait after so many failures in a row; None while it counts as healthy."""
    if failures_in_a_row < PROBATION_AFTER:
        return None
    return _PROBATION_STEPS[min(failures_in_a_row - PROBATION_AFTER, len(_PROBATION_STEPS) - 1)]
