"""What Event Grid sends, as values, case by case. Nothing is faked.

Vectors by the thousand are made in test_event_vectors.py; the documentation's own samples are read in test_event_samples.py.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ml_core.errors import EventError
from ml_core.events import NOT_TOLD, BlobCreated, Ignored, ModelRegistered, parse, parse_all

URL = "https://account.blob.core.windows.net/flights/incoming/a%20b%23.csv"
TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/account"


def event(kind: str = "Microsoft.Storage.BlobCreated", **changes: Any) -> dict[str, Any]:
    data = {"api": "PutBlob", "url": URL, "eTag": "0x8D1", "contentLength": 7, "sequencer": "0B"}
    envelope = {"id": "e1", "topic": TOPIC, "eventType": kind, "eventTime": "2026-03-01T12:00:00Z"}
    return {**envelope, "data": {**data, **changes}}


def test_a_blob_created_event_becomes_a_value_with_decoded_names() -> None:
    parsed = parse(json.dumps(event()))
    assert parsed == BlobCreated(
        event_id="e1",
        url=URL,
        container="flights",
        path="incoming/a b#.csv",
        etag="0x8D1",
        size=7,
        sequencer="0b".zfill(64),
        occurred_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        source=TOPIC,
    )


def test_both_schemas_give_the_same_value() -> None:
    grid = event()
    words = {"eventType": "type", "eventTime": "time", "topic": "source"}
    cloud = {"specversion": "1.0", **{words.get(name, name): value for name, value in grid.items()}}
    assert parse(json.dumps(cloud)) == parse(json.dumps(grid)) == parse(json.dumps([cloud]))


@pytest.mark.parametrize("etag", ["0x8D1", '"0x8D1"', 'W/"0x8D1"'])
def test_quotes_around_an_etag_make_no_difference(etag: str) -> None:
    parsed = parse(json.dumps(event(eTag=etag)))
    assert isinstance(parsed, BlobCreated)
    assert parsed.etag == "0x8D1"


@pytest.mark.parametrize("digits", range(10))
def test_times_are_read_with_up_to_nine_fractional_digits(digits: int) -> None:
    fraction = f".{'123456789'[:digits]}" if digits else ""
    parsed = parse(json.dumps({**event(), "eventTime": f"2026-03-01T12:00:00{fraction}Z"}))
    assert isinstance(parsed, BlobCreated)
    assert parsed.occurred_at.replace(microsecond=0) == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert parsed.occurred_at.microsecond == int("123456789"[:digits][:6].ljust(6, "0"))


def test_keys_are_read_in_any_case() -> None:
    for keys in ({"ModelName": "m", "ModelVersion": 20}, {"modelName": "m", "modelVersion": "20"}):
        raw = {"id": "1", "eventType": "Microsoft.MachineLearningServices.ModelRegistered", "eventTime": "2026-01-01T00:00:00Z"}
        parsed = parse(json.dumps({**raw, "data": keys}))
        assert isinstance(parsed, ModelRegistered)
        assert (parsed.model, parsed.version) == ("m", "20")


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1:10000/account/flights/a.csv", "https://localhost/account/flights/a.csv"],
)
def test_path_style_addresses_name_the_account_first(url: str) -> None:
    parsed = parse(json.dumps(event(url=url)))
    assert isinstance(parsed, BlobCreated)
    assert (parsed.container, parsed.path) == ("flights", "a.csv")


@pytest.mark.parametrize("api", ["CreateFile", "SftpCreate"])
def test_the_opening_of_a_file_is_ignored_since_its_commit_follows(api: str) -> None:
    parsed = parse(json.dumps(event(api=api)))
    assert isinstance(parsed, Ignored)
    assert "commit" in parsed.reason


def test_an_unknown_type_is_ignored_with_a_reason() -> None:
    parsed = parse(json.dumps(event("Microsoft.Storage.BlobTierChanged")))
    reason = "Microsoft.Storage.BlobTierChanged is not a type that Tidegate reacts to"
    assert parsed == Ignored("e1", "Microsoft.Storage.BlobTierChanged", reason, TOPIC)


def test_a_rename_is_left_to_the_inventory() -> None:
    parsed = parse(json.dumps(event("Microsoft.Storage.BlobRenamed")))
    assert isinstance(parsed, Ignored)
    assert parsed.reason.endswith("the inventory finds the files that it has changed")


def test_an_api_that_nobody_knows_is_not_taken_for_a_commit() -> None:
    parsed = parse(json.dumps(event(api="AppendFile")))
    assert isinstance(parsed, Ignored)
    assert parsed.reason == "'AppendFile' is no API that commits a file"


def test_a_blob_that_is_empty_is_an_arrival_all_the_same_since_the_api_tells_what_is_committed() -> None:
    parsed = parse(json.dumps(event(contentLength=0)))
    assert isinstance(parsed, BlobCreated)
    assert parsed.size == 0


def test_a_cloud_event_may_leave_out_its_time_and_is_then_no_news_by_it() -> None:
    parsed = parse(json.dumps({**event(), "eventTime": None}))
    assert isinstance(parsed, BlobCreated)
    assert parsed.occurred_at == NOT_TOLD


def test_an_event_cannot_answer_for_its_topic_with_the_word_of_the_other_schema() -> None:
    parsed = parse(json.dumps({**event(), "topic": None, "source": TOPIC}))
    assert isinstance(parsed, BlobCreated)
    assert parsed.source == ""


@pytest.mark.parametrize(
    ("sequencer", "read"), [(None, ""), ("", ""), ("f" * 65, ""), (12, "12".rjust(64, "0")), ("-1", "-1".rjust(64, "0"))]
)
def test_a_sequencer_that_cannot_be_compared_is_none(sequencer: object, read: str) -> None:
    parsed = parse(json.dumps(event(sequencer=sequencer)))
    assert isinstance(parsed, BlobCreated)
    assert parsed.sequencer == read


def test_one_bad_event_of_an_array_takes_none_of_its_neighbours_with_it() -> None:
    body = [event(), {"id": "broken"}, event("Microsoft.Storage.BlobTierChanged")]
    (first, created), (second, error), (_, ignored) = parse_all(json.dumps(body))
    assert (json.loads(first), json.loads(second)) == (body[0], body[1])
    assert isinstance(created, BlobCreated)
    assert isinstance(error, EventError)
    assert isinstance(ignored, Ignored)


@pytest.mark.parametrize("opened", ["[", '{"a": '])
def test_an_event_at_the_edge_of_what_can_be_read_is_an_event_or_an_error(opened: str) -> None:
    # Reading, writing and showing it give up at depths of their own.
    for depth in range(850, 1010):
        nested = opened * depth + "1" + ("]" if opened == "[" else "}") * depth
        raw = json.dumps([event(sequencer="deep")]).replace('"deep"', nested)
        ((_, parsed),) = parse_all(raw)
        assert isinstance(parsed, EventError)
        with pytest.raises(EventError):
            parse(raw)


@pytest.mark.parametrize("raw", ["[]", "{", "", "3"])
def test_a_body_without_events_is_told_as_one_error(raw: str) -> None:
    ((text, error),) = parse_all(raw)
    assert text == raw
    assert isinstance(error, EventError)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ("{", "not JSON"),
        ("[]", "list"),
        ("3", "int"),
        ("null", "NoneType"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5_000, "not JSON"),
        (json.dumps([event(), event()]), "list"),
        (json.dumps({"id": "1"}), "eventType or type"),
        (json.dumps({**event(), "data": None}), "data holds None"),
        (json.dumps({**event(), "id": None}), "field id holds None"),
        (json.dumps({**event(), "eventTime": "yesterday"}), "eventTime or time holds 'yesterday'"),
        (json.dumps(event(url=None)), "data.url"),
        (json.dumps(event(url="flights/a.csv")), "data.url"),
        (json.dumps(event(url="https://account.blob.core.windows.net/flights")), "data.url"),
        (json.dumps(event(url="file:///etc/passwd")), "data.url"),
        (json.dumps(event(url="https://[::1/flights/a.csv")), "data.url"),
        (json.dumps(event(url="https://account.blob.core.windows.net/flights/%FF")), "data.url"),
        (json.dumps(event(url=URL + "\ud800")), "data.url"),
        (json.dumps({**event(), "id": "\udcff"}), "field id"),
        (json.dumps({**event(), "eventTime": "0001-01-01T00:00:00+14:00"}), "eventTime or time"),
        (json.dumps(event(sequencer={})), "data.sequencer holds {}"),
        (json.dumps(event(contentLength="9" * 5_000)), "data.contentLength"),
        (json.dumps(event(contentLength=None)), "data.contentLength holds None"),
        (json.dumps(event(eTag="")), "data.eTag"),
        (json.dumps(event(eTag='W/""')), "data.eTag"),
        (json.dumps(event(contentLength=-1)), "data.contentLength holds -1"),
        (json.dumps(event(contentLength="7 bytes")), "data.contentLength holds '7 bytes'"),
        (json.dumps(event(api=True)), "data.api holds True"),
    ],
)
def test_a_malformed_event_is_refused_and_the_field_is_named(raw: str, field: str) -> None:
    with pytest.raises(EventError) as raised:
        parse(raw)
    assert field in str(raised.value)
    assert len(str(raised.value)) < 400
