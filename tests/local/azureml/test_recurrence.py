"""When a trigger fires: pure, so every story is told with times of our own; the rules hold for whatever Hypothesis makes up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from azure.ai.ml.constants import TimeZone
from hypothesis import given, settings
from hypothesis import strategies as st

from local.azureml.errors import AzureError
from local.azureml.scheduling.time_zones import WINDOWS_ZONES, zone_of
from local.azureml.scheduling.triggers import Trigger, parse_trigger

CREATED = datetime(2026, 3, 27, 12, 0, 30, tzinfo=UTC)


def cron(expression: str, **more: Any) -> Trigger:
    return parse_trigger({"triggerType": "Cron", "expression": expression, **more}, created=CREATED)


def every(interval: int, frequency: str, pattern: dict[str, Any] | None = None, **more: Any) -> Trigger:
    # The SDK sends an empty pattern when there is none.
    schedule = {"hours": [], "minutes": [], **(pattern or {})}
    trigger = {"triggerType": "Recurrence", "frequency": frequency, "interval": interval, "schedule": schedule, **more}
    return parse_trigger(trigger, created=CREATED)


def first(trigger: Trigger, count: int, after: datetime = CREATED) -> list[str]:
    found = []
    moment: datetime | None = after
    while len(found) < count and (moment := trigger.next_after(moment)) is not None:
        found.append(f"{moment:%m-%d %H:%M:%S}")
    return found


def test_a_cron_expression_fires_at_its_times_in_utc() -> None:
    assert first(cron("30 2 * * 1"), 2) == ["03-30 02:30:00", "04-06 02:30:00"]


def test_a_cron_expressions_days_and_months_are_ignored_as_azure_does() -> None:
    assert first(cron("0 6 13 11 *"), 2) == ["03-28 06:00:00", "03-29 06:00:00"]


def test_a_time_zone_follows_its_clocks_into_summer_time() -> None:
    berlin = {"timeZone": "W. Europe Standard Time"}
    assert first(cron("0 6 * * *", **berlin), 3) == ["03-28 05:00:00", "03-29 04:00:00", "03-30 04:00:00"]
    daily = every(1, "day", {"hours": [6], "minutes": [0]}, **berlin)
    assert first(daily, 3) == ["03-28 05:00:00", "03-29 04:00:00", "03-30 04:00:00"]


def test_a_time_that_the_clocks_skip_is_the_moment_after_the_gap() -> None:
    trigger = cron("30 2 * * *", timeZone="W. Europe Standard Time")
    assert first(trigger, 3) == ["03-28 01:30:00", "03-29 01:00:00", "03-30 00:30:00"]


def test_a_time_that_the_clocks_show_twice_fires_once() -> None:
    trigger = cron("30 2 * * *", timeZone="W. Europe Standard Time")
    assert first(trigger, 2, datetime(2026, 10, 24, 12, tzinfo=UTC)) == ["10-25 00:30:00", "10-26 01:30:00"]


def test_a_recurrence_without_start_and_pattern_begins_with_its_creation() -> None:
    just_before = CREATED - timedelta(microseconds=1)
    assert first(every(2, "hour"), 2, just_before) == ["03-27 12:00:30", "03-27 14:00:30"]
    assert first(every(3, "day"), 2, just_before) == ["03-27 12:00:30", "03-30 12:00:30"]


def test_a_start_in_the_past_gives_the_phase_and_a_start_to_come_the_beginning() -> None:
    assert first(every(7, "minute", startTime="2026-03-27T11:58:00"), 2) == ["03-27 12:05:00", "03-27 12:12:00"]
    assert first(every(1, "day", startTime="2026-05-01 08:00:00"), 2) == ["05-01 08:00:00", "05-02 08:00:00"]


def test_a_start_may_have_an_offset_and_is_else_on_the_clocks_of_the_zone() -> None:
    assert first(every(1, "day", startTime="2026-05-01T08:00:00-04:00"), 1) == ["05-01 12:00:00"]
    assert first(every(1, "day", startTime="2026-05-01T08:00:00", timeZone="Tokyo Standard Time"), 1) == ["04-30 23:00:00"]


def test_a_weekly_pattern_has_all_its_days_and_times_every_second_week() -> None:
    trigger = every(2, "week", {"hours": [8, 20], "minutes": [15], "weekDays": ["Monday", "friday"]})
    assert first(trigger, 5) == ["03-27 20:15:00", "04-06 08:15:00", "04-06 20:15:00", "04-10 08:15:00", "04-10 20:15:00"]


def test_a_month_without_the_day_is_left_out() -> None:
    assert first(every(1, "month", {"hours": [1], "minutes": [0], "monthDays": [31]}), 3) == [
        "03-31 01:00:00", "05-31 01:00:00", "07-31 01:00:00",
    ]  # fmt: skip


def test_a_monthly_pattern_of_week_days_has_every_such_day() -> None:
    trigger = every(1, "month", {"hours": [0], "minutes": [0], "weekDays": ["Wednesday"]})
    assert first(trigger, 3) == ["04-01 00:00:00", "04-08 00:00:00", "04-15 00:00:00"]


def test_nothing_fires_after_the_end_and_a_day_that_never_comes_never_does() -> None:
    assert first(cron("0 0 * * *", endTime="2026-03-29T00:00:00"), 9) == ["03-28 00:00:00", "03-29 00:00:00"]
    never = every(12, "month", {"hours": [0], "minutes": [0], "monthDays": [31]}, startTime="2026-02-01T00:00:00")
    assert never.next_after(CREATED) is None


@pytest.mark.parametrize(
    ("trigger", "named"),
    [
        ({"triggerType": "Cron", "expression": "61 * * * *"}, "61"),
        ({"triggerType": "Cron", "expression": "0 0 * * * *"}, "cron"),
        ({"triggerType": "Cron", "expression": "@daily"}, "@daily"),
        ({"triggerType": "Event"}, "Event"),
        ({"triggerType": "Recurrence", "frequency": "Year", "interval": 1}, "Year"),
        ({"triggerType": "Recurrence", "frequency": "Day", "interval": 0}, "interval"),
        ({"triggerType": "Recurrence", "frequency": "Day", "interval": 1, "schedule": {"hours": [24]}}, "hours"),
        ({"triggerType": "Recurrence", "frequency": "Day", "interval": 1, "schedule": {"weekDays": ["Monday"]}}, "weekDays"),
        ({"triggerType": "Recurrence", "frequency": "Week", "interval": 1, "schedule": {"weekDays": ["Mo"]}}, "Mo"),
        ({"triggerType": "Recurrence", "frequency": "Week", "interval": 1, "schedule": {"monthDays": [1]}}, "monthDays"),
        ({"triggerType": "Cron", "expression": "0 0 * * *", "timeZone": "Europe/Berlin"}, "Europe/Berlin"),
        ({"triggerType": "Cron", "expression": "0 0 * * *", "startTime": "tomorrow"}, "startTime"),
        ({"triggerType": "Cron", "expression": "0 0 * * *", "startTime": "9999-12-31T23:59:59-12:00"}, "9999"),
        (
            {
                "triggerType": "Cron",
                "expression": "0 0 * * *",
                "startTime": "2026-02-01T00:00:00",
                "endTime": "2026-01-01T00:00:00",
            },
            "endTime",
        ),
        (None, "trigger"),
    ],
)
def test_a_trigger_that_makes_no_sense_is_refused_by_name(trigger: Any, named: str) -> None:
    with pytest.raises(AzureError, match=named) as refused:
        parse_trigger(trigger, created=CREATED)
    assert (refused.value.status, refused.value.code) == (400, "ValidationError")


def test_a_pattern_that_azure_gives_no_meaning_is_not_guessed() -> None:
    with pytest.raises(AzureError, match="no pattern of a Hour recurrence") as refused:
        every(1, "hour", {"minutes": [5]})
    assert refused.value.status == 501


def test_every_time_zone_that_the_sdk_names_is_known() -> None:
    assert {zone.value for zone in TimeZone} == set(WINDOWS_ZONES)
    for name in WINDOWS_ZONES:
        assert zone_of(name.upper()) == zone_of(name)


# rules that hold for every trigger

moments = st.datetimes(datetime(2025, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))
zones = st.sampled_from(sorted(WINDOWS_ZONES))
hours = st.lists(st.integers(0, 23), max_size=3)
minutes = st.lists(st.integers(0, 59), max_size=3)


@st.composite
def triggers(draw: st.DrawFn) -> Trigger:
    common = {"timeZone": draw(zones), "startTime": draw(moments).replace(tzinfo=None).isoformat()}
    frequency = draw(st.sampled_from(["Cron", "Minute", "Hour", "Day", "Week", "Month"]))
    if frequency == "Cron":
        return cron(f"{draw(st.integers(0, 59))} {draw(st.integers(0, 23))} * * *", **common)
    if frequency in ("Minute", "Hour"):
        return every(draw(st.integers(1, 100)), frequency, **common)
    pattern: dict[str, Any] = {"hours": draw(hours), "minutes": draw(minutes)}
    if frequency == "Week":
        pattern["weekDays"] = draw(st.lists(st.sampled_from(["Monday", "Tuesday", "Sunday"]), max_size=3))
    if frequency == "Month":
        pattern["monthDays"] = draw(st.lists(st.integers(1, 28), min_size=1, max_size=3))
    return every(draw(st.integers(1, 5)), frequency, pattern, **common)


@settings(max_examples=80, deadline=None)
@given(triggers(), moments)
def test_an_occurrence_is_later_than_asked_not_before_the_start_and_found_from_any_moment_before_it(
    trigger: Trigger, moment: datetime
) -> None:
    found = trigger.next_after(moment)
    assert found is not None
    assert found > moment
    assert found >= trigger.start
    halfway = moment + (found - moment) / 2
    assert trigger.next_after(halfway) == found or halfway == found
    assert trigger.next_after(found - timedelta(microseconds=1)) == found


@settings(max_examples=40, deadline=None)
@given(triggers(), moments)
def test_occurrences_ascend(trigger: Trigger, moment: datetime) -> None:
    found = [moment]
    for _ in range(5):
        following = trigger.next_after(found[-1])
        assert following is not None
        found.append(following)
    assert all(earlier < later for earlier, later in pairwise(found))
