"""Whatever comes in whatever order, and wherever a process dies: in the end every file is in the version and trained on once.

Stories are made by Hypothesis. TIDEGATE_STORIES=2000 tells so many other ones.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import datetime, timedelta
from itertools import chain, pairwise
from typing import Any
from urllib.parse import unquote

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from ml_core import inbox
from ml_core.documents import to_document
from ml_core.ingestion.catalogue import all_rows, index_of
from ml_core.ingestion.decide import RULES as INGESTION
from ml_core.naming import data_version, fingerprint
from ml_core.reconciling import DATA_ASSETS, JOBS, MODELS, ROLLOUTS, Rules, replay
from ml_core.rollout.decide import RULES as ROLLOUT
from ml_core.training import reconcile as models
from ml_core.training.decide import RULES as TRAINING
from ml_core.training.values import DATA
from tests.faults import Fault
from tests.world import Place, Told, World

RULES: dict[str, Rules[Any, Any, Any]] = {DATA_ASSETS: INGESTION, MODELS: TRAINING, ROLLOUTS: ROLLOUT}
STORIES = os.environ.get("TIDEGATE_STORIES")

PLACES = st.sampled_from(
    [
        *(("flights", f"in/{name}") for name in ("a.csv", "b.CSV", "day 1/c.csv", "d.txt")),
        *(("trips", name) for name in ("x/a", "x/b", "x/_SUCCESS", "y/a", "y/_SUCCESS")),
        *(("readings", name) for name in ("a", "b", "c")),
    ]
)
TOLD = st.builds(
    Told,
    delays=st.lists(st.sampled_from([0.0, 2.0, 40.0, 500.0, 5000.0]), max_size=3),
    sequencers=st.booleans(),
    spelling=st.sampled_from(["as it is", "bare", "dfs"]),
)
SIZES = st.sampled_from([10, 10, 20, 0])


class NothingIsLost(RuleBasedStateMachine):
    """What can happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(place=PLACES, size=SIZES, told=TOLD)
    def a_file_is_written(self, place: Place, size: int, told: Told) -> None:
        self.world.store(place, size, told)

    @precondition(lambda self: self.world.containers.content)
    @rule(data=st.data(), told=TOLD)
    def a_file_is_deleted(self, data: st.DataObject, told: Told) -> None:
        self.world.remove(data.draw(st.sampled_from(sorted(self.world.containers.content))), told)

    @rule(place=PLACES, what=st.sampled_from(["Created", "Deleted"]))
    def an_event_tells_of_what_never_was(self, place: Place, what: str) -> None:
        self.world.forge(place, f"Microsoft.Storage.Blob{what}")

    @rule(
        fault=st.sampled_from(Fault),
        port=st.sampled_from(["ledger", "ledger", "workspace", "queue"]),
        writes_until=st.integers(0, 12),
    )
    def something_will_fail(self, fault: Fault, port: str, writes_until: int) -> None:
        self.world.faults.arm(fault, port, writes_until)

    @rule(port=st.sampled_from(["ledger", "workspace", "queue"]), writes=st.sampled_from([3, 8, 30]))
    def a_service_goes_away(self, port: str, writes: int) -> None:
        for _ in range(writes):
            self.world.faults.arm(Fault.FAILS, port, 0)

    @rule(seconds=st.sampled_from([1, 20, 35, 65, 400, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.world.pass_time(timedelta(seconds=seconds))

    @rule()
    def the_timers_come_due(self) -> None:
        self.world.tick_timers()

    @rule(model=st.sampled_from(["delay", "fare"]), cause=st.sampled_from(["drift-1", "drift-2"]))
    def a_training_is_asked_for(self, model: str, cause: str) -> None:
        self.world.ask_for_training(model, cause)

    @rule(model=st.sampled_from(["delay", "fare"]))
    def a_person_wants_a_rerun(self, model: str) -> None:
        self.world.ask_for_rerun(model)

    @rule(asset=st.sampled_from(["flights", "trips", "readings"]), hours=st.sampled_from([0, 1, 5]))
    def a_person_doubts_that_all_was_taken_in(self, asset: str, hours: int) -> None:
        self.world.doubt(asset, timedelta(hours=hours))

    @rule()
    def a_person_tries_again_what_is_in_the_inbox(self) -> None:
        self.world.replay_inbox()

    def teardown(self) -> None:
        self.world.come_to_rest()
        every_file_is_in_the_version_of_now(self.world)
        every_version_is_what_its_name_says(self.world)
        every_cause_was_trained_once(self.world)
        every_model_of_now_serves(self.world)
        every_change_has_its_trail(self.world)
        nothing_is_left_over(self.world)
        every_decision_is_made_again_alike(self.world)


def every_file_is_in_the_version_of_now(world: World) -> None:
    for name, asset in world.services.config.data_assets.items():
        there = [
            blob
            for (container, path), blob in world.containers.content.items()
            if asset.holds(container, path) and blob.size and not path.endswith("_SUCCESS")
        ]
        if name == "readings":
            there = sorted(there, key=lambda blob: (blob.modified_at, blob.path))[-2:]
        if there:
            version = world.ledger.entries[f"data-versions/{name}.json"].value["version"]
            expected = sorted([unquote(blob.url), blob.etag, blob.size] for blob in there)
            assert [[unquote(url), *rest] for url, *rest in files_of(world, name, version)] == expected, name


def every_version_is_what_its_name_says(world: World) -> None:
    for name, version in world.workspace.data:
        files = files_of(world, name, version)
        assert version == data_version((url, etag, size) for url, etag, size in files)
        assert f"data-versions/{name}/{version}.json" in world.ledger.entries


def every_cause_was_trained_once(world: World) -> None:
    for model, section in world.services.config.models.items():
        submitted = {name: at for name, (job, at) in world.workspace.submitted.items() if job.model == model}
        assert one_at_a_time(list(submitted.values()), world.workspace.training_takes)
        pointer = world.ledger.entries.get(f"data-versions/{section.data_asset}.json")
        if pointer is None:
            assert not submitted
            continue
        notes = {name: world.ledger.entries[f"{JOBS}/{name}.json"].value for name in submitted}
        assert pointer.value["version"] in {note["data_version"] for note in notes.values()}
        answered = Counter(cause["cause"] for note in notes.values() for cause in note["causes"])
        requests = Counter({cause: count for cause, count in answered.items() if cause != DATA})
        promised = {cause for asked, cause in world.promised if asked == model}
        assert promised <= set(requests), f"{promised} of {model} were promised; trained were {answered}"
        assert set(requests.values()) <= {1}, f"{model}: {requests}"
        assert sum(cause.startswith("rerun-") for cause in requests) <= world.reruns_asked[model]
        document = world.ledger.entries[f"{MODELS}/{model}.json"].value
        assert (document["state"]["running"], document["state"]["pending"]) == (None, None)


def one_at_a_time(submitted: list[datetime], takes: timedelta) -> bool:
    times = sorted(submitted)
    return all(later - earlier >= takes for earlier, later in pairwise(times))


def every_model_of_now_serves(world: World) -> None:
    for name, model in world.services.config.models.items():
        versions = world.workspace.models.get(name)
        if versions:
            assert list(world.workspace.serving(model.endpoint.name)) == [f"{name}:{versions[-1].version}"]


def every_change_has_its_trail(world: World) -> None:
    """From the row of the catalogue to the window that took the change in, the version that it closed into, and the job."""
    windows = {entry.value["id"]: entry.value for entry in world.ledger.list("windows/")}
    assert [id_ for id_, window in windows.items() if window["closed"] is None] == []
    for name, asset in world.services.config.data_assets.items():
        rows = {row.path: row for row in all_rows(world.ledger, index_of(world.ledger, name))}
        there = {path: blob for (_, path), blob in world.containers.content.items() if asset.holds(_, path)}
        known = {path: (row.etag, row.size) for path, row in rows.items() if row.there}
        assert known == {path: (blob.etag, blob.size) for path, blob in there.items()}
        for row in rows.values():
            if row.window:
                notes = chain.from_iterable(windows[row.window]["receipts"].values())
                assert (row.path, row.event_id) in {(note["path"], note["event_id"]) for note in notes}, row
    told = {entry.value["event_id"] for entry in world.ledger.list("events/")}
    told |= {note["event_id"] for window in windows.values() for notes in window["receipts"].values() for note in notes}
    for name in world.services.config.data_assets:
        for row in all_rows(world.ledger, index_of(world.ledger, name)):
            told |= {row.event_id, *(earlier.event_id for earlier in row.before)}
    assert world.accepted <= told
    for entry in world.ledger.list("data-versions/"):
        ids = entry.value["windows"]
        assert entry.value["correlation_id"] in ids
        assert {windows[id_]["closed"]["version"] for id_ in ids} == {entry.value["version"]}
    for job, _ in world.workspace.submitted.values():
        assert job.correlation_id in windows


def nothing_is_left_over(world: World) -> None:
    assert not world.coming
    assert not [message for message in world.queue.messages if message[0] <= world.clock()]
    assert not list(world.ledger.keys("arrivals/"))
    assert not [item for item in inbox.items(world.ledger) if item.status == "open"]
    assert not [look.key for look in world.ledger.list("looks/") if look.value["error"]]
    assert all(error.startswith(("TemporaryError: ", "The host gave up")) for error in world.errors), world.errors


def every_decision_is_made_again_alike(world: World) -> None:
    for kind, rules in RULES.items():
        for entry in world.ledger.list(f"decisions/{kind}/"):
            assert to_document(replay(rules, entry.value)) == entry.value["action"]


def files_of(world: World, name: str, version: str) -> list[list[Any]]:
    manifest = json.loads(world.workspace.data[name, version]["manifest.json"])
    return [[blob["url"], blob["etag"], blob["size"]] for blob in manifest["blobs"]]


TestNothingIsLost = NothingIsLost.TestCase
TestNothingIsLost.settings = settings(
    max_examples=int(STORIES or 100),
    stateful_step_count=25,
    derandomize=STORIES is None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


# ---- what the stories have found --------------------------------------------------------------------------------------


def test_a_rerun_that_is_answered_while_it_is_still_being_asked_for_is_one() -> None:
    world = World()
    world.store(("trips", "x/a"), 10, Told([0.0]))
    world.come_to_rest()
    world.faults.others_work = lambda _: models.receive(world.services, '{"key": "fare"}')
    world.faults.arm(Fault.OVERTAKEN, "ledger", 1)  # between the two documents of the request
    world.ask_for_rerun("fare")
    assert world.faults.struck == [f"ledger.claim(training-requests/fare/rerun-1.json): {Fault.OVERTAKEN.value}"]
    world.come_to_rest()
    assert len(world.workspace.submitted) == 2
    every_cause_was_trained_once(world)


def test_a_creation_that_is_told_after_the_deletion_and_belongs_to_no_window_can_be_asked_for_by_its_id() -> None:
    world = World()
    world.store(("flights", "in/a.csv"), 10, Told([40.0]))
    world.remove(("flights", "in/a.csv"), Told([0.0]))
    world.come_to_rest()
    note = world.ledger.entries[f"events/{fingerprint('e1')}.json"].value
    assert (note["type"], note["outcome"]) == ("BlobCreated", "ignored")
    assert note["reason"].startswith("what was told of in/a.csv before is later than this")
    every_change_has_its_trail(world)
