"""When files become a version: the rules of rows, windows and looks. Nothing is faked: decisions are pure."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ml_core.ingestion import decide as window
from ml_core.ingestion.arrivals import Receipt
from ml_core.ingestion.manifest import version_folder
from ml_core.ingestion.rows import Row, fold, found, from_json, gone, to_json
from ml_core.ingestion.windows import Change, Limits, OpenWindow, closing, taken_in
from ml_core.ports import Blob

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
QUIET = timedelta(seconds=30)
LIMITS = Limits(QUIET, timedelta(hours=1), 100)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def receipt(
    number: int, *, sequencer: str | None = None, at: float | None = None, size: int = 10, deleted: bool = False
) -> Receipt:
    """The `number`th change of a file; by default its sequencer and its time tell the same order."""
    order = f"{number:04d}" if sequencer is None else sequencer
    moment = after(number * 10 if at is None else at)
    etag, what = ("", "deleted") if deleted else (f"0x{number}", "created")
    return Receipt(f"e{number}", what, "a.csv", "https://a/c/a.csv", etag, 0 if deleted else size, order, moment, moment)  # type: ignore[arg-type]


def told(*receipts: Receipt) -> tuple[Row | None, list[str]]:
    """The row of a file after these receipts, and what each was taken for."""
    row, outcomes = None, []
    for one in receipts:
        folded = fold(row, one, one.url, marker=False)
        row = folded.row
        outcomes.append(folded.outcome)
    return row, outcomes


# ---- rows -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=6), st.randoms())
def test_the_last_change_of_a_file_wins_in_whatever_order_and_however_often_it_is_told(
    changes: list[tuple[bool, int]], chance: Any
) -> None:
    receipts = [receipt(number, deleted=deleted, size=size) for number, (deleted, size) in enumerate(changes, 1)]
    shuffled = receipts * 2
    chance.shuffle(shuffled)
    row, _ = told(*shuffled)
    assert row is not None
    last = receipts[-1]
    assert row.there == (last.what == "created")
    assert row.sequencer == last.sequencer
    assert not row.there or (row.etag, row.size) == (last.etag, last.size)


def test_each_receipt_is_called_by_what_it_has_done() -> None:
    receipts = [receipt(1), receipt(2), receipt(2), receipt(1), receipt(3, deleted=True), receipt(4, size=0), receipt(5)]
    assert told(*receipts)[1] == ["new", "replaced", "replaced", "new", "deleted", "empty", "replaced"]
    late = replace(receipt(2), event_id="another", received_at=after(99))
    assert told(receipt(1), receipt(2), late)[1][-1] == "repeated"
    assert told(receipt(2), receipt(1))[1] == ["new", "overtaken"]


def test_a_receipt_that_is_folded_again_after_a_crash_is_what_it_was_at_first_and_changes_nothing() -> None:
    receipts = [receipt(1), receipt(2), receipt(3, deleted=True), receipt(4)]
    row, outcomes = told(*receipts)
    for one, outcome in zip(receipts, outcomes, strict=True):
        again = fold(row, one, one.url, marker=False)
        assert (again.row, again.outcome, again.changes) == (row, outcome, False)


def test_a_deletion_that_comes_before_its_creation_is_not_undone_by_it() -> None:
    row, outcomes = told(receipt(2, deleted=True), receipt(1))
    assert row is not None
    assert not row.there
    assert outcomes == ["deleted", "overtaken"]
    assert not fold(None, receipt(2, deleted=True), "", marker=False).changes


@pytest.mark.parametrize(
    ("seconds", "outcome", "doubtful"),
    [
        (1, "replaced", False),
        (0.9, "overtaken", True),
        (0, "overtaken", True),
        (-299, "overtaken", True),
        (-300, "overtaken", False),
    ],
)
def test_without_sequencers_only_what_is_clearly_newer_counts_and_what_is_in_doubt_is_left_to_an_inventory(
    seconds: float, outcome: str, doubtful: bool
) -> None:
    listed = found(None, Blob("u", "a.csv", "0x1", 10, START), "u", START, marker=False)
    folded = fold(listed, receipt(2, at=seconds), "u", marker=False)
    assert (folded.outcome, folded.doubtful) == (outcome, doubtful)


def test_the_event_of_a_file_that_an_inventory_has_found_makes_it_comparable() -> None:
    listed = found(None, Blob("u", "a.csv", "0x2", 10, START), "u", START, marker=False)
    folded = fold(listed, receipt(2), "u", marker=False)
    assert (folded.outcome, folded.changes) == ("repeated", False)
    assert folded.row is not None
    assert fold(folded.row, receipt(1), "u", marker=False).outcome == "overtaken"
    assert fold(folded.row, receipt(3), "u", marker=False).outcome == "replaced"


def test_a_file_that_is_replaced_by_an_empty_one_leaves_the_version() -> None:
    row, _ = told(receipt(1))
    assert fold(row, receipt(2, size=0), "u", marker=False).changes
    assert not fold(None, receipt(2, size=0), "u", marker=False).changes


def test_a_listing_overrules_what_was_told() -> None:
    row, _ = told(receipt(1), receipt(9, deleted=True))
    there = found(row, Blob("u", "a.csv", "0x1", 10, START), "u", START, marker=False)
    assert (there.there, there.source, there.sequencer) == (True, "inventory", "")
    assert not gone(there, START).there


def test_a_row_keeps_its_last_ten_arrivals_and_survives_json() -> None:
    row, _ = told(*(receipt(number) for number in range(1, 20)))
    assert row is not None
    assert [one.etag for one in row.before] == [f"0x{number}" for number in range(9, 19)]
    assert from_json(json.loads(json.dumps(to_json(row)))) == row


# ---- windows ----------------------------------------------------------------------------------------------------------

WINDOW = OpenWindow("w", "", START, after(50))


@pytest.mark.parametrize(
    ("opened", "limits", "by", "at"),
    [
        (WINDOW, LIMITS, "quiet period", after(80)),
        (WINDOW, Limits(None, timedelta(minutes=5)), "max wait", after(300)),
        (WINDOW, Limits(timedelta(hours=1), timedelta(seconds=70)), "max wait", after(70)),
        (replace(WINDOW, filled_at=after(60)), LIMITS, "max files", after(60)),
        (replace(WINDOW, filled_at=after(60), marker_at=after(55)), LIMITS, "marker", after(55)),
    ],
)
def test_a_window_closes_by_what_comes_first(opened: OpenWindow, limits: Limits, by: str, at: datetime) -> None:
    assert (closing(opened, limits).by, closing(opened, limits).at) == (by, at)


def test_a_window_counts_each_path_once_and_is_full_at_max_files() -> None:
    windows: dict[str, OpenWindow] = {}
    for number, (path, again) in enumerate([("a", False), ("b", False), ("a", True), ("c", False)]):
        change = Change(path, "", after(number), after(number), again)
        opened = taken_in(windows, "x", change, Limits(QUIET, QUIET * 9, 3))
        windows[opened.id] = opened
        assert (opened.filled_at is None) == (number < 3)
    assert len(windows) == 1
    assert (opened.files, opened.opened_at, opened.changed_at, opened.filled_at) == (3, START, after(3), after(3))


def test_what_opens_a_window_names_it() -> None:
    change = Change("in/a.csv", "in", START, START)
    first = taken_in({}, "flights", change, LIMITS)
    assert first.id.startswith("flights-20260301T120000Z-")
    assert taken_in({}, "flights", change, LIMITS).id == first.id
    assert taken_in({}, "flights", replace(change, path="in/b.csv"), LIMITS).id != first.id


# ---- looks ------------------------------------------------------------------------------------------------------------


def seen(**changes: Any) -> window.Observation:
    usual: dict[str, Any] = {
        "windows": (),
        "limits": LIMITS,
        "inventory": timedelta(hours=1),
        "inventoried_at": START,
        "inventory_asked": False,
        "closings": 0,
        "came_to": "",
        "newest": "",
    }
    return window.Observation(**{**usual, **changes})


def kind(observation: window.Observation, now: datetime, state: window.State | None = None) -> str:
    return window.decide(state or window.State(), observation, now).kind


def test_an_idle_asset_looks_again_when_its_next_inventory_is_due() -> None:
    action = window.decide(window.State(), seen(), after(600))
    assert action == window.Rest("there is no file that is not empty", timedelta(minutes=50))
    assert kind(seen(), after(3600)) == "take inventory"
    assert kind(seen(inventoried_at=None), START) == "take inventory"
    assert kind(seen(inventory_asked=True), START) == "take inventory"


def test_a_window_is_kept_open_without_listing_then_compared_with_what_is_there_and_then_closed() -> None:
    draft = window.Draft(("w",), "v1", 3, known=False)
    waiting = window.decide(window.State(), seen(windows=(WINDOW,)), after(60))
    assert isinstance(waiting, window.KeepOpen)
    assert waiting.look_again_in == timedelta(seconds=20)
    assert kind(seen(windows=(WINDOW,)), after(80)) == "take inventory"
    compared = seen(windows=(WINDOW,), inventoried_at=after(80), draft=draft)
    action = window.decide(window.State(), compared, after(81))
    assert isinstance(action, window.Register)
    assert (action.version, action.closings[0].by) == ("v1", "quiet period")
    # The inventory found a file that was written just now: quiet begins anew, and so does the comparing.
    moved = replace(compared, windows=(replace(WINDOW, changed_at=after(79)),), draft=None)
    assert kind(moved, after(81)) == "keep open"
    assert kind(moved, after(109)) == "take inventory"


def test_a_window_that_leads_to_nothing_new_closes_without_a_version() -> None:
    compared = seen(windows=(WINDOW,), inventoried_at=after(80), newest="v1")
    same = window.decide(window.State(), replace(compared, draft=window.Draft(("w",), "v1", 3, known=True)), after(81))
    assert isinstance(same, window.Close)
    assert same.version == "v1"
    nothing = window.decide(window.State(), replace(compared, draft=window.Draft(("w",), "", 0, known=False)), after(81))
    assert isinstance(nothing, window.Close)
    assert nothing.reason == "w closes by its quiet period: there is no file that is not empty"


def test_a_closing_that_was_not_announced_is_announced_before_anything_else() -> None:
    state, behind = window.State(), seen(closings=1, came_to="v1", newest="v1", inventoried_at=None, windows=(WINDOW,))
    action = window.decide(state, behind, after(9999))
    assert isinstance(action, window.Announce)
    state = window.evolve(state, action, START)
    assert (state.registered, state.announced) == ("v1", 1)
    assert kind(behind, after(9999), state) == "take inventory"


def test_a_version_that_azure_refused_is_tried_again_after_an_hour_and_other_files_at_once() -> None:
    now = after(81)
    refusing = seen(
        windows=(WINDOW,), inventory=timedelta(days=1), inventoried_at=after(80), draft=window.Draft(("w",), "v1", 3, known=False)
    )
    action = window.decide(window.State(), refusing, now)
    refused = window.refuse(window.State(), action, "a policy forbids it", now)
    resting = window.decide(refused, refusing, now)
    assert isinstance(resting, window.KeepOpen)
    assert resting.reason.endswith("was refused; tried again after 13:01: a policy forbids it")
    assert kind(refusing, now + window.RETRY_A_REFUSED_ONE_AFTER, refused) == "register"
    assert kind(replace(refusing, draft=window.Draft(("w",), "v2", 3, known=False)), now, refused) == "register"
    assert kind(refusing, now, window.forgive(refused)) == "register"


# ---- what is registered -----------------------------------------------------------------------------------------------


def blob(name: str) -> Blob:
    return Blob(f"https://a.blob.core.windows.net/c/{name}", name, "0x1", 10, START)


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
