"""Queue messages survive the host: kill -9, leases, batches larger than the host's room."""

from __future__ import annotations

import json
import os
import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from local.processes import ChildFailed, free_port
from tests.local.host.conftest import APPS, RunningHost
from tests.waiting import wait_until


def test_a_message_whose_host_was_killed_comes_back_to_the_next_host(make_host: Callable[..., RunningHost]) -> None:
    host = make_host(APPS / "every_trigger", "--lease", "2").start()
    gate = host.folder / "gate"
    host.queue("WORK_QUEUE").send_message(json.dumps({"id": 1, "wait_for": str(gate)}))
    host.wait_for("work", id=1)
    assert host.child is not None
    killed = host.child.pid
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: host.child is not None and host.child.poll() is not None)
    gate.touch()
    host.start()
    [done] = host.wait_for("work done", id=1)
    assert done["pid"] != killed
    assert [line["dequeue_count"] for line in host.observed("work")] == [1, 2]
    wait_until(lambda: host.queue("WORK_QUEUE").get_queue_properties().approximate_message_count == 0)


def test_a_message_is_kept_hidden_while_its_function_runs(make_host: Callable[..., RunningHost]) -> None:
    host = make_host(APPS / "slow_queue", "--lease", "1").start()
    gate = host.folder / "gate"
    queue = host.queue("WORK_QUEUE")
    queue.send_message(json.dumps({"id": 1, "wait_for": str(gate)}))
    host.wait_for("work", id=1)
    # Second messages come and go while the first outlives several leases: each takes at least one more lease.
    for number in range(2, 5):
        queue.send_message(json.dumps({"id": number}), visibility_timeout=1)
        host.wait_for("work done", id=number)
    gate.touch()
    host.wait_for("work done", id=1)
    assert len([line for line in host.observed("work") if line["id"] == 1]) == 1
    wait_until(lambda: queue.get_queue_properties().approximate_message_count == 0)


def test_many_messages_are_each_done_once(make_host: Callable[..., RunningHost]) -> None:
    host = make_host(APPS / "slow_queue")
    queue = host.queue("WORK_QUEUE")
    queue.create_queue()
    for number in range(60):
        queue.send_message(json.dumps({"id": number}))
    host.start()
    done = host.wait_for("work done", 60)
    assert sorted(line["id"] for line in done) == list(range(60))
    wait_until(lambda: queue.get_queue_properties().approximate_message_count == 0)


def test_what_fails_in_a_poison_queue_stays_there_and_comes_again_when_its_lease_is_over(
    make_host: Callable[..., RunningHost], tmp_path: Path
) -> None:
    app = tmp_path / "app"
    shutil.copytree(APPS / "slow_queue", app)
    host_json = json.loads((app / "host.json").read_text()) | {"extensions": {"queues": {"maxDequeueCount": 1}}}
    (app / "host.json").write_text(json.dumps(host_json))
    host = make_host(app, "--lease", "1", WORK_QUEUE=f"work-{uuid.uuid4().hex[:8]}-poison").start()
    gate = host.folder / "gate"
    host.queue("WORK_QUEUE").send_message(json.dumps({"id": 1, "fail_until": str(gate)}))
    host.wait_for("work", 3, id=1)
    names = [queue.name for queue in host.queues.list_queues(name_starts_with=host.environment["WORK_QUEUE"])]
    assert names == [host.environment["WORK_QUEUE"]]
    gate.touch()
    host.wait_for("work done", id=1)
    wait_until(lambda: host.queue("WORK_QUEUE").get_queue_properties().approximate_message_count == 0)


def test_a_connection_string_works_as_well(make_host: Callable[..., RunningHost], azurite: object) -> None:
    host = make_host(STORE=azurite.connection_string, IDENTITY_ENDPOINT="")  # type: ignore[attr-defined]
    host.start()
    host.queue("WORK_QUEUE").send_message(json.dumps({"id": 3}))
    host.wait_for("work done", id=3)


def test_work_beyond_the_grace_is_cut_off_and_its_message_comes_back(make_host: Callable[..., RunningHost]) -> None:
    host = make_host(APPS / "every_trigger", "--lease", "1", "--grace", "0.5").start()
    gate = host.folder / "gate"
    host.queue("WORK_QUEUE").send_message(json.dumps({"id": 1, "wait_for": str(gate)}))
    host.wait_for("work", id=1)
    assert host.child is not None
    os.kill(host.child.pid, signal.SIGTERM)
    wait_until(lambda: host.child is not None and host.child.poll() is not None)
    assert host.child.poll() == 1
    assert "were cut off" in host.log
    gate.touch()
    host.start()
    host.wait_for("work done", id=1)


def test_a_storage_account_that_does_not_answer_is_named_and_the_host_ends(make_host: Callable[..., RunningHost]) -> None:
    host = make_host(STORE__queueServiceUri=f"https://127.0.0.1:{free_port()}/devstoreaccount1")
    with pytest.raises(ChildFailed, match="the storage account cannot be reached"):
        host.start()
