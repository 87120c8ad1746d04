"""When files become a version. Nothing is faked: decisions are pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import yaml
from hypothesis import given
from hypothesis import strategies as st

from ml_core.ingestion import decide as window
from ml_core.ingestion.manifest import version_folder
from ml_core.naming import data_version
from ml_core.ports import Blob

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUIET = timedelta(seconds=30)


def blob(name: str, *, at: datetime = START, etag: str = "0x1", size: int = 10) -> Blob:
    return Blob(f"https://a.blob.core.windows.net/c/{name}", name, etag, size, at)


def look(state: window.State, blobs: list[Blob], now: datetime) -> tuple[window.State, window.Action]:
    action = window.decide(state, window.Observation(tuple(blobs), QUIET), now)
    return window.evolve(state, action, now), action


ARRIVALS = st.lists(st.tuples(st.integers(0, 100), st.sampled_from("abcdef"), st.integers(0, 3)), min_size=1, max_size=20)


@given(ARRIVALS)
def test_a_version_is_made_once_the_files_have_been_quiet_and_never_before(arrivals: list[tuple[int, str, int]]) -> None:
    state, now, blobs = window.State(), START, dict[str, Blob]()
    for wait, name, size in arrivals:
        now += timedelta(seconds=wait)
        blobs[name] = blob(name, at=now, etag=f"0x{now.timestamp()}", size=size)
        state, action = look(state, list(blobs.values()), now)
        # A write of an empty file changes nothing that counts; any other begins the quiet period anew.
        assert not isinstance(action, window.Register) or size == 0
    now += QUIET
    state, action = look(state, list(blobs.values()), now)
    files = [(found.url, found.etag, found.size) for found in blobs.values() if found.size]
    if files:
        assert state.registered == data_version(files)
    assert isinstance(look(state, list(blobs.values()), now)[1], window.Rest)


@given(st.permutations(list("abcde")))
def test_the_version_does_not_depend_on_the_order_of_the_listing(names: list[str]) -> None:
    _, action = look(window.State(), [blob(name) for name in names], START + QUIET)
    assert isinstance(action, window.Register)
    assert action == look(window.State(), [blob(name) for name in "abcde"], START + QUIET)[1]


def test_a_deletion_begins_the_quiet_period_anew() -> None:
    state, _ = look(window.State(), [blob("a"), blob("b")], START + QUIET)
    later = START + timedelta(hours=1)
    state, action = look(state, [blob("a")], later)
    # A deletion leaves no time behind: all that is known is when it was seen.
    assert isinstance(action, window.KeepOpen)
    assert action.changed_at == later
    assert isinstance(look(state, [blob("a")], later + QUIET)[1], window.Register)


def test_a_version_that_azure_refused_is_tried_again_after_an_hour_and_other_files_at_once() -> None:
    now = START + QUIET
    _, action = look(window.State(), [blob("a")], now)
    refused = window.refuse(window.State(), action, "a policy forbids it", now)
    resting = look(refused, [blob("a")], now)[1]
    assert isinstance(resting, window.Rest)
    assert resting.reason.endswith("was refused; tried again after 13:00: a policy forbids it")
    assert isinstance(look(refused, [blob("a")], now + window.RETRY_A_REFUSED_ONE_AFTER)[1], window.Register)
    assert isinstance(look(refused, [blob("a", etag="0x2")], now)[1], window.Register)


def test_the_folder_of_a_version_is_the_same_bytes_for_the_same_blobs() -> None:
    blobs = [blob("b.csv"), blob("a.csv")]
    folder = version_folder("flights", "v1", blobs)
    assert folder == version_folder("flights", "v1", blobs[::-1])
    manifest = json.loads(folder["manifest.json"])
    assert manifest["blobs"][0] == {"url": "https://a.blob.core.windows.net/c/a.csv", "etag": "0x1", "size": 10}
    table = yaml.safe_load(folder["MLTable"])
    assert [path["file"] for path in table["paths"]] == [entry["url"] for entry in manifest["blobs"]]
    assert "read_delimited" in table["transformations"][0]


def test_files_of_different_kinds_have_no_common_reader() -> None:
    assert "transformations" not in yaml.safe_load(version_folder("x", "v1", [blob("a.csv"), blob("b.parquet")])["MLTable"])
