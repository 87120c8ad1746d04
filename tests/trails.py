"""How tests read a trail: as a person does."""

from __future__ import annotations

from ml_core.trail.values import Trail
from tests.story import Story


def told(trail: Trail) -> str:
    """The steps as a person reads them, one a line."""
    return "\n".join(f"{step.what}: {step.told}" for step in trail.steps)


def ends(trail: Trail) -> str:
    return "\n".join(trail.ends)


def words(trail: Trail) -> list[str]:
    """The kinds of steps in their order, each kind once in a row."""
    kinds = [step.what for step in trail.steps]
    return [kind for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]


def newest_version(story: Story) -> str:
    return str(story.ledger.entries["data-versions/flights.json"].value["version"])


def newest_job(story: Story) -> str:
    return list(story.workspace.submitted)[-1]
