"""What a rollout has to say reaches people at least once, and never holds it. Faked: the ports."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ml_core.documents import to_document
from ml_core.errors import PermanentError, TemporaryError
from ml_core.ports import Notice
from ml_core.reconciling import ROLLOUTS
from ml_core.rollout.telling import tell, told
from tests.fakes import Flaky
from tests.story import ENDPOINT, Story


class Channel:
    """A notifier that fails as it is told to."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.fails: Callable[[Notice], Exception | None] = lambda _: None

    def send(self, notice: Notice) -> None:
        self.tried.append(notice.id)
        if error := self.fails(notice):
            raise error


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def story(channel: Channel) -> Story:
    told = Story()
    object.__setattr__(told.services, "notifier", channel)
    return told


def state_has(story: Story, *ids: str) -> None:
    """The endpoint's state wants these notices told."""
    notices = [to_document(Notice(one, "info", ENDPOINT, f"title of {one}", "text")) for one in ids]
    story.ledger.overwrite(
        f"{ROLLOUTS}/{ENDPOINT}.json", {"state": {"notices": notices}, "answer": {}, "at": "", "decision": None}
    )


def look(story: Story, after: timedelta = timedelta(0)) -> None:
    story.clock.advance(after)
    tell(story.services, ENDPOINT)


def test_each_notice_is_sent_once_in_the_order_in_which_it_arose(story: Story, channel: Channel) -> None:
    state_has(story, "a", "b")
    look(story)
    state_has(story, "a", "b", "c")
    look(story)
    look(story)
    assert channel.tried == ["a", "b", "c"]


def test_an_endpoint_that_has_nothing_to_say_writes_nothing(story: Story, channel: Channel) -> None:
    look(story)
    state_has(story)
    before = dict(story.ledger.entries)
    look(story)
    assert (story.ledger.entries, channel.tried) == (before, [])


def test_a_broken_channel_is_tried_again_with_growing_pauses_until_it_takes_the_notice(story: Story, channel: Channel) -> None:
    channel.fails = lambda _: TemporaryError("the webhook answered 500")
    state_has(story, "a")
    tries = []
    for minute in range(0, 300):
        look(story, timedelta(minutes=1 if minute else 0))
        tries.append(len(channel.tried))
    at = [minute for minute in range(300) if tries[minute] > (tries[minute - 1] if minute else 0)]
    assert at == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]
    channel.fails = lambda _: None
    look(story, timedelta(hours=1))
    look(story, timedelta(hours=1))
    assert len(channel.tried) == len(at) + 1
    assert (list(told(story.services, ENDPOINT).sent), told(story.services, ENDPOINT).failed) == (["a"], {})


def test_while_nobody_answers_only_one_notice_is_tried_at_a_look(story: Story, channel: Channel) -> None:
    channel.fails = lambda _: TemporaryError("no answer")
    state_has(story, "a", "b", "c")
    look(story)
    assert channel.tried == ["a"]


def test_a_new_notice_is_worth_a_try_at_once_and_the_older_ones_go_first(story: Story, channel: Channel) -> None:
    channel.fails = lambda _: TemporaryError("no answer")
    state_has(story, "a", "b")
    for _ in range(5):
        look(story, timedelta(minutes=10))
    channel.fails, channel.tried = lambda _: None, []
    look(story, timedelta(seconds=1))
    assert channel.tried == []  # nothing is due
    state_has(story, "a", "b", "c")
    look(story)
    assert channel.tried == ["a", "b", "c"]


def test_a_notice_that_the_channel_refuses_does_not_keep_the_others_back(story: Story, channel: Channel) -> None:
    channel.fails = lambda notice: PermanentError("the webhook answered 400") if notice.id == "a" else None
    state_has(story, "a", "b")
    look(story)
    assert channel.tried == ["a", "b"]
    found = told(story.services, ENDPOINT)
    assert (list(found.sent), found.failed["a"].error) == (["b"], "the webhook answered 400")


@pytest.mark.parametrize("error", [TemporaryError("no answer"), PermanentError("refused"), ValueError("a mistake of ours")])
def test_whatever_goes_wrong_is_logged_and_never_raised(
    story: Story, channel: Channel, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    channel.fails = lambda _: error
    state_has(story, "a")
    look(story)
    assert str(error) in caplog.text


@pytest.mark.parametrize("call", ["get", "put"])
def test_a_ledger_that_is_away_for_a_moment_costs_at_most_a_second_telling(story: Story, channel: Channel, call: str) -> None:
    state_has(story, "a")
    ledger = story.services.ledger
    object.__setattr__(story.services, "ledger", Flaky(ledger, {call: 1}))
    look(story)
    look(story)
    look(story)
    assert channel.tried == (["a"] if call == "get" else ["a", "a"])


def test_a_process_that_dies_before_it_can_note_what_it_sent_sends_it_once_more(story: Story, channel: Channel) -> None:
    state_has(story, "a")
    put = story.ledger.put

    def dies(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    story.ledger.put = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        look(story)
    story.ledger.put = put  # type: ignore[method-assign]
    look(story)
    look(story)
    assert channel.tried == ["a", "a"]


def test_what_the_state_has_forgotten_is_forgotten_here_too(story: Story, channel: Channel) -> None:
    for number in range(50):
        state_has(story, *(f"n{one}" for one in range(max(0, number - 19), number + 1)))
        look(story)
    assert channel.tried == [f"n{number}" for number in range(50)]
    assert len(told(story.services, ENDPOINT).sent) == 20


def test_a_slow_channel_takes_no_more_than_ten_seconds_of_a_look(story: Story, channel: Channel) -> None:
    def slow(_: Notice) -> None:
        story.clock.advance(timedelta(seconds=4))

    channel.fails = slow
    state_has(story, *"abcdefgh")
    look(story)
    assert channel.tried == ["a", "b", "c"]
    look(story)
    look(story)
    assert channel.tried == list("abcdefgh")
