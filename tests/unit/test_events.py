"""What Event Grid sends, as values. Nothing is faked; the documentation's samples are read if they lie beside the repository."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ml_core.errors import EventError
from ml_core.events import BlobCreated, BlobDeleted, Ignored, ModelRegistered, RunStatusChanged, parse

SAMPLES = Path(__file__).parents[2].parent / "shared" / "events"
URL = "https://account.blob.core.windows.net/flights/incoming/a%20b%23.csv"


def event(kind: str = "Microsoft.Storage.BlobCreated", **changes: Any) -> dict[str, Any]:
    data = {"api": "PutBlob", "url": URL, "eTag": "0x8D1", "contentLength": 7, "sequencer": "0B"}
    return {"id": "e1", "eventType": kind, "eventTime": "2026-03-01T12:00:00Z", "data": {**data, **changes}}


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
    )


def test_both_schemas_give_the_same_value() -> None:
    grid = event()
    cloud = {"specversion": "1.0", "id": "e1", "type": grid["eventType"], "time": grid["eventTime"], "data": grid["data"]}
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
    assert parsed == Ignored("e1", "Microsoft.Storage.BlobTierChanged", reason)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ("{", "not JSON"),
        ("[]", "list"),
        ("3", "int"),
        ("null", "NoneType"),
        (json.dumps({"id": "1"}), "eventType or type"),
        (json.dumps({**event(), "data": None}), "data holds None"),
        (json.dumps({**event(), "id": None}), "field id holds None"),
        (json.dumps({**event(), "eventTime": "yesterday"}), "eventTime or time holds 'yesterday'"),
        (json.dumps(event(url=None)), "data.url"),
        (json.dumps(event(url="flights/a.csv")), "data.url"),
        (json.dumps(event(url="https://account.blob.core.windows.net/flights")), "data.url"),
        (json.dumps(event(url="file:///etc/passwd")), "data.url"),
        (json.dumps(event(eTag="")), "data.eTag"),
        (json.dumps(event(contentLength=-1)), "data.contentLength holds -1"),
        (json.dumps(event(contentLength="7 bytes")), "data.contentLength holds '7 bytes'"),
        (json.dumps(event(api=True)), "data.api holds True"),
    ],
)
def test_a_malformed_event_is_refused_and_the_field_is_named(raw: str, field: str) -> None:
    with pytest.raises(EventError) as raised:
        parse(raw)
    assert field in str(raised.value)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the documentation's samples are not beside the repository")
def test_every_sample_of_the_documentation_is_understood_or_ignored_with_a_reason() -> None:
    kinds = {
        "blob_created": (BlobCreated, Ignored),
        "blob_deleted": (BlobDeleted,),
        "model_registered": (ModelRegistered,),
        "run_status_changed": (RunStatusChanged,),
    }
    seen = 0
    for path in sorted(SAMPLES.glob("*.json")):
        document = json.loads(path.read_text())
        for one in document if isinstance(document, list) else [document]:
            if "eventType" not in one and "specversion" not in one:
                continue  # alerts and handshakes are no events
            parsed = parse(json.dumps(one))
            expected = next((values for name, values in kinds.items() if name in path.name), (Ignored,))
            assert isinstance(parsed, expected), path.name
            seen += 1
    assert seen > 30
