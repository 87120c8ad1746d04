"""Events by the thousand: a fact is chosen first, then told in one of the many ways in which senders tell it.

The fact is the oracle: what the parser makes of the text is held against what the text was made from. Nothing is faked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.errors import EventError
from ml_core.events import BlobCreated, BlobDeleted, Event, Ignored, ModelRegistered, RunStatusChanged, parse, parse_all

COMMITS = ["PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit"]
OPENINGS = ["CreateFile", "SftpCreate"]
DELETIONS = ["DeleteBlob", "DeleteFile", "SftpRemove"]
STORAGE, WORKSPACES = "Microsoft.Storage.", "Microsoft.MachineLearningServices."
# What an account's address looks like from outside, and what stands for it in a value's url.
ACCOUNTS = [
    ("https://account.blob.core.windows.net", "https://account.blob.core.windows.net"),
    ("https://account.dfs.core.windows.net", "https://account.blob.core.windows.net"),
    ("https://Account.Blob.Core.Windows.Net:443", "https://account.blob.core.windows.net"),
    ("https://account.z13.dfs.storage.azure.net", "https://account.z13.blob.storage.azure.net"),
    ("https://127.0.0.1:10000/account", "https://127.0.0.1:10000/account"),
]

# No '%' and '?': a sender that leaves them as they are has said something else.
_names = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\t%?", exclude_categories=["Cc"]), min_size=1, max_size=40)
_words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)
_containers = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=3, max_size=20)
_moments = st.datetimes(min_value=datetime(2015, 1, 1), max_value=datetime(2060, 1, 1), timezones=st.just(UTC))
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
_topics = st.sampled_from(["", "/subscriptions/S/resourceGroups/G/providers/Microsoft.Storage/storageAccounts/account"])


@st.composite
def _cased(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """The same fields in another order, with other letters' case, and with a stranger among them."""
    case: Callable[[str], str] = draw(st.sampled_from([str, str.lower, str.upper, lambda key: key[:1].upper() + key[1:]]))
    fields = [(case(key), value) for key, value in document.items()] + [("somethingNew", draw(_scalars))]
    return dict(draw(st.permutations(fields)))


@st.composite
def _spelled_url(draw: st.DrawFn, account: str, container: str, path: str) -> str:
    """Encoded by the letter, as the SDK does it, or hardly at all."""
    encode = draw(st.sampled_from([lambda name: quote(name, safe=""), lambda name: quote(name, safe="~/"), str]))
    return f"{account}/{container}/{encode(path)}"


@st.composite
def _told_time(draw: st.DrawFn, moment: datetime) -> str:
    """With 0 to 9 fractional digits, in UTC or with an offset."""
    offset = draw(st.sampled_from([None, timedelta(0), timedelta(hours=-7), timedelta(hours=5, minutes=30)]))
    local = moment if offset is None else moment + offset
    digits = f"{moment.microsecond:06d}{draw(st.integers(0, 999)):03d}"[: draw(st.integers(0, 9))]
    sign = "" if offset is None else "-" if offset < timedelta(0) else "+"
    zone = (
        "Z" if offset is None else f"{sign}{abs(offset) // timedelta(hours=1):02d}:{abs(offset) // timedelta(minutes=1) % 60:02d}"
    )
    return f"{local:%Y-%m-%dT%H:%M:%S}{'.' if digits else ''}{digits}{zone}"


@st.composite
def _enveloped(draw: st.DrawFn, kind: str, identity: str, topic: str, time: str, data: dict[str, Any]) -> dict[str, Any]:
    """In one of the two schemas, with or without the fields that say nothing."""
    if draw(st.booleans()):
        envelope = {"eventType": kind, "eventTime": time, "topic": topic, "dataVersion": "", "metadataVersion": "1"}
    else:
        envelope = {"type": kind, "time": time, "source": topic, "specversion": "1.0"}
    envelope |= {"id": identity, "subject": draw(st.sampled_from(["", "/blobServices/default/containers/c/blobs/b"]))}
    for field in ("dataVersion", "metadataVersion", "subject"):
        if draw(st.booleans()):
            envelope.pop(field, None)
    if not topic and draw(st.booleans()):
        envelope = {key: value for key, value in envelope.items() if key not in ("topic", "source")}
    return draw(_cased({**envelope, "data": draw(_cased(data))}))


def _seconds(event: Event) -> Event:
    """Without the fraction of the time, which the telling may have cut."""
    if isinstance(event, Ignored):
        return event
    return type(event)(**{**vars(event), "occurred_at": event.occurred_at.replace(microsecond=0)})


