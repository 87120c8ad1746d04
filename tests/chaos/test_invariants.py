"""The chaos test is worth what it would find: each thing that must not be is made here, and must be told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.observe import Job, Model
from tests.chaos import invariants
from tests.chaos.world import Asset, Files, Processes, World
from tests.waiting import wait_until

READINGS = Asset("readings", "readings", "incoming/", (".csv",), "")
A, B = ("https://storage/readings/incoming/a.csv", "0xA"), ("https://storage/readings/incoming/b.csv", "0xB")


class HandMade(World):
    """A world at rest: two files, one version, one job, one model."""

    def __init__(self) -> None:
        self.assets, self.models = [READINGS], {"leak": "readings"}
        self.blobs: Files = dict([A, B])
        self.manifests = {"v1": [A, B]}
        self.current = "v1"
        self.run = [Job("train-leak-v1", "Completed", {"tidegate.model": "leak", "tidegate.data_version": "v1"}, [], None)]
        self.made = [Model("leak", "1", {"job": "train-leak-v1"})]
        self.queued = {"tidegate-models": 0, "tidegate-models-poison": 0, "tidegate-data-assets": 1}
        self.letters: list[str] = []
        self.on_its_way = False
        self.documents: dict[str, Any] = {
            "data-versions/readings/v1.json": {},
            "training-jobs/train-leak-v1.json": {"model": "leak", "data_version": "v1", "causes": [{"cause": "data"}]},
            "training-requests/leak/rerun-1.json": {"answered_by": "train-leak-v1"},
            "inbox/0.json": {"status": "discarded", "error": "old"},
            "windows/readings/w1.json": {"receipts": {"1": [self.receipt("new")], "2": [self.receipt("repeated")]}},
        }

    @staticmethod
    def receipt(outcome: str) -> dict[str, str]:
        return {"path": "incoming/a.csv", "etag": "0xA", "outcome": outcome}

    def files(self, asset: Asset) -> Files:
        return self.blobs

    def versions(self, asset: Asset) -> list[str]:
        return list(self.manifests)

    def manifest(self, asset: Asset, version: str) -> list[tuple[str, str]]:
        return self.manifests[version]

    def jobs(self) -> list[Job]:
        return self.run

    def failures(self) -> dict[str, str]:
        return {job.name: job.error or "" for job in self.run if job.status == "Failed"}

    def registered_models(self) -> list[Model]:
        return self.made

    def ledger(self, prefix: str) -> dict[str, Any]:
        return {name: document for name, document in self.documents.items() if name.startswith(prefix)}

    def pointed_at(self, asset: Asset) -> str:
        return self.current

    def messages(self) -> dict[str, int]:
        return self.queued

    def dead_letters(self) -> list[str]:
        return self.letters

    def undelivered(self) -> bool:
        return self.on_its_way


def changed(change: Callable[[HandMade], object]) -> HandMade:
    world = HandMade()
    change(world)
    return world


def test_a_world_at_rest_has_no_finding() -> None:
    assert invariants.unrest(HandMade()) == invariants.doubled(HandMade()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda world: world.blobs.update({"https://storage/c": "0xC"}), "readings:v1 lacks https://storage/c (0xC)"),
        (lambda world: world.blobs.update({A[0]: "0xD"}), f"readings:v1 names {A[0]} (0xA), which is not there"),
        (lambda world: world.blobs.pop(B[0]), f"readings:v1 names {B[0]} (0xB), which is not there"),
        (lambda world: setattr(world, "current", ""), f"readings: lacks {A[0]} (0xA)"),
        (lambda world: setattr(world, "run", []), "leak was not trained on readings:v1"),
        (lambda world: world.run.append(Job("j", "Running", {}, [], None)), "the job j is Running"),
        (lambda world: setattr(world, "on_its_way", True), "Event Grid has events to deliver"),
        (lambda world: world.queued.update({"tidegate-data-assets": 2}), "tidegate-data-assets holds 2 messages"),
        (lambda world: world.queued.update({"tidegate-models-poison": 1}), "tidegate-models-poison holds 1 messages"),
        (lambda world: world.letters.append("UPLOADS/1.json"), "UPLOADS/1.json is a dead letter"),
        (lambda world: world.documents["inbox/0.json"].update(status="open"), "inbox/0.json: old"),
        (lambda world: world.documents.update({"training-queue/leak/x.json": {}}), "training-queue/leak/x.json waits"),
        (
            lambda world: world.documents.update({"training-requests/leak/rerun-2.json": {"answered_by": ""}}),
            "training-requests/leak/rerun-2.json is not answered",
        ),
    ],
)
def test_what_is_lost_or_left_is_told(change: Callable[[HandMade], object], told: str) -> None:
    found = invariants.unrest(changed(change))
    assert [one for one in found if one.startswith(told)], found


def test_a_job_that_failed_by_itself_is_told() -> None:
    killed = "The emulator was stopped while this job was running."
    runs = [Job("a", "Failed", {}, [], killed), Job("b", "Failed", {}, [], "no rows"), Job("c", "Completed", {}, [], None)]
    assert invariants.failed(changed(lambda world: setattr(world, "run", runs))) == ["the job b failed: no rows"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda world: world.manifests["v1"].append(A), f"readings:v1 names {A[0]} 2 times"),
        (lambda world: world.manifests.update(v2=[B, A]), "readings has 2 versions of the same content"),
        (lambda world: world.manifests.update(v2=[B]), "readings:v2 is not the same in ledger and workspace"),
        (lambda world: world.assets.append(READINGS), f"{A[0]} is in 2 current manifests"),
        (
            lambda world: world.run.append(Job("j", "Completed", {}, [], None)),
            "the job j is not the same in ledger and workspace",
        ),
        (lambda world: world.made.append(world.made[0]), "train-leak-v1 registered 2 versions of leak"),
        (
            lambda world: world.documents.update({"training-jobs/j.json": world.documents["training-jobs/train-leak-v1.json"]}),
            "leak was trained 2 times because of data v1",
        ),
        (
            lambda world: world.documents.update({"windows/readings/w2.json": {"receipts": {"3": [world.receipt("replaced")]}}}),
            "readings took in incoming/a.csv (0xA) 2 times",
        ),
    ],
)
def test_what_is_doubled_is_told(change: Callable[[HandMade], object], told: str) -> None:
    found = invariants.doubled(changed(change))
    assert [one for one in found if one.startswith(told)], found


def test_a_process_that_outlives_its_parent_is_found(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    parent = (
        f"import subprocess, sys; print(subprocess.Popen({sleeper!r}, stdout=subprocess.DEVNULL, start_new_session=True).pid)"
    )
    processes = Processes(tmp_path)
    assert processes.orphans() == []
    environment = {**os.environ, "TIDEGATE_TEST": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", parent], env=environment, stdout=subprocess.PIPE, text=True) as born:
        orphan = psutil.Process(int(born.communicate(timeout=30)[0]))
    try:
        assert [told.split(":")[0] for told in processes.orphans()] == [str(orphan.pid)]
    finally:
        orphan.kill()
    wait_until(lambda: not processes.orphans(), 10, what="the end of the orphan")
