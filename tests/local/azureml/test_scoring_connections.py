"""A real scoring process and connections that carry no request: the router opens some ahead of need (docs/adr/0005)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from local.azureml.execution.environments import ENVIRONMENTS
from local.azureml.serving import process
from local.azureml.serving.process import ScoringSpec
from local.processes import Child, free_port

SCRIPT = "def init(): pass\ndef run(raw): return {}\n"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def scoring(tmp_path: Path, port: int) -> Iterator[Child]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/score.py").write_text(SCRIPT)
    python = ENVIRONMENTS / "serve/bin/python"
    spec = ScoringSpec("churn", "blue", str(python), str(tmp_path), "score.py", None, {}, 1, 30.0, 64)
    child = process.start(spec, port, tmp_path / "scoring.log", {})
    child.wait_until(lambda: process.healthy(port))
    yield child
    child.stop()


@pytest.mark.skipif(not hasattr(socket, "TCP_DEFER_ACCEPT"), reason="this system cannot defer accepting; nothing is opened ahead")
def test_idle_connections_do_not_occupy_the_only_worker(scoring: Child, port: int) -> None:
    with ExitStack() as idle:
        for _ in range(4):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert process.healthy(port)


def test_the_process_listens_on_this_machine_only(scoring: Child, port: int) -> None:
    with socket.socket() as probe, pytest.raises(OSError, match="in use"):
        probe.bind(("127.0.0.1", port))
    with socket.socket() as other:  # another address of the loopback net: free, unless the process took all interfaces
        other.bind(("127.0.0.2", port))
