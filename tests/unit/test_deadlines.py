"""When people are told that something takes too long, and in which times nothing is promoted. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_core import config
from ml_core.errors import ConfigError
from ml_core.rollout.deadlines import Alert, AlertKind, Deadlines, due, due_at
from ml_core.rollout.freeze import FreezeWindow, frozen, windows
from tests.story import CONFIG

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPANS = st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=3650))
DEADLINES = st.builds(Deadlines, *[SPANS] * 9)
KINDS = st.sampled_from(get_args(AlertKind))


def raised_after(kind: AlertKind, deadlines: Deadlines, times: int) -> list[timedelta]:
    """How long after the situation's beginning its first alerts are raised, should somebody look at every moment."""
    alerts: dict[str, Alert] = {}
    told = []
    for _ in range(times):
        moment = due_at(kind, NOON, alerts, deadlines)
        assert due(kind, NOON, alerts, deadlines, moment - timedelta(microseconds=1)) is None
        raised = due(kind, NOON, alerts, deadlines, moment)
        assert raised is not None
        alerts[kind] = raised
        told.append(raised.last_at - NOON)
    assert alerts[kind].times == times
    return told


def test_an_alert_is_repeated_with_growing_pauses_up_to_the_longest() -> None:
    deadlines = Deadlines(no_traffic=timedelta(minutes=30), repeat=timedelta(hours=1), longest_repeat=timedelta(hours=5))
    hours = [after / timedelta(hours=1) for after in raised_after("no traffic", deadlines, 6)]
    assert hours == [0.5, 1.5, 3.5, 7.5, 12.5, 17.5]


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("provisioning", timedelta(minutes=45)),
        ("at zero", timedelta(hours=2)),
        ("no traffic", timedelta(minutes=30)),
        ("source failed", timedelta(minutes=15)),
        ("no verdict", timedelta(hours=6)),
        ("paused", timedelta(hours=4)),
        ("approval", timedelta(hours=4)),
        ("conflict", timedelta(hours=1)),
    ],
)
def test_each_situation_has_a_deadline_of_its_own(kind: AlertKind, first: timedelta) -> None:
    assert raised_after(kind, Deadlines(), 1) == [first]


def test_an_alert_of_an_earlier_situation_does_not_keep_a_later_one_quiet() -> None:
    alerts = {"paused": Alert(9, NOON - timedelta(minutes=1))}
    assert due("paused", NOON, alerts, Deadlines(), NOON + timedelta(hours=4)) == Alert(1, NOON + timedelta(hours=4))


def test_one_kind_of_alert_says_nothing_about_another() -> None:
    alerts = {"no traffic": Alert(1, NOON + timedelta(hours=2))}
    assert due("at zero", NOON, alerts, Deadlines(), NOON + timedelta(hours=2)) == Alert(1, NOON + timedelta(hours=2))


@given(DEADLINES, KINDS, st.integers(1, 10_000))
def test_however_often_it_was_raised_it_comes_again_within_the_longest_pause(d: Deadlines, kind: AlertKind, times: int) -> None:
    raised = Alert(times, NOON)
    again = due_at(kind, NOON, {kind: raised}, d)
    assert min(d.repeat, d.longest_repeat) <= again - NOON <= d.longest_repeat
    assert due(kind, NOON, {kind: raised}, d, again) == Alert(times + 1, again)


# ---- freeze windows -----------------------------------------------------------------------------------------------------


def test_a_freeze_window_holds_from_its_beginning_until_just_before_its_end() -> None:
    window = FreezeWindow(NOON, NOON + timedelta(hours=1), "year's end")
    assert frozen((window,), NOON - timedelta(seconds=1)) is None
    assert frozen((window,), NOON) == window
    assert frozen((window,), NOON + timedelta(hours=1)) is None


def test_of_several_freeze_windows_the_one_that_ends_last_is_told() -> None:
    short = FreezeWindow(NOON, NOON + timedelta(hours=1), "a release of the core system")
    long = FreezeWindow(NOON - timedelta(days=1), NOON + timedelta(days=1), "year's end")
    assert frozen((long, short), NOON) == frozen((short, long), NOON) == long


def parsed(text: str) -> Callable[[datetime], tuple[FreezeWindow, ...]]:
    found = config.parse(CONFIG + text)
    return lambda now: windows(found, now)


