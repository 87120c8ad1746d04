"""Past due and not: the rule by itself, and a host that was down when its timer should have fired."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local.host import ncrontab
from local.host.timers import StatusFile, TimerStatus, recover
from tests.local.host.conftest import RunningHost
from tests.waiting import wait_until

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
HOURLY = ncrontab.parse("0 0 * * * *")


def test_a_first_start_records_the_next_occurrence_and_runs_nothing() -> None:
    status, past_due = recover(HOURLY, None, NOON)
    assert (status.last, status.next, past_due) == (None, NOON + timedelta(hours=1), False)


def test_a_missed_occurrence_is_past_due_once_however_many_were_missed() -> None:
    recorded = TimerStatus(NOON - timedelta(hours=6), NOON - timedelta(hours=5), NOON - timedelta(hours=6))
    status, past_due = recover(HOURLY, recorded, NOON + timedelta(minutes=1))
    assert past_due
    assert status == recorded


def test_a_timer_whose_time_has_not_come_is_not_past_due() -> None:
    recorded = TimerStatus(NOON, NOON + timedelta(hours=1), NOON)
    assert recover(HOURLY, recorded, NOON + timedelta(minutes=30)) == (recorded, False)


def test_a_changed_schedule_is_rebased_and_not_past_due() -> None:
    recorded = TimerStatus(NOON - timedelta(hours=6), NOON - timedelta(hours=5), NOON - timedelta(hours=6))
    daily = ncrontab.parse("0 0 3 * * *")
    status, past_due = recover(daily, recorded, NOON)
    assert (status.next, past_due) == (datetime(2026, 11, 22, 3, tzinfo=UTC), False)


def test_a_timer_that_never_ran_is_past_due_from_when_it_was_recorded() -> None:
    recorded = TimerStatus(None, NOON, NOON - timedelta(minutes=10))
    assert recover(HOURLY, recorded, NOON + timedelta(seconds=1))[1]


def test_a_status_file_gives_back_what_was_written(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "timers" / "t.json")
    assert file.read() is None
    for last in (None, NOON):
        status = TimerStatus(last, NOON + timedelta(hours=1), NOON)
        file.write(status)
        assert file.read() == status


def test_a_broken_status_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"Last": 1}')
    assert StatusFile(tmp_path / "t.json").read() is None


def test_a_host_that_was_down_runs_the_timer_once_as_past_due(make_host: Callable[..., RunningHost]) -> None:
    host = make_host()
    host.start()
    path = host.state / "timers" / "tick_yearly.json"
    recorded = json.loads(wait_until(lambda: path.exists() and path.read_text(), what="a timer status"))
    assert recorded["Last"].startswith("0001")
    assert host.child is not None
    host.child.stop()
    assert host.observed("yearly") == []

    path.write_text(
        json.dumps(
            {"Last": "2019-01-01T03:00:00+00:00", "Next": "2020-01-01T03:00:00+00:00", "LastUpdated": "2019-01-01T03:00:01+00:00"}
        )
    )
    host.start()
    [run] = host.wait_for("yearly")
    assert run["past_due"] is True
    assert run["status"]["Next"].startswith("2020-01-01")
    after = wait_until(lambda: (status := json.loads(path.read_text()))["Last"][:4] != "2019" and status, what="a written status")
    assert datetime.fromisoformat(after["Next"]) > datetime.now(UTC)

    host.child.stop()
    host.start()
    host.wait_for("second")
    assert len(host.observed("yearly")) == 1
