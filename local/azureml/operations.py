"""Long-running operations: work in a background thread, polled by the SDK at the URL that the first answer names."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, not_found

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "operations"
LOCATION = "local"
_log = logging.getLogger(__name__)


class Operations:
    """Runs the work and remembers its outcome in the store, so that a client may ask after a restart too."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="operation")

    def start(self, answer_body: Any, work: Callable[[], None], *, kind: str) -> dict[str, str]:
        """Begin `work` and return the headers of the first answer (201 for PUT, 202 for DELETE and POST).

        `answer_body`: what the `Location` URL answers after success; None for a delete.
        `kind`: what is done, for people ("online endpoint delete").
        An AzureError out of `work` becomes the operation's error; anything else becomes InternalServerError and is logged.
        """
        name = str(uuid.uuid4())
        self._emulator.store.put(
            KIND, name, "", {"status": "InProgress", "kind": kind, "startTime": _now(), "result": answer_body}
        )
        self._pool.submit(self._run, name, work)
        base = f"{self._emulator.base_url}{_folder(self._emulator)}"
        return {
            "Azure-AsyncOperation": f"{base}/mfeOperationsStatus/{name}?api-version=2022-02-01-preview",
            "Location": f"{base}/mfeOperationResults/{name}?api-version=2022-02-01-preview",
            **self._emulator.settings.pace.poll_headers(),
        }

    def resume(self) -> None:
        """After a restart: an operation whose thread died with the old process failed, and says so."""
        for record in self._emulator.store.records(KIND):
            if record.body["status"] == "InProgress":
                self._finish(
                    record.name, AzureError(500, "OperationInterrupted", "The emulator was stopped during this operation.")
                )

    def close(self) -> None:
        """Let running work end; accept no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except AzureError as error:
            self._finish(name, error)
        except Exception as error:  # noqa: BLE001
            # The thread's last frame: whoever polls must learn of it, and the log keeps the traceback.
            _log.exception("operation %s failed", name)
            self._finish(name, AzureError(500, "InternalServerError", f"{type(error).__name__}: {error}"))
        else:
            self._finish(name, None)

    def _finish(self, name: str, error: AzureError | None) -> None:
        outcome: dict[str, Any] = {"status": "Failed", **error.body} if error else {"status": "Succeeded"}
        self._emulator.store.update(KIND, name, "", lambda body: {**body, **outcome, "endTime": _now()})


def routes(emulator: Emulator) -> list[Route]:
    def status(call: Call) -> Answer:
        body = _operation(emulator, call)
        shown = {key: body[key] for key in ("status", "startTime", "endTime", "error") if key in body}
        waiting = emulator.settings.pace.poll_headers() if body["status"] == "InProgress" else {}
        name = call.path_params["id"]
        return Answer({"id": f"{_folder(emulator)}/mfeOperationsStatus/{name}", "name": name, **shown}, headers=waiting)

    def result(call: Call) -> Answer:
        body = _operation(emulator, call)
        if body["status"] == "InProgress":
            return Answer(
                status=202, headers={"Location": emulator.base_url + call.path, **emulator.settings.pace.poll_headers()}
            )
        if "error" in body:
            raise AzureError(400, body["error"]["code"], body["error"]["message"])
        return Answer(body["result"], 200 if body["result"] is not None else 204)

    return [
        Route("GET", f"/{_folder(emulator)}/mfeOperationsStatus/{{id}}", status, sdk="(polling of every begin_*)"),
        Route("GET", f"/{_folder(emulator)}/mfeOperationResults/{{id}}", result, sdk="(polling of every begin_*)"),
    ]


def _operation(emulator: Emulator, call: Call) -> dict[str, Any]:
    body = emulator.store.get(KIND, call.path_params["id"])
    if body is None:
        raise not_found(f"Operation {call.path_params['id']} was not found.")
    return body


def _folder(emulator: Emulator) -> str:
    subscription = emulator.settings.subscription_id
    return f"/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{LOCATION}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
