"""Messages of one key that a process works off at the same time: one looks, the others come again; how often one looks.

Faked: the ports.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest

from ml_core.errors import Conflict
from ml_core.reconciling import DATA_ASSETS, MODELS, handle
from ml_core.services import Services
from tests.story import Story

MESSAGE = json.dumps({"key": "flights"})
AFTER_A_CONFLICT = timedelta(seconds=2)


@pytest.fixture
def story() -> Story:
    return Story()


@contextmanager
def look_under_way(story: Story, look_again_in: timedelta | None) -> Iterator[None]:
    """A look at the data asset that has begun, and ends with the block."""
    begun, may_end = threading.Event(), threading.Event()

    def reconcile(_: Services, __: str) -> timedelta | None:
        begun.set()
        assert may_end.wait(timeout=30)
        return look_again_in

    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(handle, story.services, DATA_ASSETS, MESSAGE, reconcile)
        assert begun.wait(timeout=30)
        try:
            yield
        finally:
            may_end.set()
        looking.result()


def never(_: Services, key: str) -> timedelta | None:
    raise AssertionError(f"{key} must not be looked at")


def test_a_second_look_at_a_key_comes_again_when_the_first_is_over(story: Story) -> None:
    with look_under_way(story, None):
        handle(story.services, DATA_ASSETS, MESSAGE, never)
    ((at, kind, message),) = story.queue.messages
    # It has lost no race: however long the other look takes, that counts as no failure.
    assert (at, kind, json.loads(message)) == (story.clock() + AFTER_A_CONFLICT, DATA_ASSETS, {"key": "flights", "lost": 0})
    looked = list[str]()
    story.clock.advance(AFTER_A_CONFLICT)
    handle(story.services, DATA_ASSETS, MESSAGE, lambda _, key: looked.append(key))
    assert looked == ["flights"]


def test_other_keys_other_kinds_and_other_services_are_looked_at_meanwhile(story: Story) -> None:
    looked = list[str]()
    with look_under_way(story, None):
        handle(story.services, DATA_ASSETS, json.dumps({"key": "loans"}), lambda _, key: looked.append(key))
        handle(story.services, MODELS, MESSAGE, lambda _, key: looked.append(key))
        handle(Story().services, DATA_ASSETS, MESSAGE, lambda _, key: looked.append(key))
    assert looked == ["loans", "flights", "flights"]


@pytest.mark.parametrize("ours", [True, False])
def test_what_a_loser_has_to_tell_is_not_overtaken_by_the_winners_own_next_look(story: Story, ours: bool) -> None:
    def lose(_: Services, __: str) -> timedelta | None:
        raise Conflict("another process was first")

    if ours:
        with look_under_way(story, timedelta(hours=1)):
            handle(story.services, DATA_ASSETS, MESSAGE, never)
    else:
        handle(story.services, DATA_ASSETS, MESSAGE, lose)
        handle(story.services, DATA_ASSETS, MESSAGE, lambda *_: timedelta(hours=1))
    story.clock.advance(AFTER_A_CONFLICT)
    received, looked = story.queue.receive(), list[str]()
    assert received is not None
    handle(story.services, DATA_ASSETS, received[1], lambda _, key: looked.append(key))
    assert looked == ["flights"]


def test_a_look_that_dies_leaves_the_key_free(story: Story) -> None:
    def die(_: Services, __: str) -> timedelta | None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        handle(story.services, DATA_ASSETS, MESSAGE, die)
    looked = list[str]()
    handle(story.services, DATA_ASSETS, MESSAGE, lambda _, key: looked.append(key))
    assert looked == ["flights"]


def test_looks_that_follow_at_once_are_made_by_one_message_and_after_eight_others_have_their_turn(story: Story) -> None:
    looked: list[str] = []

    def never_done(_: object, key: str) -> timedelta:
        looked.append(key)
        return timedelta(0)

    handle(story.services, MODELS, '{"key": "flight-delay"}', never_done)
    assert len(looked) == 8
    assert len(story.queue.messages) == 1


def test_looks_that_take_long_go_through_the_queue_one_by_one(story: Story) -> None:
    looked: list[str] = []

    def slow(_: object, key: str) -> timedelta:
        looked.append(key)
        story.clock.advance(timedelta(minutes=3))
        return timedelta(0)

    handle(story.services, MODELS, '{"key": "flight-delay"}', slow)
    assert len(looked) == 1
    assert len(story.queue.messages) == 1