WEEKEND = 'freeze_weekly: [{starts: "Fri 16:00", ends: "Mon 07:00", time_zone: Europe/Berlin, reason: weekend}]\n'


@pytest.mark.parametrize(
    ("at", "held"),
    [
        ("2026-06-05T13:59+00:00", False),  # Friday, 15:59 in Berlin
        ("2026-06-05T14:00+00:00", True),
        ("2026-06-07T00:00+00:00", True),
        ("2026-06-08T04:59+00:00", True),  # Monday, 06:59 in Berlin
        ("2026-06-08T05:00+00:00", False),
        # The weekend on which summer time ends: it begins by the one offset and ends by the other.
        ("2026-10-23T13:59+00:00", False),
        ("2026-10-23T14:00+00:00", True),
        ("2026-10-26T05:59+00:00", True),
        ("2026-10-26T06:00+00:00", False),
        # Over the end of the year.
        ("2027-01-03T23:00+00:00", True),
    ],
)
def test_a_weekly_freeze_follows_the_clock_of_its_place(at: str, held: bool) -> None:
    now = datetime.fromisoformat(at)
    assert (frozen(parsed(WEEKEND)(now), now) is not None) is held


def test_every_weekend_of_a_year_is_frozen_for_63_hours_but_for_the_two_on_which_the_clocks_change() -> None:
    calendar = parsed(WEEKEND)
    monday = datetime(2026, 1, 5, 12, tzinfo=UTC)
    weekends = {calendar(monday + timedelta(weeks=week))[0] for week in range(52)}
    lengths = sorted((window.ends_at - window.starts_at) / timedelta(hours=1) for window in weekends)
    assert lengths == [62.0, *[63.0] * 50, 64.0]


def test_a_dated_freeze_is_read_with_its_offset_and_forgotten_when_it_is_over() -> None:
    calendar = parsed("freeze: [{starts_at: 2026-12-23T18:00:00+01:00, ends_at: '2027-01-04T06:00:00Z', reason: year's end}]\n")
    expected = FreezeWindow(datetime(2026, 12, 23, 17, tzinfo=UTC), datetime(2027, 1, 4, 6, tzinfo=UTC), "year's end")
    assert calendar(NOON) == (expected,)
    assert calendar(datetime(2027, 1, 4, 6, tzinfo=UTC)) == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("freeze: [{starts_at: 2026-12-23T18:00:00, ends_at: 2026-12-24T18:00:00Z, reason: x}]", "with its offset"),
        ("freeze: [{starts_at: 9999-12-31T23:59:00-05:00, ends_at: 2026-12-24T18:00:00Z, reason: x}]", "with its offset"),
        ("freeze: [{starts_at: soon, ends_at: 2026-12-24T18:00:00Z, reason: x}]", "found 'soon'"),
        ("freeze: [{starts_at: 2026-12-24T18:00:00Z, ends_at: 2026-12-24T18:00:00Z, reason: x}]", "after its beginning"),
        ('freeze_weekly: [{starts: "Fri 24:00", ends: "Mon 07:00", reason: x}]', "00:00 to 23:59"),
        ('freeze_weekly: [{starts: "friday 4pm", ends: "Mon 07:00", reason: x}]', "a day and a time"),
        ('freeze_weekly: [{starts: "Fri 16:00", ends: "Fri 16:00", reason: x}]', "another time than its beginning"),
        ('freeze_weekly: [{starts: "Fri 16:00", ends: "Mon 07:00", time_zone: ../etc, reason: x}]', "Europe/Berlin, or UTC"),
        ('freeze_weekly: [{starts: "Fri 16:00", ends: "Mon 07:00", time_zone: Mars/Base, reason: x}]', "Europe/Berlin, or UTC"),
    ],
)
def test_a_freeze_that_cannot_be_meant_is_refused_with_its_line(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        config.parse(f"{CONFIG}{text}\n")
    assert f"tidegate.yaml:{len(CONFIG.splitlines()) + 1}: freeze" in str(refused.value)


def test_people_cannot_be_told_again_less_often_than_at_the_longest() -> None:
    text = CONFIG.replace("rollout: {", "rollout: {deadlines: {repeat: 2d}, ")
    with pytest.raises(ConfigError, match=r"deadlines\.repeat: found '2 days, 0:00:00', expected at most longest_repeat"):
        config.parse(text)
