"""Whom events may speak of. Nothing is faked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_core.events import parse
from ml_core.origin import objection

ACCOUNT_URL = "https://account.blob.core.windows.net"
EMULATOR_URL = "https://127.0.0.1:10000/account"
GROUP = "/subscriptions/s/resourceGroups/g/providers"
TOPIC = f"{GROUP}/Microsoft.Storage/storageAccounts/account"
WORKSPACE_ID = f"{GROUP}/Microsoft.MachineLearningServices/workspaces/w"


def blob_event(url: str, topic: str | None, kind: str = "BlobCreated") -> dict[str, Any]:
    data = {"api": "PutBlob" if kind == "BlobCreated" else "DeleteBlob", "url": url, "eTag": "0x1", "contentLength": 1}
    return {"id": "1", "eventType": f"Microsoft.Storage.{kind}", "topic": topic, "data": data}


def workspace_event(source: str | None, kind: str = "ModelRegistered") -> dict[str, Any]:
    data = {"modelName": "m", "modelVersion": 1, "runId": "r", "runStatus": "Completed"}
    return {"id": "1", "type": f"Microsoft.MachineLearningServices.{kind}", "source": source, "data": data}


def objection_to(event: dict[str, Any], data_account_url: str = ACCOUNT_URL) -> str:
    return objection(parse(json.dumps(event)), data_account_url, WORKSPACE_ID)


@pytest.mark.parametrize("kind", ["BlobCreated", "BlobDeleted"])
@pytest.mark.parametrize("topic", [TOPIC, TOPIC.upper(), f"{TOPIC}/", None, ""])
@pytest.mark.parametrize(
    ("url", "data_account_url"),
    [
        (f"{ACCOUNT_URL}/c/b", ACCOUNT_URL),
        (f"{ACCOUNT_URL}/c/b", f"{ACCOUNT_URL}/"),
        ("https://account.dfs.core.windows.net/c/b", ACCOUNT_URL),
        ("https://ACCOUNT.blob.core.windows.net:443/c/b", ACCOUNT_URL),
        (f"{ACCOUNT_URL}/c/b", "https://Account.dfs.core.windows.net"),
        (f"{EMULATOR_URL}/c/b", EMULATOR_URL),
        ("https://[::1]:10000/account/c/b", "https://[::1]:10000/account"),
    ],
)
def test_a_blob_of_the_watched_account_is_welcome_in_every_spelling(
    kind: str, topic: str | None, url: str, data_account_url: str
) -> None:
    assert objection_to(blob_event(url, topic, kind), data_account_url) == ""


@pytest.mark.parametrize("kind", ["BlobCreated", "BlobDeleted"])
@pytest.mark.parametrize(
    ("url", "data_account_url"),
    [
        ("https://other.blob.core.windows.net/c/b", ACCOUNT_URL),
        ("https://account.blob.core.usgovcloudapi.net/c/b", ACCOUNT_URL),
        ("https://account.blob.core.windows.net.evil.example/c/b", ACCOUNT_URL),
        ("https://account.blob.core.windows.net@evil.example/c/b", ACCOUNT_URL),
        ("https://account.blob.core.windows.net:8443/c/b", ACCOUNT_URL),
        ("https://account.queue.core.windows.net/c/b", ACCOUNT_URL),
        ("https://account-secondary.blob.core.windows.net/c/b", ACCOUNT_URL),
        ("https://127.0.0.1:10000/other/c/b", EMULATOR_URL),
        ("https://127.0.0.1:10001/account/c/b", EMULATOR_URL),
        ("https://127.0.0.1:10000/accounts/c/b", EMULATOR_URL),
    ],
)
def test_a_blob_of_another_account_is_refused_whatever_its_topic_says(kind: str, url: str, data_account_url: str) -> None:
    for topic in (TOPIC, None):
        said = objection_to(blob_event(url, topic, kind), data_account_url)
        assert "another storage account" in said
        assert data_account_url in said


@pytest.mark.parametrize(
    "topic",
    [
        TOPIC.replace("account", "other"),
        TOPIC.replace("storageAccounts/account", "storageAccounts/other-account"),
        f"{GROUP}/Microsoft.EventGrid/topics/account",
        WORKSPACE_ID,
        "account",
        "/",
    ],
)
def test_a_topic_of_something_else_is_refused_though_the_url_is_right(topic: str) -> None:
    said = objection_to(blob_event(f"{ACCOUNT_URL}/c/b", topic))
    assert repr(topic) in said
    assert "'account'" in said


@pytest.mark.parametrize("kind", ["ModelRegistered", "RunStatusChanged"])
@pytest.mark.parametrize(
    "source",
    [
        WORKSPACE_ID.replace("/w", "/other"),
        WORKSPACE_ID.replace("/s/", "/another-subscription/"),
        WORKSPACE_ID.replace("/g/", "/another-group/"),
        f"{WORKSPACE_ID}/jobs/1",
        TOPIC,
        "w",
    ],
)
def test_another_workspace_is_refused_and_named(kind: str, source: str) -> None:
    said = objection_to(workspace_event(source, kind))
    assert repr(source) in said
    assert WORKSPACE_ID in said


@pytest.mark.parametrize("source", [None, ""])
def test_an_event_of_azure_ml_that_names_no_workspace_is_refused(source: str | None) -> None:
    assert "names no workspace" in objection_to(workspace_event(source))


@given(st.data())
def test_arm_ids_are_compared_without_regard_to_case(data: st.DataObject) -> None:
    def spelled(identity: str) -> str:
        upper = data.draw(st.lists(st.booleans(), min_size=len(identity), max_size=len(identity)))
        return "".join(letter.upper() if up else letter.lower() for letter, up in zip(identity, upper, strict=True))

    assert objection_to(workspace_event(spelled(WORKSPACE_ID))) == ""
    assert objection_to(blob_event(f"{ACCOUNT_URL}/c/b", spelled(TOPIC))) == ""


def test_an_event_that_is_ignored_anyway_needs_no_objection() -> None:
    event = blob_event("https://other.blob.core.windows.net/c/b", None) | {"eventType": "Microsoft.Storage.BlobTierChanged"}
    assert objection_to(event) == ""