@st.composite
def _blob_events(draw: st.DrawFn) -> tuple[str, Event]:
    (account, spelled), container, path = draw(st.sampled_from(ACCOUNTS)), draw(_containers), draw(_names)
    moment, identity, topic = draw(_moments), draw(_words), draw(_topics)
    api, etag = draw(st.sampled_from(COMMITS + OPENINGS + DELETIONS)), f"0x8D{draw(st.integers(0, 2**50)):013X}"
    size, sequencer = draw(st.integers(0, 2**45)), draw(st.none() | st.integers(1, 2**190))
    data: dict[str, Any] = {"api": draw(st.sampled_from([api, api.lower(), api.upper()])), "blobType": "BlockBlob"}
    data["url"] = draw(_spelled_url(account, container, path))
    if api not in DELETIONS or draw(st.booleans()):
        data["eTag"] = draw(st.sampled_from([etag, f'"{etag}"', f'W/"{etag}"']))
        data["contentLength"] = draw(st.sampled_from([size, str(size)]))
    if sequencer is not None:
        data["sequencer"] = draw(st.sampled_from([f"{sequencer:048x}", f"{sequencer:048X}", f"{sequencer:x}"]))
    kind = STORAGE + ("BlobDeleted" if api in DELETIONS else "BlobCreated")
    event = draw(_enveloped(kind, identity, topic, draw(_told_time(moment)), data))
    url = f"{spelled}/{container}/{quote(path, safe='~/')}"
    number = "" if sequencer is None else f"{sequencer:064x}"
    where, at = (url, container, path), moment.replace(microsecond=0)
    fact: Event = BlobCreated(identity, *where, etag, size, number, at, topic)
    if api in DELETIONS:
        fact = BlobDeleted(identity, *where, number, at, topic)
    if api in OPENINGS:
        fact = Ignored(identity, kind, f"{data['api']} opens a file; its commit is announced later", topic)
    return json.dumps(event, ensure_ascii=draw(st.booleans())), fact


@st.composite
def _workspace_events(draw: st.DrawFn) -> tuple[str, Event]:
    moment, identity, topic, name = draw(_moments), draw(_words), draw(_topics), draw(_words)
    number, status = draw(st.integers(1, 10**9)), draw(st.sampled_from(["Completed", "failed", "NotStarted"]))
    at = moment.replace(microsecond=0)
    if draw(st.booleans()):
        tags = draw(st.dictionaries(_words, _words, max_size=2))
        data = {"ModelName": name, "ModelVersion": draw(st.sampled_from([number, str(number)])), "ModelTags": tags or None}
        event = draw(_enveloped(f"{WORKSPACES}ModelRegistered", identity, topic, draw(_told_time(moment)), data))
        return json.dumps(event), ModelRegistered(identity, name, str(number), at, tags, topic)
    data = {"runId": name, "runStatus": status, "runType": None, "runTags": {}, "experimentName": "e"}
    event = draw(_enveloped(f"{WORKSPACES}RunStatusChanged", identity, topic, draw(_told_time(moment)), data))
    return json.dumps(event), RunStatusChanged(identity, name, status, at, topic)


@given(_blob_events())
@settings(max_examples=300, deadline=None)
def test_whatever_way_a_blob_s_event_is_told_the_value_is_the_fact(vector: tuple[str, Event]) -> None:
    text, fact = vector
    assert _seconds(parse(text)) == fact


@given(_workspace_events())
@settings(deadline=None)
def test_whatever_way_a_workspace_s_event_is_told_the_value_is_the_fact(vector: tuple[str, Event]) -> None:
    text, fact = vector
    assert _seconds(parse(text)) == fact


@given(st.lists(st.one_of(_blob_events(), _workspace_events(), st.just(('{"id": "broken"}', None))), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_an_array_is_each_of_its_events(vectors: list[tuple[str, Event | None]]) -> None:
    parsed = parse_all(f"[{','.join(text for text, _ in vectors)}]")
    assert [json.loads(text) for text, _ in parsed] == [json.loads(text) for text, _ in vectors]
    assert [None if isinstance(event, EventError) else _seconds(event) for _, event in parsed] == [fact for _, fact in vectors]


@given(st.integers(0, 2**190), st.integers(0, 2**190), st.sampled_from(["032x", "048X", "x"]), st.sampled_from(["048x", "064X"]))
def test_of_two_sequencers_the_later_is_the_greater_whatever_their_length_and_case(
    one: int, other: int, told: str, told_otherwise: str
) -> None:
    def read(text: str) -> str:
        data = {"api": "DeleteBlob", "url": "https://a.blob.core.windows.net/c/b", "sequencer": text}
        event = parse(json.dumps({"id": "1", "eventType": f"{STORAGE}BlobDeleted", "data": data}))
        assert isinstance(event, BlobDeleted)
        return event.sequencer

    assert (read(format(one, told)) < read(format(other, told_otherwise))) == (one < other)


@given(st.one_of(st.text(), _json.map(json.dumps)))
def test_no_text_whatever_is_anything_but_an_event_or_an_error_with_a_message(text: str) -> None:
    for _, event in parse_all(text):
        assert isinstance(event, Event | EventError)


@given(st.one_of(_blob_events(), _workspace_events()), st.data())
@settings(max_examples=200, deadline=None)
def test_an_event_with_one_field_spoilt_is_still_an_event_or_an_error(vector: tuple[str, Event], data: st.DataObject) -> None:
    document = json.loads(vector[0])
    inside = next(value for key, value in document.items() if key.lower() == "data")
    spoilt = data.draw(st.sampled_from([document, inside]))
    spoilt[data.draw(st.sampled_from(sorted(spoilt)))] = data.draw(_json)
    for _, event in parse_all(json.dumps(document)):
        assert isinstance(event, Event | EventError)
