"""The emulator here is the real process and subscribers are real HTTP servers.

Only time is not real: a scale shortens every wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.local.eventgrid.grid_under_test import Receiver, RunningGrid


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def start_grid(tmp_path: Path) -> Iterator[Callable[..., RunningGrid]]:
    """Starts an emulator on this test's state folder; stops all of them at the end."""
    running: list[RunningGrid] = []

    def start(*options: str) -> RunningGrid:
        running.append(RunningGrid(tmp_path / "eventgrid", *options))
        return running[-1]

    yield start
    for grid in running:
        grid.stop()


@pytest.fixture(scope="session")
def shared_grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGrid]:
    """One emulator for all tests that do not kill it: 10 s of Event Grid's waits pass in 10 ms."""
    grid = RunningGrid(tmp_path_factory.mktemp("eventgrid"), "--time-scale", "0.001", "--seed", "1", "--timeout", "2")
    yield grid
    grid.stop()


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return f"t{abs(hash(request.node.nodeid)):x}"[:40]
