"""Deliveries are doubled, late, out of order and lost by a seed, and the same ones in every run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.eventgrid.policy import MOST_COPIES, Chaos
from local.eventgrid.schema import EVENT_GRID, Event
from tests.local.eventgrid.grid_under_test import Receiver, RunningGrid

PAGE = Path(__file__).resolve().parents[3] / "docs/how-to/try-the-worst.md"
CREATED = "Microsoft.Storage.BlobCreated"


def created(number: int) -> Event:
    return Event(EVENT_GRID, {"id": f"e{number}", "eventType": CREATED, "subject": f"/blobs/{number}"})


def plans(chaos: Chaos, numbers: range | list[int]) -> dict[int, tuple[timedelta, ...]]:
    return {number: tuple(chaos.plan("storage", "uploads", created(number))) for number in numbers}


def test_without_a_chance_of_anything_every_event_comes_once_and_at_once() -> None:
    assert set(plans(Chaos(seed=1), range(100)).values()) == {(timedelta(0),)}


@given(st.permutations(range(20)))
def test_the_seed_strikes_the_same_events_in_whatever_order_they_come(order: list[int]) -> None:
    chaos = "seed=3,duplicate=0.4,delay=2,reorder=0.3,drop=0.2"
    assert plans(Chaos.parse(chaos), order) == plans(Chaos.parse(chaos), range(20))


def test_another_seed_another_subscription_and_the_same_event_again_are_drawn_anew() -> None:
    chaos = Chaos(seed=1, delay=10)
    first, again = chaos.plan("storage", "uploads", created(1)), chaos.plan("storage", "uploads", created(1))
    other = chaos.plan("storage", "models", created(1))
    assert len({*first, *again, *other, *chaos.with_seed(2).plan("storage", "uploads", created(1))}) == 4


def test_each_disturbance_strikes_about_as_often_as_it_is_told_to() -> None:
    many = range(4000)
    lost = sum(not plan for plan in plans(Chaos(drop=0.25), many).values())
    doubled = sum(len(plan) > 1 for plan in plans(Chaos(duplicate=0.25), many).values())
    held = sum(plan[0] >= timedelta(seconds=2) for plan in plans(Chaos(reorder=0.25, delay=1), many).values())
    assert all(800 < count < 1200 for count in (lost, doubled, held)), (lost, doubled, held)
    assert max(max(plan) for plan in plans(Chaos(delay=3), many).values()) <= timedelta(seconds=3)
    assert {len(plan) for plan in plans(Chaos(duplicate=1), range(5)).values()} == {MOST_COPIES}


def test_more_loss_changes_nothing_about_the_events_that_still_come() -> None:
    few, many = (plans(Chaos(duplicate=0.5, delay=1, drop=drop), range(200)) for drop in (0.1, 0.6))
    assert all(few[number] == plan for number, plan in many.items() if plan)
    assert sum(map(bool, many.values())) < sum(map(bool, few.values()))


@pytest.mark.parametrize("drop", [0.0, 0.125])
def test_it_is_written_as_it_is_read(drop: float) -> None:
    chaos = Chaos(seed=-4, duplicate=0.3, delay=1.5, reorder=1.0, hold=0.0, drop=drop)
    assert Chaos.parse(str(chaos)) == chaos
    assert Chaos.parse(" seed = 3 , ") == Chaos(seed=3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("duplicate=1.5", "duplicate is 1.5; it is a chance, from 0 to 1"),
        ("drop=nan", "drop is nan"),
        ("delay=-1", "delay is -1; it is a number of seconds"),
        ("hold=inf", "hold is inf"),
        ("seed=x", "seed is 'x'; expected a number"),
        ("loss=0.1", "'loss=0.1' is not known; expected name=number with one of seed, duplicate,"),
        ("_seen=1", "is not known"),
    ],
)
def test_a_mistake_is_told_with_its_name(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Chaos.parse(text)


def test_the_page_tells_every_part_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert {name: float(default) for name, default in rows} == {one.name: one.default for one in fields(Chaos) if one.init}


def test_the_process_refuses_a_mistake_before_it_listens(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local.eventgrid", "--state", str(tmp_path), "--port", "0", "--chaos", "drop=2"]
    # Wide, or the message is broken in the middle.
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 2
    assert "drop is 2; it is a chance" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_running_emulator_loses_doubles_and_reorders_and_says_how_much(
    start_grid: Callable[..., RunningGrid], receiver: Receiver
) -> None:
    disturbed = Chaos(seed=5, duplicate=0.4, delay=20, reorder=0.3, hold=40, drop=0.3)
    grid = start_grid("--chaos", str(disturbed), "--time-scale", "0.01")
    topic = grid.client.create_topic("storage", topic_type="Microsoft.Storage.StorageAccounts", source="/account")
    grid.client.create_subscription("storage", "uploads", endpoint_url=receiver.url)
    expected = {f"e{number}": len(plan) for number, plan in plans(disturbed, range(60)).items()}
    published = [{**created(n).body, "eventTime": "2026-03-01T00:00:00Z", "data": {}, "dataVersion": ""} for n in range(60)]
    grid.client.publish(topic, published)
    grid.client.wait_until_idle(timeout=30)
    came = [event["id"] for event in receiver.events]
    assert {name: came.count(name) for name in expected} == expected
    firsts = sorted(set(came), key=came.index)
    assert firsts != sorted(firsts, key=lambda name: int(name[1:])), "nothing was overtaken"
    counts = grid.client.metrics("storage", "uploads")
    assert (counts.published, counts.matched, counts.delivered) == (60, 60, sum(expected.values()))
    assert counts.lost == list(expected.values()).count(0) > 0
    assert counts.dead_lettered == counts.dropped == 0
