"""What becomes of work that fails: tried again, later each time; then a person is asked; then it closes by itself.

Faked: the ports.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ml_core import inbox, operations
from ml_core.errors import Conflict, PermanentError, TemporaryError
from ml_core.looks import last_look
from ml_core.reconciling import MODELS, ROLLOUTS, handle, wake
from ml_core.services import Services
from tests.fakes import Flaky
from tests.faults import Died, Fault, Faults
from tests.inboxes import only_item
from tests.story import CONFIG, Story

KEY = "flight-delay"


@pytest.fixture
def story() -> Story:
    return Story()


class Reconciler:
    """Fails with `error` as long as there is one; counts how often it was asked, and when."""

    def __init__(self, story: Story, error: BaseException | None) -> None:
        self.story, self.error, self.after = story, error, timedelta(minutes=1)
        self.seconds: list[float] = []
        self._began_at = story.clock()

    def __call__(self, _: Services, key: str) -> timedelta | None:
        assert key == KEY
        self.seconds.append((self.story.clock() - self._began_at).total_seconds())
        if self.error is not None:
            raise self.error
        return self.after

    def work_off(self, looks: int = 100) -> None:
        """Let time pass and work off the queue, until it is empty or so many looks were taken."""
        queue = self.story.queue
        while queue.messages and len(self.seconds) < looks:
            received = queue.receive()
            if received is None:
                self.story.clock.moment = min(message[0] for message in queue.messages)
            else:
                handle(self.story.services, *received, self)


def woken(story: Story, error: BaseException | None) -> Reconciler:
    wake(story.services, MODELS, KEY)
    return Reconciler(story, error)


@pytest.mark.parametrize("error", [TemporaryError("the workspace is away"), KeyError("unknown"), RecursionError()])
def test_a_look_that_fails_is_tried_six_times_later_each_time_and_then_a_person_is_asked(story: Story, error: Exception) -> None:
    reconciler = woken(story, error)
    reconciler.work_off()
    assert reconciler.seconds == [0, 10, 30, 70, 150, 310]
    item = only_item(story)
    assert (item.kind, item.key, item.attempts, item.permanent) == ("work", f"models/{KEY}", 6, False)
    assert item.error.startswith(f"{type(error).__name__}: {error}")
    assert item.status == "open"


def test_a_look_that_succeeds_in_between_ends_the_matter(story: Story) -> None:
    reconciler = woken(story, TemporaryError("away"))
    reconciler.work_off(looks=3)
    reconciler.error = None
    reconciler.work_off(looks=5)
    assert reconciler.seconds == [0, 10, 30, 70, 130]
    assert not list(inbox.items(story.ledger))
    assert last_look(story.ledger, MODELS, KEY).attempt == 0
    reconciler.error = TemporaryError("away again")
    reconciler.work_off()
    assert len(reconciler.seconds) == 5 + 6


def test_the_sweep_goes_on_looking_and_the_first_success_closes_the_item(story: Story) -> None:
    reconciler = woken(story, TemporaryError("away"))
    reconciler.work_off()
    for sweep in range(1, 4):
        story.clock.advance(timedelta(minutes=5))
        wake(story.services, MODELS, KEY)
        reconciler.work_off()
        assert (only_item(story).attempts, only_item(story).status) == (6 + sweep, "open")
    reconciler.error, reconciler.after = None, timedelta(0)
    wake(story.services, MODELS, KEY)
    reconciler.work_off(looks=10)
    assert only_item(story).status == "succeeded"
    assert [line.what for line in only_item(story).history] == ["arrived", "succeeded"]
    reconciler.error = TemporaryError("away again")
    reconciler.work_off()
    assert (only_item(story).status, only_item(story).attempts) == ("open", 6 + 3 + 6)


def test_a_success_that_asks_for_no_other_look_ends_the_matter_too(story: Story) -> None:
    reconciler = woken(story, TemporaryError("away"))
    reconciler.work_off()
    handle(story.services, MODELS, f'{{"key": "{KEY}"}}', lambda *_: None)
    assert only_item(story).status == "succeeded"
    assert not story.queue.messages
    assert last_look(story.ledger, MODELS, KEY).attempt == 0


def test_events_that_wake_a_failing_key_are_no_tries_of_it(story: Story) -> None:
    reconciler = woken(story, TemporaryError("away"))
    reconciler.work_off(looks=1)
    for _ in range(50):
        wake(story.services, MODELS, KEY)
    reconciler.work_off(looks=51)
    assert last_look(story.ledger, MODELS, KEY).attempt == 1
    reconciler.work_off()
    assert reconciler.seconds == [0] * 51 + [10, 30, 70, 150, 310]
    assert only_item(story).attempts == 6


def test_a_retry_whose_message_was_lost_is_taken_up_by_the_sweep(story: Story) -> None:
    reconciler = woken(story, TemporaryError("away"))
    reconciler.work_off(looks=1)
    story.queue.messages.clear()
    story.clock.advance(timedelta(minutes=5))
    wake(story.services, MODELS, KEY)
    reconciler.work_off()
    assert reconciler.seconds == [0, 300, 320, 360, 440, 600]


def test_a_lost_race_is_no_failure_and_is_looked_at_again_in_two_seconds_and_ever_later(story: Story) -> None:
    reconciler = woken(story, Conflict("somebody else was first"))
    reconciler.work_off(looks=8)
    assert reconciler.seconds == [0, 2, 6, 14, 30, 62, 122, 182]
    assert last_look(story.ledger, MODELS, KEY).attempt == 0
    reconciler.error = None
    reconciler.work_off(looks=9)
    assert not list(inbox.items(story.ledger))


def test_what_loses_every_race_meets_no_winner_and_ends_with_a_person(story: Story) -> None:
    """Azure answers 409 also to what nobody else is changing: a name that is taken, a version that was archived."""
    reconciler = woken(story, Conflict("Could not create the endpoint: the name is taken."))
    reconciler.work_off()
    item = only_item(story)
    assert (item.permanent, item.attempts, item.error) == (
        False,
        6,
        "Conflict: Could not create the endpoint: the name is taken.",
    )
    assert len(reconciler.seconds) < 60, "and it is not tried every two seconds for ever"
    reconciler.error = None
    wake(story.services, MODELS, KEY)
    reconciler.work_off(looks=len(reconciler.seconds) + 1)
    assert only_item(story).status == "succeeded"


def test_a_mistake_of_the_apps_own_tells_its_place_and_is_logged_with_its_traceback(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    def mistaken(_: Services, key: str) -> timedelta:
        return timedelta(seconds=key)  # type: ignore[arg-type]

    wake(story.services, MODELS, KEY)
    for _ in range(6):
        if (received := story.queue.receive()) is None:
            story.clock.moment = min(message[0] for message in story.queue.messages)
            received = story.queue.receive()
        assert received is not None
        handle(story.services, *received, mistaken)
    assert "unit/test_retries.py:" in only_item(story).error
    assert "in mistaken" in only_item(story).error
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 6
    assert all(record.exc_info and record.exc_info[2] is not None for record in errors), "the traceback"


def test_a_lost_race_among_failures_does_not_end_the_matter(story: Story) -> None:
    reconciler = woken(story, TemporaryError("away"))
    reconciler.work_off(looks=5)
    reconciler.error = Conflict("somebody else was first")
    reconciler.work_off(looks=6)
    reconciler.error = TemporaryError("away")
    reconciler.work_off()
    assert only_item(story).attempts == 6


def test_what_cannot_succeed_goes_to_the_inbox_at_once_and_is_not_tried_again(story: Story) -> None:
    reconciler = woken(story, PermanentError("the container's name is not one"))
    reconciler.work_off()
    assert reconciler.seconds == [0]
    item = only_item(story)
    assert (item.permanent, item.attempts, item.error) == (True, 1, "the container's name is not one")


def test_a_killed_process_leaves_the_message_to_the_host(story: Story) -> None:
    with pytest.raises(KeyboardInterrupt):
        woken(story, KeyboardInterrupt()).work_off()
    assert not story.ledger.entries


@pytest.mark.parametrize("fault", [Fault.DIES_BEFORE, Fault.DIES_AFTER])
@pytest.mark.parametrize("writes_until", range(19))
def test_wherever_the_process_dies_the_key_is_looked_at_again_and_its_item_ends(
    story: Story, writes_until: int, fault: Fault
) -> None:
    faults = Faults(lambda _: None)
    faults.arm(fault, "", writes_until)
    services = faults.beneath(story.services)
    reconciler = woken(story, TemporaryError("away"))
    for _ in range(40):
        reconciler.error = None if len(reconciler.seconds) >= 8 else reconciler.error
        received = story.queue.receive()
        if received is None:
            story.clock.advance(timedelta(minutes=5))
            wake(story.services, MODELS, KEY)  # the sweep
            continue
        try:
            handle(services, *received, reconciler)
        except Died:
            story.queue.enqueue(*received, delay=timedelta(seconds=10))
    assert faults.struck
    assert len(reconciler.seconds) > 10
    assert not [item for item in inbox.items(story.ledger) if item.status == "open"]
    assert last_look(story.ledger, MODELS, KEY).attempt == 0
    assert len(list(inbox.items(story.ledger))) <= 1


@pytest.mark.parametrize("broken", ["get", "overwrite"])
def test_a_failure_that_cannot_be_written_down_goes_back_to_the_host(story: Story, broken: str) -> None:
    services = replace(story.services, ledger=Flaky(story.ledger, {broken: 1}))
    with pytest.raises(TemporaryError, match=broken):
        handle(services, MODELS, f'{{"key": "{KEY}"}}', Reconciler(story, TemporaryError("away")))
    assert not story.queue.messages


def test_a_message_that_the_host_gave_up_on_waits_in_the_inbox_until_a_look_succeeds(story: Story) -> None:
    for _ in range(2):
        operations.keep_poison_message(story.services, MODELS, f'{{"key": "{KEY}", "look": "t"}}')
    item = only_item(story)
    assert (item.kind, item.key, item.permanent, item.attempts) == ("work", f"models/{KEY}", False, 12)
    assert "its log of queue tidegate-models's function says why" in item.error
    wake(story.services, MODELS, KEY)
    Reconciler(story, None).work_off(looks=1)
    assert only_item(story).status == "succeeded"


def test_a_poison_message_does_not_overtake_the_look_that_is_scheduled(story: Story) -> None:
    reconciler = woken(story, None)
    reconciler.work_off(looks=1)
    operations.keep_poison_message(story.services, MODELS, f'{{"key": "{KEY}", "look": "older"}}')
    reconciler.work_off(looks=2)
    assert reconciler.seconds == [0, 60]
    assert only_item(story).status == "succeeded"


@pytest.mark.parametrize("text", ["", "not json", '["key"]', '{"no": "key"}'])
def test_a_poison_message_that_nobody_of_us_wrote_is_kept_as_it_is(story: Story, text: str) -> None:
    operations.keep_poison_message(story.services, ROLLOUTS, text)
    assert (only_item(story).payload, only_item(story).permanent, only_item(story).key) == (text, True, "")


@pytest.mark.parametrize("key", ["long-gone", "../models/flight-delay", ""])
def test_a_poison_message_about_what_is_not_configured_leaves_nothing(story: Story, key: str) -> None:
    operations.keep_poison_message(story.services, MODELS, f'{{"key": "{key}"}}')
    assert not story.ledger.entries


def test_the_state_shows_what_fails_and_how_many_items_wait(story: Story) -> None:
    reconciler = woken(story, TemporaryError("away"))
    reconciler.work_off(looks=2)
    shown = operations.status(story.services)
    at = (story.clock() + timedelta(seconds=20)).isoformat()
    assert shown["models"][KEY]["failing"] == {"attempt": 2, "error": "TemporaryError: away", "at": at}
    assert shown["inbox"] == 0
    reconciler.work_off()
    shown = operations.status(story.services)
    assert (shown["models"][KEY]["failing"]["attempt"], shown["inbox"]) == (6, 1)
    assert shown["data-assets"] == {"flights": None}


def test_a_registration_that_keeps_failing_ends_with_a_person_though_inventories_between_its_tries_succeed() -> None:
    story = Story(CONFIG.replace("window: {quiet_period: 30s}", "window: {quiet_period: 30s}, inventory: 1m"))

    def fails(*_: object) -> None:
        raise TemporaryError("The workspace answers 503.")

    object.__setattr__(story.workspace, "register_data_version", fails)
    story.upload("incoming/january.csv")
    story.until(lambda: bool(list(inbox.items(story.ledger, "open"))))
    item = only_item(story)
    assert (item.key, item.attempts) == ("data-assets/flights", 6)
    assert "503" in item.error
