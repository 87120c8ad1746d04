"""The page that tells of the ledger names every folder that a story writes, and none that is never written. Faked: the ports."""

from __future__ import annotations

import re
from pathlib import Path

from ml_core import inbox, operations
from ml_core.ingestion import record
from ml_core.ports import ModelVersion
from ml_core.rollout import people
from tests.story import ENDPOINT, Story, blob_created, first_model_serves, run_status_changed

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "how-it-works.md"


def told() -> set[str]:
    """The folders in the first column of the table below 'The ledger'."""
    section = PAGE.read_text().split("## The ledger")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    return {name.split("/")[0] for row in rows for name in re.findall("`([^`]+)`", row)}


def test_the_page_tells_of_every_folder_of_the_ledger() -> None:
    story = Story()
    first_model_serves(story)
    story.upload("incoming/not-looked-at-yet.csv")
    operations.retrain(story.services, "flight-delay", "the image was patched", "anna")
    story.workspace.register_model(ModelVersion("flight-delay", "2", {}))
    people.ask(story.services, ENDPOINT, "roll back", "anna", "scores of the night flights are off", "2")
    forged = story.containers.upload("flights", "incoming/forged.csv")
    record.receive(story.services, blob_created(forged).replace("/account.blob", "/another.blob"))
    (item,) = inbox.items(story.ledger)
    inbox.discard(story.services, item.id, "anna", "a test of the platform team")
    record.receive(story.services, "an event that nobody can read, and that waits")
    record.receive(story.services, run_status_changed("train-somebody-elses", "Completed"))
    assert {key.split("/")[0] for key in story.ledger.entries} == told()
