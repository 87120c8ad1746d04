"""Two processes at the same thing in the same moment: each rule that keeps them apart has a test of its own. Faked: the ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ml_core import inbox, operations
from ml_core.errors import Conflict, PermanentError
from ml_core.ingestion import catalogue
from ml_core.ingestion.catalogue import Edit, index_of
from ml_core.ingestion.versions import announce
from ml_core.ports import TrainingJob
from ml_core.reconciling import MODELS
from ml_core.services import Services
from ml_core.training.reconcile import reconcile
from tests.fakes import FakeLedger, FakeWorkspace
from tests.story import Story, first_model_serves

MODEL = "flight-delay"
# Written without a condition, since the last writer is right: tokens of looks (an older one is worked off for nothing), shards
# of a name that nobody else has, and notes of events that say the same.
UNCONDITIONAL = ("looks/", "catalogue/flights/", "events/")


class Interrupted:
    """Passes everything on to a port, and has something else happen first, once, when a call begins."""

    def __init__(self, port: Any, call: str, first: Callable[..., object]) -> None:
        self._port, self._call, self._first, self._happened = port, call, first, False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name != self._call or self._happened:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            if not self._happened:
                self._happened = True
                self._first(*arguments)
            return found(*arguments, **named)

        return call


def a_version_is_there(story: Story) -> None:
    story.upload("incoming/january.csv")
    story.until(
        lambda: f"{MODELS}/{MODEL}.json" not in story.ledger.entries and "data-versions/flights.json" in story.ledger.entries
    )


def causes_of_jobs(story: Story) -> list[str]:
    """What the submitted jobs answer: a request's cause, or the data version that was new."""
    notes = [story.ledger.entries[f"training-jobs/{job}.json"].value for job in story.workspace.submitted]
    return sorted(note["data_version"] if one["cause"] == "data" else one["cause"] for note in notes for one in note["causes"])


def test_a_training_is_written_down_before_it_is_submitted() -> None:
    story = Story()
    a_version_is_there(story)
    known: list[str] = []

    class Asked(FakeWorkspace):
        def submit_training(self, job: TrainingJob) -> None:
            entry = story.ledger.get(f"{MODELS}/{MODEL}.json")
            known.append(entry.value["state"]["running"]["job"] if entry else "nothing")
            super().submit_training(job)

    workspace = Asked(story.clock, data=story.workspace.data)
    reconcile(replace(story.services, workspace=workspace), MODEL)
    assert known == list(workspace.submitted) != []


def test_a_process_that_stands_still_before_it_submits_trains_nothing_that_another_has_trained() -> None:
    """Meanwhile a person asks for a re-run and another process looks: what it submits must not answer the same cause again."""
    story = Story()
    a_version_is_there(story)

    def meanwhile(*_: object) -> None:
        operations.retrain(story.services, MODEL, "the image was patched", "anna")
        reconcile(story.services, MODEL)

    story.evidence.per_minute = 600
    workspace = Interrupted(story.workspace, "submit_training", meanwhile)
    reconcile(replace(story.services, workspace=workspace), MODEL)
    story.rest()
    (version,) = {version for _, version in story.workspace.data}
    assert causes_of_jobs(story) == ["rerun-1", version]
    assert len(story.workspace.submitted) == 2


def test_of_two_looks_at_the_same_time_the_loser_does_not_submit() -> None:
    story = Story()
    a_version_is_there(story)
    ledger = Interrupted(story.ledger, "put", lambda *_: reconcile(story.services, MODEL))
    with pytest.raises(Conflict):
        reconcile(replace(story.services, ledger=ledger), MODEL)
    assert len(story.workspace.submitted) == 1


def test_the_pointer_to_the_newest_version_is_never_set_back() -> None:
    """A look that stood still before it announced an earlier closing goes on after a later one was announced."""
    story = Story()
    first_model_serves(story)
    earlier = index_of(story.ledger, "flights")
    story.evidence.per_minute = 600
    story.upload("incoming/february.csv")
    story.rest()
    newest = story.ledger.entries["data-versions/flights.json"]
    assert newest.value["version"] != earlier.last.version
    assert newest.value["closing"] > earlier.last.number
    for _ in range(2):
        announce(story.services, "flights", earlier)
    assert story.ledger.entries["data-versions/flights.json"] == newest
    submitted = set(story.workspace.submitted)
    story.rest()
    assert set(story.workspace.submitted) == submitted


def test_of_two_changes_of_the_same_catalogue_one_is_made() -> None:
    story = Story()
    story.upload("incoming/january.csv")
    story.rest()
    index, asset = index_of(story.ledger, "flights"), story.services.config.data_assets["flights"]
    one, other = (Edit(story.ledger, index, asset, story.clock()) for _ in range(2))
    one.commit(version="v-one")
    with pytest.raises(Conflict):
        other.commit(version="v-other")
    assert index_of(story.ledger, "flights").version == "v-one"


def test_two_who_ask_for_an_inventory_have_both_asked() -> None:
    story = Story()
    story.upload("incoming/january.csv")
    story.rest()
    asked = index_of(story.ledger, "flights").inventories_asked
    ledger: Any = Interrupted(story.ledger, "put", lambda *_: catalogue.ask_for_inventory(story.ledger, "flights"))
    catalogue.ask_for_inventory(ledger, "flights")
    assert index_of(story.ledger, "flights").inventories_asked == asked + 2


def test_two_who_ask_for_a_rerun_at_the_same_time_get_one_each() -> None:
    story = Story()
    first_model_serves(story)
    numbers: list[int] = []

    def another(*_: object) -> None:
        numbers.append(operations.retrain(story.services, MODEL, "the base image was patched", "ben"))

    services = replace(story.services, ledger=Interrupted(story.ledger, "claim", another))
    numbers.append(operations.retrain(services, MODEL, "the image was patched", "anna"))
    assert sorted(numbers) == [1, 2]


class Conditions(FakeLedger):
    """Remembers what was written without a condition over something that was there."""

    def __init__(self) -> None:
        super().__init__()
        self.unconditional: set[str] = set()

    def overwrite(self, key: str, value: Mapping[str, Any]) -> None:
        self.unconditional.add(key)
        super().overwrite(key, value)


def test_whatever_two_could_write_is_written_under_a_condition() -> None:
    story = Story()
    ledger = Conditions()
    story.ledger = ledger
    story.services = replace(story.services, ledger=ledger)
    first_model_serves(story)
    story.evidence.per_minute = 600
    story.delete("incoming/january.csv")
    operations.retrain(story.services, MODEL, "the image was patched", "anna")
    operations.replay_window(story.services, "flights", story.clock() - timedelta(hours=1), story.clock(), "anna")
    _fails_once(story.services)
    story.rest()
    assert ledger.unconditional, "the story wrote something"
    assert [key for key in sorted(ledger.unconditional) if not key.startswith(UNCONDITIONAL)] == []


def _fails_once(services: Services) -> None:
    number = inbox.put(services, kind="event", identity="1", source="", payload="{}", error="broken", permanent=True)
    with pytest.raises(PermanentError):
        operations.replay(services, number, "anna")
    inbox.discard(services, number, "anna", "not needed")
