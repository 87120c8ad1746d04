"""Stories of one data asset, without what is trained on it, and what its documents say."""

from __future__ import annotations

import json
from typing import Any

from ml_core.ingestion.catalogue import index_of
from tests.story import CONFIG, Story

WINDOW = "window: {quiet_period: 30s}"


def story_of(window: str = WINDOW, more: str = "") -> Story:
    """A story whose window is another; `more` are further keys of the data asset."""
    asset = CONFIG.replace(WINDOW + "}", window + (f", {more}" if more else "") + "}")
    # What is trained on the versions is another story.
    return Story(asset.split("models:")[0])


def versions(story: Story) -> list[dict[str, Any]]:
    """The manifests of all versions, oldest first."""
    return [json.loads(files["manifest.json"]) for files in story.workspace.data.values()]


def files(manifest: dict[str, Any]) -> set[str]:
    return {blob["url"].rsplit("incoming/", 1)[1] for blob in manifest["blobs"]}


def newest(story: Story) -> dict[str, Any]:
    """The document of the newest version."""
    return dict(story.ledger.entries["data-versions/flights.json"].value)


def windows(story: Story) -> list[dict[str, Any]]:
    return [entry.value for entry in story.ledger.list("windows/flights/")]


def outcomes(window: dict[str, Any]) -> list[tuple[str, str]]:
    """What the window has noted, as (file, outcome)."""
    notes = [note for bundle in window["receipts"].values() for note in bundle]
    return sorted((note["path"].removeprefix("incoming/"), note["outcome"]) for note in notes)


def settled(story: Story) -> bool:
    """Whether nothing is left over: no bundle, no open window, no shard that the index does not name."""
    index = index_of(story.ledger, "flights")
    shards = {shard.document for shard in index.shards.values()}
    return (
        not list(story.ledger.keys("arrivals/")) and not index.windows and shards == set(story.ledger.keys("catalogue/flights/"))
    )
