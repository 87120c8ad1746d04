"""Asking why stays cheap in a ledger of years, and tells nothing of what belongs to another. Faked: the ports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ml_core import inbox
from ml_core.chain import decisions, months
from ml_core.reconciling import MODELS
from ml_core.trail import events
from ml_core.trail.ask import why
from ml_core.trail.values import NothingKnown
from tests.fakes import FakeLedger
from tests.story import Story, first_model_serves
from tests.trails import told


class Listed(FakeLedger):
    """Remembers which keys were listed, and how many documents were read."""

    def __init__(self, of: FakeLedger) -> None:
        super().__init__()
        self.entries = of.entries
        self.listed: list[str] = []

    def keys(self, prefix: str) -> Iterator[str]:
        for key in super().keys(prefix):
            self.listed.append(key)
            yield key


def test_the_months_of_a_span_are_told_over_the_end_of_a_year() -> None:
    since, until = datetime(2025, 11, 30, 23, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    assert list(months(since, until)) == ["202511", "202512", "202601", "202602"]
    assert list(months(until, until)) == ["202602"]


def test_decisions_of_the_years_before_are_not_even_listed() -> None:
    story = Story()
    first_model_serves(story)
    now, since = story.clock(), story.clock() - timedelta(hours=1)
    of_now = [entry.key for entry in decisions(story.ledger, MODELS, "flight-delay", since, now)]
    assert len(of_now) > 1
    for year in range(2000, 2026):
        story.ledger.overwrite(f"decisions/models/flight-delay/{year}0101T000000.000000Z-0.json", {"follows": None})
    ledger = Listed(story.ledger)
    again = [entry.key for entry in decisions(ledger, MODELS, "flight-delay", since, now)]
    assert again == of_now
    assert not [key for key in ledger.listed if "/20260301" not in key]


@pytest.mark.parametrize("days", [0, 40, 500])
def test_an_event_is_found_in_its_window_however_long_ago_that_was(days: int) -> None:
    story = Story()
    blob = story.upload("incoming/january.csv")
    story.rest()
    story.clock.advance(timedelta(days=days))
    assert "january.csv was created" in told(why(story.services, f"creation-of-{blob.etag}"))


def test_a_text_that_stands_in_many_payloads_is_no_events_id() -> None:
    story = Story()
    inbox.put(
        story.services, kind="event", identity="1", source="", payload='{"id": "e-1", "data": {}}', error="broken", permanent=True
    )
    assert why(story.services, "e-1").steps
    for text in ("e", "id", "data", "e-"):
        with pytest.raises(NothingKnown):
            why(story.services, text)


def test_what_waits_is_found_among_any_number_of_closed_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ITEMS_SEARCHED", 5)
    story = Story()
    for number in range(20):
        payload = f'{{"id": "closed-{number}"}}'
        item = inbox.put(
            story.services, kind="event", identity=payload, source="", payload=payload, error="broken", permanent=True
        )
        inbox.discard(story.services, item, "anna", "not needed")
    for number in range(5):
        payload = f'{{"id": "waits-{number}"}}'
        inbox.put(story.services, kind="event", identity=payload, source="", payload=payload, error="broken", permanent=True)
    for number in range(5):
        assert "it lies in the inbox" in "".join(why(story.services, f"waits-{number}").ends)
    searched = [number for number in range(20) if events.event_told(story.services, f"closed-{number}").steps]
    assert 0 < len(searched) <= 5
    assert "only 5 were searched" in "".join(events.event_told(story.services, "closed-0").ends)
