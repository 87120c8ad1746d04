"""Everything at once: seeded stories of uploads, replacements and deletions against the whole stack, with Event Grid at its worst
and kill -9 of host, emulator and Event Grid at moments that nobody chose.

Real here: everything but Azure; the training learns nothing. `make chaos` tells more stories than these.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.stack import Stack
from tests.chaos.plan import plan
from tests.chaos.story import WORST, orphans_of, running_stack, tell

pytestmark = [pytest.mark.chaos, pytest.mark.train_environment, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="module")
def stack(state: Path) -> Iterator[Stack]:
    with running_stack(state) as running:
        yield running
    assert orphans_of(state) == []


def test_nothing_is_lost_and_nothing_doubled_whatever_is_killed(stack: Stack, record_property: pytest.RecordProperty) -> None:
    told = tell(stack, plan(1, changes=200, kills=4, reruns=1, seconds=8.0, chaos=WORST))
    record_property("chaos", str(told))
    assert told.findings == [], str(told)
    assert told.lost_events
    assert told.copies > told.events - told.lost_events
    assert told.versions >= 2
    assert told.jobs >= 2


def test_a_story_is_the_same_whenever_its_seed_is_told() -> None:
    first, again, other = (plan(seed, changes=50, kills=4, reruns=2, seconds=5, chaos=WORST) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert {change.what for change in first.changes} == {"put", "delete"}
    assert {"host", "azureml"} <= {kill.part for kill in first.kills}
