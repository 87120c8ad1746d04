"""NCRONTAB against croniter where the two agree, and by hand where they do not (croniter is no NCrontab)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from local.host import ncrontab

START = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """`*`, a value, an ascending range, each with or without a step, and lists of them: where both parsers mean the same."""
    value = st.integers(low, high)
    span = (
        st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}").filter(lambda text: len(set(text.split("-"))) == 2)
    )
    steps = st.integers(1, high - low)
    stepped = st.one_of(steps.map(lambda step: f"*/{step}"), st.tuples(span, steps).map(lambda pair: f"{pair[0]}/{pair[1]}"))
    part = st.one_of(value.map(str), span, stepped)
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


# Days up to 28: a day that no month has makes croniter search for minutes.
expressions = st.tuples(field(0, 59), field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)).map(" ".join)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1)).map(lambda moment: moment.replace(microsecond=0, tzinfo=UTC))


@settings(max_examples=300, deadline=None)
@given(expressions, moments)
def test_the_next_three_occurrences_are_those_of_croniter(expression: str, moment: datetime) -> None:
    oracle = croniter(expression, moment, second_at_beginning=True, day_or=False, max_years_between_matches=60)
    schedule = ncrontab.parse(expression)
    for _ in range(3):
        moment = schedule.next_after(moment)
        assert moment == oracle.get_next(datetime)


@settings(max_examples=100, deadline=None)
@given(expressions, moments)
def test_five_fields_mean_second_zero(expression: str, moment: datetime) -> None:
    five = expression.split(" ", 1)[1]
    assert ncrontab.parse(five).next_after(moment) == ncrontab.parse(f"0 {five}").next_after(moment)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 9 13 * 5", "2027-08-13T09:00:00"),  # day AND weekday: Friday the 13th
        ("0 0 17-9 * * *", "2026-11-21T11:00:00"),  # a backward range is swapped: 9-17
        ("0 0 0 * * Sat-Sun", "2026-11-22T00:00:00"),  # swapped to 0-6: every day
        ("0 0 0 1 January *", "2027-01-01T00:00:00"),
        ("0 0 0 * * Sunday", "2026-11-22T00:00:00"),
        ("0 0 0 * Jan,Febru MON", "2027-01-04T00:00:00"),
        ("*/5 * * * *", "2026-11-21T10:05:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 5/20 * * * *", "2026-11-21T10:05:00"),
        ("30 59 23 31 12 *", "2026-12-31T23:59:30"),
    ],
)
def test_rules_that_are_ncrontabs_own(expression: str, expected: str) -> None:
    assert ncrontab.parse(expression).next_after(START).isoformat() == f"{expected}+00:00"


@pytest.mark.parametrize(
    "expression",
    [
        "", "* * * *", "* * * * * * *", "00:05:00", "@hourly", "0 0 0 * * 7", "0 0 0 L * *", "0 0 0 * * 1#1", "0 0 0 ? * *",
        "60 * * * * *", "0 60 * * * *", "0 0 24 * * *", "0 0 0 0 * *", "0 0 0 32 * *", "0 0 0 1 13 *", "0 0 0 30 2 *",
        "0 0 0 1 Ja *", "0 0 0 1 Janx *", "*/0 * * * * *", "1- * * * * *", "-1 * * * * *", "1,, * * * * *", "a * * * * *",
        "² * * * * *",
    ],
)  # fmt: skip
def test_what_the_net_host_refuses_is_refused(expression: str) -> None:
    with pytest.raises(ncrontab.InvalidSchedule, match="schedule"):
        ncrontab.parse(expression)


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(ncrontab.InvalidSchedule, match=r"field hour has '25': must lie in 0-23"):
        ncrontab.parse("0 0 25 * * *")


def test_an_occurrence_is_strictly_later_than_the_moment() -> None:
    every_minute = ncrontab.parse("0 * * * * *")
    assert every_minute.next_after(START) == START + timedelta(minutes=1)
    assert every_minute.next_after(START - timedelta(microseconds=1)) == START


def test_times_of_other_zones_are_taken_as_the_same_moment() -> None:
    there = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert ncrontab.parse("0 0 12 * * *").next_after(there) == START.replace(hour=12)
