"""The app itself in Microsoft's worker library: it indexes, and each of its functions answers once, against a real Azurite.

No Azure ML stands behind it, so the inputs are such that the road ends at the ledger and the queues: a blob event, events and
messages that nobody of us wrote, a sweep, a look at the state.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from local.certificates import Certificates
from local.storage.azurite import Azurite
from tests.worker.conftest import ROOT, RunWorker

LEDGER = "tidegate-ledger"
BLOB_EVENT: dict[str, Any] = {
    "id": "831e1650-001e-001b-66ab-eeb76e069631",
    "topic": "/subscriptions/0/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/devstoreaccount1",
    "subject": "/blobServices/default/containers/flights/blobs/incoming/2013-01.csv",
    "eventType": "Microsoft.Storage.BlobCreated",
    "eventTime": "2026-11-21T10:00:00.1234567Z",
    "dataVersion": "",
    "metadataVersion": "1",
    "data": {
        "api": "PutBlob",
        "eTag": "0x8D4BCC2E4835CD0",
        "contentType": "text/csv",
        "contentLength": 524288,
        "blobType": "BlockBlob",
        "sequencer": "00000000000004420000000000028963",
    },
}
ODD_MESSAGE = {"kind": "string", "value": "nobody of us wrote this", "metadata": {"Id": "m", "DequeueCount": "1"}}
ODD_EVENT = {"kind": "json", "value": '{"what": "is this"}'}
TIMER = {"kind": "json", "value": json.dumps({"Schedule": {"AdjustForDST": True}, "IsPastDue": False})}
CALLS: dict[str, dict[str, Any]] = {
    "register_uploaded_data": {"kind": "json", "value": "the event of an upload"},
    "observe_training": ODD_EVENT,
    "request_rollout": ODD_EVENT,
    "reconcile_data_asset": ODD_MESSAGE,
    "reconcile_model": ODD_MESSAGE,
    "advance_rollout": ODD_MESSAGE,
    "keep_poison_data_asset": ODD_MESSAGE,
    "keep_poison_model": ODD_MESSAGE,
    "keep_poison_rollout": ODD_MESSAGE,
    "sweep_active_keys": TIMER,
    "collect_dead_letters": TIMER,
    "start_due_retraining": TIMER,
    "command_rollout": {
        "kind": "http",
        "value": {
            "method": "POST",
            "url": "http://127.0.0.1/api/rollouts/flight-delay/pause",
            "params": {"endpoint": "flight-delay", "what": "pause"},
            "body": json.dumps({"by": "anna", "reason": "odd scores"}),
        },
    },
    "show_status": {"kind": "http", "value": {"method": "GET", "url": "http://127.0.0.1/api/status"}},
}


@dataclass
class Ran:
    """What the worker answered, by function, and what was left in the storage account."""

    functions: list[dict[str, Any]]
    results: dict[str, dict[str, Any]]
    notes: list[str]
    messages: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def own_azurite(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Azurite]:
    """Of its own: the app's queues have fixed names, and other tests read them too."""
    azurite = Azurite.start(tmp_path_factory.mktemp("azurite"), certificates)
    yield azurite
    azurite.stop()


@pytest.fixture(scope="module")
def ran(run_worker: RunWorker, own_azurite: Azurite, certificates: Certificates, token_endpoint: str) -> Ran:
    environment = certificates.environment() | {
        "IDENTITY_ENDPOINT": token_endpoint,
        "IDENTITY_HEADER": "test",
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "TIDEGATE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000000",
        "TIDEGATE_RESOURCE_GROUP": "tidegate-local",
        "TIDEGATE_WORKSPACE": "tidegate-local",
        "TIDEGATE_STORAGE__blobServiceUri": own_azurite.blob_url,
        "TIDEGATE_STORAGE__queueServiceUri": own_azurite.queue_url,
        "TIDEGATE_DATA__blobServiceUri": own_azurite.blob_url,
        "TIDEGATE_LEDGER_CONTAINER": LEDGER,
    }
    # An upload to the Azurite that is there: another account's would be refused.
    upload = {**BLOB_EVENT, "data": {**BLOB_EVENT["data"], "url": f"{own_azurite.blob_url}/flights/incoming/2013-01.csv"}}
    values = {"register_uploaded_data": {"value": json.dumps(upload)}}
    calls = [{"function": name, **call, **values.get(name, {})} for name, call in CALLS.items()]
    answer = run_worker("invoke", ROOT, calls=calls, environment=environment)
    assert answer["error"] is None, answer["error"]
    return Ran(
        answer["functions"],
        dict(zip(CALLS, answer["results"], strict=True)),
        *_left_behind(own_azurite, str(certificates.bundle)),
    )


def test_the_worker_indexes_every_function_and_each_is_called_here(ran: Ran) -> None:
    assert {item["name"] for item in ran.functions} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_the_function_answers_in_the_worker(name: str, ran: Ran) -> None:
    assert ran.results[name]["error"] is None, ran.results[name]["trace"]


def test_an_uploaded_blob_is_noted_and_wakes_its_data_asset(ran: Ran) -> None:
    assert len([note for note in ran.notes if note.startswith("arrivals/flights/")]) == 1
    assert {"key": "flights"} in ran.messages["tidegate-data-assets"]


def test_events_and_messages_that_nobody_of_us_wrote_are_kept_with_a_reason(ran: Ran) -> None:
    # One item for the event that two functions were given, and one for each queue's message.
    assert len([note for note in ran.notes if note.startswith("inbox/")]) == 4


def test_a_command_that_fits_nothing_is_answered_with_a_sentence(ran: Ran) -> None:
    answer = ran.results["command_rollout"]["returned"]
    assert (answer["status_code"], answer["headers"]["content-type"]) == ("409", "application/json")
    assert "no rollout under way at flight-delay" in json.loads(answer["body"]["bytes"])["error"]


def test_the_status_is_json_with_every_kind_of_key(ran: Ran) -> None:
    answer = ran.results["show_status"]["returned"]
    assert (answer["status_code"], answer["headers"]["content-type"]) == ("200", "application/json")
    assert set(json.loads(answer["body"]["bytes"])) == {"data-assets", "models", "rollouts", "inbox"}


def _left_behind(azurite: Azurite, bundle: str) -> tuple[list[str], dict[str, list[dict[str, Any]]]]:
    connection = azurite.connection_string
    with BlobServiceClient.from_connection_string(connection, connection_verify=bundle) as blobs:
        notes = list(blobs.get_container_client(LEDGER).list_blob_names())
    with QueueServiceClient.from_connection_string(connection, connection_verify=bundle) as queues:
        messages = {item.name: _messages(queues, item.name) for item in queues.list_queues()}
    return notes, messages


def _messages(queues: QueueServiceClient, name: str) -> list[dict[str, Any]]:
    peeked = queues.get_queue_client(name).peek_messages(max_messages=32)
    return [json.loads(base64.b64decode(message.content)) for message in peeked]
