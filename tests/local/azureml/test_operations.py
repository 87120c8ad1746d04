"""Long-running operations, as a client that polls sees them."""

from __future__ import annotations

import threading

import httpx
import pytest

from local.azureml.emulator import Emulator
from local.azureml.errors import conflict


def poll(http: httpx.Client, url: str) -> dict[str, object]:
    """Until the operation has ended; the deadline only keeps a bug from hanging the tests."""
    deadline = threading.Event()
    timer = threading.Timer(30, deadline.set)
    timer.start()
    try:
        while not deadline.is_set():
            body: dict[str, object] = http.get(url).raise_for_status().json()
            if body["status"] != "InProgress":
                return body
    finally:
        timer.cancel()
    raise AssertionError("the operation did not end")


def test_an_operation_is_in_progress_until_its_work_is_done(http: httpx.Client, emulator: Emulator) -> None:
    go = threading.Event()
    headers = emulator.operations.start({"id": "x"}, lambda: _wait(go), kind="test")
    url = headers["Azure-AsyncOperation"]
    try:
        first = http.get(url)
        assert first.json()["status"] == "InProgress"
        assert first.headers["retry-after-ms"] == "50"
        assert http.get(headers["Location"]).status_code == 202
    finally:
        go.set()
    assert poll(http, url)["status"] == "Succeeded"
    assert http.get(headers["Location"]).json() == {"id": "x"}


def test_a_delete_ends_without_a_body(http: httpx.Client, emulator: Emulator) -> None:
    headers = emulator.operations.start(None, lambda: None, kind="delete")
    poll(http, headers["Azure-AsyncOperation"])
    assert http.get(headers["Location"]).status_code == 204


def test_work_that_azure_would_refuse_ends_with_azures_error(http: httpx.Client, emulator: Emulator) -> None:
    def refuse() -> None:
        raise conflict("it has traffic", "Conflict")

    headers = emulator.operations.start(None, refuse, kind="delete")
    ended = poll(http, headers["Azure-AsyncOperation"])
    assert (ended["status"], ended["error"]) == ("Failed", {"code": "Conflict", "message": "it has traffic"})
    assert http.get(headers["Location"]).json()["error"]["code"] == "Conflict"


def test_a_bug_in_the_work_is_a_failed_operation_and_not_an_endless_one(
    http: httpx.Client, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    headers = emulator.operations.start(None, lambda: 1 / 0, kind="bug")  # type: ignore[arg-type,return-value]
    ended = poll(http, headers["Azure-AsyncOperation"])
    assert ended["status"] == "Failed"
    assert "ZeroDivisionError" in str(ended["error"])
    assert "ZeroDivisionError" in caplog.text


def test_an_operation_that_nobody_started_is_not_found(http: httpx.Client, emulator: Emulator) -> None:
    headers = emulator.operations.start(None, lambda: None, kind="test")
    url = headers["Azure-AsyncOperation"]
    path, _, query = url.partition("?")
    assert http.get(f"{path.rpartition('/')[0]}/none?{query}").status_code == 404


def _wait(event: threading.Event) -> None:
    if not event.wait(30):
        raise TimeoutError
