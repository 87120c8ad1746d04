"""What each public sample of an event becomes. The samples are no part of the repository: they are read if they lie beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml_core.errors import EventError
from ml_core.events import BlobCreated, BlobDeleted, Event, Ignored, ModelRegistered, RunStatusChanged, parse_all

SAMPLES = sorted((Path(__file__).parents[2].parent / "shared" / "events").glob("*.json"))

MY_ACCOUNT = "https://my-storage-account.blob.core.windows.net"
SPREADSHEET = "https://jolovstorage.blob.core.windows.net/gaocontainer/Template1.xlsx"
EMPTY_FILE = "https://myegteststgfoo.blob.core.windows.net/deadletter/myBlobFile.txt 0x8D83FACDC0C3402 0"
RUN = "AutoML_ad912b2d-6467-4f32-a616-dbe4af6dd8fc_5"
NO_EVENT = "field eventType or type holds None"
NOT_OURS, INVENTORY = "is not a type that Tidegate reacts to", "the inventory finds the files that it has changed"

# By the name's beginning (of several the longest): the kind, and in `told`'s words what it says.
EXPECTED: dict[str, tuple[type, str]] = {
    "docs.deadletter.blob_created": (BlobCreated, EMPTY_FILE),
    "docs.storage.blob_created.putblob_zero_length": (BlobCreated, EMPTY_FILE),
    "docs.storage.blob_created.putblocklist": (BlobCreated, f"{MY_ACCOUNT}/testcontainer/new-file.txt 0x8D4BCC2E4835CD0 524288"),
    "docs.storage.blob_created.sftpcommit": (BlobCreated, f"{MY_ACCOUNT}/testcontainer/new-file.txt 0x8D4BCC2E4835CD0 0"),
    # Placeholders stand in these two where names would; their brackets are encoded.
    "docs.storage.blob_created.copyblob": (
        BlobCreated,
        "https://<storage-account>.blob.core.windows.net/%3Ccontainer-name%3E/%3Cblob-name%3E 0x8D9595DCA505BDF 48",
    ),
    "docs.storage.blob_created.putblocklist.single": (
        BlobCreated,
        "https://gridtesting.blob.core.windows.net/testcontainer/%7Bnew-file%7D 0x8D76C39E4407333 30699",
    ),
    "spec.storage.blob_created": (BlobCreated, f"{SPREADSHEET} 0x8D96060BDA19D9D 17555"),
    "docs.storage.blob_deleted.adls": (BlobDeleted, f"{MY_ACCOUNT}/my-file-system/file-to-delete.txt"),
    "docs.storage.blob_deleted.sftp": (BlobDeleted, f"{MY_ACCOUNT}/testcontainer/new-file.txt"),
    "docs.storage.blob_deleted": (BlobDeleted, f"{MY_ACCOUNT}/testcontainer/file-to-delete.txt"),
    "spec.storage.blob_deleted": (BlobDeleted, SPREADSHEET),
    "spec.aml.model_registered": (ModelRegistered, "sklearn_regression_model:20"),
    "docs.aml.run_status_changed": (RunStatusChanged, f"{RUN} failed"),
    "spec.aml.run_status_changed": (RunStatusChanged, f"{RUN} failed"),
    "docs.storage.blob_created.adls_createfile": (Ignored, "CreateFile opens a file; its commit is announced later"),
    "docs.storage.blob_renamed": (Ignored, INVENTORY),
    "spec.storage.blob_renamed": (Ignored, INVENTORY),
    "spec.storage.directory_deleted": (Ignored, INVENTORY),
    "spec.storage.directory_renamed": (Ignored, INVENTORY),
    "docs.aml.dataset_drift_detected": (Ignored, NOT_OURS),
    "docs.eventgrid.subscription_validation": (Ignored, NOT_OURS),
    "docs.storage.async_operation_initiated": (Ignored, NOT_OURS),
    "docs.storage.blob_tier_changed": (Ignored, NOT_OURS),
    "docs.storage.directory_created": (Ignored, NOT_OURS),
    "spec.aml.dataset_drift_detected": (Ignored, NOT_OURS),
    "spec.aml.model_deployed": (Ignored, NOT_OURS),
    "spec.aml.run_completed": (Ignored, NOT_OURS),
    "spec.storage.blob_inventory_policy_completed": (Ignored, NOT_OURS),
    "spec.storage.blob_tier_changed": (Ignored, NOT_OURS),
    "spec.storage.directory_created": (Ignored, NOT_OURS),
    # The answer to a handshake, and Azure Monitor's alerts: they come by other ways.
    "docs.eventgrid.subscription_validation_response": (EventError, NO_EVENT),
    "docs.monitor": (EventError, NO_EVENT),
}


def told(parsed: Event | EventError) -> str:
    match parsed:
        case BlobCreated():
            return f"{parsed.url} {parsed.etag} {parsed.size}"
        case BlobDeleted():
            return parsed.url
        case ModelRegistered():
            return f"{parsed.model}:{parsed.version}"
        case RunStatusChanged():
            return f"{parsed.run_id} {parsed.status}"
        case Ignored():
            return parsed.reason
    return str(parsed)


@pytest.mark.skipif(not SAMPLES, reason="the public samples are not beside the repository")
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_public_sample_becomes_what_it_says(path: Path) -> None:
    known = [beginning for beginning in EXPECTED if path.name.startswith(f"{beginning}.")]
    assert known, f"{path.name} is new: say in this file what must become of it"
    kind, words = EXPECTED[max(known, key=len)]
    ((text, parsed),) = parse_all(path.read_text())
    assert type(parsed) is kind
    # Reasons and errors in part, everything else to the letter.
    assert words in told(parsed) if kind in (Ignored, EventError) else words == told(parsed)
    if isinstance(parsed, EventError):
        return
    document = json.loads(text)
    assert parsed.event_id == document["id"]
    assert parsed.source == document.get("topic", document.get("source"))
    if not isinstance(parsed, Ignored):
        assert parsed.occurred_at.isoformat()[:19] == document.get("eventTime", document.get("time"))[:19]
