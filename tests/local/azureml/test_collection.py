"""Collected data and request logs below HTTP: what a line says, what goes beside it, what waits for storage, what stays small."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import ServiceRequestError

from local.azureml.serving import request_log
from local.azureml.serving.collection.events import LARGEST, Collected
from local.azureml.serving.collection.plan import Collection, CollectionPlan
from local.azureml.serving.collection.shipping import Shipping
from local.azureml.serving.collection.spool import Batch, put, waiting
from local.azureml.serving.materialise import interpreter_of_the_model
from local.azureml.serving.request_log import Line, RequestLog, log_file
from tests.local.azureml.scoring_assets import CONDA_FILE, link_environment
from tests.waiting import wait_until


def collected(payload: bytes) -> Collected:
    return Collected("request", payload, 86399.0, "an-id", {"path": "/score"})


def test_a_line_is_a_cloud_event_with_the_payload_in_it() -> None:
    line, beside = collected(b'{"x": [1, 2]}').line("/the/deployment", "https://storage/blob")
    document = json.loads(line)
    assert (document["data"], document["datacontenttype"], beside) == ({"x": [1, 2]}, "application/json", None)
    assert (document["time"], document["contentrange"]) == ("1970-01-01T23:59:59Z", "bytes 0-12/13")
    assert (document["source"], document["path"], document["xrequestid"]) == ("/the/deployment", "/score", "an-id")


@pytest.mark.parametrize("payload", [b"\x89PNG", json.dumps("x" * LARGEST).encode()], ids=["no JSON", "too large"])
def test_a_payload_that_does_not_fit_a_line_is_a_file_of_its_own(payload: bytes) -> None:
    line, beside = collected(payload).line("/the/deployment", "https://storage/blob")
    document = json.loads(line)
    assert (document["data"], document["datainblob"], beside) == ("https://storage/blob", "true", payload)


@pytest.mark.parametrize(("rate", "folder"), [("Year", "%Y"), ("Hour", "%Y/%m/%d/%H"), ("Minute", "%Y/%m/%d/%H/%M")])
def test_a_plan_survives_the_routing_table(rate: str, folder: str) -> None:
    inputs, requests = (Collection(name, "blobs", f"there/{name}", 0.25) for name in ("model_inputs", "request"))
    plan = CollectionPlan("/the/deployment", rate, (inputs, requests))
    assert CollectionPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan.rolling_folder == folder
    assert plan.for_the_script() == {"collections": {"model_inputs": {"enabled": True, "sampleRatePercentage": 25}}}


class Storage:
    """Keeps what is written; away at first."""

    def __init__(self) -> None:
        self.away, self.tries = True, 0
        self.blobs: dict[str, bytes] = {}

    def container(self, name: str) -> Storage:
        assert name == "blobs"
        return self

    def upload_blob(self, name: str, data: bytes, **how: object) -> None:
        self.tries += 1
        if self.away:
            raise ServiceRequestError("nobody listens")
        self.blobs[name] = data if "overwrite" in how else self.blobs.get(name, b"") + data


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Path]:
    put(tmp_path, Batch("blobs", "there/lines.jsonl", "append", b"one\n"))
    put(tmp_path, Batch("blobs", "there/lines.jsonl", "append", b"two\n"))
    put(tmp_path, Batch("blobs", "there/raw", "whole", b"\x00\n\x01"))
    return tmp_path


def test_what_storage_refuses_waits_for_the_next_life_and_is_shipped_in_order(spool: Path) -> None:
    storage = Storage()
    first = Shipping(storage, spool)  # type: ignore[arg-type]
    first.start()
    first.close()
    assert (storage.tries, len(list(waiting(spool)))) == (1, 3)
    storage.away = False
    second = Shipping(storage, spool)  # type: ignore[arg-type]
    second.start()
    wait_until(lambda: not list(waiting(spool)))
    second.close()
    assert storage.blobs == {"there/lines.jsonl": b"one\ntwo\n", "there/raw": b"\x00\n\x01"}


def test_a_log_of_requests_takes_twice_its_limit_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "LIMIT", 3000)
    log = RequestLog(tmp_path)
    for number in range(100):
        log.add(Line("churn", "blue", 0.0015, b"POST", b"/score", 200, 200, b"id-%d" % number, False, 1000.0, "curl" * 100))
        log.flush()
    file = log_file(tmp_path, "churn", "blue")
    sizes = [one.stat().st_size for one in sorted(file.parent.iterdir())]
    assert len(sizes) == 2
    assert max(sizes) < 3300
    assert json.loads(file.read_text().splitlines()[-1]) == {
        "time": "1970-01-01T00:16:39.998Z",
        "method": "POST",
        "path": "/score",
        "status": 200,
        "model_status": 200,
        "latency_ms": 1.5,
        "request_id": "id-99",
        "mirrored": False,
        "user_agent": "curl" * 25,
    }
    request_log.forget(tmp_path, "churn", "blue")
    assert list(file.parent.iterdir()) == []


def test_the_environment_of_a_models_own_conda_file_wins_when_it_is_there(tmp_path: Path) -> None:
    link_environment()
    (tmp_path / "conda.yaml").write_text(CONDA_FILE.read_text())
    chosen = interpreter_of_the_model(tmp_path)
    assert (chosen.python.parents[1].name, chosen.server_packages, chosen.note) == ("serve", None, "the model's conda.yaml")
