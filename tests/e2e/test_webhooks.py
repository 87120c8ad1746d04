"""The webhook of the running host lets nobody in: keys, the handshake, events of strangers. The stack is real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from local.stack import Stack
from tests.e2e.conftest import Host

pytestmark = [pytest.mark.e2e]

Read = Callable[[str], dict[str, Any]]
FUNCTIONS = ["register_uploaded_data", "request_rollout", "observe_training"]
ELSEWHERE = "/subscriptions/0/resourceGroups/other/providers"


def blob_event(stack: Stack, event_id: str, **changes: str) -> dict[str, Any]:
    environment = stack.environment
    url = changes.get("url", f"{environment.blob_url}/flights/incoming/forged.csv")
    return {
        "id": event_id,
        "topic": changes.get("topic", environment.storage_account_id),
        "subject": "/blobServices/default/containers/flights/blobs/incoming/forged.csv",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-01-01T00:00:00Z",
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {"api": "PutBlob", "url": url, "eTag": "0x1", "contentLength": 3},
    }


def workspace_event(source: str, event_id: str, kind: str) -> dict[str, Any]:
    return {
        "id": event_id,
        "source": source,
        "subject": "models/flight-delay:99",
        "type": f"Microsoft.MachineLearningServices.{kind}",
        "time": "2026-01-01T00:00:00Z",
        "specversion": "1.0",
        "data": {"ModelName": "flight-delay", "ModelVersion": "99", "runId": "train-flight-delay-v1", "runStatus": "Completed"},
    }


def test_a_malformed_event_waits_in_the_inbox_and_is_not_sent_again(host: Host, ledger: Read) -> None:
    malformed = {"id": "broken-1", "eventType": "Microsoft.Storage.BlobCreated", "subject": "nothing", "data": {"api": "PutBlob"}}
    assert host.post_events("register_uploaded_data", [malformed]).status_code == 202
    (item,) = [item for item in ledger("inbox/").values() if "broken-1" in item["payload"]]
    assert (item["kind"], item["status"], item["permanent"], item["attempts"]) == ("event", "open", True, 1)
    assert "data.url" in item["error"]


def test_an_event_of_a_container_that_is_not_watched_is_ignored_with_the_reason(stack: Stack, host: Host, ledger: Read) -> None:
    event = blob_event(stack, "stranger-1", url=f"{stack.environment.blob_url}/elsewhere/x.csv")
    assert host.post_events("register_uploaded_data", [event]).status_code == 202
    (note,) = [note for note in ledger("events/").values() if note["event_id"] == "stranger-1"]
    assert note["outcome"] == "ignored"
    assert "elsewhere" in note["reason"]


@pytest.mark.parametrize(
    ("event_id", "changes"),
    [
        ("forged-url", {"url": "https://stranger.blob.core.windows.net/flights/incoming/forged.csv"}),
        ("forged-topic", {"topic": f"{ELSEWHERE}/Microsoft.Storage/storageAccounts/stranger"}),
    ],
)
def test_an_event_of_another_storage_account_is_refused_and_recorded(
    stack: Stack, host: Host, ledger: Read, event_id: str, changes: dict[str, str]
) -> None:
    event = blob_event(stack, event_id, **changes)
    assert host.post_events("register_uploaded_data", [event]).status_code == 202
    refused(ledger, event_id, "stranger")
    bundles = [*ledger("arrivals/").values(), *ledger("windows/").values()]
    assert not any("forged.csv" in str(bundle) for bundle in bundles)


@pytest.mark.parametrize(("function", "kind"), [("request_rollout", "ModelRegistered"), ("observe_training", "RunStatusChanged")])
def test_an_event_of_another_workspace_is_refused_and_recorded(host: Host, ledger: Read, function: str, kind: str) -> None:
    source = f"{ELSEWHERE}/Microsoft.MachineLearningServices/workspaces/stranger"
    assert host.post_events(function, [workspace_event(source, f"forged-{kind}", kind)]).status_code == 202
    refused(ledger, f"forged-{kind}", "workspaces/stranger")
    assert not [key for key in ledger("rollout-requests/") if key.endswith("/99.json")]


def refused(ledger: Read, event_id: str, stranger: str) -> None:
    """It is in the inbox, once and as it came, and noted under its id."""
    (item,) = [item for item in ledger("inbox/").values() if f'"{event_id}"' in item["payload"]]
    assert (item["status"], item["permanent"]) == ("open", True)
    assert stranger in item["error"]
    (note,) = [note for note in ledger("events/").values() if note["event_id"] == event_id]
    assert note["outcome"] == "refused"
    assert stranger in note["reason"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_its_system_key_the_webhook_takes_nothing_and_records_nothing(
    stack: Stack, host: Host, ledger: Read, function: str
) -> None:
    event = blob_event(stack, f"keyless-{function}")
    for key in ("", "wrong", host.keys.function):
        assert webhook(stack, function, key, "POST", json=[event]).status_code == 401
        assert webhook(stack, function, key, "OPTIONS").status_code == 401
    assert not any(f"keyless-{function}" in str(document) for kind in ("events/", "inbox/") for document in ledger(kind).values())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_handshake_of_both_schemas_is_answered(stack: Stack, host: Host, function: str) -> None:
    key = host.keys.eventgrid_extension
    event = {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "id": "h", "data": {"validationCode": "4711"}}
    answer = webhook(stack, function, key, "POST", "SubscriptionValidation", json=[event])
    assert (answer.status_code, answer.json()) == (200, {"validationResponse": "4711"})
    answer = webhook(stack, function, key, "OPTIONS")
    assert (answer.status_code, answer.headers["webhook-allowed-origin"]) == (200, "eventgrid.azure.net")


def test_the_http_routes_need_a_key_of_their_own(stack: Stack, host: Host) -> None:
    with httpx.Client(base_url=stack.environment.host_url) as http:
        for headers in ({}, {"x-functions-key": "wrong"}, {"x-functions-key": host.keys.eventgrid_extension}):
            for answer in (http.get("/api/status", headers=headers), http.post("/api/rollouts/loans/pause", headers=headers)):
                assert (answer.status_code, answer.text) == (401, "")
    assert host.status()


def test_what_people_say_over_http_is_answered_in_sentences(stack: Stack, host: Host, ledger: Read) -> None:
    said = {"by": "anna", "reason": "odd scores"}
    with httpx.Client(base_url=stack.environment.host_url, headers={"x-functions-key": host.keys.function}) as http:
        unknown, unclear = (
            http.post("/api/rollouts/nobodys/pause", json=said),
            http.post("/api/rollouts/nobodys/cancel", json=said),
        )
        assert http.get("/api/rollouts/nobodys/pause").status_code == 404  # people say something; there is nothing to get
    assert (unknown.status_code, unclear.status_code) == (404, 404)
    assert "the endpoints are: " in unknown.json()["error"]
    assert "pause, resume, promote, abort, roll-back" in unclear.json()["error"]
    assert not ledger("rollout-commands/nobodys/")


def webhook(stack: Stack, function: str, key: str, method: str, kind: str = "Notification", **body: Any) -> httpx.Response:
    headers = {"aeg-event-type": kind, "webhook-request-origin": "eventgrid.azure.net"}
    query = {"functionName": function, **({"code": key} if key else {})}
    url = f"{stack.environment.host_url}/runtime/webhooks/eventgrid"
    return httpx.request(method, url, params=query, headers=headers, timeout=30.0, **body)
