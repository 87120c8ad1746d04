"""What goes wrong is told, loses nothing, and never half-applies."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from local.observe import Job
from local.stack import Stack
from tests.e2e.conftest import Host
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.train_environment]

Read = Callable[[str], dict[str, Any]]


def _loans(*, columns: tuple[str, ...] = ("loan_id", "income", "purpose", "defaulted"), rows: int = 400, seed: int = 1) -> str:
    """Loans whose default is a coin toss: no honest model passes the gate."""
    chance = random.Random(seed)
    lines = [",".join(columns)]
    for number in range(rows):
        row = {
            "loan_id": f"L{seed}-{number}",
            "income": f"{chance.gauss(50, 10):.2f}",
            "purpose": chance.choice(["car", "house"]),
            "defaulted": str(chance.randrange(2)),
        }
        lines.append(",".join(row.get(column, "x") for column in columns))
    return "\n".join(lines) + "\n"


def _ended_job(stack: Stack, version: str) -> Job:
    def ended() -> Job | None:
        jobs = [job for job in stack.observer.jobs() if job.tags.get("tidegate.data_version") == version]
        return jobs[0] if jobs and jobs[0].status in ("Completed", "Failed", "Canceled") else None

    found = wait_until(ended, within=300.0, what=f"the end of the job of {version}")
    assert found is not None
    return found


def _new_version(stack: Stack, known: list[str]) -> str:
    return wait_until(
        lambda: [v for v in stack.observer.data_versions("loans") if v not in known], what="a new version of loans"
    )[0]


def test_an_empty_file_is_noted_and_makes_no_version(stack: Stack, ledger: Read) -> None:
    stack.upload("loans", "incoming/empty.csv", b"")

    def noted() -> list[dict[str, Any]]:
        shards = ledger("catalogue/loans/").values()
        return [row for shard in shards for row in shard["rows"].values() if row["path"] == "incoming/empty.csv"]

    row = wait_until(noted, what="the note about the empty file")[0]
    assert (row["size"], row["window"], row["source"]) == (0, "", "event")
    assert stack.observer.data_versions("loans") == []
    stack.blobs().get_blob_client("loans", "incoming/empty.csv").delete_blob()


def test_a_model_below_its_gate_fails_the_job_and_registers_nothing(stack: Stack, host: Host) -> None:
    known = stack.observer.data_versions("loans")
    stack.upload("loans", "incoming/loans-1.csv", _loans())
    job = _ended_job(stack, _new_version(stack, known))
    assert job.status == "Failed"
    assert job.error is not None
    assert "gate failed: auc" in job.error
    assert "0.99" in job.error
    assert [model for model in stack.observer.models() if model.name == "loan-default"] == []
    assert [endpoint for endpoint in stack.observer.endpoints() if endpoint.name == "loan-default"] == []
    answer = wait_until(lambda: _told(host, "gate failed"), what="the model's state telling of the gate")
    assert "gate failed: auc" in answer


def _told(host: Host, words: str) -> str:
    text = str(host.status()["models"]["loan-default"])
    return text if words in text else ""


def test_a_file_with_other_columns_fails_the_job_and_names_file_and_column(stack: Stack) -> None:
    known = stack.observer.data_versions("loans")
    stack.upload("loans", "incoming/loans-2.csv", _loans(columns=("loan_id", "income", "colour", "defaulted"), seed=2))
    job = _ended_job(stack, _new_version(stack, known))
    assert job.status == "Failed"
    assert job.error is not None
    assert "loans-2.csv" in job.error
    assert "colour" in job.error
    stack.blobs().get_blob_client("loans", "incoming/loans-2.csv").delete_blob()
