"""Event Grid's retry rules as pure functions: the documented schedule, to the second."""

from __future__ import annotations

from datetime import timedelta

import pytest

from local.eventgrid.retry import (
    DEAD_LETTER_DELAY,
    GiveUp,
    Outcome,
    Retry,
    RetryPolicy,
    after_failure,
    expired,
    probation,
)

POLICY = RetryPolicy()
HOUR = 3600


def test_the_schedule_is_the_documented_one_and_stays_at_twelve_hours() -> None:
    waits = [after_failure(Outcome.of_status(500), attempt, POLICY) for attempt in range(1, 13)]
    seconds = [10, 30, 60, 300, 600, 1800, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 12 * HOUR, 12 * HOUR]
    assert waits == [Retry(timedelta(seconds=value)) for value in seconds]


@pytest.mark.parametrize(("status", "seconds"), [(404, 300), (408, 120), (503, 30), (500, 10), (302, 10), (206, 10)])
def test_some_answers_have_a_minimum_wait(status: int, seconds: int) -> None:
    assert after_failure(Outcome.of_status(status), 1, POLICY) == Retry(timedelta(seconds=seconds))


def test_a_minimum_wait_does_not_shorten_the_schedule() -> None:
    assert after_failure(Outcome.of_status(404), 6, POLICY) == Retry(timedelta(minutes=30))


@pytest.mark.parametrize("status", [400, 401, 403, 413])
def test_final_answers_are_dead_lettered_at_once(status: int) -> None:
    verdict = after_failure(Outcome.of_status(status), 1, POLICY)
    assert isinstance(verdict, GiveUp)
    assert verdict.after == timedelta(0)


@pytest.mark.parametrize(("status", "delivered"), [(199, False), (200, True), (204, True), (205, False), (301, False)])
def test_only_200_to_204_acknowledge(status: int, delivered: bool) -> None:
    assert Outcome.of_status(status).delivered is delivered


def test_the_last_attempt_gives_up() -> None:
    policy = RetryPolicy(max_attempts=3)
    assert isinstance(after_failure(Outcome("TimedOut"), 2, policy), Retry)
    assert after_failure(Outcome("TimedOut"), 3, policy) == GiveUp("MaxDeliveryAttemptsExceeded", DEAD_LETTER_DELAY)


def test_an_event_expires_with_its_time_to_live() -> None:
    policy = RetryPolicy(time_to_live=timedelta(minutes=5))
    assert expired(timedelta(minutes=4, seconds=59), policy) is None
    assert expired(timedelta(minutes=5), policy) == GiveUp("TimeToLiveExceeded", DEAD_LETTER_DELAY)


def test_jitter_lengthens_a_wait_by_its_fraction() -> None:
    assert after_failure(Outcome("TimedOut"), 1, POLICY, jitter=0.1) == Retry(timedelta(seconds=11))


def test_probation_begins_with_the_tenth_failure_in_a_row_and_grows_to_an_hour() -> None:
    assert probation(9) is None
    assert probation(10) == timedelta(seconds=10)
    assert probation(11) == timedelta(seconds=30)
    assert probation(500) == timedelta(hours=1)
