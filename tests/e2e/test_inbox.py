"""What could not be delivered or done arrives in the inbox of the running stack, and leaves it again. The stack is real."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from azure.storage.queue import QueueClient, TextBase64EncodePolicy

from local.stack import Stack
from tests.command_line import ask
from tests.e2e.conftest import Host
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e]

Read = Callable[[str], dict[str, Any]]


def fire(host: Host, function: str) -> None:
    """Have a timer's function run now."""
    headers = {"x-functions-key": host.keys.master}
    assert host.http.post(f"/admin/functions/{function}", headers=headers, json={}).status_code == 202


def items_of(ledger: Read, event_id: str) -> list[dict[str, Any]]:
    return [item for item in ledger("inbox/").values() if event_id in item["payload"]]


def items_about(ledger: Read, key: str) -> list[dict[str, Any]]:
    return [item for item in ledger("inbox/").values() if item["key"] == key]


def test_a_dead_letter_is_collected_and_its_replay_does_what_the_event_would_have_done(
    stack: Stack, host: Host, ledger: Read
) -> None:
    event = {
        "id": f"undelivered-{uuid.uuid4()}",
        "topic": stack.environment.workspace_id,
        "subject": "models/loan-default:77",
        "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
        "eventTime": "2026-01-01T00:00:00.1234567Z",
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {"modelName": "loan-default", "modelVersion": "77"},
        "deadLetterReason": "MaxDeliveryAttemptsExceeded",
        "deliveryAttempts": 30,
        "lastDeliveryOutcome": "NotFound",
    }
    letters = stack.blobs().get_container_client("tidegate-dead-letters")
    letters.upload_blob("MODELS/2026/1/1/0/letter.json", json.dumps([event]))
    fire(host, "collect_dead_letters")
    (item,) = wait_until(lambda: items_of(ledger, event["id"]), what="the letter's item")
    assert (item["kind"], item["status"], item["attempts"]) == ("dead letter", "open", 30)
    wait_until(lambda: not list(letters.list_blob_names(name_starts_with="MODELS/")), what="the end of the letter")
    (done,) = ask(stack, "inbox", "replay", item["id"], "--by", "anna")
    assert done["status"] == "replayed"
    assert "rollout-requests/loan-default/77.json" in ledger("rollout-requests/loan-default/")
    assert [one["status"] for one in items_of(ledger, event["id"])] == ["replayed"]
    assert [note["by"] for note in ledger("audit/").values() if note["subject"] == f"inbox/{item['id']}"] == ["anna"]


def test_a_poison_message_waits_in_the_inbox_until_its_key_is_looked_at_again(stack: Stack, host: Host, ledger: Read) -> None:
    environment = stack.environment
    url = f"{environment.queue_url}/tidegate-models-poison"
    credential = stack.blobs().credential
    poison = QueueClient.from_queue_url(
        url,
        credential=credential,
        connection_verify=str(environment.certificates.bundle),
        message_encode_policy=TextBase64EncodePolicy(),
    )
    poison.send_message('{"key": "loan-default"}')
    (item,) = wait_until(lambda: items_about(ledger, "models/loan-default"), what="the message's item")
    assert (item["kind"], item["source"], item["permanent"]) == ("work", "queue tidegate-models", False)
    fire(host, "sweep_active_keys")

    def closed() -> bool:
        return [one["status"] for one in items_about(ledger, "models/loan-default")] == ["succeeded"]

    wait_until(closed, what="the end of the matter")
    wait_until(lambda: poison.get_queue_properties().approximate_message_count == 0, what="an empty poison queue")
