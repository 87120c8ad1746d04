"""What tests put into the inbox, and what they read there and in the audit."""

from __future__ import annotations

from typing import Any

from ml_core import audit, inbox
from ml_core.inbox import Item
from tests.story import Story


def put(story: Story, identity: str = "one", **changes: Any) -> str:
    item: dict[str, Any] = {"kind": "event", "source": "a test", "payload": "{}", "error": "it is broken", "permanent": True}
    return inbox.put(story.services, identity=identity, **{**item, **changes})


def only_item(story: Story) -> Item:
    """The one item of the inbox."""
    (item,) = inbox.items(story.ledger)
    return item


def notes(story: Story) -> list[tuple[str, str, str, str]]:
    """What people have done: by whom, what, to what, why."""
    return [
        (note["by"], note["what"], note["subject"], note["reason"])
        for note in (entry.value for entry in audit.entries(story.ledger))
    ]
