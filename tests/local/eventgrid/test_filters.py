"""Subscription filters: every operator of the documentation, missing keys, arrays, limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.eventgrid.errors import RefusedError
from local.eventgrid.filters import parse_filter
from local.eventgrid.schema import CLOUD_EVENTS, EVENT_GRID, Event

DATA: dict[str, Any] = {
    "api": "PutBlockList",
    "size": 20,
    "ready": True,
    "nothing": None,
    "tags": ["red", "Green"],
    "numbers": [3, 7],
    "runTags": {"azureml_modelmonitor_threshold_breached": "The signal 'x' has failed"},
    "a.b": "dotted",
}
EVENT = Event(
    EVENT_GRID,
    {
        "id": "1",
        "topic": "/t",
        "subject": "/blobServices/default/containers/Raw/blobs/a.CSV",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-01-01T00:00:00Z",
        "dataVersion": "",
        "metadataVersion": "1",
        "data": DATA,
    },
)


def advanced(operator: str, key: str, *values: Any, arrays: bool = False) -> bool:
    single = operator in ("BoolEquals",) or ("Than" in operator)
    condition = {"operatorType": operator, "key": key} | ({"value": values[0]} if single else {"values": list(values)})
    return parse_filter({"advancedFilters": [condition], "enableAdvancedFilteringOnArrays": arrays}).matches(EVENT)


@pytest.mark.parametrize(
    ("operator", "key", "values", "expected"),
    [
        ("StringIn", "data.api", ["putblocklist", "x"], True),
        ("StringIn", "data.api", ["PutBlob"], False),
        ("StringNotIn", "data.api", ["PutBlob"], True),
        ("StringNotIn", "data.api", ["PUTBLOCKLIST"], False),
        ("StringBeginsWith", "data.api", ["put"], True),
        ("StringNotBeginsWith", "data.api", ["put"], False),
        ("StringEndsWith", "data.api", ["LIST"], True),
        ("StringNotEndsWith", "data.api", ["blob"], True),
        ("StringContains", "data.api", ["nope", "BLOCK"], True),
        ("StringNotContains", "data.api", ["nope", "BLOCK"], False),
        ("NumberIn", "data.size", [1, 20.0], True),
        ("NumberNotIn", "data.size", [20], False),
        ("NumberLessThan", "data.size", [20], False),
        ("NumberLessThanOrEquals", "data.size", [20], True),
        ("NumberGreaterThan", "data.size", [19.5], True),
        ("NumberGreaterThanOrEquals", "data.size", [21], False),
        ("NumberInRange", "data.size", [[1, 2], [20, 30]], True),
        ("NumberNotInRange", "data.size", [[1, 2], [20, 30]], False),
        ("NumberNotInRange", "data.size", [[1, 2]], True),
        ("BoolEquals", "data.ready", [True], True),
        ("BoolEquals", "data.ready", [False], False),
        ("IsNullOrUndefined", "data.nothing", [], True),
        ("IsNullOrUndefined", "data.missing", [], True),
        ("IsNullOrUndefined", "data.size", [], False),
        ("IsNotNull", "data.size", [], True),
        ("IsNotNull", "data.missing.deeper", [], False),
        ("StringContains", "Data.RunTags.azureml_modelmonitor_threshold_breached", ["has failed"], True),
        ("StringEndsWith", "Subject", [".csv"], True),
        ("StringIn", "eventtype", ["microsoft.storage.blobcreated"], True),
        ("StringIn", "source", ["/T"], True),
        ("StringIn", "data.a.b", ["dotted"], False),
        ("NumberIn", "data.ready", [1], False),
        ("StringIn", "data.size", ["20"], False),
    ],
)
def test_each_operator_compares_as_documented(operator: str, key: str, values: list[Any], expected: bool) -> None:
    assert advanced(operator, key, *values) is expected


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("StringIn", "x"), ("StringContains", "x"), ("StringNotContains", "x"), ("StringBeginsWith", "x"),
        ("StringNotBeginsWith", "x"), ("StringEndsWith", "x"), ("StringNotEndsWith", "x"), ("NumberIn", 1),
        ("NumberLessThan", 1), ("NumberLessThanOrEquals", 1), ("NumberGreaterThan", 1),
        ("NumberGreaterThanOrEquals", 1), ("BoolEquals", True),
    ],
)  # fmt: skip
def test_a_missing_key_does_not_match(operator: str, value: Any) -> None:
    assert advanced(operator, "data.missing", value) is False


@pytest.mark.parametrize(("operator", "value"), [("StringNotIn", "x"), ("NumberNotIn", 1)])
def test_a_missing_key_matches_the_two_not_in_operators(operator: str, value: Any) -> None:
    assert advanced(operator, "data.missing", value) is True


def test_arrays_are_compared_only_when_the_subscription_asks_for_it() -> None:
    assert advanced("StringIn", "data.tags", "green", arrays=True)
    assert not advanced("StringIn", "data.tags", "green")
    assert not advanced("StringNotIn", "data.tags", "green", arrays=True)
    assert advanced("NumberGreaterThan", "data.numbers", 5, arrays=True)


def test_filters_are_joined_by_and() -> None:
    both = [
        {"operatorType": "StringIn", "key": "data.api", "values": ["PutBlockList"]},
        {"operatorType": "NumberGreaterThan", "key": "data.size", "value": 100},
    ]
    assert not parse_filter({"advancedFilters": both}).matches(EVENT)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, True),
        ({"includedEventTypes": ["microsoft.storage.blobcreated"]}, True),
        ({"includedEventTypes": ["Microsoft.Storage.BlobDeleted"]}, False),
        ({"subjectBeginsWith": "/blobservices/default/containers/raw/"}, True),
        ({"subjectBeginsWith": "/blobservices/default/containers/raw/", "isSubjectCaseSensitive": True}, False),
        ({"subjectEndsWith": ".csv"}, True),
        ({"subjectEndsWith": ".CSV", "isSubjectCaseSensitive": True}, True),
        ({"subjectBeginsWith": "/blobServices/default/containers/other/"}, False),
    ],
)
def test_type_and_subject_filters(document: dict[str, Any], expected: bool) -> None:
    assert parse_filter(document).matches(EVENT) is expected


def test_a_cloud_event_is_found_under_the_names_of_both_schemas() -> None:
    event = Event(CLOUD_EVENTS, {"id": "1", "source": "/s", "type": "T", "specversion": "1.0", "subject": "x", "data": {"k": 1}})
    for key, value in (("source", "/s"), ("type", "t"), ("topic", "/s")):
        document = {"advancedFilters": [{"operatorType": "StringIn", "key": key, "values": [value]}]}
        assert parse_filter(document).matches(event)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"advancedFilters": [{"operatorType": "IsNotNull", "key": "data.x"}] * 26}, "25"),
        ({"advancedFilters": [{"operatorType": "StringIn", "key": "k", "values": [str(n) for n in range(26)]}]}, "25"),
        ({"advancedFilters": [{"operatorType": "StringIn", "key": "k", "values": ["x" * 513]}]}, "512"),
        ({"advancedFilters": [{"operatorType": "StringLike", "key": "k", "values": ["x"]}]}, "operatorType"),
        ({"advancedFilters": [{"operatorType": "StringIn", "values": ["x"]}]}, "key"),
        ({"advancedFilters": [{"operatorType": "StringIn", "key": "k", "values": []}]}, "values"),
        ({"advancedFilters": [{"operatorType": "NumberIn", "key": "k", "values": [True]}]}, "NumberIn"),
        ({"advancedFilters": [{"operatorType": "NumberInRange", "key": "k", "values": [[2, 1]]}]}, "NumberInRange"),
        ({"advancedFilters": [{"operatorType": "BoolEquals", "key": "k", "value": "true"}]}, "BoolEquals"),
        ({"includedEventTypes": "Microsoft.Storage.BlobCreated"}, "includedEventTypes"),
        ({"subjectBeginsWith": 7}, "subjectBeginsWith"),
        ({"isSubjectCaseSensitive": "yes"}, "isSubjectCaseSensitive"),
    ],
)
def test_what_azure_would_refuse_is_refused_by_name(document: dict[str, Any], named: str) -> None:
    with pytest.raises(RefusedError, match=named):
        parse_filter(document)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(value=json_values, arrays=st.booleans())
def test_not_in_is_the_opposite_of_in_for_any_value_that_is_there(value: Any, arrays: bool) -> None:
    event = Event(EVENT_GRID, {**EVENT.body, "data": {"k": value}})

    def matches(operator: str) -> bool:
        condition = {"operatorType": operator, "key": "data.k", "values": ["a", ""]}
        return parse_filter({"advancedFilters": [condition], "enableAdvancedFilteringOnArrays": arrays}).matches(event)

    assert matches("StringIn") is not matches("StringNotIn")
